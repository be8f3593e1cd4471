//! Sockets that are removed under us, and made again.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::disk::{Entry, Workshop};
use crate::daemon::Error;
use crate::daemon::disks::Disks;
use crate::daemon::host::removal::Look;
use crate::daemon::host::socket::SocketPath;
use crate::daemon::serve::make_directory;
use crate::model::{EventKind, Problem};

/// A socket in a directory of its own, which goes with it.
#[derive(Debug)]
pub(crate) struct Socket {
    path: Option<SocketPath>,
    directory: PathBuf,
    /// Why it could not be made again, if it is gone.
    trouble: Option<String>,
}

/// A socket that isn't served yet.
#[derive(Debug)]
pub(crate) struct NewSocket {
    socket: Socket,
    listener: UnixListener,
}

impl Drop for Socket {
    fn drop(&mut self) {
        drop(self.path.take());
        // Where somebody put something else into it, it stays.
        let _ = fs::remove_dir(&self.directory);
    }
}

impl Workshop {
    /// Let front ends come.
    pub(crate) fn listen(&self, entry: &Entry) -> Result<(), Problem> {
        self.serve_at(entry, self.make_socket(entry)?)
    }

    /// Make the socket, at which front ends wait until it is served.
    pub(crate) fn make_socket(&self, entry: &Entry) -> Result<NewSocket, Problem> {
        let directory = self.run_dir.join(&entry.name);
        // Somebody may have removed it since the daemon started.
        make_directory(&self.run_dir)?;
        make_own_directory(&directory)?;
        let mut socket = Socket {
            path: None,
            directory,
            trouble: None,
        };
        let path = self.socket_path(&entry.name);
        let (made, listener) = SocketPath::listen(&path, self.access)?;
        socket.path = Some(made);
        Ok(NewSocket { socket, listener })
    }

    /// Serve front ends that come there.
    pub(crate) fn serve_at(&self, entry: &Entry, new: NewSocket) -> Result<(), Problem> {
        entry.server.listen(new.listener)?;
        self.removals.watch(&self.socket_path(&entry.name));
        *entry.socket.lock() = Some(new.socket);
        Ok(())
    }

    /// Make the socket of a disk again if somebody removed it; whether it is still missing. Front
    /// ends that are connected notice nothing.
    fn mend(&self, entry: &Entry) -> bool {
        let mut socket = entry.socket.lock();
        let Some(socket) = socket.as_mut() else {
            return false;
        };
        let Some(path) = socket.path.as_mut().filter(|path| !path.is_there()) else {
            socket.trouble = None;
            return false;
        };
        if socket.trouble.is_none() {
            let reason = "its socket was removed".to_owned();
            self.tell(
                EventKind::Unreachable,
                Some(&entry.name),
                path.path(),
                Some(&reason),
            );
            socket.trouble = Some(reason);
        }
        let made = path.make_again().and_then(|listener| {
            // One that can't be listened at must not look as if it could.
            let listening = entry.server.listen_instead(listener);
            listening
                .inspect_err(|_| path.remove())
                .map_err(Error::from)
        });
        let Err(error) = made else {
            self.removals.watch(path.path());
            self.tell(EventKind::Reachable, Some(&entry.name), path.path(), None);
            socket.trouble = None;
            return false;
        };
        let reason = error.to_string();
        if socket.trouble.as_ref() != Some(&reason) {
            tracing::warn!(disk = entry.name, reason, "nobody can connect");
            socket.trouble = Some(reason);
        }
        true
    }

    /// Say that a socket is gone, or there again.
    fn tell(&self, kind: EventKind, disk: Option<&str>, socket: &Path, reason: Option<&str>) {
        tracing::warn!(
            disk,
            ?socket,
            "a socket {}",
            reason.map_or("is there again", |_| "was removed")
        );
        let mut details =
            BTreeMap::from([("socket".to_owned(), socket.display().to_string().into())]);
        details.extend(reason.map(|reason| ("reason".to_owned(), reason.into())));
        self.events.tell(kind, disk, details);
    }
}

/// A directory for one socket: others may look into it, and only we put something there.
fn make_own_directory(path: &Path) -> Result<(), Error> {
    match fs::create_dir(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        made => made.map_err(|source| Error::Directory {
            path: path.to_owned(),
            source,
        }),
    }
}

impl Entry {
    /// Why nobody can connect, if that is so.
    pub(crate) fn unreachable(&self) -> Option<String> {
        let socket = self.socket.lock();
        let socket = socket.as_ref()?;
        if socket.path.as_ref().is_some_and(SocketPath::is_there) {
            return None;
        }
        let removed = || "its socket was removed".to_owned();
        Some(socket.trouble.clone().unwrap_or_else(removed))
    }

    /// The socket goes: nobody new connects, and those who are there stay.
    pub(crate) fn stop_listening(&self) {
        // Held for both, so that nobody makes it again in between.
        let mut socket = self.socket.lock();
        self.server.stop_listening();
        socket.take();
    }
}

impl Disks {
    /// Look after sockets from now on, until the disks go.
    pub(crate) fn watch_sockets(self: &Arc<Self>) -> Result<(), Error> {
        let watched = Arc::downgrade(self);
        self.workshop.removals.start(Box::new(move || {
            let Some(disks) = watched.upgrade() else {
                return false;
            };
            // All of them, whatever the first one says.
            let mut is_missing = false;
            for entry in disks.entries() {
                is_missing |= disks.workshop.mend(&entry);
            }
            let looks = disks.looks.0.lock();
            looks
                .iter()
                .fold(is_missing, |missing, look| missing | look())
        }))
    }

    /// Have `look` called too, whenever something that is watched has changed.
    pub(crate) fn look_also(&self, look: Look) {
        self.looks.0.lock().push(look);
    }

    /// Have it noticed when what is at `path` is removed.
    pub(crate) fn watch(&self, path: &Path) {
        self.workshop.removals.watch(path);
    }

    /// Say that the API's socket is gone, or there again.
    pub(crate) fn tell_of_api(&self, socket: &Path, is_there: bool) {
        let (kind, reason) = match is_there {
            true => (EventKind::Reachable, None),
            false => (EventKind::Unreachable, Some("the API's socket was removed")),
        };
        self.workshop.tell(kind, None, socket, reason);
    }

    /// Say that disks end with this process, which was not to be so.
    pub(crate) fn tell_of_lost_state(&self, arena: &Path) {
        let warning = format!(
            "{arena:?} was removed: all disks are gone when this process ends; export those that \
             are needed"
        );
        tracing::error!("{warning}");
        let details = BTreeMap::from([("reason".to_owned(), warning.clone().into())]);
        self.workshop
            .events
            .tell(EventKind::StateRemoved, None, details);
        self.warnings.lock().push(warning);
    }
}
