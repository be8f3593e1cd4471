//! What the process asks the broker, as bytes of one message.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use super::acts::Access;

/// A number in front of two others, and a path behind them.
const HEAD_BYTES: usize = 24;
/// The longest path, and so the longest message.
const MOST_PATH_BYTES: usize = 4096;
pub(super) const MOST_BYTES: usize = HEAD_BYTES + MOST_PATH_BYTES;
/// An answer is one number: not negative, or an error of the system as a negative one.
pub(super) const REPLY_BYTES: usize = size_of::<i32>();

/// What the process asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Request {
    /// Make and remove things in this directory too. This and the next one have no answer.
    Allow(PathBuf),
    /// Take no more of these.
    Seal,
    /// Answer once confined.
    Ready,
    /// Make a directory, and those above it.
    MakeDirectories(PathBuf),
    /// Make a directory.
    MakeDirectory(PathBuf),
    /// Make a socket, and answer with its descriptor.
    Listen { access: Access, path: PathBuf },
    /// Remove a socket.
    RemoveSocket(PathBuf),
    /// Remove an empty directory.
    RemoveDirectory(PathBuf),
    /// Answer with 1 if a process has mapped this file privately at its address, else with 0.
    MapsPrivately { pid: u32, user: u64, inode: u64 },
}

/// No user, and no group: what the system takes for "as it is".
const NONE: u32 = u32::MAX;

impl Request {
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let none = PathBuf::new();
        let (code, a, b, path): (u32, u64, u64, &PathBuf) = match self {
            Self::Allow(path) => (1, 0, 0, path),
            Self::Seal => (2, 0, 0, &none),
            Self::Ready => (9, 0, 0, &none),
            Self::MakeDirectories(path) => (3, 0, 0, path),
            Self::MakeDirectory(path) => (4, 0, 0, path),
            Self::Listen { access, path } => {
                let owners = [access.user, access.group].map(|it| u64::from(it.unwrap_or(NONE)));
                let [user, group] = owners;
                (5, u64::from(access.mode), user << 32 | group, path)
            }
            Self::RemoveSocket(path) => (6, 0, 0, path),
            Self::RemoveDirectory(path) => (7, 0, 0, path),
            Self::MapsPrivately { pid, user, inode } => {
                let mut bytes = [8_u32, *pid].map(u32::to_ne_bytes).concat();
                bytes.extend([*user, *inode].map(u64::to_ne_bytes).concat());
                return bytes;
            }
        };
        let mut bytes = [code, 0].map(u32::to_ne_bytes).concat();
        bytes.extend([a, b].map(u64::to_ne_bytes).concat());
        bytes.extend(path.as_os_str().as_bytes());
        bytes
    }

    /// `None` if these bytes are no request.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (head, path) = bytes.split_at_checked(HEAD_BYTES)?;
        let word = |at: usize| {
            head.get(at..at + 4)?
                .try_into()
                .ok()
                .map(u32::from_ne_bytes)
        };
        let long = |at: usize| {
            head.get(at..at + 8)?
                .try_into()
                .ok()
                .map(u64::from_ne_bytes)
        };
        let (code, pid, a, b) = (word(0)?, word(4)?, long(8)?, long(16)?);
        let path = PathBuf::from(OsStr::from_bytes(path));
        Some(match code {
            1 => Self::Allow(path),
            2 => Self::Seal,
            9 => Self::Ready,
            3 => Self::MakeDirectories(path),
            4 => Self::MakeDirectory(path),
            5 => {
                let owner = |number: u64| u32::try_from(number).ok().filter(|it| *it != NONE);
                let access = Access {
                    mode: u32::try_from(a).ok().filter(|mode| *mode <= 0o777)?,
                    user: owner(b >> 32),
                    group: owner(b & u64::from(u32::MAX)),
                };
                Self::Listen { access, path }
            }
            6 => Self::RemoveSocket(path),
            7 => Self::RemoveDirectory(path),
            8 => Self::MapsPrivately {
                pid,
                user: a,
                inode: b,
            },
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_arrives_as_it_was_sent_and_other_bytes_are_none() {
        let path = PathBuf::from("/run/ramblk/vm1/vhost.sock");
        let listen = |group| Request::Listen {
            access: Access {
                mode: 0o660,
                group,
                user: group.map(|group| group - 1),
            },
            path: path.clone(),
        };
        let all = [
            Request::Allow(path.clone()),
            Request::Seal,
            Request::Ready,
            Request::MakeDirectories(path.clone()),
            Request::MakeDirectory(path.clone()),
            listen(None),
            listen(Some(u32::MAX - 1)),
            listen(Some(7)),
            Request::RemoveSocket(path.clone()),
            Request::RemoveDirectory(path.clone()),
            Request::MapsPrivately {
                pid: 7,
                user: u64::MAX,
                inode: 9,
            },
        ];
        for request in all {
            let bytes = request.to_bytes();
            assert_eq!(Request::from_bytes(&bytes), Some(request));
            assert_eq!(Request::from_bytes(&bytes[..HEAD_BYTES - 1]), None);
        }
        let mut bytes = listen(None).to_bytes();
        bytes[8..16].copy_from_slice(&0o4777_u64.to_ne_bytes());
        assert_eq!(Request::from_bytes(&bytes), None);
        assert_eq!(Request::from_bytes(&[77; HEAD_BYTES]), None);
    }
}
