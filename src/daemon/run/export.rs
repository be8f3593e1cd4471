//! A disk on a socket, which can be resized while guests use it.

use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::config::RunConfig;
use crate::daemon::disks::served::disk::{Age, ServedDisk};
use crate::daemon::disks::served::socket::{Socket, SocketChange};
use crate::daemon::error::Error;
use crate::daemon::host::socket::SocketAccess;
use crate::store::{Disk, DiskInfo, Shrink, Store};
use crate::vhost_user::{Hub, Server};

/// One disk being served. Dropping it ends its sessions and removes its socket; the disk stays in
/// the store.
#[derive(Debug)]
pub struct Export {
    served: ServedDisk,
    access: SocketAccess,
}

impl Export {
    /// Make the disk that `config` describes in `store`, with its image loaded, and be ready to
    /// serve it with the threads of `hub`. Nobody can connect yet.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Image`], [`Error::Server`]. Nothing is left behind then.
    pub fn create(store: &Arc<Store>, config: &RunConfig, hub: &Arc<Hub>) -> Result<Self, Error> {
        let disk = store.create(&config.name, &config.disk.spec)?;
        let made = Self::serve(store, config, hub, disk.into_owner());
        if made.is_err() {
            // The error is the one to tell; the disk was made a moment ago, by us.
            let _ = store.destroy(&config.name);
        }
        made
    }

    fn serve(
        store: &Arc<Store>,
        config: &RunConfig,
        hub: &Arc<Hub>,
        disk: Disk,
    ) -> Result<Self, Error> {
        if let Some(image) = &config.image {
            image.load(&disk)?;
        }
        Ok(Self {
            served: ServedDisk::new(store, hub, disk, &config.disk, Age::New)?,
            access: config.access,
        })
    }

    /// Serve front ends that connect to `path`, which is made now and removed at the end.
    ///
    /// # Errors
    /// [`Error::PathInUse`], [`Error::PathTaken`], [`Error::Socket`], [`Error::Server`].
    pub fn listen_at(&mut self, path: &Path) -> Result<(), Error> {
        self.served.listen(Socket::make(path, self.access)?)
    }

    /// Make the socket again if somebody removed it; returns whether it is still missing. Front
    /// ends that are connected notice nothing.
    pub(super) fn mend_socket(&self, tell: impl Fn(&Path, SocketChange<'_>)) -> bool {
        self.served.mend_socket(tell)
    }

    /// Serve front ends that connect to `listener`.
    ///
    /// # Errors
    /// [`Error::Server`].
    pub fn listen(&mut self, listener: UnixListener) -> Result<(), Error> {
        Ok(self.served.server.listen(listener)?)
    }

    /// Serve one connection.
    ///
    /// # Errors
    /// [`Error::Server`].
    pub fn connect(&self, stream: UnixStream) -> Result<(), Error> {
        Ok(self.served.server.connect(stream)?)
    }

    /// Wait until no front end is connected.
    pub fn wait_until_idle(&self) {
        self.served.server.wait_until_idle();
    }

    /// The socket's path, if it has one of its own.
    pub fn socket_path(&self) -> Option<PathBuf> {
        self.served
            .with_socket(|socket| socket.path().map(Path::to_owned))
    }

    /// What serves it: which front ends are connected, their events, what the device counts.
    pub fn server(&self) -> &Server {
        &self.served.server
    }

    /// The store's record of the disk.
    ///
    /// # Errors
    /// [`Error::Store`] if it was destroyed.
    pub fn info(&self) -> Result<DiskInfo, Error> {
        Ok(self.served.disk.get_info()?)
    }

    /// Change the disk's size and tell the guests, which see the new capacity at once. Returns how
    /// many front ends were told: one that has no channel for it sees the size when it asks.
    ///
    /// # Errors
    /// [`Error::Store`], and nothing has changed.
    pub fn resize(&self, size_bytes: u64, shrink: Shrink) -> Result<usize, Error> {
        self.served.disk.resize_bytes(size_bytes, shrink)?;
        Ok(self.served.server.config_changed())
    }
}
