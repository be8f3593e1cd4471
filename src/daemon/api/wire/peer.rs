//! The client of a connection, and whether it is authorised.
//!
//! The mode of the socket's file decides which users can connect. Since a mode is easily changed by
//! mistake, each client is checked too: root, the daemon's user, and members of the file's group
//! are authorised. Others get 403, even if the mode admits them; only a socket for reading may
//! admit everyone.
#![allow(unsafe_code, reason = "no crate has SO_PEERGROUPS")]

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use tokio::net::UnixStream;

/// The most groups that a process can be in (NGROUPS_MAX of Linux).
const MOST_GROUPS: usize = 65536;
/// Room for the groups of nearly every process.
const FEW_GROUPS: usize = 32;

/// The caller's credentials when it connected, according to the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Peer {
    /// Its user.
    pub(crate) uid: Option<u32>,
    /// Its process.
    pub(crate) pid: Option<i32>,
    /// Whether it is authorised.
    pub(crate) allowed: bool,
}

/// Which clients are authorised.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Access {
    own_uid: u32,
    group: Option<u32>,
    /// Whether everyone is, whom the mode admits.
    everyone: bool,
}

impl Access {
    /// Authorise root, this process's user, and members of `group`.
    pub(crate) fn new(group: Option<u32>) -> Self {
        Self {
            own_uid: rustix::process::geteuid().as_raw(),
            group,
            everyone: false,
        }
    }

    /// The same, or every client, if the socket's mode admits every user on purpose: to a socket
    /// for reading a mode of its own was given.
    pub(crate) fn of_readers(group: Option<u32>, mode: u32) -> Self {
        Self {
            everyone: mode & 0o006 == 0o006,
            ..Self::new(group)
        }
    }

    /// The client of a connection, and whether it is authorised.
    pub(crate) fn judge(&self, stream: &UnixStream) -> Peer {
        let Ok(peer) = stream.peer_cred() else {
            return Peer {
                uid: None,
                pid: None,
                allowed: false,
            };
        };
        let member = |group| peer.gid() == group || groups(stream).contains(&group);
        Peer {
            uid: Some(peer.uid()),
            pid: peer.pid(),
            allowed: self.allows(peer.uid(), member),
        }
    }

    fn allows(&self, uid: u32, is_member: impl FnOnce(u32) -> bool) -> bool {
        uid == 0 || uid == self.own_uid || self.everyone || self.group.is_some_and(is_member)
    }
}

/// The supplementary groups of the client; none if the system doesn't report them.
fn groups(stream: &UnixStream) -> Vec<u32> {
    match ask_groups(stream.as_fd(), FEW_GROUPS) {
        Ok(groups) => groups,
        Err(needed) if needed <= MOST_GROUPS => {
            ask_groups(stream.as_fd(), needed).unwrap_or_default()
        }
        Err(_) => Vec::new(),
    }
}

/// The groups, if there are at most `most`. Otherwise their number, or `usize::MAX` if unknown.
fn ask_groups(fd: BorrowedFd<'_>, most: usize) -> Result<Vec<u32>, usize> {
    let mut groups = vec![0_u32; most];
    let size = |count: usize| count * size_of::<u32>();
    let mut bytes = libc::socklen_t::try_from(size(most)).map_err(|_| usize::MAX)?;
    // SAFETY: the kernel writes at most `bytes` bytes into `groups`, which has as many, and how
    // many into `bytes`.
    let result = unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERGROUPS,
            groups.as_mut_ptr().cast(),
            &raw mut bytes,
        )
    };
    let count = usize::try_from(bytes).map_or(0, |bytes| bytes / size_of::<u32>());
    if result == 0 {
        groups.truncate(count);
        Ok(groups)
    } else if count > most {
        Err(count)
    } else {
        Err(usize::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_the_own_user_and_members_of_the_group_may_ask() {
        let access = Access {
            own_uid: 1000,
            group: Some(50),
            everyone: false,
        };
        assert!(access.allows(0, |_| false));
        assert!(access.allows(1000, |_| false));
        assert!(access.allows(1001, |group| group == 50));
        assert!(!access.allows(1001, |_| false));
        let groupless = Access {
            group: None,
            ..access
        };
        assert!(!groupless.allows(1001, |_| true));
        assert!(Access::of_readers(None, 0o666).allows(1001, |_| false));
        assert!(!Access::of_readers(None, 0o664).allows(1001, |_| false));
    }
}
