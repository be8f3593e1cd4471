//! The volatile write cache of a served disk, and whether its power is on.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::daemon::disks::events::Events;
use crate::daemon::disks::settings::names::IMPORT_PREFIX;
use crate::device::{Cache, CacheFigures, CacheOptions, Folded, Rule, Volume};
use crate::model::{DiskSettings, EventKind, StableBy, Volatile};
use crate::store::{self, Store};

/// The log takes at most this part of the pool, if no limit is set.
const LOG_PART: u64 = 4;

/// Whether a disk's power is on. It is, when a daemon starts.
#[derive(Debug, Default)]
pub(crate) struct Power {
    is_off: AtomicBool,
}

impl Power {
    /// Whether it is off.
    pub(crate) fn is_off(&self) -> bool {
        self.is_off.load(Ordering::Acquire)
    }

    /// Turn it off or on.
    pub(crate) fn set_off(&self, is_off: bool) {
        self.is_off.store(is_off, Ordering::Release);
    }
}

/// The most memory for the log of a disk with these settings.
pub(crate) fn log_limit(store: &Store, settings: &DiskSettings) -> u64 {
    let usual = store.limit_bytes() / LOG_PART;
    settings.log_limit_bytes.unwrap_or(usual)
}

/// A cache for the disk `name` with number `id`, if its settings say so.
///
/// # Errors
/// There is no memory for it, or no place for its hidden disks.
pub(crate) fn cache(
    store: &Arc<Store>,
    events: &Arc<Events>,
    (name, id): (&str, u64),
    settings: &DiskSettings,
) -> Result<Option<Arc<Cache>>, store::Error> {
    if settings.write_cache.is_stable() {
        return Ok(None);
    }
    let events = Arc::clone(events);
    let tell = move |disk: &str, folded: Folded| {
        let details = BTreeMap::from([
            ("writes".to_owned(), folded.writes.into()),
            ("reason".to_owned(), folded.reason.into()),
        ]);
        events.tell(EventKind::Folded, Some(disk), details);
    };
    let options = CacheOptions {
        disk_key: name.to_owned(),
        // Destroyed by the next process, as what an upload left.
        prefix: format!("{IMPORT_PREFIX}{id}."),
        log_limit_bytes: log_limit(store, settings),
        tell: Box::new(tell),
    };
    Cache::new(store, options).map(|cache| Some(Arc::new(cache)))
}

/// What a power cut could lose of a disk.
pub(crate) fn figures(volume: &Volume) -> Option<Volatile> {
    let cache = volume.cache()?;
    let CacheFigures {
        writes,
        bytes,
        rule,
        log_bytes,
        log_limit_bytes,
        broken,
    } = cache.figures();
    Some(Volatile {
        writes,
        bytes,
        stable_by: match rule {
            Rule::Flush => StableBy::Flush,
            Rule::WriteThrough => StableBy::WriteThrough,
            Rule::NoFlush => StableBy::NoFlush,
        },
        log_bytes,
        log_limit_bytes,
        trouble: broken,
    })
}
