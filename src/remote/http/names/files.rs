//! What `/etc/hosts` and `/etc/resolv.conf` say: hosts(5), resolv.conf(5).

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6};
use std::path::Path;
use std::time::Duration;

use rustix::net::netdevice::name_to_index;
use rustix::net::{AddressFamily, SocketType, socket};

/// The port of DNS servers.
const PORT: u16 = 53;

/// Which servers to ask, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Servers {
    /// At least one, unless the file names only such that can't be asked.
    pub(super) servers: Vec<SocketAddr>,
    /// Endings for names, without a dot before them.
    search: Vec<String>,
    /// A name with as many dots is tried without an ending first.
    dots: usize,
    /// How long to wait for an answer.
    pub(super) timeout: Duration,
    /// How often to ask each of the servers.
    pub(super) attempts: u32,
    /// Whether to ask by TCP alone.
    pub(super) by_tcp: bool,
}

/// The addresses of a name in a file as `/etc/hosts`: those of version 6 first.
pub(super) fn hosts(file: &Path, name: &str) -> Vec<IpAddr> {
    let text = std::fs::read(file).unwrap_or_default();
    hosts_in(&String::from_utf8_lossy(&text), name)
}

fn hosts_in(text: &str, name: &str) -> Vec<IpAddr> {
    let name = name.strip_suffix('.').unwrap_or(name);
    let mut found = Vec::new();
    for line in text.lines() {
        let mut words = line
            .split('#')
            .next()
            .unwrap_or_default()
            .split_whitespace();
        let address = words.next().and_then(|word| word.parse().ok());
        if let Some(address) = address
            && words.any(|word| word.eq_ignore_ascii_case(name))
        {
            found.push(address);
        }
    }
    six_first(found)
}

/// These addresses, with those of version 6 before the others.
pub(super) fn six_first(addresses: Vec<IpAddr>) -> Vec<IpAddr> {
    let (mut six, four): (Vec<_>, Vec<_>) = addresses.into_iter().partition(IpAddr::is_ipv6);
    six.extend(four);
    six
}

/// A server's address. One of version 6 may be of a link, as in `fe80::1%eth0`.
fn server(text: &str) -> Option<SocketAddr> {
    let Some((address, link)) = text.split_once('%') else {
        return Some(SocketAddr::new(text.parse().ok()?, PORT));
    };
    let link = link.parse().ok().or_else(|| number_of_link(link))?;
    Some(SocketAddrV6::new(address.parse().ok()?, PORT, 0, link).into())
}

fn number_of_link(name: &str) -> Option<u32> {
    let socket = socket(AddressFamily::INET, SocketType::DGRAM, None).ok()?;
    name_to_index(socket, name).ok()
}

impl Servers {
    /// What a file as `/etc/resolv.conf` says. If it isn't there or names no server, there is one
    /// on this host.
    ///
    /// # Errors
    /// It can't be read.
    pub(super) fn of(file: &Path) -> io::Result<Self> {
        let text = match std::fs::read(file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            read => read?,
        };
        Ok(Self::parse(&String::from_utf8_lossy(&text)))
    }

