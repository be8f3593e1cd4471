//! The socket of a disk, which is created again if it is removed.

use std::io::ErrorKind;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use crate::daemon::error::Error;
use crate::daemon::host::broker;
use crate::daemon::host::socket::{SocketAccess, SocketPath, let_search};

/// A socket, and its directory if that is only for it and is removed with it.
#[derive(Debug)]
pub(crate) struct Socket {
    path: Option<SocketPath>,
    directory: Option<PathBuf>,
    /// Why it is missing, if that was reported.
    trouble: Option<String>,
    /// Why its owner couldn't get it, so that it is the daemon's.
    not_given: Option<String>,
}

/// A socket that isn't served yet. Front ends that connect wait.
#[derive(Debug)]
pub(crate) struct NewSocket {
    pub(crate) socket: Socket,
    pub(crate) listener: UnixListener,
}

/// What happened to a socket that was removed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum SocketChange<'a> {
    /// It was removed, for this reason.
    Removed(&'a str),
    /// It was created again.
    Restored,
    /// It can't be created again, for this reason.
    Missing(&'a str),
}

/// Why a socket is missing, before it was tried to create it again.
const REMOVED: &str = "its socket was removed";

impl Drop for Socket {
    fn drop(&mut self) {
        drop(self.path.take());
        if let Some(directory) = &self.directory {
            // If it contains anything else, it stays.
            let _ = broker::remove_directory(directory);
        }
    }
}

impl Socket {
    /// Create a socket at `path`.
    pub(crate) fn make(path: &Path, access: SocketAccess) -> Result<NewSocket, Error> {
        let socket = Self {
            path: None,
            directory: None,
            trouble: None,
            not_given: None,
        };
        socket.listen(path, access)
    }

    /// Create a socket at `path`, and its directory.
    pub(crate) fn make_in_own_directory(
        path: &Path,
        access: SocketAccess,
    ) -> Result<NewSocket, Error> {
        let directory = path.parent().unwrap_or(Path::new("."));
        make_own_directory(directory)?;
        let socket = Self {
            path: None,
            directory: Some(directory.to_owned()),
            trouble: None,
            not_given: None,
        };
        socket.listen(path, access)
    }

    fn listen(mut self, path: &Path, access: SocketAccess) -> Result<NewSocket, Error> {
        let (path, listener) = SocketPath::listen(path, access)?;
        self.path = Some(path);
        let socket = self;
        Ok(NewSocket { socket, listener })
    }

    pub(crate) fn path(&self) -> Option<&Path> {
        self.path.as_ref().map(SocketPath::path)
    }

    /// Why front ends can't connect, if they can't.
    pub(crate) fn trouble(&self) -> Option<String> {
        if self.path.as_ref().is_some_and(SocketPath::is_there) {
            return None;
        }
        Some(self.trouble.clone().unwrap_or_else(|| REMOVED.to_owned()))
    }

    /// The same, as of the last look.
    pub(crate) fn noted_trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    /// Let these users connect from now on. Returns who could before.
    ///
    /// # Errors
    /// The system's; then nothing has changed.
    pub(crate) fn give(&mut self, access: SocketAccess) -> Result<Option<SocketAccess>, Error> {
        let given = self.path.as_mut().map(|path| path.give(access));
        let had = given.transpose()?;
        self.not_given = None;
        Ok(had)
    }

    /// Why its owner couldn't get it, if that is so.
    pub(crate) fn not_given(&self) -> Option<&str> {
        self.not_given.as_deref()
    }

    /// Note why its owner couldn't get it.
    pub(crate) fn note_not_given(&mut self, reason: String) {
        self.not_given = Some(reason);
    }

    /// Create it again if it was removed, and pass the new one to `listen`. Returns whether it is
    /// still missing. Each change is reported once.
    pub(crate) fn mend(
        &mut self,
        listen: impl FnOnce(UnixListener) -> Result<(), Error>,
        tell: impl Fn(&Path, SocketChange<'_>),
    ) -> bool {
        let Some(path) = self.path.as_mut().filter(|path| !path.is_there()) else {
            self.trouble = None;
            return false;
        };
        if self.trouble.is_none() {
            tell(path.path(), SocketChange::Removed(REMOVED));
            self.trouble = Some(REMOVED.to_owned());
        }
        // Remove one that is not served, so that no front end connects to it.
        let made = path
            .make_again()
            .and_then(|listener| listen(listener).inspect_err(|_| path.remove()));
        let Err(error) = made else {
            tell(path.path(), SocketChange::Restored);
            self.trouble = None;
            return false;
        };
        let reason = error.to_string();
        if self.trouble.as_ref() != Some(&reason) {
            tell(path.path(), SocketChange::Missing(&reason));
            self.trouble = Some(reason);
        }
        true
    }
}

/// Create a directory for one socket. Others may reach the socket, and only ramblk may write to it.
fn make_own_directory(path: &Path) -> Result<(), Error> {
    let made = match broker::make_directory(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        made => made.map_err(|source| Error::Directory {
            path: path.to_owned(),
            source,
        }),
    };
    made.inspect(|()| let_search(path))
}
