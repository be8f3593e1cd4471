//! What receives content, and writing what has arrived on a work thread while more arrives.

use std::sync::Arc;

use tokio::task::JoinHandle;

use crate::daemon::api::state::Api;
use crate::daemon::api::wire::failure::Failure;
use crate::daemon::api::wire::frames::Part;
use crate::daemon::disks::golden;
use crate::model::Problem;

/// The most pieces that wait while others are written. Each is at most as long as what hyper reads
/// at once, which is less than half of a MiB.
const MOST_PIECES: usize = 4;

/// What can receive content.
pub(crate) trait Receiver: Send + Sync + 'static {
    /// The most content in bytes.
    fn size_bytes(&self) -> u64;
    /// Take some content.
    fn write(&self, start_bytes: u64, bytes: &[u8]) -> Result<(), Problem>;
    /// Replace a range by zeros. Only a change of other content has these.
    fn zero(&self, _start_bytes: u64, _length_bytes: u64) -> Result<(), Problem> {
        Ok(())
    }
    /// Whether it takes a change of other content.
    fn is_change(&self) -> bool {
        false
    }
    /// Whether nothing changes unless all of it arrives.
    fn is_whole(&self) -> bool {
        true
    }
    /// The content has arrived up to here, including holes.
    fn reached(&self, bytes: u64);
    /// Note why it won't become whole.
    fn fail(&self, reason: &str);
}

/// Parts of content that are written in order, by one thread at a time.
pub(in crate::daemon::api::handlers) struct Writing<'a, T> {
    pub(in crate::daemon::api::handlers) api: &'a Api,
    pub(in crate::daemon::api::handlers) upload: &'a Arc<T>,
    /// What is written now.
    busy: Option<JoinHandle<Result<(), Problem>>>,
    /// What is written next, and of how many pieces it came.
    parts: Vec<Part>,
    pieces: usize,
    /// How much of the content has arrived with `parts`.
    reached_bytes: u64,
}

impl<'a, T: Receiver> Writing<'a, T> {
    pub(in crate::daemon::api::handlers) fn new(api: &'a Api, upload: &'a Arc<T>) -> Self {
        Self {
            api,
            upload,
            busy: None,
            parts: Vec::new(),
            pieces: 0,
            reached_bytes: 0,
        }
    }

    /// Whether something is being written.
    pub(in crate::daemon::api::handlers) fn is_busy(&self) -> bool {
        self.busy.is_some()
    }

    /// Whether another piece may come.
    pub(in crate::daemon::api::handlers) fn has_room(&self) -> bool {
        self.pieces < MOST_PIECES
    }

    /// Write the parts of a piece, with which the content has arrived up to `reached_bytes`.
    pub(in crate::daemon::api::handlers) fn add(&mut self, parts: Vec<Part>, reached_bytes: u64) {
        self.pieces += usize::from(!parts.is_empty());
        self.parts.extend(parts);
        self.reached_bytes = reached_bytes;
        self.begin();
    }

    /// Wait until what is written now has been, and go on with what has come since. It may be
    /// dropped before its end.
    pub(in crate::daemon::api::handlers) async fn done(&mut self) -> Result<(), Failure> {
        let Some(busy) = &mut self.busy else {
            return Ok(());
        };
        let done = busy.await;
        self.busy = None;
        done.map_err(|error| Failure::internal(&error))??;
        self.begin();
        Ok(())
    }

    /// Write all that has come.
    pub(in crate::daemon::api::handlers) async fn finish(&mut self) -> Result<(), Failure> {
        while self.is_busy() {
            self.done().await?;
        }
        Ok(())
    }

    fn begin(&mut self) {
        if self.is_busy() {
            return;
        }
        let parts = std::mem::take(&mut self.parts);
        self.pieces = 0;
        let reached_bytes = self.reached_bytes;
        if parts.is_empty() {
            self.upload.reached(reached_bytes);
            return;
        }
        let (upload, disks) = (Arc::clone(self.upload), Arc::clone(self.api.disks()));
        self.busy = Some(tokio::task::spawn_blocking(move || {
            for part in &parts {
                let write = || match part {
                    Part::Data { start_bytes, data } => upload.write(*start_bytes, data),
                    Part::Zeros {
                        start_bytes,
                        length_bytes,
                    } => upload.zero(*start_bytes, *length_bytes),
                };
                golden::remove::making_room(&disks, None, write)?;
            }
            upload.reached(reached_bytes);
            Ok(())
        }));
    }
}