    pub(super) fn parse(text: &str) -> Self {
        let mut found = Self {
            servers: Vec::new(),
            search: Vec::new(),
            dots: 1,
            timeout: Duration::from_secs(5),
            attempts: 2,
            by_tcp: false,
        };
        let mut names_servers = false;
        for line in text.lines() {
            let line = line.split(['#', ';']).next().unwrap_or_default();
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => {
                    names_servers = true;
                    found.servers.extend(words.next().and_then(server));
                }
                // The last one of both counts.
                Some("domain" | "search") => {
                    let endings = words.map(|it| it.trim_matches('.').to_owned());
                    found.search = endings.filter(|it| !it.is_empty()).collect();
                }
                Some("options") => words.for_each(|word| found.option(word)),
                _ => {}
            }
        }
        if !names_servers {
            found.servers = vec![SocketAddr::new(Ipv4Addr::LOCALHOST.into(), PORT)];
        }
        found
    }

    /// An option, within the bounds that the C library has for it. The others are about what isn't
    /// done here.
    fn option(&mut self, word: &str) {
        let (name, value) = word.split_once(':').unwrap_or((word, ""));
        let number = value.parse::<u32>();
        match (name, number) {
            ("ndots", Ok(number)) => self.dots = number.min(15) as usize,
            ("timeout", Ok(number)) => {
                self.timeout = Duration::from_secs(number.clamp(1, 30).into());
            }
            ("attempts", Ok(number)) => self.attempts = number.clamp(1, 5),
            ("use-vc", _) => self.by_tcp = true,
            _ => {}
        }
    }

    /// The names to ask for, in order.
    pub(super) fn full_names(&self, name: &str) -> Vec<String> {
        if let Some(whole) = name.strip_suffix('.') {
            return vec![whole.to_owned()];
        }
        let endings = self.search.iter();
        let mut names: Vec<_> = endings.map(|ending| format!("{name}.{ending}")).collect();
        let has_dots = name.matches('.').count() >= self.dots;
        names.insert(if has_dots { 0 } else { names.len() }, name.to_owned());
        names
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn hosts_has_names_in_any_case_and_version_6_first() {
        let text = "# a comment\n127.0.0.1 localhost\n10.0.0.7\tImages.example.com images # img\n\
                    not-an-address images\nfd00::7 images\n";
        let all: Vec<String> = hosts_in(text, "images")
            .iter()
            .map(IpAddr::to_string)
            .collect();
        assert_eq!(all, ["fd00::7", "10.0.0.7"]);
        assert_eq!(hosts_in(text, "images.EXAMPLE.com.").len(), 1);
        for none in ["img", "example.com", "#", ""] {
            assert_eq!(hosts_in(text, none), [] as [IpAddr; 0], "{none}");
        }
    }

    #[test]
    fn resolv_conf_says_whom_to_ask_how_often_and_with_which_endings() {
        let text = "; systemd\nnameserver 10.0.0.1\nnameserver fd00::1 # second\nnameserver soon\n\
                    domain old.example\nsearch lab.example. example\n\
                    options ndots:2 timeout:99 attempts:0 rotate use-vc edns0\n";
        let found = Servers::parse(text);
        let servers: Vec<_> = found.servers.iter().map(ToString::to_string).collect();
        assert_eq!(servers, ["10.0.0.1:53", "[fd00::1]:53"]);
        assert_eq!((found.timeout.as_secs(), found.attempts), (30, 1));
        assert!(found.by_tcp);
        assert_eq!(
            found.full_names("vm.rack"),
            ["vm.rack.lab.example", "vm.rack.example", "vm.rack"]
        );
        assert_eq!(found.full_names("a.b.c")[0], "a.b.c");
        assert_eq!(found.full_names("vm."), ["vm"]);
    }

    #[test]
    fn without_a_file_the_server_is_this_host() {
        let found = Servers::of(Path::new("/nowhere/resolv.conf")).unwrap();
        assert_eq!(found, Servers::parse(""));
        assert_eq!(found.servers[0].to_string(), "127.0.0.1:53");
        assert_eq!(found.full_names("vm"), ["vm"]);
    }

    #[test]
    fn a_file_that_cannot_be_read_or_used_is_not_taken_for_one_without_servers() {
        assert!(Servers::of(Path::new("/")).is_err(), "a folder");
        assert_eq!(Servers::parse("nameserver soon\n").servers, []);
    }

    #[test]
    fn a_server_on_a_link_is_asked_there() {
        let found = Servers::parse("nameserver fe80::1%7\nnameserver fe80::2%lo\n");
        let links: Vec<String> = found.servers.iter().map(ToString::to_string).collect();
        assert_eq!(links, ["[fe80::1%7]:53", "[fe80::2%1]:53"]);
        assert_eq!(
            Servers::parse("nameserver fe80::1%no-such-link").servers,
            []
        );
    }
}
