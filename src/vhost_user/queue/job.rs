//! Serving one ring: a turn of bounded length, and the call that follows it.

use std::fs::File;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::crash;
use super::ring::{Next, Ring, RingError};
use super::taken::Done;
use crate::device::{
    BlockDevice, Driver, Outcome, Pace, QueueCounters, Sightings, Turn as WatchedTurn,
};
use crate::vhost_user::wire::notifier::Notifier;
use crate::vhost_user::wire::watchdog::Watched;

/// The most requests between two updates of the used index.
const BATCH_REQUESTS: u32 = 32;
/// The same for a driver that polls: it can go on with the first requests while we serve the
/// others.
const SOON_REQUESTS: u32 = 16;
/// The clock is read after this many requests whose bytes don't show their cost (ranges to discard
/// or to zero), since each of them may take long.
const TIMED_REQUESTS: u32 = 8;

/// The most that one turn of a ring may do before the worker serves other rings and reads its mail.
#[derive(Clone, Copy, Debug)]
struct TurnBounds {
    batches: u32,
    /// Bytes after which a batch ends, so that its first request needn't wait for megabytes.
    batch_bytes: u64,
    /// Bytes after which the turn ends.
    turn_bytes: u64,
    time: Duration,
}

/// The ring is the worker's only hot one: only a session that stops it may have to wait.
const ALONE: TurnBounds = TurnBounds {
    batches: 4,
    batch_bytes: 256 << 10,
    turn_bytes: 1 << 20,
    time: Duration::from_millis(1),
};

/// Other rings wait. With a few microseconds for each, the wait is short even beside many rings.
/// With less, the worker would spend its time on going from ring to ring.
const BESIDE_OTHERS: TurnBounds = TurnBounds {
    batches: 1,
    batch_bytes: 64 << 10,
    turn_bytes: 64 << 10,
    time: Duration::from_micros(50),
};

/// What a ring is connected to: the device behind it, and the descriptors in front of it.
#[derive(Debug)]
pub(crate) struct Wiring {
    /// The queue's number.
    pub(crate) index: u16,
    pub(crate) device: Arc<BlockDevice>,
    /// The driver whose requests these are.
    pub(crate) driver: Driver,
    /// `None` if the front end passed none, so that the ring must be polled.
    pub(crate) kick: Option<Arc<File>>,
    pub(crate) call: Option<Arc<Notifier>>,
    pub(crate) err: Option<Arc<Notifier>>,
    /// The connection, which ends when the front end truncates its memory.
    pub(crate) hangup: Arc<UnixStream>,
}

/// What a worker needs to serve one ring.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) ring: Ring,
    pub(crate) index: u16,
    /// The store's number of the disk.
    disk_id: u64,
    pub(crate) device: Arc<BlockDevice>,
    driver: Driver,
    pub(crate) kick: Option<Arc<File>>,
    pub(crate) call: Option<Arc<Notifier>>,
    pub(crate) err: Option<Arc<Notifier>>,
    hangup: Arc<UnixStream>,
    /// What each line of the log about the ring has: that of the session which made it.
    pub(crate) span: tracing::Span,
    counters: QueueCounters,
    /// When requests were submitted, for what watches the disk.
    sightings: Arc<Sightings>,
    /// The present turn, if anything watches the disk.
    watched: Option<WatchedTurn>,
    /// Whether the driver wanted a call at the last publication.
    calls: bool,
}

/// What a turn did.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Turn {
    /// Requests, or steps of long ones.
    pub(crate) steps: u32,
    /// Bytes in their buffers.
    pub(crate) bytes: u64,
}

/// A clock that is read only when it is asked for the first time. Most turns end before that.
#[derive(Debug, Default)]
struct Since(Option<Instant>);

impl Since {
    /// Whether `time` has passed since the first call.
    fn is_past(&mut self, time: Duration) -> bool {
        let now = Instant::now();
        now.duration_since(*self.0.get_or_insert(now)) >= time
    }
}

/// What happened to one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// It was completed, or must wait.
    Settled,
    /// A step of it was done.
    Begun,
}

