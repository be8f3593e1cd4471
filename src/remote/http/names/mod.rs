//! Addresses of hosts, from `/etc/hosts` and from the servers in `/etc/resolv.conf`.
//!
//! The C library's resolver would load name services of the host, which a static program can't do
//! safely. A crate that does all that DNS can is a third of a megabyte; asking a server that does
//! the rest is a few hundred lines.
//!
//! | file | what it holds |
//! |---|---|
//! | `files` | what `/etc/hosts` and `/etc/resolv.conf` say |
//! | `message` | a question to a server, and its answer |
//! | `ask` | questions by UDP and TCP, to one server after another |
//! | `tests` | servers of our own, and what becomes of their answers |

mod ask;
mod files;
mod message;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::pin::pin;
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::time::timeout;

use self::ask::ask;
use self::files::{Servers, six_first};
use self::message::{Kind, Question};
use crate::remote::error::NoAddress;

/// Finds addresses. The files are read for each name, so that a change of theirs counts at once.
#[derive(Debug, Default)]
pub(super) struct Names;

impl Resolve for Names {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let name = name.as_str();
            let found = match files::hosts(Path::new("/etc/hosts"), name) {
                found if !found.is_empty() => found,
                _ if is_this_host(name) => {
                    vec![Ipv6Addr::LOCALHOST.into(), Ipv4Addr::LOCALHOST.into()]
                }
                _ => asked(name).await?,
            };
            // A connection has a port of its own.
            let found = found.into_iter().map(|address| SocketAddr::new(address, 0));
            Ok(Box::new(found) as Addrs)
        })
    }
}

/// The addresses that DNS has.
async fn asked(name: &str) -> Result<Vec<IpAddr>, NoAddress> {
    match Servers::of(Path::new("/etc/resolv.conf")) {
        Ok(servers) => addresses(&servers, name).await,
        Err(error) => Err(NoAddress::Silent {
            name: name.to_owned(),
            why: format!("it can't be read ({error})"),
        }),
    }
}

/// Names that are never asked for (RFC 6761 §6.3).
fn is_this_host(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    name == "localhost" || name.ends_with(".localhost")
}

/// How long to wait for the addresses of one version when there are some of the other. Some servers
/// leave a question for version 6 without an answer.
const OTHERS_WITHIN: Duration = Duration::from_secs(1);

/// What servers say to two questions at the same time: the answer that comes first is the first.
async fn both(
    servers: &Servers,
    six: &Question,
    four: &Question,
) -> [Result<Vec<IpAddr>, String>; 2] {
    let (mut six, mut four) = (pin!(ask(servers, six)), pin!(ask(servers, four)));
    let (first, rest) = tokio::select! {
        first = &mut six => (first, four),
        first = &mut four => (first, six),
    };
    let second = match &first {
        Ok(found) if !found.is_empty() => match timeout(OTHERS_WITHIN, rest).await {
            Ok(second) => second,
            Err(_) => Ok(Vec::new()),
        },
        _ => rest.await,
    };
    [first, second]
}

/// The addresses that servers have for a name, or for it with one of the endings that
/// `/etc/resolv.conf` has: those of version 6 first.
async fn addresses(servers: &Servers, name: &str) -> Result<Vec<IpAddr>, NoAddress> {
    let mut failed = None;
    for full in servers.full_names(name) {
        let question = |kind| Question::new(&full, kind);
        let (Some(six), Some(four)) = (question(Kind::V6), question(Kind::V4)) else {
            continue;
        };
        let mut found = Vec::new();
        for answer in both(servers, &six, &four).await {
            match answer {
                Ok(addresses) => found.extend(addresses),
                Err(why) => failed = Some(why),
            }
        }
        if !found.is_empty() {
            return Ok(six_first(found));
        }
    }
    let name = name.to_owned();
    Err(match failed {
        Some(why) => NoAddress::Silent { name, why },
        None if Question::new(&name, Kind::V4).is_none() => NoAddress::Name(name),
        None => NoAddress::Unknown(name),
    })
}

#[cfg(test)]
mod tests;
