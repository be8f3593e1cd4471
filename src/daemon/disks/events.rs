//! Events of disks: for listeners as they happen, and for those that come later.
//!
//! Each event has a number in this run of the daemon, which has a random id of its own. So a
//! listener that reconnects names the last event that it has seen (`RUN-NUMBER`), and gets what
//! came since; after a restart it learns that there was one. How much is kept is bounded.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use tokio::sync::broadcast;

use super::actors;
use crate::model::{Actor, Detail, Event, EventId, EventKind, FieldChange};

/// How many events a listener may be late. A listener that is later misses some, and learns how
/// many.
const LATE: usize = 1024;
/// The most past events that are kept.
const KEPT: usize = 4096;
/// The most memory that they may take, about.
const KEPT_BYTES: usize = 2 << 20;

/// From which past event on a listener wants to hear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// From the event after this one on.
    After(EventId),
    /// From this moment on, in nanoseconds since 1970.
    Time(u64),
}

/// Past events that a listener wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Past {
    /// Those that are kept, in order.
    pub events: Vec<Event>,
    /// How many before these are no longer kept.
    pub missed: u64,
    /// Whether the daemon was started again since, so that it isn't known what was missed.
    pub restarted: bool,
}

/// The events. Neither senders nor listeners delay each other.
#[derive(Debug)]
pub struct Events(Mutex<Told>);

#[derive(Debug)]
struct Told {
    /// The id of this run of the daemon.
    run: u32,
    /// The number of the last event; 0 if there was none.
    last: u64,
    kept: VecDeque<Event>,
    kept_bytes: usize,
    /// Made for the first listener, since its room for events takes 100 KiB.
    sender: Option<broadcast::Sender<Event>>,
}

impl Default for Events {
    fn default() -> Self {
        Self(Mutex::new(Told {
            run: fastrand::u32(1..),
            last: 0,
            kept: VecDeque::new(),
            kept_bytes: 0,
            sender: None,
        }))
    }
}

impl Events {
    /// Send an event about `disk`, or about the pool.
    pub fn tell(&self, kind: EventKind, disk: Option<&str>, details: BTreeMap<String, Detail>) {
        self.tell_by(actors::current(), kind, disk, details);
    }

    /// Send an event about `disk` with one detail.
    pub fn tell_with(&self, kind: EventKind, disk: &str, key: &str, value: impl Into<Detail>) {
        let details = BTreeMap::from([(key.to_owned(), value.into())]);
        self.tell(kind, Some(disk), details);
    }

    /// Send an event of what `actor` did.
    pub(crate) fn tell_by(
        &self,
        actor: Actor,
        kind: EventKind,
        disk: Option<&str>,
        details: BTreeMap<String, Detail>,
    ) {
        self.send((actor, kind, disk), details, Vec::new());
    }

    /// Send an event of fields that have changed.
    pub(crate) fn tell_changes(
        &self,
        kind: EventKind,
        disk: Option<&str>,
        details: BTreeMap<String, Detail>,
        changes: Vec<FieldChange>,
    ) {
        self.send((actors::current(), kind, disk), details, changes);
    }

    fn send(
        &self,
        (actor, kind, disk): (Actor, EventKind, Option<&str>),
        details: BTreeMap<String, Detail>,
        changes: Vec<FieldChange>,
    ) {
        let mut told = self.0.lock();
        told.last += 1;
        let event = Event {
            id: told.last,
            run: EventId::run_text(told.run),
            time_ns: now_ns(),
            kind,
            disk: disk.map(str::to_owned),
            actor,
            changes,
            details,
        };
        told.keep(event.clone());
        // There may be no listener, and may never have been one.
        if let Some(sender) = &told.sender {
            let _ = sender.send(event);
        }
    }

    /// Receive all events from now on.
    pub fn listen(&self) -> broadcast::Receiver<Event> {
        self.0.lock().listen()
    }

    /// Receive all events from `since` on: past ones, and those to come. None is lost between them.
    pub fn listen_from(&self, since: Since) -> (Past, broadcast::Receiver<Event>) {
        let mut told = self.0.lock();
        (told.past(since), told.listen())
    }
}

impl Told {
    fn listen(&mut self) -> broadcast::Receiver<Event> {
        let sender = self
            .sender
            .get_or_insert_with(|| broadcast::channel(LATE).0);
        sender.subscribe()
    }

