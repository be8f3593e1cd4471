//! A listening socket at a path. The path is removed with it, and can be created again if another
//! process removes it.

use std::fs::{self, Metadata};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::process::{getegid, geteuid};

use crate::daemon::Error;
use crate::daemon::host::accounts;
use crate::daemon::host::broker::{self, Access, Opened};

/// Which users may connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketAccess {
    /// Permission bits of the path.
    pub mode: u32,
    /// The group that owns it, by number; by default the process's.
    pub group: Option<u32>,
    /// The user who owns it, by number; by default the process's.
    pub user: Option<u32>,
}

impl Default for SocketAccess {
    /// Owner and group, since VMMs may run as another user of the same group.
    fn default() -> Self {
        Self {
            mode: 0o660,
            group: None,
            user: None,
        }
    }
}

impl SocketAccess {
    /// Access by permission bits, and by a group's name or number.
    ///
    /// # Errors
    /// [`Error::Usage`] if ramblk itself could not use its socket, or there is no such group.
    pub(crate) fn new(mode: u32, group: Option<&str>) -> Result<Self, Error> {
        Self::named(["--socket-mode", "--socket-group"], mode, group)
    }

    /// The same, from the options of these names.
    pub(crate) fn named(
        [mode_option, group_option]: [&str; 2],
        mode: u32,
        group: Option<&str>,
    ) -> Result<Self, Error> {
        if mode & !0o777 != 0 || mode & 0o600 != 0o600 {
            return Err(Error::Usage(format!(
                "{mode_option} {mode:o} keeps ramblk itself out: give three octal digits from \
                 600 to 777, as in 0660"
            )));
        }
        let group = group.map(|group| group_number(group, group_option));
        let group = group.transpose()?;
        let user = None;
        Ok(Self { mode, group, user })
    }
}

fn group_number(group: &str, option: &str) -> Result<u32, Error> {
    if let Some(number) = accounts::written_number("group", group) {
        return number;
    }
    match accounts::group_number(group) {
        Ok(Some(number)) => Ok(number),
        Ok(None) => Err(Error::Usage(format!(
            "there is no group {group:?} in /etc/group: give {option} a name of that file, or \
             a number (for a group of a directory service, the one that getent group shows)"
        ))),
        Err(source) => Err(Error::System {
            what: "look up the group of sockets",
            source,
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
            broker::make_directories(directory).map_err(|source| Error::Directory {
                path: directory.to_owned(),
                source,
            })?;
            let_search(directory);
            self.made_directory = true;
        }
        let (identity, listener) = bind(&self.path, self.access)?;
        self.identity = identity;
        Ok(listener)
    }

    /// Let these users connect from now on. Returns who could before. One that was removed is made
    /// for them when it is created again.
    ///
    /// # Errors
    /// The system's; then nothing has changed.
    pub(crate) fn give(&mut self, access: SocketAccess) -> Result<SocketAccess, Error> {
        if self.is_there() {
            let given = Opened::at(&self.path).and_then(|opened| {
                // Another file may have taken its place just now.
                match identity(&opened)? == self.identity {
                    true => give(&opened, access),
                    false => Ok(()),
                }
            });
            given.map_err(|source| Error::Socket {
                path: self.path.clone(),
                source,
                hint: "; its owner stays",
            })?;
        }
        Ok(std::mem::replace(&mut self.access, access))
    }

    /// Remove the path, if it still has the socket that this process created.
    pub(crate) fn remove(&self) {
        if !self.is_there() || broker::remove_socket(&self.path).is_ok() {
            return;
        }
        // In a directory such as /tmp, only the owner may.
        if self.access.user.is_some() && Opened::at(&self.path).is_ok_and(|it| is_taken_back(&it)) {
            let _ = broker::remove_socket(&self.path);
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
            let _ = broker::remove_directory(directory);
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
    let SocketAccess { mode, group, user } = access;
    let listener = broker::listen(path, Access { mode, group, user }).map_err(failed)?;
    match Identity::at(path) {
        Ok(identity) => Ok((identity, listener)),
        Err(error) => {
            // It has only just been created.
            let _ = broker::remove_socket(path);
            Err(failed(error))
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
    match connect(path) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
            tracing::info!(path = %path.display(), "replacing a socket that no process listens on");
            broker::remove_socket(path).map_err(|source| Error::Socket {
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

/// Connect, also to a socket that belongs to another user because it was given to them.
fn connect(path: &Path) -> io::Result<UnixStream> {
    let error = match UnixStream::connect(path) {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => error,
        connected => return connected,
    };
    let opened = Opened::at(path)?;
    let found = opened.about()?;
    if !is_taken_back(&opened) {
        return Err(error);
    }
    let connected = UnixStream::connect(path);
    if connected.is_ok() {
        // It is in use, and stays whose it was.
        let _ = opened.chown(Some(found.uid()), Some(found.gid()));
    }
    connected
}

/// Let everyone reach the socket in its own directory, by name. Who may connect is for the mode of
/// the socket to say, and a umask must not contradict it. No other user may write there: they could
/// put another file in the socket's place.
pub(crate) fn let_search(directory: &Path) {
    const SEARCH: u32 = 0o011;
    let Ok(found) = fs::metadata(directory) else {
        return;
    };
    let mode = found.mode() & 0o7777;
    if mode & SEARCH != SEARCH {
        let mode = fs::Permissions::from_mode(mode | SEARCH);
        if let Err(error) = fs::set_permissions(directory, mode) {
            tracing::debug!(?directory, %error, "others may not be able to reach the socket");
        }
    }
}

fn identity(opened: &Opened) -> io::Result<Identity> {
    Ok(Identity::of(&opened.about()?))
}

fn give(opened: &Opened, access: SocketAccess) -> io::Result<()> {
    let user = access.user.unwrap_or_else(|| geteuid().as_raw());
    let group = access.group.unwrap_or_else(|| getegid().as_raw());
    opened.chown(Some(user), Some(group))
}

/// Let this process own it. Returns whether it does.
fn is_taken_back(opened: &Opened) -> bool {
    give(opened, SocketAccess::default()).is_ok()
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

    #[test]
    fn a_file_that_has_taken_a_sockets_place_is_not_given_away() {
        let folder = tempfile::tempdir().unwrap();
        let (path, other) = (folder.path().join("s"), folder.path().join("other"));
        fs::write(&other, "").unwrap();
        let own = SocketAccess {
            group: Some(getegid().as_raw()),
            ..SocketAccess::default()
        };
        let (mut socket, _listener) = SocketPath::listen(&path, own).unwrap();
        assert_eq!(socket.give(own).unwrap(), own);
        let changed = |path: &Path| {
            let about = fs::symlink_metadata(path).unwrap();
            (about.ctime(), about.ctime_nsec())
        };
        let replacing: [fn(&Path, &Path) -> io::Result<()>; 2] = [
            |to, at| std::os::unix::fs::symlink(to, at),
            |to, at| fs::hard_link(to, at),
        ];
        for replace in replacing {
            fs::remove_file(&path).unwrap();
            replace(&other, &path).unwrap();
            let before = changed(&other);
            socket.give(SocketAccess::default()).unwrap();
            assert_eq!(changed(&other), before);
            assert!(Opened::at(&path).is_err(), "it is no socket");
        }
        // Nor is it removed.
        drop(socket);
        assert!(path.exists());
    }
}
