//! Turns: when the requests of a queue were submitted and when they complete, as a tap and a cache
//! must know it.
//!
//! A driver submits a request by making it available, and the request completes when its ring
//! publishes it. What a flush covers depends on the order of these events, and not on that in which
//! requests are carried out. So a thread that serves a ring of a watched disk does it in turns:
//! what it does completes together, just before it is published. Before that it looks how far the
//! drivers of all queues of the disk have got: what it finds was submitted before this completes.
//!
//! Where the order can't be known, a submission counts as later than it was, and a completion as
//! earlier. That makes a flush cover more than a driver may rely on, and never less.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::Submission;
use super::cache::Cache;
use super::tap::Tapped;
use crate::crash::Moment;

/// How many changes of an avail index are kept. A driver makes at most as many as its ring is long
/// before the first is served; if it makes more, the later ones count as later.
const MOST_SEEN: usize = 1024;

/// A moment, by the clock of the cache and by that of the tap with this number. One that the disk
/// doesn't have stands still.
#[derive(Clone, Copy, Debug, Default)]
struct Moments {
    cache: Moment,
    tap: u64,
    tap_number: u64,
}

/// When the requests of one queue were submitted, as far as that was seen.
pub struct Sightings {
    /// How far the driver has got: its avail index.
    peek: Box<dyn Fn() -> u16 + Send + Sync>,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    /// The last index that was seen.
    last: Option<u16>,
    /// Indexes, each with the moment before which the driver had got so far.
    ahead: VecDeque<(u16, Moments)>,
    /// Of requests that left the avail ring to wait, by head.
    waiting: HashMap<u16, Moments>,
}

impl fmt::Debug for Sightings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sightings")
            .field("seen", &self.seen)
            .finish_non_exhaustive()
    }
}

impl Sightings {
    /// Look how far the driver has got. `now` is called after that.
    fn look(&self, now: impl Fn() -> Moments) {
        // Under the lock, so that a later look finds no earlier index.
        let mut seen = self.seen.lock();
        let index = (self.peek)();
        if seen.last.replace(index) != Some(index) && seen.ahead.len() < MOST_SEEN {
            seen.ahead.push_back((index, now()));
        }
    }

    /// Forget what was seen of requests before this position of the avail ring.
    fn forget(&self, position: u16) {
        let mut seen = self.seen.lock();
        let is_past = |&(index, _): &(u16, Moments)| !is_behind(position, index);
        while seen.ahead.front().is_some_and(is_past) {
            seen.ahead.pop_front();
        }
    }

    /// When the request at this position of the avail ring was submitted, at the latest.
    fn at(&self, position: u16, now: impl Fn() -> Moments) -> Moments {
        self.forget(position);
        let first = || self.seen.lock().ahead.front().map(|&(_, at)| at);
        first().unwrap_or_else(|| {
            self.look(&now);
            first().unwrap_or_else(now)
        })
    }
}

/// Whether the request at `position` is one of those before an avail index.
fn is_behind(position: u16, index: u16) -> bool {
    // A ring has at most 32768 entries.
    (1..=1 << 15).contains(&index.wrapping_sub(position))
}

/// What watches a disk.
#[derive(Debug)]
pub(super) struct Watchers {
    pub(super) cache: Option<Arc<Cache>>,
    pub(super) tap: Option<Tapped>,
}

impl Watchers {
    fn now(&self) -> Moments {
        let (cache, tap) = (self.cache.as_ref(), self.tap.as_ref());
        Moments {
            cache: cache.map_or(Moment(0), |cache| cache.moment()),
            tap: tap.map_or(0, |tap| tap.tap.moment()),
            tap_number: tap.map_or(0, |tap| tap.number),
        }
    }
}

/// All queues of a disk.
#[derive(Debug, Default)]
pub(super) struct Queues(Mutex<Vec<Weak<Sightings>>>);

impl Queues {
    /// Add a queue, whose driver has got as far as `peek` returns.
    pub(super) fn add(&self, peek: Box<dyn Fn() -> u16 + Send + Sync>) -> Arc<Sightings> {
        let sightings = Arc::new(Sightings {
            peek,
            seen: Mutex::default(),
        });
        let mut queues = self.0.lock();
        queues.retain(|queue| queue.strong_count() > 0);
        queues.push(Arc::downgrade(&sightings));
        sightings
    }

    /// Look how far their drivers have got.
    pub(super) fn look(&self, watchers: &Watchers) {
        for queue in self.0.lock().iter().filter_map(Weak::upgrade) {
            queue.look(|| watchers.now());
        }
    }
}

