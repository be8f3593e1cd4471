//! The upload of a disk, of which there is at most one, and its progress.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::daemon::disks::settings::names::IMPORT_PREFIX;
use crate::model::{self, Image};

/// The upload of a disk, if there is one.
#[derive(Debug)]
pub(crate) struct Uploads(Mutex<State>);

#[derive(Debug)]
struct State {
    /// The number of the latest upload.
    count: u64,
    current: Option<Current>,
    /// Since when no client has sent content.
    idle_since: Instant,
}

#[derive(Debug)]
struct Current {
    number: u64,
    key: String,
    progress: Arc<Progress>,
}

/// The progress of an upload.
#[derive(Debug)]
pub(crate) struct Progress {
    done_bytes: AtomicU64,
    pub(crate) total_bytes: Option<u64>,
}

impl Progress {
    /// Nothing has arrived; the content will have `total_bytes`, if that is known.
    pub(crate) fn new(total_bytes: Option<u64>) -> Self {
        Self {
            done_bytes: AtomicU64::new(0),
            total_bytes,
        }
    }

    /// How much has arrived, while a client sends it.
    pub(crate) fn describe(&self) -> model::Import {
        model::Import {
            done_bytes: self.done_bytes.load(Ordering::Relaxed),
            total_bytes: self.total_bytes,
            uploading: true,
        }
    }

    /// Note that the content has arrived up to here, including holes.
    pub(crate) fn reached(&self, bytes: u64) {
        self.done_bytes.fetch_max(bytes, Ordering::Relaxed);
    }
}

/// An upload that has begun.
#[derive(Debug)]
pub(crate) struct Begun<T> {
    pub(crate) number: u64,
    /// The store's key of the tree that it fills.
    pub(crate) key: String,
    pub(crate) progress: Arc<Progress>,
    /// What `make` returned for it.
    pub(crate) made: T,
}

impl Default for Uploads {
    fn default() -> Self {
        Self(Mutex::new(State {
            count: 0,
            current: None,
            idle_since: Instant::now(),
        }))
    }
}

impl Uploads {
    /// Begin the next upload of the disk with number `disk_id`. `make` is called with the key under
    /// which to make a tree for it. The upload before must have ended.
    pub(crate) fn begin<T, E>(
        &self,
        disk_id: u64,
        total_bytes: Option<u64>,
        make: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<Begun<T>, E> {
        let mut state = self.0.lock();
        debug_assert!(state.current.is_none(), "a disk has one upload at a time");
        state.count += 1;
        let number = state.count;
        let key = format!("{IMPORT_PREFIX}{disk_id}.{number}");
        let made = make(&key)?;
        let progress = Arc::new(Progress::new(total_bytes));
        state.current = Some(Current {
            number,
            key: key.clone(),
            progress: Arc::clone(&progress),
        });
        Ok(Begun {
            number,
            key,
            progress,
            made,
        })
    }

    /// The progress of the upload. Without an upload, `first` is the image of the first content, if
    /// that is incomplete.
    pub(crate) fn progress(&self, first: Option<&Image>) -> Option<model::Import> {
        let state = self.0.lock();
        match (&state.current, first) {
            (Some(current), _) => Some(current.progress.describe()),
            (None, Some(image)) => Some(model::Import {
                done_bytes: 0,
                total_bytes: image.size_bytes,
                uploading: false,
            }),
            (None, None) => None,
        }
    }

    /// A client is about to send content, so the import timeout starts again.
    pub(crate) fn expect(&self) {
        self.0.lock().idle_since = Instant::now();
    }

    /// How long no client has sent content; `None` during an upload.
    pub(crate) fn idle_for(&self) -> Option<Duration> {
        let state = self.0.lock();
        let idle = state.current.is_none();
        idle.then(|| state.idle_since.elapsed())
    }

    pub(crate) fn is_current(&self, number: u64) -> bool {
        let state = self.0.lock();
        state.current.as_ref().is_some_and(|it| it.number == number)
    }

    /// End upload `number`, or the present one. Returns the key of its tree if it had not ended
    /// before.
    pub(crate) fn end(&self, number: Option<u64>) -> Option<String> {
        let mut state = self.0.lock();
        let meant = |it: &mut Current| number.is_none_or(|number| it.number == number);
        let ended = state.current.take_if(meant)?;
        state.idle_since = Instant::now();
        Some(ended.key)
    }
}
