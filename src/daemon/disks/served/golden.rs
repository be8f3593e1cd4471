//! Golden images: the read-only copies that disks are forked from, and those on their way.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::uploads::Progress;
use crate::daemon::disks::settings::golden::{GoldenRecord, now_ns};
use crate::model::{Digest, GoldenRequest, Problem};
use crate::store::Disk;

/// How long a client that was told to fetch an image may take to begin.
const BEGIN_WITHIN: Duration = Duration::from_secs(10);

/// A golden image.
#[derive(Debug)]
pub(crate) struct Golden {
    pub(crate) digest: Digest,
    /// The store's number of its hidden disk, and the key.
    pub(crate) id: u64,
    pub(crate) key: String,
    pub(crate) disk: Disk,
    record: Mutex<GoldenRecord>,
}

impl Golden {
    /// The image in a hidden disk of the store.
    ///
    /// # Errors
    /// The disk is gone.
    pub(crate) fn new(disk: Disk, record: GoldenRecord) -> Result<Self, Problem> {
        let disk = disk.into_owner();
        let info = disk.get_info()?;
        Ok(Self {
            digest: record.digest,
            id: info.id,
            key: info.key,
            disk,
            record: Mutex::new(record),
        })
    }

    /// What disks say that were forked from it.
    pub(crate) fn address(&self) -> String {
        format!("image://{}", self.digest)
    }

    /// What is kept of it, as it is now.
    pub(crate) fn record(&self) -> GoldenRecord {
        self.record.lock().clone()
    }

    /// Change what is kept of it. If the store can't keep that, nothing changes.
    pub(crate) fn edit(&self, edit: impl FnOnce(&mut GoldenRecord)) -> Result<(), Problem> {
        let mut record = self.record.lock();
        let mut new = record.clone();
        edit(&mut new);
        if new != *record {
            self.disk.set_settings(&new.encode()?)?;
            *record = new;
        }
        Ok(())
    }

    /// Note that it is used now.
    pub(crate) fn touch(&self) {
        let now = now_ns();
        let kept = self.edit(|record| record.used_ns = now);
        if let Err(problem) = kept {
            // It then counts as older than it is.
            tracing::warn!(digest = %self.digest, %problem, "can't note that an image is used");
        }
    }

    /// How long ago it was used.
    pub(crate) fn idle_for(&self) -> Duration {
        Duration::from_nanos(now_ns().saturating_sub(self.record.lock().used_ns))
    }
}

/// Images that clients are fetching, each by one client.
#[derive(Debug, Default)]
pub(crate) struct Fetches(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// The number of the latest one.
    count: u64,
    all: BTreeMap<Digest, Fetch>,
}

/// An image that a client is fetching, or was told to fetch.
#[derive(Clone, Debug)]
pub(crate) struct Fetch {
    pub(crate) number: u64,
    pub(crate) request: GoldenRequest,
    /// What has arrived, once content does.
    pub(crate) progress: Option<Arc<Progress>>,
    since: Instant,
}

impl Fetch {
    /// Whether its client has not begun in time, so that another one may.
    fn is_overdue(&self) -> bool {
        self.progress.is_none() && self.since.elapsed() >= BEGIN_WITHIN
    }
}

impl Fetches {
    /// Let the caller fetch this image, unless another client does. Returns the number.
    pub(crate) fn claim(&self, digest: Digest, request: &GoldenRequest) -> Option<u64> {
        let mut state = self.0.lock();
        if state.all.get(&digest).is_some_and(|it| !it.is_overdue()) {
            return None;
        }
        state.count += 1;
        let number = state.count;
        let fetch = Fetch {
            number,
            request: request.clone(),
            progress: None,
            since: Instant::now(),
        };
        state.all.insert(digest, fetch);
        Some(number)
    }

    /// The content of a fetch begins to arrive. Returns it, or `None` if that is too late, or it
    /// has begun before.
    pub(crate) fn begin(
        &self,
        digest: &Digest,
        number: u64,
        progress: &Arc<Progress>,
    ) -> Option<Fetch> {
        let mut state = self.0.lock();
        let fetch = state.all.get_mut(digest)?;
        if fetch.number != number || fetch.progress.is_some() || fetch.is_overdue() {
            return None;
        }
        fetch.progress = Some(Arc::clone(progress));
        Some(fetch.clone())
    }

    /// A fetch has ended, in one way or the other.
    pub(crate) fn end(&self, digest: &Digest, number: u64) {
        let mut state = self.0.lock();
        if state.all.get(digest).is_some_and(|it| it.number == number) {
            state.all.remove(digest);
        }
    }

    /// The client that is fetching this image.
    pub(crate) fn get(&self, digest: &Digest) -> Option<Fetch> {
        let state = self.0.lock();
        let fetch = state.all.get(digest).filter(|it| !it.is_overdue());
        fetch.cloned()
    }

    /// All images that are being fetched.
    pub(crate) fn all(&self) -> Vec<(Digest, Fetch)> {
        let state = self.0.lock();
        let all = state.all.iter().filter(|(_, fetch)| !fetch.is_overdue());
        all.map(|(digest, fetch)| (*digest, fetch.clone()))
            .collect()
    }
}
