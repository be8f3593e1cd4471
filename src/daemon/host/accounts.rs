//! Names of groups and users, read from `/etc/group` and `/etc/passwd`. The C library would ask its
//! name services, which are libraries of the host that a static program can't load safely.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use crate::daemon::Error;

const GROUPS: &str = "/etc/group";
const USERS: &str = "/etc/passwd";

/// The longest file that is read, in bytes.
const MOST_BYTES: u64 = 16 << 20;

/// The number of a group that `/etc/group` names.
///
/// # Errors
/// The file can't be read, or is longer than 16 MiB.
pub(crate) fn group_number(name: &str) -> io::Result<Option<u32>> {
    number_in(GROUPS, name)
}

/// The number of a user or a group, if it is written as one.
///
/// # Errors
/// It is none that can own a file: the highest one means that the owner stays.
pub(crate) fn written_number(what: &str, text: &str) -> Option<Result<u32, Error>> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| {
        let number = text.parse().ok().filter(|number| *number != u32::MAX);
        number.ok_or_else(|| {
            let text = format!("{what} {text} can't be: give a number below {}", u32::MAX);
            Error::Usage(text)
        })
    })
}

fn number_in(file: &str, name: &str) -> io::Result<Option<u32>> {
    let text = read(Path::new(file))?;
    Ok(accounts(&text)
        .find(|account| account.name == name.as_bytes())
        .map(|account| account.number))
}

/// The number of a user that `/etc/passwd` names.
///
/// # Errors
/// The file can't be read, or is longer than 16 MiB.
pub(crate) fn user_number(name: &str) -> io::Result<Option<u32>> {
    number_in(USERS, name)
}

/// The name of a user that `/etc/passwd` lists. Any other user has none, nor has anyone if the file
/// can't be read.
pub fn user_name(number: u32) -> Option<String> {
    let text = read(Path::new(USERS)).ok()?;
    let mut found = accounts(&text).filter(|account| account.number == number);
    let name = String::from_utf8(found.next()?.name.to_owned()).ok()?;
    // It is printed to a terminal.
    (!name.contains(char::is_control)).then_some(name)
}

/// A line `NAME:PASSWORD:NUMBER`, with more fields after it.
#[derive(Debug, PartialEq, Eq)]
struct Account<'a> {
    name: &'a [u8],
    number: u32,
}

impl<'a> Account<'a> {
    /// The account of a line. Comments, lines of NIS (`+name`, `-name`) and lines that lack a name
    /// or a number have none, as in the C library.
    fn parse(line: &'a [u8]) -> Option<Self> {
        let mut fields = line.splitn(4, |byte| *byte == b':');
        let name = fields.next()?;
        let _password = fields.next()?;
        let number = fields.next()?;
        if matches!(name.first(), None | Some(b'+' | b'-' | b'#')) {
            return None;
        }
        // `parse` would accept a sign.
        if !number.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let number = std::str::from_utf8(number).ok()?.parse().ok()?;
        Some(Self { name, number })
    }
}

fn accounts(text: &[u8]) -> impl Iterator<Item = Account<'_>> {
    text.split(|byte| *byte == b'\n').filter_map(Account::parse)
}

/// The whole of a file; nothing if there is none, as in a container without accounts.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        file => file?,
    };
    let mut text = Vec::new();
    let read = file.take(MOST_BYTES + 1).read_to_end(&mut text)?;
    if read as u64 > MOST_BYTES {
        let why = format!("{} is longer than 16 MiB", path.display());
        return Err(io::Error::new(io::ErrorKind::InvalidData, why));
    }
    Ok(text)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn number(text: &str, name: &str) -> Option<u32> {
        accounts(text.as_bytes())
            .find(|account| account.name == name.as_bytes())
            .map(|account| account.number)
    }

    #[test]
    fn groups_are_found_by_name_and_the_first_one_counts() {
        let text = "root:x:0:\nkvm:x:104:qemu,ramblk\nkvm:x:7:\nlast:x:4294967295:";
        assert_eq!(number(text, "root"), Some(0));
        assert_eq!(number(text, "kvm"), Some(104));
        assert_eq!(number(text, "last"), Some(u32::MAX));
        assert_eq!(number(text, "kv"), None);
        assert_eq!(number(text, ""), None);
    }

    #[test]
    fn lines_that_are_no_accounts_are_passed_over() {
        for line in [
            "",
            ":",
            ":::",
            ":x:3:",
            "a",
            "a:x",
            "a:x:",
            "a:x:-1:",
            "a:x:+1:",
            "a:x: 1:",
            "a:x:1 :",
            "a:x:4294967296:",
            "a:x:0x10:",
            "a:x:1\0:",
            "a:x:\u{661}:",
            "#a:x:1:",
            "+a:x:1:",
            "-a:x:1:",
            "+::::",
            "a\0:x:1:",
        ] {
            let text = format!("{line}\nb:x:2:\n");
            assert_eq!(number(&text, "a"), None, "{line:?}");
            assert_eq!(number(&text, "b"), Some(2), "{line:?}");
        }
        // Bytes that are no text, and no end of line.
        assert_eq!(
            accounts(b"\xff\xfe:\x80:3:\x80")
                .map(|account| account.number)
                .collect::<Vec<_>>(),
            [3]
        );
    }

    #[test]
    fn the_hosts_own_files_name_root() {
        assert_eq!(group_number("root").unwrap(), Some(0));
        assert_eq!(user_number("root").unwrap(), Some(0));
        assert_eq!(user_name(0).as_deref(), Some("root"));
        assert_eq!(user_name(4_000_000_007), None);
    }

    #[test]
    fn a_file_that_is_not_there_has_no_accounts_and_one_without_end_is_refused() {
        assert!(read(Path::new("/nonexistent/group")).unwrap().is_empty());
        let error = read(Path::new("/dev/zero")).unwrap_err();
        assert!(error.to_string().contains("longer than 16 MiB"), "{error}");
    }
}
