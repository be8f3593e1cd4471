//! What a worker does for one ring: a bounded turn, and what is to be said to the driver after it.

use std::fs::File;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::crash;
use super::gather::Gathered;
use super::parking::{Next, Parking};
use super::ring::{Ring, RingError, Served, Step};
use crate::device::{self, Admission, BlockDevice, Hold, Lane, Pace, Tally, Unfinished};
use crate::store;
use crate::vhost_user::memory::guard;
use crate::vhost_user::wire::notifier::Notifier;
use crate::vhost_user::wire::watchdog::Watched;

/// Requests between two updates of the used index, at most.
const BATCH_REQUESTS: u32 = 32;
/// The same where the driver looks by itself: it can go on with the first while we do the others.
const SOON_REQUESTS: u32 = 16;
/// What a descriptor counts for, beside the bytes of its buffer, where a chain is walked.
const DESCRIPTOR_BYTES: u64 = 64;
/// Requests whose cost does not show in their bytes (ranges to discard or to zero) may each take
/// long, so a turn is not only counted but timed, every so many requests.
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

/// Nobody waits but whoever wants to stop the ring.
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

/// What a worker needs to serve one ring.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) ring: Ring,
    pub(crate) index: u16,
    /// The store's number of the disk.
    pub(crate) disk_id: u64,
    pub(crate) device: Arc<BlockDevice>,
    /// Feature bits the driver accepted.
    pub(crate) acked: u64,
    /// `None` if the driver has none, so that the ring must be looked at time and again.
    pub(crate) kick: Option<Arc<File>>,
    pub(crate) call: Option<Arc<Notifier>>,
    pub(crate) err: Option<Arc<Notifier>>,
    /// The connection, to be ended when the front end takes its memory away.
    pub(crate) hangup: Arc<UnixStream>,
    /// A long request that is half done.
    pub(crate) unfinished: Unfinished,
    /// Requests that wait for their limits or for memory.
    pub(crate) parking: Parking,
    /// Counts what is served.
    pub(crate) tally: Tally,
    /// Whether the driver wanted to be called when it was shown something last.
    pub(crate) calls: bool,
    /// [`guard::losses`] when we looked last, first before the ring was made.
    pub(crate) losses: usize,
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

impl Job {
    /// Serve what is there, but not more than a share of it.
    pub(crate) fn turn(&mut self, pace: Pace, watched: &Watched) -> Result<Turn, RingError> {
        let share = match pace {
            Pace::Alone => ALONE,
            Pace::BesideOthers => BESIDE_OTHERS,
        };
        self.unfinished.set_pace(pace);
        let mut turn = Turn::default();
        let mut since = Since::default();
        self.ring.quiet();
        for _ in 0..share.batches {
            let more = self.batch(share, &mut turn, &mut since);
            self.look_for_losses()?;
            // What was done before a ring broke is the driver's to know.
            let shown = self.ring.publish();
            let waiting = self.parking.waiting();
            self.tally.shown(self.unfinished.requests() + waiting);
            if let Some(calls) = shown {
                self.calls = calls;
                if calls {
                    self.call(watched)?;
                }
            }
            if !more? || turn.bytes >= share.turn_bytes {
                break;
            }
        }
        self.parking.count(&self.ring);
        Ok(turn)
    }

