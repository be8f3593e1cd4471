//! Events of disks, for listeners.

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::sync::broadcast;

use crate::model::{Detail, Event, EventKind};

/// How many events a listener may be late. A listener that is later misses some, and learns how
/// many.
const KEPT: usize = 1024;

/// The channel of events. Neither senders nor listeners delay each other.
#[derive(Debug)]
pub struct Events {
    next: AtomicU64,
    /// Made for the first listener, since its room for events takes 100 KiB.
    sender: OnceLock<broadcast::Sender<Event>>,
}

impl Default for Events {
    fn default() -> Self {
        Self {
            next: AtomicU64::new(1),
            sender: OnceLock::new(),
        }
    }
}

impl Events {
    /// Send an event about `disk`, or about the pool.
    pub fn tell(&self, kind: EventKind, disk: Option<&str>, details: BTreeMap<String, Detail>) {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let time_ns = since.map_or(0, |since| since.as_nanos());
        let event = Event {
            id: self.next.fetch_add(1, Ordering::Relaxed),
            time_ns: u64::try_from(time_ns).unwrap_or(u64::MAX),
            kind,
            disk: disk.map(str::to_owned),
            details,
        };
        // There may be no listener, and may never have been one.
        if let Some(sender) = self.sender.get() {
            let _ = sender.send(event);
        }
    }

    /// Send an event about `disk` with one detail.
    pub fn tell_with(&self, kind: EventKind, disk: &str, key: &str, value: impl Into<Detail>) {
        let details = BTreeMap::from([(key.to_owned(), value.into())]);
        self.tell(kind, Some(disk), details);
    }

    /// Receive all events from now on.
    pub fn listen(&self) -> broadcast::Receiver<Event> {
        let sender = self.sender.get_or_init(|| broadcast::channel(KEPT).0);
        sender.subscribe()
    }
}
