//! Requests of a ring that wait for their limits or for memory.
//!
//! A parked request is no more than its head: its chain is walked again when it is tried again, as
//! it would be after a crash, so what a guest changes meanwhile is its own business. Where requests
//! may come back in any order, those behind a parked one go on. Elsewhere a request that must wait
//! stays where it is, at the head of the line, and all others wait behind it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::device::{Attempt, Lane, Volume, WaitReason};

/// How long a ring that stops may take for what it has parked.
const DRAIN_WITHIN: Duration = Duration::from_millis(30);

/// How a ring stops. What is still in its avail ring is served from there by the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// What it has parked stays in the in-flight region, where the next one finds it.
    Leave,
    /// What it has parked is returned: done by this moment, whatever its limits, or failed.
    Drain(Instant),
}

impl Stop {
    /// Return all that is parked within a bounded time from now.
    pub(crate) fn drain() -> Self {
        Self::Drain(Instant::now() + DRAIN_WITHIN)
    }
}

/// A request that waits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parked {
    pub(crate) head: u16,
    /// When it was taken, for the statistics.
    pub(crate) since_ns: u64,
    pub(crate) reason: WaitReason,
}

/// The requests of one ring that wait, in the order in which they were taken. Only the first one of
/// a lane is tried again.
#[derive(Debug)]
pub(crate) struct Parking {
    /// Counts them, for as long as they are here.
    volume: Arc<Volume>,
    lanes: [VecDeque<Parked>; Lane::ALL.len()],
    /// Requests in all lanes, and how many there may be.
    count: usize,
    most: usize,
    /// One that waits where it is, before all others of the ring.
    head_of_line: Option<Parked>,
    /// The ring stops, and this is when it must have.
    drain_by: Option<Instant>,
}

impl Parking {
    /// With room in its lanes for none.
    pub(crate) fn new(volume: &Arc<Volume>) -> Self {
        Self {
            volume: Arc::clone(volume),
            lanes: Default::default(),
            count: 0,
            most: 0,
            head_of_line: None,
            drain_by: None,
        }
    }

    /// Whether its requests are for the disk of `volume`.
    pub(crate) fn is_of(&self, volume: &Arc<Volume>) -> bool {
        Arc::ptr_eq(&self.volume, volume)
    }

    /// Have room for all requests that a driver can have on a ring of `size`; nothing is allocated
    /// later.
    pub(crate) fn make_room(&mut self, size: u16) {
        self.most = size.into();
        self.lanes = std::array::from_fn(|_| VecDeque::with_capacity(self.most));
    }

    /// Whether one more may go into a lane. Only a driver that breaks the rules has more out than
    /// its ring has room for.
    pub(crate) fn has_room(&self) -> bool {
        self.count < self.most
    }

