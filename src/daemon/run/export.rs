//! A disk on a socket, which can be resized while guests use it.

use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::config::{RunConfig, Sharing};
use crate::daemon::Error;
use crate::daemon::disks::served::states::StateKeeper;
use crate::daemon::disks::settings::metadata::Kept as KeptBlob;
use crate::daemon::host::socket::{SocketAccess, SocketPath};
use crate::device::BlockDevice;
use crate::model::DiskSettings;
use crate::store::{Disk, DiskInfo, Shrink, Store};
use crate::vhost_user::{Hub, Server, ServerOptions, Share};

/// One disk being served. Dropping it ends its sessions and removes its socket; the disk stays in
/// the store.
#[derive(Debug)]
pub struct Export {
    server: Server,
    disk: Disk,
    socket: Mutex<Option<SocketPath>>,
    access: SocketAccess,
}

impl Export {
    /// Make the disk that `config` describes in `store`, with its image loaded, and be ready to
    /// serve it with the threads of `hub`. Nobody can connect yet.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Image`], [`Error::Server`]. Nothing is left behind then.
    pub fn create(store: &Arc<Store>, config: &RunConfig, hub: &Arc<Hub>) -> Result<Self, Error> {
        let disk = store.create(&config.name, &config.spec)?;
        let made = Self::serve_disk(store, config, hub, disk);
        if made.is_err() {
            // The error is the one to tell; the disk was made a moment ago, by us.
            let _ = store.destroy(&config.name);
        }
        made
    }

    fn serve_disk(
        store: &Arc<Store>,
        config: &RunConfig,
        hub: &Arc<Hub>,
        disk: Disk,
    ) -> Result<Self, Error> {
        if let Some(image) = &config.image {
            image.load(&disk)?;
        }
        let guests = store.open(&config.name)?;
        let guests = if config.read_only {
            guests.into_read_only()
        } else {
            guests
        };
        // Nothing is kept of it beside its record.
        let about = Arc::new(Mutex::new(KeptBlob::of(&DiskSettings::new(0))));
        let keeper = StateKeeper::of_new(store, &config.name, &about)?;
        let device = BlockDevice::new(guests, config.serial.clone(), config.queues)
            .with_state(Box::new(Arc::new(keeper)));
        let share = match config.sharing {
            Sharing::None => Share::None,
            Sharing::ReadOnly | Sharing::ReadWrite => Share::Any,
        };
        let options = ServerOptions {
            share,
            in_order: config.in_order,
        };
        let server = Server::new(device, &options, hub);
        Ok(Self {
            server,
            disk,
            socket: Mutex::new(None),
            access: config.access,
        })
    }

    /// Serve whoever connects to `path`, which is made now and removed at the end.
    ///
    /// # Errors
    /// [`Error::PathInUse`], [`Error::PathTaken`], [`Error::Socket`], [`Error::Server`].
    pub fn listen_at(&mut self, path: &Path) -> Result<(), Error> {
        let (socket, listener) = SocketPath::listen(path, self.access)?;
        self.server.listen(listener)?;
        *self.socket.lock() = Some(socket);
        Ok(())
    }

    /// Make the socket again if somebody removed it; whether it was made. Front ends that are
    /// connected notice nothing.
    ///
    /// # Errors
    /// [`Error::Replaced`], [`Error::Directory`], [`Error::Socket`], [`Error::Server`].
    pub fn mend_socket(&self) -> Result<bool, Error> {
        let mut socket = self.socket.lock();
        let Some(socket) = socket.as_mut().filter(|socket| !socket.is_there()) else {
            return Ok(false);
        };
        let listener = socket.make_again()?;
        let listening = self.server.listen_instead(listener);
        // One that can't be listened at must not look as if it could.
        listening.inspect_err(|_| socket.remove())?;
        Ok(true)
    }

    /// Serve whoever connects to `listener`.
    ///
    /// # Errors
    /// [`Error::Server`].
    pub fn listen(&mut self, listener: UnixListener) -> Result<(), Error> {
        Ok(self.server.listen(listener)?)
    }

    /// Serve one connection.
    ///
    /// # Errors
    /// [`Error::Server`].
    pub fn connect(&self, stream: UnixStream) -> Result<(), Error> {
        Ok(self.server.connect(stream)?)
    }

    /// Wait until no front end is connected.
    pub fn wait_until_idle(&self) {
        self.server.wait_until_idle();
    }

    /// The socket's path, if it has one of its own.
    pub fn socket_path(&self) -> Option<PathBuf> {
        let socket = self.socket.lock();
        socket.as_ref().map(|socket| socket.path().to_owned())
    }

    /// What serves it: who is connected, what is to be heard of them, what the device says.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// What the disk is now.
    ///
    /// # Errors
    /// [`Error::Store`] if it was destroyed.
    pub fn info(&self) -> Result<DiskInfo, Error> {
        Ok(self.disk.get_info()?)
    }

    /// Change the disk's size and tell the guests, which see the new capacity at once. Gives how
    /// many front ends were told: one that has no channel for it sees the size when it asks.
    ///
    /// # Errors
    /// [`Error::Store`], and nothing has changed.
    pub fn resize(&self, size_bytes: u64, shrink: Shrink) -> Result<usize, Error> {
        self.disk.resize_bytes(size_bytes, shrink)?;
        Ok(self.server.config_changed())
    }
}