impl Job {
    /// Serve `ring`, whose requests are for the disk of the device in `wiring`. They are counted
    /// as those of the queue with that number, and a crash names them by it.
    pub(crate) fn new(ring: Ring, wiring: Wiring) -> Self {
        let Wiring {
            index,
            device,
            driver,
            kick,
            call,
            err,
            hangup,
        } = wiring;
        let volume = device.volume();
        debug_assert!(
            ring.parking().is_of(volume),
            "requests of a ring wait for the disk that serves them"
        );
        Self {
            sightings: volume.watch_queue(ring.queue.peek()),
            ring,
            index,
            disk_id: volume.disk_id(),
            counters: volume.counters(index),
            watched: None,
            device,
            driver,
            kick,
            call,
            err,
            hangup,
            span: tracing::Span::current(),
            // A superfluous call does no harm.
            calls: true,
        }
    }

    /// Serve what is available, within the bounds of one turn.
    #[inline]
    pub(crate) fn turn(&mut self, pace: Pace, watched: &Watched) -> Result<Turn, RingError> {
        let volume = self.device.volume();
        let Some(begun) = volume.begin_turn(&self.sightings, self.ring.next_avail) else {
            return self.serve(pace, watched);
        };
        self.watched = Some(begun);
        let turned = self.serve(pace, watched);
        if let Some(watched) = self.watched.take() {
            watched.end(self.ring.next_avail);
        }
        turned
    }

    fn serve(&mut self, pace: Pace, watched: &Watched) -> Result<Turn, RingError> {
        let bounds = match pace {
            Pace::Alone => ALONE,
            Pace::BesideOthers => BESIDE_OTHERS,
        };
        let mut turn = Turn::default();
        let mut since = Since::default();
        self.ring.disable_notification();
        for _ in 0..bounds.batches {
            let more = self.batch(pace, bounds, &mut turn, &mut since);
            self.ring.look_for_losses()?;
            if let Some(watched) = &self.watched {
                watched.complete();
            }
            // If the ring breaks, the requests before that are still published.
            let published = self.ring.publish_used();
            self.counters.shown(self.ring.unanswered());
            if let Some(calls) = published {
                self.calls = calls;
                if calls {
                    self.call(watched)?;
                }
            }
            if !more? || turn.bytes >= bounds.turn_bytes {
                break;
            }
        }
        Ok(turn)
    }

