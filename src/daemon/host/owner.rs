//! Who owns the socket of a disk, if that isn't the daemon: from the text of the setting to numbers
//! that this process may give a file to.

use std::io;

use rustix::process::{getegid, geteuid, getgroups};
use rustix::thread::CapabilitySet;

use super::accounts;
use super::socket::SocketAccess;
use crate::daemon::Error;

/// The longest name of a user or a group.
const MAX_NAME_BYTES: usize = 64;

/// A user, a group or both, as the setting `socket_owner` has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SocketOwner<'t> {
    user: Option<&'t str>,
    group: Option<&'t str>,
}

/// The numbers of a user, a group or both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Numbers {
    user: Option<u32>,
    group: Option<u32>,
}

impl<'t> SocketOwner<'t> {
    /// Parse `USER`, `USER:GROUP` or `:GROUP`.
    ///
    /// # Errors
    /// [`Error::Usage`] for any other text.
    pub(crate) fn parse(text: &'t str) -> Result<Self, Error> {
        let parsed = match text.split_once(':') {
            None => Some((Some(text), None)),
            Some(("", group)) => Some((None, Some(group))),
            Some((user, group)) => Some((Some(user), Some(group))),
        };
        let is_name = |name: &Option<&str>| name.is_none_or(is_name);
        match parsed.filter(|(user, group)| is_name(user) && is_name(group)) {
            Some((user, group)) => Ok(Self { user, group }),
            None => Err(Error::Usage(format!(
                "{text:?} owns no socket: give USER, USER:GROUP or :GROUP, each a name of letters, \
                 digits and . _ - $, or a number"
            ))),
        }
    }

    /// The numbers of these names, from `/etc/passwd` and `/etc/group`.
    ///
    /// # Errors
    /// [`Error::Usage`] if there is no such user or group, or that can't be found out.
    pub(crate) fn resolve(self) -> Result<Numbers, Error> {
        let user = self.user.map(|name| {
            let files = ("user", "/etc/passwd", "id -u NAME");
            number(name, files, accounts::user_number)
        });
        let group = self.group.map(|name| {
            let files = ("group", "/etc/group", "getent group NAME");
            number(name, files, accounts::group_number)
        });
        Ok(Numbers {
            user: user.transpose()?,
            group: group.transpose()?,
        })
    }
}

/// Whether this can be a user's or a group's name, or a number.
fn is_name(name: &str) -> bool {
    let is_first = |c: char| c.is_ascii_alphanumeric() || c == '_';
    name.len() <= MAX_NAME_BYTES
        && name.starts_with(is_first)
        && name
            .chars()
            .all(|c| is_first(c) || matches!(c, '.' | '-' | '$'))
}

/// The number of one name, or the number that it is.
fn number(
    name: &str,
    (what, file, command): (&str, &str, &str),
    look_up: impl FnOnce(&str) -> io::Result<Option<u32>>,
) -> Result<u32, Error> {
    if let Some(number) = accounts::written_number(what, name) {
        return number;
    }
    match look_up(name) {
        Ok(Some(number)) => Ok(number),
        Ok(None) => Err(Error::Usage(format!(
            "there is no {what} {name:?} in {file}: make it first, or give its number (for one of \
             a directory service, see '{command}')"
        ))),
        Err(error) => {
            // The rules for files go with a file, not with its name.
            let hint = match error.kind() {
                io::ErrorKind::PermissionDenied => {
                    ", and the sandbox knows no file that has replaced it since the daemon's start"
                }
                _ => "",
            };
            Err(Error::Usage(format!(
                "can't look up {what} {name:?} in {file} ({error}{hint}): give its number (see \
                 '{command}'), or start the daemon again"
            )))
        }
    }
}

/// Whom this process may give a file to.
#[derive(Debug)]
pub(crate) struct Giver {
    may_all: bool,
    user: u32,
    groups: Vec<u32>,
}

