//! What a ring does next when some of its requests must wait, and when it is to be looked at again.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::ring::{Ring, Step};
use crate::device::{Admission, BlockDevice, Hold, Lane, Waiting};

/// How long a ring that stops may take for what it set aside.
const DRAIN_WITHIN: Duration = Duration::from_millis(30);

/// How a ring stops. What is still in its avail ring is served from there by whoever has it next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// What it has set aside stays in the in-flight region, where the next one finds it.
    Leave,
    /// What it has set aside is returned: done by this moment, whatever its limits, or failed.
    Drain(Instant),
}

impl Stop {
    /// All that was set aside is to be returned within a bounded time from now.
    pub(crate) fn drain() -> Self {
        Self::Drain(Instant::now() + DRAIN_WITHIN)
    }
}

/// What a ring is to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Go on with a request that has begun.
    GoOn,
    /// Serve what comes, several at once if they are plain.
    Any,
    /// Serve what comes, one by one: it may have to wait behind others.
    One(Admission),
    /// Try one that waits.
    Again(Lane, Admission),
    /// Nothing can be done now.
    Nothing,
}

/// The requests of one ring that wait.
#[derive(Debug)]
pub(crate) struct Parking {
    /// What the first one of each lane waits for, once it was asked.
    holds: [Option<Hold>; Lane::ALL.len()],
    /// When those of each lane were taken, for the statistics, in their order. They grow as
    /// requests wait, up to what the ring has room for.
    since_ns: [VecDeque<u64>; Lane::ALL.len()],
    /// The lane whose first one is being tried.
    trying: Option<Lane>,
    waiting: Waiting,
    /// Whether the device was told of any.
    has_counted: bool,
    /// The ring stops, and this is when it must have.
    drain_by: Option<Instant>,
}

impl Parking {
    pub(crate) fn new(device: &Arc<BlockDevice>) -> Self {
        Self {
            holds: Default::default(),
            since_ns: Default::default(),
            trying: None,
            waiting: Waiting::new(Arc::clone(device)),
            has_counted: false,
            drain_by: None,
        }
    }

    /// Only what was set aside is served from now on.
    pub(super) fn drain(&mut self, by: Instant) {
        self.trying = None;
        self.drain_by = Some(by);
    }

    pub(super) fn is_draining(&self) -> bool {
        self.drain_by.is_some()
    }

    /// Whether there is no time left for what is still set aside: it fails.
    #[inline]
    pub(super) fn is_late(&self) -> bool {
        self.drain_by.is_some_and(|by| by <= Instant::now())
    }

    #[inline]
    pub(super) fn next(&self, ring: &Ring, device: &BlockDevice) -> Next {
        if ring.is_half_done() {
            Next::GoOn
        } else if self.drain_by.is_none() && !ring.has_waiting() {
            Next::Any
        } else {
            self.next_waiting(ring, device)
        }
    }

    fn next_waiting(&self, ring: &Ring, device: &BlockDevice) -> Next {
        if self.drain_by.is_some() {
            let lane = Lane::ALL.into_iter().find(|&lane| ring.has_aside(lane));
            return lane.map_or(Next::Nothing, |lane| Next::Again(lane, Admission::Last));
        }
        let now = Instant::now();
        let may_go = |&lane: &Lane| self.admits(lane, device, now).map(|may| (lane, may));
        let lanes = Lane::ALL.iter().filter(|&&lane| ring.waits(lane));
        if let Some((lane, admission)) = lanes.filter_map(may_go).next() {
            Next::Again(lane, admission)
        } else if ring.is_held() {
            Next::Nothing
        } else {
            Next::One(Admission::New {
                behind_reads: ring.waits(Lane::Reads),
                behind_writes: ring.waits(Lane::Writes),
            })
        }
    }

    fn admits(&self, lane: Lane, device: &BlockDevice, now: Instant) -> Option<Admission> {
        match (self.holds[lane.index()], lane) {
            (Some(hold), _) => device.admits(hold, now),
            // The one before it has just found some.
            (None, Lane::Room) => Some(Admission::Retry),
            (None, Lane::Reads | Lane::Writes) => Some(Admission::Next),
        }
    }

    /// The first one of a lane is about to be tried.
    pub(super) fn tries(&mut self, lane: Lane) {
        self.trying = Some(lane);
    }

    /// When the first one of a lane was taken.
    pub(super) fn since_ns(&self, lane: Lane) -> Option<u64> {
        self.since_ns[lane.index()].front().copied()
    }

    /// How many requests are known to wait.
    pub(super) fn waiting(&self) -> usize {
        self.since_ns.iter().map(VecDeque::len).sum()
    }

    /// What became of a request; `hold` if it must wait, and when it was taken.
    pub(super) fn became(&mut self, step: Step, hold: Option<(Hold, u64)>) {
        if step == Step::Continued {
            return;
        }
        let before = self.trying.take();
        let after = hold.map(|(hold, _)| hold.lane());
        if let Some(lane) = before {
            self.holds[lane.index()] = None;
            if after != before {
                self.since_ns[lane.index()].pop_front();
            }
        }
        if let Some((hold, since_ns)) = hold {
            let lane = hold.lane().index();
            if after != before {
                self.since_ns[lane].push_back(since_ns);
            }
            if step == (Step::Held { is_first: true }) {
                self.holds[lane] = Some(hold);
            }
        }
    }

    /// Have the device know how many wait.
    #[inline]
    pub(super) fn count(&mut self, ring: &Ring) {
        if ring.has_waiting() || self.has_counted {
            self.has_counted = ring.has_waiting();
            self.count_waiting(ring);
        }
    }

    fn count_waiting(&mut self, ring: &Ring) {
        let waiting = |lane| ring.waiting(lane) as u64;
        let throttled = waiting(Lane::Reads) + waiting(Lane::Writes);
        self.waiting.set(throttled, waiting(Lane::Room));
    }

    /// When the ring is to be looked at again, if somebody waits.
    pub(super) fn look_at(&self, ring: &Ring, now: Instant) -> Option<Instant> {
        let lanes = Lane::ALL.into_iter().filter(|&lane| ring.waits(lane));
        lanes
            .map(|lane| self.holds[lane.index()].map_or(now, |hold| hold.look_at(now)))
            .min()
    }
}
