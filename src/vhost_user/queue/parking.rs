//! Requests of a ring that wait for their limits, for memory, or because a fault holds them.
//!
//! Of a parked request only the head is kept. Its chain is walked again when it is tried again, as
//! after a crash, so a guest that changes the chain meanwhile harms only itself. If requests may
//! complete in any order, those behind a parked one go on. Otherwise a request that must wait stays
//! in the avail ring, at the head of the line, and all others wait behind it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::device::{Attempt, Lane, Volume, WaitReason};

/// How long a ring that stops may take to return its parked requests.
const DRAIN_WITHIN: Duration = Duration::from_millis(30);

/// How a ring stops. Requests that are still in its avail ring stay there for the ring's next
/// start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// Parked requests stay in the in-flight region, where the ring's next start finds them.
    Leave,
    /// Parked requests are returned: served by this moment, regardless of limits, or failed.
    Drain(Instant),
}

impl Stop {
    /// Return all parked requests within a bounded time from now.
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

/// The waiting requests of one ring. Each lane is in the order in which its requests were taken,
/// that of faults in the order in which they may go on, and only its first request is tried again.
#[derive(Debug)]
pub(crate) struct Parking {
    /// Counts the requests that wait.
    volume: Arc<Volume>,
    lanes: [VecDeque<Parked>; Lane::ALL.len()],
    /// Requests in all lanes.
    count: usize,
    /// The most requests that may be in all lanes.
    most: usize,
    /// The request that waits in the avail ring, before all others of the ring.
    head_of_line: Option<Parked>,
    /// [`Faults::epoch`](crate::device::faults::Faults::epoch) when the lane of faults was in
    /// order.
    faults_epoch: u64,
    /// The ring is stopping, and must have stopped by then.
    drain_by: Option<Instant>,
}

impl Parking {
    /// Lanes without room: see [`Self::make_room`].
    pub(crate) fn new(volume: &Arc<Volume>) -> Self {
        Self {
            volume: Arc::clone(volume),
            lanes: Default::default(),
            count: 0,
            most: 0,
            head_of_line: None,
            faults_epoch: 0,
            drain_by: None,
        }
    }

    /// Whether its requests are for the disk of `volume`.
    pub(crate) fn is_of(&self, volume: &Arc<Volume>) -> bool {
        Arc::ptr_eq(&self.volume, volume)
    }

    /// Allocate room for all requests that a driver can have outstanding on a ring of `size`.
    /// Nothing is allocated later, but for faults, which most disks never have.
    pub(crate) fn make_room(&mut self, size: u16) {
        self.most = size.into();
        for lane in Lane::ALL.into_iter().filter(|&lane| lane != Lane::Faults) {
            self.lanes[lane.index()] = VecDeque::with_capacity(self.most);
        }
    }

    /// Whether one more request may go into a lane. Only a driver that violates the specification
    /// has more outstanding than its ring has descriptors.
    pub(crate) fn has_room(&self) -> bool {
        self.count < self.most
    }

    /// How many requests wait here.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.count + usize::from(self.head_of_line.is_some())
    }

    /// Whether a request waits at the head of the line, and all others behind it.
    #[inline]
    pub(crate) fn is_blocked(&self) -> bool {
        self.head_of_line.is_some()
    }

    /// Whether requests are in lanes: they have left the avail ring.
    #[inline]
    pub(crate) fn has_lanes(&self) -> bool {
        self.count > 0
    }

    /// The first request of a lane.
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

    /// Add a request to the lane of its reason, at its place there.
    pub(crate) fn push(&mut self, parked: Parked) {
        let lane = parked.reason.lane();
        let queue = &mut self.lanes[lane.index()];
        let until = parked.reason.held_until();
        let at = queue.partition_point(|it| it.reason.held_until() <= until);
        queue.insert(at, parked);
        self.count += 1;
        self.volume.begins_to_wait(lane);
    }

    /// The first request of a lane goes on waiting, for `reason`.
    pub(crate) fn keep_first(&mut self, reason: WaitReason) {
        if let Some(first) = self.lanes[reason.lane().index()].front_mut() {
            first.reason = reason;
        }
    }