    fn keep(&mut self, event: Event) {
        self.kept_bytes += size(&event);
        self.kept.push_back(event);
        while self.kept.len() > KEPT || self.kept_bytes > KEPT_BYTES {
            let Some(gone) = self.kept.pop_front() else {
                break;
            };
            self.kept_bytes -= size(&gone);
        }
    }

    fn past(&self, since: Since) -> Past {
        // The number of the last event that isn't kept.
        let forgotten = self.last - self.kept.len() as u64;
        let (after, restarted) = match since {
            Since::After(id) if id.run == self.run => (id.number, false),
            Since::After(_) => (0, true),
            Since::Time(since_ns) => {
                let earlier = self.kept.iter().take_while(|it| it.time_ns < since_ns);
                match earlier.count() as u64 {
                    // What is forgotten may have been after that moment.
                    0 => (0, false),
                    count => (forgotten + count, false),
                }
            }
        };
        let wanted = self.kept.iter().filter(|event| event.id > after);
        Past {
            events: wanted.cloned().collect(),
            missed: forgotten.saturating_sub(after),
            restarted,
        }
    }
}

/// About how many bytes an event takes.
fn size(event: &Event) -> usize {
    let detail = |(key, value): (&String, &Detail)| {
        key.len()
            + match value {
                Detail::Text(text) => text.len() + 64,
                Detail::Flag(_) | Detail::Count(_) => 64,
            }
    };
    let value = |value: &serde_json::Value| match value {
        serde_json::Value::String(text) => text.len() + 32,
        // Lists of rules, of which a disk has few.
        serde_json::Value::Array(items) => items.len() * 256,
        _ => 32,
    };
    let change = |it: &FieldChange| it.field.len() + value(&it.old) + value(&it.new) + 64;
    size_of::<Event>()
        + event.disk.as_ref().map_or(0, String::len)
        + event.details.iter().map(detail).sum::<usize>()
        + event.changes.iter().map(change).sum::<usize>()
}

fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let time_ns = since.unwrap_or(Duration::ZERO).as_nanos();
    u64::try_from(time_ns).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(past: &Past) -> Vec<u64> {
        past.events.iter().map(|event| event.id).collect()
    }

    #[test]
    fn who_reconnects_hears_what_came_since_and_what_is_lost() {
        let events = Events::default();
        for _ in 0..KEPT + 10 {
            events.tell(EventKind::Changed, Some("a"), BTreeMap::new());
        }
        let run = events.0.lock().run;
        let last = KEPT as u64 + 10;
        let after = |number| events.listen_from(Since::After(EventId { run, number })).0;
        assert_eq!(ids(&after(last - 2)), [last - 1, last]);
        assert_eq!(after(last - 2).missed, 0);
        assert_eq!(after(10).missed, 0);
        assert_eq!((after(3).missed, after(3).events.len()), (7, KEPT));
        assert!(after(last + 5).events.is_empty(), "a number that never was");
        let other = EventId {
            run: run ^ 1,
            number: last,
        };
        let (past, _) = events.listen_from(Since::After(other));
        assert!(
            past.restarted && past.events.len() == KEPT,
            "{}",
            past.missed
        );
    }

    #[test]
    fn a_moment_is_found_among_past_events() {
        let events = Events::default();
        for _ in 0..3 {
            events.tell(EventKind::Changed, None, BTreeMap::new());
            std::thread::sleep(Duration::from_millis(2));
        }
        let second = events.0.lock().kept[1].time_ns;
        let since = |time| events.listen_from(Since::Time(time)).0;
        assert_eq!(ids(&since(second)), [2, 3]);
        assert_eq!(ids(&since(0)), [1, 2, 3]);
        assert_eq!(ids(&since(u64::MAX)), [] as [u64; 0]);
    }

    #[test]
    fn what_is_kept_is_bounded_in_bytes_too() {
        let events = Events::default();
        let long = "x".repeat(100 << 10);
        for _ in 0..100 {
            events.tell_with(EventKind::Fault, "a", "reason", long.clone());
        }
        let told = events.0.lock();
        assert!(told.kept_bytes <= KEPT_BYTES && told.kept.len() > 10);
        let counted: usize = told.kept.iter().map(size).sum();
        assert_eq!(told.kept_bytes, counted);
    }
}