    /// How many requests wait here.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.count + usize::from(self.head_of_line.is_some())
    }

    /// Whether all others wait behind one at the head of the line.
    #[inline]
    pub(crate) fn is_blocked(&self) -> bool {
        self.head_of_line.is_some()
    }

    /// Whether requests are in lanes, so that their place in the avail ring is lost.
    #[inline]
    pub(crate) fn has_lanes(&self) -> bool {
        self.count > 0
    }

    /// The first one of a lane.
    pub(crate) fn first(&self, lane: Lane) -> Option<Parked> {
        self.lanes[lane.index()].front().copied()
    }

    pub(crate) fn head_of_line(&self) -> Option<Parked> {
        self.head_of_line
    }

    fn has(&self, lane: Lane) -> bool {
        let lane_of = |parked: &Parked| parked.reason.lane() == lane;
        !self.lanes[lane.index()].is_empty() || self.head_of_line.as_ref().is_some_and(lane_of)
    }

    /// Put a request behind those that wait for the same.
    pub(crate) fn push(&mut self, parked: Parked) {
        let lane = parked.reason.lane();
        self.lanes[lane.index()].push_back(parked);
        self.count += 1;
        self.volume.begins_to_wait(lane);
    }

    /// The first one of a lane must wait longer.
    pub(crate) fn keep_first(&mut self, reason: WaitReason) {
        if let Some(first) = self.lanes[reason.lane().index()].front_mut() {
            first.reason = reason;
        }
    }

    /// The first one of a lane waits no longer; it is the turn of the one behind it.
    pub(crate) fn pop(&mut self, lane: Lane) {
        let queue = &mut self.lanes[lane.index()];
        if queue.pop_front().is_some() {
            self.count -= 1;
            self.volume.ends_to_wait(lane);
        }
        if let Some(next) = queue.front_mut() {
            next.reason = WaitReason::turn(lane);
        }
    }

    /// Have all others wait behind this one, or none.
    pub(crate) fn set_head_of_line(&mut self, parked: Option<Parked>) {
        let before = self.head_of_line.take().map(|it| it.reason.lane());
        let after = parked.map(|it| it.reason.lane());
        if before != after {
            after
                .into_iter()
                .for_each(|it| self.volume.begins_to_wait(it));
            before
                .into_iter()
                .for_each(|it| self.volume.ends_to_wait(it));
        }
        self.head_of_line = parked;
    }

    /// Return what is in lanes, and nothing else, from now on.
    pub(crate) fn drain(&mut self, by: Instant) {
        self.drain_by = Some(by);
    }

    /// Whether all of it was returned.
    pub(crate) fn is_drained(&self) -> bool {
        self.drain_by.is_some() && !self.has_lanes()
    }

    /// Whether there is no time left for what is still in lanes: it fails.
    #[inline]
    pub(crate) fn is_late(&self) -> bool {
        self.drain_by.is_some_and(|by| by <= Instant::now())
    }

    /// Whether nothing waits here, and no request need look.
    #[inline]
    pub(crate) fn is_idle(&self) -> bool {
        self.len() == 0 && self.drain_by.is_none()
    }

    /// The lane whose first one may be tried again now, and as which attempt.
    pub(crate) fn next(&self) -> Option<(Lane, Attempt)> {
        if self.drain_by.is_some() {
            let lane = Lane::ALL.into_iter().find(|&it| self.first(it).is_some());
            return lane.map(|lane| (lane, Attempt::Last));
        }
        let now = Instant::now();
        Lane::ALL.into_iter().find_map(|lane| {
            let reason = self.reason(lane)?;
            let attempt = self.volume.may_retry(reason, now)?;
            Some((lane, attempt))
        })
    }

    /// What the first one waits for that waits in a lane, or at the head of the line for the same.
    fn reason(&self, lane: Lane) -> Option<WaitReason> {
        let at_head = || self.head_of_line.filter(|it| it.reason.lane() == lane);
        let first = self.first(lane).or_else(at_head);
        first.map(|parked| parked.reason)
    }

    /// Whether a request that is new may be tried: none of those in lanes keeps it from that.
    pub(crate) fn lets_new(&self) -> bool {
        self.head_of_line.is_none() && self.drain_by.is_none()
    }

    /// The first attempt at a new request: it is behind those in lanes.
    pub(crate) fn first_attempt(&self) -> Attempt {
        Attempt::First {
            behind_reads: self.has(Lane::Reads),
            behind_writes: self.has(Lane::Writes),
        }
    }

    /// When to look at the ring again, if requests wait.
    pub(crate) fn look_at(&self, now: Instant) -> Option<Instant> {
        let reasons = Lane::ALL.into_iter().filter_map(|lane| self.reason(lane));
        reasons.map(|reason| reason.look_at(now)).min()
    }
}

impl Drop for Parking {
    /// What waits here goes back to the driver, or to the one that serves the ring next.
    fn drop(&mut self) {
        self.set_head_of_line(None);
        for lane in Lane::ALL {
            self.lanes[lane.index()]
                .drain(..)
                .for_each(|_| self.volume.ends_to_wait(lane));
        }
    }
}
