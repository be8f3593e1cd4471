//! A listening socket at a path, which goes when it goes.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use super::Error;

/// Connections that may wait to be taken.
const BACKLOG: i32 = 128;

/// Who may connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketAccess {
    /// Permission bits of the path.
    pub mode: u32,
    /// The group that owns it, by number; by default the process's.
    pub group: Option<u32>,
}

impl Default for SocketAccess {
    /// The owner and the group, as VMMs run under another user of the same group.
    fn default() -> Self {
        Self {
            mode: 0o660,
            group: None,
        }
    }
}

/// The path of a socket that we made. Dropping it removes the path, if it is still ours: another
/// process may have put its own socket there.
#[derive(Debug)]
pub(super) struct SocketPath {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl SocketPath {
    /// Listen at `path`, for those whom `access` names. A socket that nobody listens at any more,
    /// left by a killed process, is replaced.
    pub(super) fn listen(path: &Path, access: SocketAccess) -> Result<(Self, UnixListener), Error> {
        make_room(path)?;
        let failed = |source: std::io::Error| {
            let hint = match source.kind() {
                ErrorKind::NotFound => "; make its directory first",
                ErrorKind::AddrInUse => "; another process was faster",
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
        let made = fs::symlink_metadata(path).map_err(failed)?;
        let socket_path = Self {
            path: path.to_owned(),
            device: made.dev(),
            inode: made.ino(),
        };
        // Nobody can connect before we listen, so nobody does whom the mode will keep out.
        fs::set_permissions(path, fs::Permissions::from_mode(access.mode)).map_err(failed)?;
        if access.group.is_some() {
            std::os::unix::fs::chown(path, None, access.group).map_err(failed)?;
        }
        rustix::net::listen(&socket, BACKLOG).map_err(refused)?;
        Ok((socket_path, UnixListener::from(socket)))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for SocketPath {
    fn drop(&mut self) {
        let ours = fs::symlink_metadata(&self.path)
            .is_ok_and(|now| now.dev() == self.device && now.ino() == self.inode);
        if ours {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Remove what is at `path` if it is a socket that nobody listens at.
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
            tracing::info!(path = %path.display(), "replacing a socket that nobody listens at");
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