impl Giver {
    /// What this process may. Its sandbox keeps the capability, and not the call that asks for it:
    /// ask before the calling thread is confined.
    pub(crate) fn of_process() -> Self {
        let held = rustix::thread::capabilities(None);
        let others = getgroups().unwrap_or_default().into_iter();
        Self {
            may_all: held.is_ok_and(|held| held.effective.contains(CapabilitySet::CHOWN)),
            user: geteuid().as_raw(),
            groups: others
                .chain([getegid()])
                .map(|group| group.as_raw())
                .collect(),
        }
    }

    /// The access of a socket that is given to this owner, in place of the daemon's own.
    ///
    /// # Errors
    /// [`Error::Usage`] if the text is wrong, there is no such user or group, or this process may
    /// not give it.
    pub(crate) fn access(&self, usual: SocketAccess, owner: &str) -> Result<SocketAccess, Error> {
        let numbers = SocketOwner::parse(owner)?.resolve()?;
        if !self.may_give_to(numbers) {
            return Err(Error::Usage(format!(
                "user {} may not give a socket to {owner:?}: run ramblk with CAP_CHOWN (as root, \
                 or with AmbientCapabilities=CAP_CHOWN in a service), or name a group that this \
                 user is in",
                self.user
            )));
        }
        Ok(SocketAccess {
            user: numbers.user.or(usual.user),
            group: numbers.group.or(usual.group),
            ..usual
        })
    }

    fn may_give_to(&self, Numbers { user, group }: Numbers) -> bool {
        self.may_all
            || user.is_none_or(|user| user == self.user)
                && group.is_none_or(|group| self.groups.contains(&group))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn a_user_a_group_or_both_own_a_socket() {
        let parse = |text| SocketOwner::parse(text).map(|it| (it.user, it.group)).ok();
        assert_eq!(parse("vm-1"), Some((Some("vm-1"), None)));
        assert_eq!(parse("vm1:kvm"), Some((Some("vm1"), Some("kvm"))));
        assert_eq!(parse(":kvm"), Some((None, Some("kvm"))));
        assert_eq!(parse("1001:7"), Some((Some("1001"), Some("7"))));
        for text in [
            "", ":", "a:", "a:b:c", " a", "a b", "-a", "a\n", "ö", "a/b", "$a",
        ] {
            assert_eq!(parse(text), None, "{text:?}");
        }
        assert_eq!(parse(&"a".repeat(65)), None);
    }

    #[test]
    fn names_become_numbers_and_what_is_missing_is_named() {
        let resolve = |text| SocketOwner::parse(text).unwrap().resolve();
        let numbers = resolve("root:7").unwrap();
        assert_eq!((numbers.user, numbers.group), (Some(0), Some(7)));
        let error = resolve("no-such-user").unwrap_err().to_string();
        assert!(
            error.contains("no user \"no-such-user\" in /etc/passwd"),
            "{error}"
        );
        let error = resolve(":no-such-group").unwrap_err().to_string();
        assert!(error.contains("no group \"no-such-group\""), "{error}");
        for text in ["4294967295", "4294967296", "root:99999999999"] {
            assert!(resolve(text).is_err(), "{text}");
        }
    }

    #[test]
    fn without_the_capability_one_gives_only_to_oneself_and_ones_groups() {
        let giver = Giver {
            may_all: false,
            user: 7,
            groups: vec![8, 9],
        };
        let access = |owner| giver.access(SocketAccess::default(), owner);
        assert_eq!(access("7:9").unwrap().group, Some(9));
        assert_eq!(access(":8").unwrap().user, None);
        for owner in ["8", "7:7", "0", ":0"] {
            let error = access(owner).unwrap_err().to_string();
            assert!(error.contains("CAP_CHOWN"), "{owner}: {error}");
        }
        let root = Giver {
            may_all: true,
            ..giver
        };
        let given = root.access(SocketAccess::default(), "1001:5").unwrap();
        assert_eq!(
            (given.user, given.group, given.mode),
            (Some(1001), Some(5), 0o660)
        );
    }
}
