//! The sockets of the API: passed by the service manager, or made here, and made again if they are
//! removed.

use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use super::config::ServeConfig;
use crate::daemon::api;
use crate::daemon::disks::Disks;
use crate::daemon::disks::upkeep::sockets;
use crate::daemon::error::Error;
use crate::daemon::host::inherit;
use crate::daemon::host::removal::Round;
use crate::daemon::host::socket::{SocketAccess, SocketPath};

/// What the service manager calls the API's socket, and the one for reading.
const NAMES: [&str; 2] = ["api", "api-ro"];

/// Sockets that the parent process passed (systemd's socket activation).
#[derive(Debug)]
pub(super) struct Inherited {
    pub(super) api: Option<UnixListener>,
    readers: Option<UnixListener>,
}

impl Inherited {
    /// Take them from the descriptors that were passed.
    ///
    /// # Errors
    /// One of them is no listening socket.
    pub(super) fn take(listed: &[(i32, String)]) -> Result<Self, Error> {
        let [api, readers] = NAMES.map(|wanted| listed.iter().find(|(_, name)| name == wanted));
        // A single descriptor without a name is the API's socket.
        let alone = listed
            .first()
            .filter(|(_, name)| listed.len() == 1 && name == "unknown");
        let listening = |(fd, _): &(i32, String)| match inherit::take(*fd)? {
            inherit::Inherited::Listening(listener) => Ok(listener),
            inherit::Inherited::Connected(_) => Err(Error::Descriptor {
                fd: *fd,
                reason: "pass a listening socket for the API".into(),
            }),
        };
        Ok(Self {
            api: api.or(alone).map(listening).transpose()?,
            readers: readers.map(listening).transpose()?,
        })
    }
}

/// The paths of the sockets that were made here.
#[derive(Debug)]
pub(super) struct ApiSockets {
    api: Made,
    readers: Made,
}

/// The path of a socket, unless it was passed or there is none.
type Made = Arc<Mutex<Option<SocketPath>>>;

fn made(path: Option<SocketPath>) -> Made {
    Arc::new(Mutex::new(path))
}

impl ApiSockets {
    /// Listen at all sockets that were not passed. Requests are not answered yet.
    ///
    /// # Errors
    /// Another daemon serves there, or a socket can't be made.
    pub(super) fn listen(
        config: &ServeConfig,
        inherited: Inherited,
    ) -> Result<(Self, UnixListener, Option<UnixListener>), Error> {
        let (path, api) = match inherited.api {
            Some(listener) => (None, listener),
            None => {
                let (path, listener) = listen(&config.api_socket, config.access)?;
                (Some(path), listener)
            }
        };
        let (readers_path, readers) = match (inherited.readers, &config.readers) {
            (Some(listener), _) => (None, Some(listener)),
            (None, None) => (None, None),
            (None, Some(readers)) => {
                let (path, listener) = listen(&readers.path, readers.access)?;
                (Some(path), Some(listener))
            }
        };
        let sockets = Self {
            api: made(path),
            readers: made(readers_path),
        };
        Ok((sockets, api, readers))
    }

    /// Make them again whenever they are removed. An inherited one belongs to the process that
    /// created it.
    pub(super) fn look_after(&self, disks: &Arc<Disks>, server: &api::Server) {
        look_after(disks, &self.api, server.fresh_listeners());
        look_after(disks, &self.readers, server.fresh_readers());
    }

    /// Remove their paths, though other threads may refer to them for a while.
    pub(super) fn remove(&self) {
        drop(self.api.lock().take());
        drop(self.readers.lock().take());
    }
}

/// Listen at a socket of the API, where another daemon may listen already.
fn listen(path: &Path, access: SocketAccess) -> Result<(SocketPath, UnixListener), Error> {
    SocketPath::listen(path, access).map_err(|error| match error {
        Error::PathInUse { path } => Error::AlreadyServing { path },
        other => other,
    })
}

/// Check that no daemon serves at these sockets, before anything is opened.
pub(super) fn check_free(config: &ServeConfig, inherited: &Inherited) -> Result<(), Error> {
    if inherited.api.is_none() && UnixStream::connect(&config.api_socket).is_ok() {
        let path = config.api_socket.clone();
        return Err(Error::AlreadyServing { path });
    }
    Ok(())
}

fn look_after(disks: &Arc<Disks>, made: &Made, listeners: api::FreshListeners) {
    if let Some(path) = made.lock().as_ref() {
        sockets::watch_path(disks, path.path());
    }
    let (made, told) = (Arc::clone(made), AtomicBool::new(false));
    let disks_again = Arc::downgrade(disks);
    let look = Box::new(move |_: &Round| {
        let mut path = made.lock();
        let Some(path) = path.as_mut().filter(|path| !path.is_there()) else {
            return false;
        };
        let Some(disks) = disks_again.upgrade() else {
            return false;
        };
        if !told.swap(true, Ordering::Relaxed) {
            sockets::tell_of_api(&disks, path.path(), false);
        }
        let made = path.make_again().and_then(|listener| {
            // Remove one that is not served, so that no client connects to it.
            listeners.replace(listener).inspect_err(|_| path.remove())
        });
        if let Err(error) = made {
            tracing::debug!(%error, "a socket of the API is still missing");
            return true;
        }
        told.store(false, Ordering::Relaxed);
        sockets::watch_path(&disks, path.path());
        sockets::tell_of_api(&disks, path.path(), true);
        false
    });
    sockets::look_also(disks, look);
}
