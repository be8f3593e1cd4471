//! The views of a disk: what NBD clients see of it, and their connections.

use std::collections::HashMap;
use std::fmt;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use crate::nbd::{self, Export, Pace, Socket};

/// What names a view among those of its disk.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ViewKey {
    /// What its client calls it.
    pub(crate) name: String,
    /// The snapshot that it shows, or the disk itself.
    pub(crate) snapshot: Option<String>,
    /// Whether clients may write.
    pub(crate) is_writable: bool,
}

/// The views of one disk.
#[derive(Debug, Default)]
pub(crate) struct Views(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// There are no views any more.
    is_closed: bool,
    /// Views that several connections may share. Each is there as long as one of these.
    named: HashMap<ViewKey, Weak<dyn Export>>,
    connections: HashMap<u64, Arc<UnixStream>>,
    /// The number of the next connection.
    started: u64,
}

/// What one connection sees of a disk.
pub struct View {
    export: Arc<dyn Export>,
    views: Arc<Views>,
}

impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("View").field(&self.export).finish()
    }
}

impl Views {
    /// The view of this key, or a new one that `make` makes. Without a key it is always a new one.
    pub(crate) fn open<E>(
        self: &Arc<Self>,
        key: Option<ViewKey>,
        make: impl FnOnce() -> Result<Arc<dyn Export>, E>,
    ) -> Result<View, E> {
        // Held meanwhile, so that two connections that come together share one view.
        let mut state = self.0.lock();
        state.named.retain(|_, export| export.strong_count() > 0);
        let known = key.as_ref().and_then(|key| state.named.get(key));
        let export = match known.and_then(Weak::upgrade) {
            Some(export) => export,
            None => {
                let export = make()?;
                if let Some(key) = key {
                    state.named.insert(key, Arc::downgrade(&export));
                }
                export
            }
        };
        drop(state);
        let views = Arc::clone(self);
        Ok(View { export, views })
    }

    /// Whether a client is connected.
    pub(crate) fn are_used(&self) -> bool {
        !self.0.lock().connections.is_empty()
    }

    /// End all connections, now and later.
    pub(crate) fn close(&self) {
        let mut state = self.0.lock();
        state.is_closed = true;
        for stream in state.connections.values() {
            // A client that has left needs no end.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// End all connections that there are now.
    pub(crate) fn disconnect(&self) {
        for stream in self.0.lock().connections.values() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    fn begin(&self, stream: &Arc<UnixStream>) -> Option<u64> {
        let mut state = self.0.lock();
        if state.is_closed {
            return None;
        }
        let number = state.started;
        state.started += 1;
        state.connections.insert(number, Arc::clone(stream));
        Some(number)
    }

    fn end(&self, number: u64) {
        self.0.lock().connections.remove(&number);
    }
}

impl View {
    /// Serve one client, until it leaves or the disk ends.
    ///
    /// # Errors
    /// Why the client was cut off.
    pub fn serve(&self, stream: &Arc<UnixStream>, pace: Pace) -> Result<(), nbd::Error> {
        let Some(number) = self.views.begin(stream) else {
            return Ok(());
        };
        let ended = Socket::new(stream).map_err(nbd::Error::Socket);
        let ended = ended.and_then(|mut socket| nbd::serve(&mut socket, &*self.export, pace));
        self.views.end(number);
        ended
    }

    /// What it shows.
    pub fn name(&self) -> &str {
        &self.export.about().name
    }
}