    /// Serve one batch. Returns `false` if the ring is empty, all its requests must wait, or the
    /// time is over, and `true` if the batch is full.
    fn batch(
        &mut self,
        pace: Pace,
        bounds: TurnBounds,
        turn: &mut Turn,
        since: &mut Since,
    ) -> Result<bool, RingError> {
        let end_bytes = turn.bytes + bounds.batch_bytes;
        let mut untimed = 0;
        // Calling a sleeping driver is expensive, so one call is for as many requests as possible.
        let most_steps = if self.ring.goes_alone() {
            1
        } else if self.calls {
            BATCH_REQUESTS
        } else {
            SOON_REQUESTS
        };
        let end_steps = turn.steps + most_steps;
        while turn.steps < end_steps && turn.bytes < end_bytes {
            let next = self.ring.next();
            if next == Next::Gather {
                let most = (end_steps - turn.steps, end_bytes - turn.bytes);
                let done = match self.ring.gather(most.0, most.1)? {
                    None => Done::default(),
                    Some(gathered) => {
                        let taken = gathered.requests().len();
                        self.counters.take(taken);
                        let outcomes = self.device.serve_plain(gathered.requests());
                        outcomes.count(&mut self.counters);
                        debug_assert!(
                            gathered.offered(outcomes.written()),
                            "more was written than was offered: {outcomes:?}"
                        );
                        let done = outcomes.written();
                        if done.len() < taken {
                            self.counters.left(taken - done.len());
                        }
                        gathered.complete(done)
                    }
                };
                turn.steps += done.requests;
                turn.bytes += done.bytes;
                if done.requests > 0 {
                    if self.was_lone(turn) {
                        return Ok(false);
                    }
                    continue;
                }
                if !self.ring.has_next() {
                    return Ok(false);
                }
            }
            let Some(step) = self.one(next, pace, turn)? else {
                return Ok(false);
            };
            turn.steps += 1;
            if step == Step::Settled && next == Next::Gather && self.was_lone(turn) {
                return Ok(false);
            }
            untimed += 1;
            if untimed == TIMED_REQUESTS || step == Step::Begun {
                untimed = 0;
                if since.is_past(bounds.time) {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// Whether the turn has served one request and saw no other. A driver with one at a time waits
    /// for that one, and puts no other before: another look for more would be in vain.
    #[inline]
    fn was_lone(&self, turn: &Turn) -> bool {
        turn.steps == 1 && !self.ring.has_next()
    }

    /// Serve one request of any shape, or a step of it. `None` if there is none.
    fn one(&mut self, next: Next, pace: Pace, turn: &mut Turn) -> Result<Option<Step>, RingError> {
        let _alone = self.names(next);
        let is_late = self.ring.parking().is_late();
        let Some(mut taken) = self.ring.take(next)? else {
            return Ok(None);
        };
        let mut found = None;
        if let Some(watched) = &mut self.watched {
            watched.serves(*found.insert(taken.found()));
        }
        turn.bytes += taken.take_cost();
        let since_ns = taken.since_ns();
        self.counters.take(usize::from(since_ns.is_none()));
        let (begun, attempt) = (taken.take_begun(), taken.attempt());
        let mut buffers = taken.buffers();
        buffers.damaged |= is_late;
        let outcome = self
            .device
            .serve(self.driver, buffers, begun, pace, attempt);
        let taken_at_ns = || since_ns.unwrap_or_else(|| self.counters.taken_at_ns());
        match outcome {
            Outcome::Done(answer) => {
                match since_ns {
                    None => self.counters.answered_one(answer.asked, answer.ok),
                    Some(at) => self.counters.answered_late(answer.asked, answer.ok, at),
                }
                debug_assert!(
                    taken.offered(answer.written),
                    "more was written than was offered: {answer:?}"
                );
                taken.complete(answer.written);
                if let (Some(watched), Some(found)) = (&self.watched, found) {
                    watched.answered(found);
                }
            }
            Outcome::Begun(begun) => {
                taken.keep(Some(begun), taken_at_ns());
                return Ok(Some(Step::Begun));
            }
            Outcome::Wait(reason) => {
                if let Some(watched) = &self.watched {
                    watched.waits(taken.head());
                }
                taken.park(reason, taken_at_ns());
                if reason.disconnects() {
                    self.hang_up();
                }
            }
        }
        Ok(Some(Step::Settled))
    }

    /// In a careful process, record which request is being served.
    #[inline]
    fn names(&self, next: Next) -> Option<crash::Alone> {
        let is_retry = matches!(next, Next::Retry(..));
        let names = self.ring.goes_alone() || is_retry && crash::is_careful();
        let head = || self.ring.next_head(next);
        names.then(|| crash::alone(self.disk_id, self.index, head()))
    }

    /// Begin to stop. Returns whether parked requests must be returned first.
    pub(crate) fn begins_to_drain(&mut self, by: Instant) -> bool {
        let taken = self.ring.unanswered();
        let has_any = self.ring.drain(by);
        self.counters.left(taken - self.ring.unanswered());
        has_any
    }

    /// Whether all of these were returned.
    pub(crate) fn is_drained(&self) -> bool {
        self.ring.parking().is_drained()
    }

    /// Whether the whole ring waits behind a request at the head of the line.
    pub(crate) fn is_held(&self) -> bool {
        self.ring.parking().is_blocked()
    }

    /// When to serve the ring again for requests that wait, or for which the last turn had no time.
    pub(crate) fn look_at(&self, now: Instant) -> Option<Instant> {
        if self.ring.is_amid() {
            return Some(now);
        }
        self.ring.parking().look_at(now)
    }

    /// Ask the driver for a kick when it makes a request available. Returns whether it already has.
    pub(crate) fn enable_notification(&mut self) -> Result<bool, RingError> {
        let more = self.ring.enable_notification()?;
        self.ring.look_for_losses()?;
        Ok(more)
    }

    /// Call the driver.
    pub(crate) fn call(&self, watched: &Watched) -> Result<(), RingError> {
        match &self.call {
            Some(call) if !watched.during(|| call.signal()) => Err(RingError::Hung),
            _ => Ok(()),
        }
    }

    /// End the connection of this ring's front end.
    pub(crate) fn hang_up(&self) {
        let _ = self.hangup.shutdown(Shutdown::Both);
    }
}