    /// Serve until the ring is dry, or all that there is must wait, or the time is over, which is
    /// then `false`, or the batch is full.
    fn batch(
        &mut self,
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
            let lane = match self.parking.next(&self.ring, &self.device) {
                Next::Any => {
                    if !self.ring.goes_alone() {
                        let plain = self.plain(end_steps - turn.steps, end_bytes - turn.bytes)?;
                        turn.steps += plain.requests;
                        turn.bytes += plain.bytes;
                        if plain.requests > 0 {
                            continue;
                        }
                    }
                    if !self.ring.has_next() {
                        return Ok(false);
                    }
                    self.unfinished.set_admission(Admission::default());
                    None
                }
                Next::GoOn => None,
                Next::One(admission) => {
                    self.unfinished.set_admission(admission);
                    None
                }
                Next::Again(lane, admission) => {
                    self.unfinished.set_admission(admission);
                    self.parking.tries(lane);
                    Some(lane)
                }
                Next::Nothing => return Ok(false),
            };
            let step = self.one(lane, turn)?;
            if step == Step::Dry {
                return Ok(false);
            }
            turn.steps += 1;
            untimed += 1;
            if untimed == TIMED_REQUESTS || step == Step::Continued {
                untimed = 0;
                if since.is_past(share.time) {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// Serve what comes next as far as it is plain.
    fn plain(&mut self, most_requests: u32, most_bytes: u64) -> Result<Gathered, RingError> {
        let (device, tally) = (&self.device, &mut self.tally);
        self.ring.serve_plain(
            most_requests,
            most_bytes,
            |transfers| device.admit_batch(transfers),
            |transfers, done| {
                tally.take(transfers.len());
                tally.batch(device.serve_batch(transfers, done));
            },
        )
    }

    /// Serve one request, or a step of it: the next one, or the first one that waits in a lane.
    fn one(&mut self, lane: Option<Lane>, turn: &mut Turn) -> Result<Step, RingError> {
        let _alone = self.names(lane);
        let Self {
            ring,
            device,
            acked,
            unfinished,
            parking,
            tally,
            ..
        } = self;
        let fails = parking.is_late();
        let mut hold: Option<(Hold, u64)> = None;
        if let Some(lane) = lane {
            unfinished.set_since(parking.since_ns(lane));
        }
        let step = ring.serve_from(lane, |damaged, readable, writable| {
            turn.bytes += store::total_bytes(readable) + store::total_bytes(writable);
            tally.take_one(unfinished);
            let served = device.serve(*acked, damaged || fails, readable, writable, unfinished);
            if let device::Served::Held(for_what) = served {
                hold = Some((for_what, tally.held(unfinished)));
                return Served::Held(for_what.lane());
            }
            tally.one(unfinished);
            match served {
                device::Served::Done(len) => Served::Done(len),
                _ => Served::Unfinished,
            }
        })?;
        turn.bytes += u64::from(std::mem::take(&mut ring.walked)) * DESCRIPTOR_BYTES;
        parking.became(step, hold);
        Ok(step)
    }

    /// After a crash, have it known which request is being served.
    #[inline]
    fn names(&self, lane: Option<Lane>) -> Option<crash::Alone> {
        let names = self.ring.goes_alone() || lane.is_some() && crash::is_careful();
        let head = || self.ring.next_head(lane);
        names.then(|| crash::alone(self.disk_id, self.index, head()))
    }

    /// Whether stopping takes a while: requests were set aside that must be returned first.
    pub(crate) fn begins_to_drain(&mut self, by: Instant) -> bool {
        // One that is amid its steps begins anew, also where nothing was set aside.
        self.ring.give_up();
        self.unfinished = Unfinished::default();
        if !self.ring.has_any_aside() {
            return false;
        }
        self.parking.drain(by);
        true
    }

    /// Whether all of those were returned.
    pub(crate) fn is_drained(&self) -> bool {
        self.parking.is_draining() && !self.ring.has_any_aside()
    }

    /// Whether nothing goes on before a request that waits does.
    pub(crate) fn is_held(&self) -> bool {
        self.ring.is_held()
    }

    /// When there is something to do for requests that wait, or that the last turn had no time for.
    pub(crate) fn look_at(&self, now: Instant) -> Option<Instant> {
        if self.ring.is_amid() {
            return Some(now);
        }
        self.parking.look_at(&self.ring, now)
    }

    /// Ask the driver to kick when it has something; whether it has already.
    pub(crate) fn listen(&mut self) -> Result<bool, RingError> {
        let more = self.ring.listen()?;
        self.look_for_losses()?;
        Ok(more)
    }

    /// Whether memory was taken away under us, since we looked last; most likely another's.
    fn look_for_losses(&mut self) -> Result<(), RingError> {
        let losses = guard::losses();
        if losses != self.losses {
            self.losses = losses;
            if self.ring.is_lost() {
                return Err(RingError::MemoryLost);
            }
        }
        Ok(())
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