/// Where a request of a ring was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// In the avail ring, at this position.
    Avail(u16),
    /// Among those that have left it to wait: its head.
    Waiting(u16),
    /// Among those that an earlier process had taken.
    Unreturned,
}

/// What the tap has seen in a turn of this thread.
struct InTurn {
    tap: Tapped,
    submitted: Option<u64>,
    done: Vec<Submission>,
}

thread_local! {
    static IN_TURN: RefCell<Option<InTurn>> = const { RefCell::new(None) };
}

/// An operation that `tap` sees begins.
pub(super) fn begins(tap: &Tapped) -> Submission {
    let submitted = IN_TURN.with_borrow(|turn| {
        let turn = turn.as_ref().filter(|turn| turn.tap.number == tap.number);
        turn.and_then(|turn| turn.submitted)
    });
    tap.tap
        .begins(submitted.unwrap_or_else(|| tap.tap.moment()))
}

/// An operation that `tap` has seen is done. It completes with the thread's turn, or now.
pub(super) fn done(tap: &Tapped, submission: Submission) {
    let is_in_turn = IN_TURN.with_borrow_mut(|turn| {
        let turn = turn.as_mut().filter(|turn| turn.tap.number == tap.number);
        turn.map(|turn| turn.done.push(submission)).is_some()
    });
    if !is_in_turn {
        tap.tap.completed(submission);
    }
}

/// A turn of a thread that serves a ring of a watched disk. It stays on its thread.
#[derive(Debug)]
pub struct Turn {
    queues: Arc<Queues>,
    sightings: Arc<Sightings>,
    watchers: Watchers,
    /// When the request that is served was submitted.
    current: Moments,
}

impl Turn {
    /// Begin one. The ring's next request is at this position of its avail ring.
    pub(super) fn begin(
        queues: &Arc<Queues>,
        sightings: &Arc<Sightings>,
        position: u16,
        watchers: Watchers,
    ) -> Self {
        sightings.forget(position);
        if let Some(cache) = &watchers.cache {
            cache.begin_turn();
        }
        let in_turn = watchers.tap.clone().map(|tap| InTurn {
            tap,
            submitted: None,
            done: Vec::new(),
        });
        IN_TURN.set(in_turn);
        Self {
            queues: Arc::clone(queues),
            sightings: Arc::clone(sightings),
            watchers,
            current: Moments::default(),
        }
    }

    /// A request is about to be served.
    pub fn serves(&mut self, found: Found) {
        let now = || self.watchers.now();
        let known = match found {
            Found::Avail(position) => Some(self.sightings.at(position, now)),
            Found::Waiting(head) => self.sightings.seen.lock().waiting.get(&head).copied(),
            Found::Unreturned => None,
        };
        let mut at = known.unwrap_or_else(now);
        if let Some(tap) = &self.watchers.tap
            && tap.number != at.tap_number
        {
            // It was seen before there was this tap.
            (at.tap, at.tap_number) = (tap.tap.moment(), tap.number);
        }
        if let Some(cache) = &self.watchers.cache {
            cache.serves(at.cache);
        }
        IN_TURN.with_borrow_mut(|turn| {
            if let Some(turn) = turn {
                turn.submitted = Some(at.tap);
            }
        });
        self.current = at;
    }

    /// That request waits from now on, and has left the avail ring.
    pub fn waits(&self, head: u16) {
        let mut seen = self.sightings.seen.lock();
        seen.waiting.insert(head, self.current);
    }

    /// That request is answered.
    pub fn answered(&self, found: Found) {
        if let Found::Waiting(head) = found {
            self.sightings.seen.lock().waiting.remove(&head);
        }
    }

    /// All that was done is about to be published.
    pub fn complete(&self) {
        self.queues.look(&self.watchers);
        self.complete_done(false);
    }

    /// The turn ends, with the ring's next request at this position.
    pub fn end(self, position: u16) {
        self.sightings.forget(position);
    }

    fn complete_done(&self, ends: bool) {
        if let Some(cache) = &self.watchers.cache {
            cache.complete_turn(ends);
        }
        let done = IN_TURN.with_borrow_mut(|turn| {
            let done = turn.as_mut().map(|turn| std::mem::take(&mut turn.done));
            if ends {
                *turn = None;
            }
            done
        });
        if let Some(tap) = &self.watchers.tap {
            let done = done.unwrap_or_default();
            done.into_iter().for_each(|it| tap.tap.completed(it));
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.complete_done(true);
    }
}
