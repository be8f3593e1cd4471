//! A listening socket at a path. The path is removed with it, and can be created again if another
//! process removes it.

use std::fs::{self, Metadata};
use std::io::ErrorKind;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use crate::daemon::Error;

/// The most connections that wait to be accepted.
const BACKLOG: i32 = 128;

/// Which users may connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketAccess {
    /// Permission bits of the path.
    pub mode: u32,
    /// The group that owns it, by number; by default the process's.
    pub group: Option<u32>,
}

impl Default for SocketAccess {
    /// Owner and group, since VMMs may run as another user of the same group.
    fn default() -> Self {
        Self {
            mode: 0o660,
            group: None,
        }
    }
}

impl SocketAccess {
    /// Access by permission bits, and by a group's name or number.
    ///
    /// # Errors
    /// [`Error::Usage`] if ramblk itself could not use its socket, or there is no such group.
    pub(crate) fn new(mode: u32, group: Option<&str>) -> Result<Self, Error> {
        if mode & !0o777 != 0 || mode & 0o600 != 0o600 {
            return Err(Error::Usage(format!(
                "--socket-mode {mode:o} keeps ramblk itself out: give three octal digits from \
                 600 to 777, as in 0660"
            )));
        }
        Ok(Self {
            mode,
            group: group.map(group_number).transpose()?,
        })
    }
}

fn group_number(group: &str) -> Result<u32, Error> {
    if let Ok(number) = group.parse() {
        return Ok(number);
    }
    match nix::unistd::Group::from_name(group) {
        Ok(Some(found)) => Ok(found.gid.as_raw()),
        Ok(None) => Err(Error::Usage(format!(
            "there is no group {group:?}: give --socket-group one that getent group shows"
        ))),
        Err(errno) => Err(Error::System {
            what: "look up the group of sockets",
            source: errno.into(),
        }),
    }
}

/// The identity of a file at a path. Inode numbers are reused, so it includes the time of birth, if
/// the file system knows that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    device: u64,
    inode: u64,
    born: Option<SystemTime>,
}

impl Identity {
    /// The identity of the file at `path`.
    pub(crate) fn at(path: &Path) -> std::io::Result<Self> {
        fs::symlink_metadata(path).map(|found| Self::of(&found))
    }

    fn of(found: &Metadata) -> Self {
        Self {
            device: found.dev(),
            inode: found.ino(),
            born: found.created().ok(),
        }
    }
}

/// The path of a socket that this process created. Dropping it removes the path, unless another
/// process has put its own socket there.
#[derive(Debug)]
pub(crate) struct SocketPath {
    path: PathBuf,
    access: SocketAccess,
    identity: Identity,
    /// Its directory was removed, and this process has created it again.
    made_directory: bool,
}

impl SocketPath {
    /// Listen at `path`, for the users that `access` names. A socket that a killed process left is
    /// replaced.
    pub(crate) fn listen(path: &Path, access: SocketAccess) -> Result<(Self, UnixListener), Error> {
        make_room(path)?;
        let (identity, listener) = bind(path, access)?;
        let socket_path = Self {
            path: path.to_owned(),
            access,
            identity,
            made_directory: false,
        };
        Ok((socket_path, listener))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the path still has the socket that this process created.
    pub(crate) fn is_there(&self) -> bool {
        Identity::at(&self.path).is_ok_and(|found| found == self.identity)
    }

    /// Create the socket again after it was removed, and its directory if that is gone too. A file
    /// that has taken its place is left as it is.
    pub(crate) fn make_again(&mut self) -> Result<UnixListener, Error> {
        if Identity::at(&self.path).is_ok() {
            return Err(Error::Replaced {
                path: self.path.clone(),
            });
        }
        if let Some(directory) = self.path.parent()
            && !directory.as_os_str().is_empty()
            && !directory.exists()
        {
            fs::create_dir_all(directory).map_err(|source| Error::Directory {
                path: directory.to_owned(),
                source,
            })?;
            self.made_directory = true;
        }
        let (identity, listener) = bind(&self.path, self.access)?;
        self.identity = identity;
        Ok(listener)
    }

    /// Remove the path, if it still has the socket that this process created.
    pub(crate) fn remove(&self) {
        if self.is_there() {
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl Drop for SocketPath {
    fn drop(&mut self) {
        self.remove();
        if let Some(directory) = self.path.parent()
            && self.made_directory
        {
            // If it contains anything else, it stays.
            let _ = fs::remove_dir(directory);
        }
    }
}

/// Create a socket at a path that doesn't exist, and listen.
fn bind(path: &Path, access: SocketAccess) -> Result<(Identity, UnixListener), Error> {
    let failed = |source: std::io::Error| {
        let hint = match source.kind() {
            ErrorKind::NotFound => "; create its directory first",
            ErrorKind::AddrInUse => "; another process has just created it",
            _ => "",
        };
        Error::Socket {
            path: path.to_owned(),
            source,
            hint,
        }
    };
    let refused = |errno: rustix::io::Errno| failed(errno.into());
    let address = SocketAddrUnix::new(path).map_err(refused)?;
    let flags = SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
        .map_err(refused)?;
    rustix::net::bind(&socket, &address).map_err(refused)?;
    let listen = || {
        // A socket accepts no connection before it listens, so the mode applies to all of them.
        fs::set_permissions(path, fs::Permissions::from_mode(access.mode)).map_err(failed)?;
        if access.group.is_some() {
            std::os::unix::fs::chown(path, None, access.group).map_err(failed)?;
        }
        rustix::net::listen(&socket, BACKLOG).map_err(refused)?;
        Identity::at(path).map_err(failed)
    };
    match listen() {
        Ok(identity) => Ok((identity, UnixListener::from(socket))),
        Err(error) => {
            // This process has only just created it.
            let _ = fs::remove_file(path);
            Err(error)
        }
    }
}

/// Remove the file at `path` if it is a socket on which no process listens.
fn make_room(path: &Path) -> Result<(), Error> {
    let Ok(there) = fs::symlink_metadata(path) else {
        return Ok(());
    };
    if !there.file_type().is_socket() {
        return Err(Error::PathTaken {
            path: path.to_owned(),
        });
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
            tracing::info!(path = %path.display(), "replacing a socket that no process listens on");
            fs::remove_file(path).map_err(|source| Error::Socket {
                path: path.to_owned(),
                source,
                hint: "; it is left over, and can't be removed",
            })
        }
        _ => Err(Error::PathInUse {
            path: path.to_owned(),
        }),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn modes_that_keep_the_owner_out_are_refused() {
        assert_eq!(
            SocketAccess::new(0o660, None).unwrap(),
            SocketAccess::default()
        );
        assert_eq!(SocketAccess::new(0o666, Some("0")).unwrap().group, Some(0));
        for mode in [0o60, 0o1660, 0] {
            assert!(SocketAccess::new(mode, None).is_err(), "{mode:o}");
        }
        assert!(SocketAccess::new(0o660, Some("no-such-group-here")).is_err());
    }
}