    /// Remove the first request of a lane. The one behind it is tried next.
    pub(crate) fn pop(&mut self, lane: Lane) {
        let queue = &mut self.lanes[lane.index()];
        if queue.pop_front().is_some() {
            self.count -= 1;
            self.volume.ends_to_wait(lane);
        }
        if let Some(next) = queue.front_mut() {
            next.reason = next.reason.comes_first();
        }
    }

    /// Set the request at the head of the line, behind which all others wait, or `None`.
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

    /// From now on only return the requests in lanes, and take no new ones.
    pub(crate) fn drain(&mut self, by: Instant) {
        self.drain_by = Some(by);
    }

    /// Whether requests must be returned before the ring stops: those in lanes, and one that a
    /// fault holds at the head of the line.
    pub(crate) fn must_drain(&self) -> bool {
        self.has_lanes() || self.first_of(Lane::Faults).is_some()
    }

    /// Whether [`Self::drain`] was called and all of these were returned.
    pub(crate) fn is_drained(&self) -> bool {
        self.drain_by.is_some() && !self.must_drain()
    }

    /// Whether the time to drain is over, so that requests in lanes fail.
    #[inline]
    pub(crate) fn is_late(&self) -> bool {
        self.drain_by.is_some_and(|by| by <= Instant::now())
    }

    /// Whether nothing waits and the ring isn't stopping, so that new requests may go on at once.
    #[inline]
    pub(crate) fn is_idle(&self) -> bool {
        self.len() == 0 && self.drain_by.is_none()
    }

    /// The lane whose first request may be tried again now, and as which attempt.
    pub(crate) fn next(&mut self) -> Option<(Lane, Attempt)> {
        if self.drain_by.is_some() {
            let mut lanes = Lane::ALL.into_iter();
            return lanes.find_map(|lane| {
                let has_left = self.first(lane).is_some() || lane == Lane::Faults;
                let parked = self.first_of(lane).filter(|_| has_left)?;
                Some((lane, parked.reason.last_attempt()))
            });
        }
        let now = Instant::now();
        self.sort_faults(now);
        Lane::ALL.into_iter().find_map(|lane| {
            let reason = self.reason(lane)?;
            let attempt = self.volume.may_retry(reason, now)?;
            Some((lane, attempt))
        })
    }

    /// The reason for which a lane waits: that of its first request, or of the request at the head
    /// of the line if that belongs to this lane.
    fn reason(&self, lane: Lane) -> Option<WaitReason> {
        self.first_of(lane).map(|parked| parked.reason)
    }

    fn first_of(&self, lane: Lane) -> Option<Parked> {
        let at_head = || self.head_of_line.filter(|it| it.reason.lane() == lane);
        self.first(lane).or_else(at_head)
    }

    /// If rules have let requests go since the last call, have these come first.
    fn sort_faults(&mut self, now: Instant) {
        let epoch = self.volume.faults().epoch();
        if std::mem::replace(&mut self.faults_epoch, epoch) == epoch {
            return;
        }
        let volume = &self.volume;
        let lane = &mut self.lanes[Lane::Faults.index()];
        for parked in lane.iter_mut().chain(&mut self.head_of_line) {
            parked.reason = volume.still_held(parked.reason, now);
        }
        let lane = lane.make_contiguous();
        lane.sort_by_key(|parked| parked.reason.held_until());
    }

    /// Whether a new request may be tried. Requests in lanes don't prevent that.
    pub(crate) fn lets_new(&self) -> bool {
        self.head_of_line.is_none() && self.drain_by.is_none()
    }

    /// The first attempt at a new request, which comes behind those in lanes.
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
    /// The requests that still wait are returned to the driver, or served after the ring's next
    /// start. They no longer count as waiting.
    fn drop(&mut self) {
        self.set_head_of_line(None);
        for lane in Lane::ALL {
            self.lanes[lane.index()]
                .drain(..)
                .for_each(|_| self.volume.ends_to_wait(lane));
        }
    }
}
