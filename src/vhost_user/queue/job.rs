//! What a worker does for one ring: a bounded turn, and the call that the driver gets after it.

use std::fs::File;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::crash;
use super::ring::{Next, Ring, RingError};
use crate::device::{BlockDevice, Outcome, Pace, QueueCounters};
use crate::vhost_user::wire::notifier::Notifier;
use crate::vhost_user::wire::watchdog::Watched;

/// Requests between two updates of the used index, at most.
const BATCH_REQUESTS: u32 = 32;
/// The same where the driver looks by itself: it can go on with the first while we do the others.
const SOON_REQUESTS: u32 = 16;
/// Requests whose cost does not show in their bytes (ranges to discard or to zero) may each take
/// long, so the clock is read after this many of them.
const TIMED_REQUESTS: u32 = 8;

/// How much a ring may have done for it before the worker looks at what else there is.
#[derive(Clone, Copy, Debug)]
struct Share {
    batches: u32,
    /// Bytes that make a batch end, so that its first request needn't wait for megabytes.
    batch_bytes: u64,
    /// Bytes that make the turn end.
    turn_bytes: u64,
    time: Duration,
}

/// Nobody waits, except a session that stops the ring.
const ALONE: Share = Share {
    batches: 4,
    batch_bytes: 256 << 10,
    turn_bytes: 1 << 20,
    time: Duration::from_millis(1),
};

/// Other rings wait. A few microseconds each keep the wait short even beside many; less, and going
/// from ring to ring would be all that is done.
const BESIDE_OTHERS: Share = Share {
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
    /// Feature bits the driver accepted.
    pub(crate) acked: u64,
    /// `None` if the driver has none, so that the ring must be looked at time and again.
    pub(crate) kick: Option<Arc<File>>,
    pub(crate) call: Option<Arc<Notifier>>,
    pub(crate) err: Option<Arc<Notifier>>,
    /// The connection, to be ended when the front end takes its memory away.
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
    acked: u64,
    pub(crate) kick: Option<Arc<File>>,
    pub(crate) call: Option<Arc<Notifier>>,
    pub(crate) err: Option<Arc<Notifier>>,
    hangup: Arc<UnixStream>,
    counters: QueueCounters,
    /// Whether the driver wanted to be called when it was shown something last.
    calls: bool,
}

/// What came of a turn.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Turn {
    /// Requests, or steps of long ones.
    pub(crate) steps: u32,
    /// Bytes in their buffers.
    pub(crate) bytes: u64,
}

/// A clock that is not read before it is asked: most turns are over sooner.
#[derive(Debug, Default)]
struct Since(Option<Instant>);

impl Since {
    /// Whether `time` has gone by since this was asked first.
    fn is_past(&mut self, time: Duration) -> bool {
        let now = Instant::now();
        now.duration_since(*self.0.get_or_insert(now)) >= time
    }
}

/// How far one request came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// It was answered, or must wait.
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
            acked,
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
            ring,
            index,
            disk_id: volume.disk_id(),
            counters: volume.counters(index),
            device,
            acked,
            kick,
            call,
            err,
            hangup,
            // One call too many harms nobody.
            calls: true,
        }
    }

    /// Serve what is there, but not more than a share of it.
    pub(crate) fn turn(&mut self, pace: Pace, watched: &Watched) -> Result<Turn, RingError> {
        let share = match pace {
            Pace::Alone => ALONE,
            Pace::BesideOthers => BESIDE_OTHERS,
        };
        let mut turn = Turn::default();
        let mut since = Since::default();
        self.ring.disable_notification();
        for _ in 0..share.batches {
            let more = self.batch(pace, share, &mut turn, &mut since);
            self.ring.look_for_losses()?;
            // What was done before a ring broke is the driver's to know.
            let published = self.ring.publish_used();
            self.counters.shown(self.ring.unanswered());
            if let Some(calls) = published {
                self.calls = calls;
                if calls {
                    self.call(watched)?;
                }
            }
            if !more? || turn.bytes >= share.turn_bytes {
                break;
            }
        }
        Ok(turn)
    }

    /// Serve until the ring is dry, or all that there is must wait, or the time is over, which is
    /// then `false`, or the batch is full.
    fn batch(
        &mut self,
        pace: Pace,
        share: Share,
        turn: &mut Turn,
        since: &mut Since,
    ) -> Result<bool, RingError> {
        let end_bytes = turn.bytes + share.batch_bytes;
        let mut untimed = 0;
        // To call a driver that sleeps is dear, so it is called for as many as there are.
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
                if let Some(gathered) = self.ring.gather(most.0, most.1)? {
                    self.counters.take(gathered.requests().len());
                    let outcomes = self.device.serve_plain(gathered.requests());
                    outcomes.count(&mut self.counters);
                    debug_assert!(
                        gathered.offered(outcomes.written()),
                        "more was written than was offered: {outcomes:?}"
                    );
                    let done = gathered.complete(outcomes.written());
                    turn.steps += done.requests;
                    turn.bytes += done.bytes;
                    if done.requests > 0 {
                        continue;
                    }
                }
                if !self.ring.has_next() {
                    return Ok(false);
                }
            }
            let Some(step) = self.one(next, pace, turn)? else {
                return Ok(false);
            };
            turn.steps += 1;
            untimed += 1;
            if untimed == TIMED_REQUESTS || step == Step::Begun {
                untimed = 0;
                if since.is_past(share.time) {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// Serve one request of any shape, or a step of it. `None`: there is none.
    fn one(&mut self, next: Next, pace: Pace, turn: &mut Turn) -> Result<Option<Step>, RingError> {
        let _alone = self.names(next);
        let is_late = self.ring.parking().is_late();
        let Some(mut taken) = self.ring.take(next)? else {
            return Ok(None);
        };
        turn.bytes += taken.take_cost();
        let since_ns = taken.since_ns();
        self.counters.take(usize::from(since_ns.is_none()));
        let (begun, attempt) = (taken.take_begun(), taken.attempt());
        let mut buffers = taken.buffers();
        buffers.damaged |= is_late;
        let outcome = self.device.serve(self.acked, buffers, begun, pace, attempt);
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
            }
            Outcome::Begun(begun) => {
                taken.keep(Some(begun), taken_at_ns());
                return Ok(Some(Step::Begun));
            }
            Outcome::Wait(reason) => taken.park(reason, taken_at_ns()),
        }
        Ok(Some(Step::Settled))
    }

    /// After a crash, have it known which request is being served.
    #[inline]
    fn names(&self, next: Next) -> Option<crash::Alone> {
        let is_retry = matches!(next, Next::Retry(..));
        let names = self.ring.goes_alone() || is_retry && crash::is_careful();
        let head = || self.ring.next_head(next);
        names.then(|| crash::alone(self.disk_id, self.index, head()))
    }

    /// Whether stopping takes a while: requests are parked that must be returned first.
    pub(crate) fn begins_to_drain(&mut self, by: Instant) -> bool {
        self.ring.drain(by)
    }

    /// Whether all of those were returned.
    pub(crate) fn is_drained(&self) -> bool {
        self.ring.parking().is_drained()
    }

    /// Whether nothing goes on before a request that waits does.
    pub(crate) fn is_held(&self) -> bool {
        self.ring.parking().is_blocked()
    }

    /// When there is something to do for requests that wait, or that the last turn had no time for.
    pub(crate) fn look_at(&self, now: Instant) -> Option<Instant> {
        if self.ring.is_amid() {
            return Some(now);
        }
        self.ring.parking().look_at(now)
    }

    /// Ask the driver to kick when it has something; whether it has already.
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
