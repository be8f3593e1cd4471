//! A ring that is being served: which of its requests is next, and what happens to it.
//!
//! Requests are taken from four places, in this order: the long request that is between two steps,
//! the requests that the last process had taken and not returned, parked requests that may be tried
//! again, and the avail ring. A token ([`Gathered`], [`Taken`]) holds what was taken; it must be
//! completed, parked, kept for its next step, or left where it was. A request that is wrong in
//! itself (a chain that can't be followed, a buffer outside of guest memory) fails alone. If
//! indexes or heads make no sense, that is a [`RingError`], and the ring can't go on.

use std::sync::Arc;
use std::time::Instant;

use super::chain::{self, ChainFault};
pub(crate) use super::fault::RingError;
use super::gather::Plain;
use super::inflight::{Inflight, Tracker};
use super::parking::{Parked, Parking};
use super::pieces::Pieces;
use super::record::Record;
pub(crate) use super::split::RingAddress;
use super::split::SplitQueue;
use super::taken::{Gathered, Origin, Request, Taken};
use crate::device::{Attempt, Begun, Lane, PlainRequest, Volume, WaitReason};
use crate::vhost_user::memory::guard;
use crate::vhost_user::memory::map::{MAX_SLOTS, MemoryMap};

/// What driver and device have agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RingOptions {
    pub(crate) event_idx: bool,
    /// Whether requests must complete in the order in which they were made available.
    pub(crate) in_order: bool,
}

/// What to do next for a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Serve new requests, several at once if they are plain.
    Gather,
    /// Serve new requests one by one, since they may have to wait behind others.
    Take(Attempt),
    /// Go on with the request that is between two steps.
    Resume,
    /// Try the first request of a lane again, or the one at the head of the line.
    Retry(Lane, Attempt),
    /// Nothing, for now.
    Nothing,
}

/// A ring that is being served.
#[derive(Debug)]
pub(crate) struct Ring {
    pub(super) queue: SplitQueue,
    in_order: bool,
    /// The next entry of the avail ring to take.
    pub(super) next_avail: u16,
    /// The avail index when last read.
    seen_avail: u16,
    /// The request that is between two steps. Its buffers stay in `pieces`.
    current: Option<Request>,
    /// The state of that request after its last step.
    begun: Option<Begun>,
    /// Requests that the last process had taken and not returned; the next one is at the end.
    unreturned: Vec<u16>,
    /// Requests that wait.
    parking: Parking,
    /// This many requests must be served one by one, since the last process may have crashed on
    /// one.
    alone: u16,
    record: Record,
    /// The buffers of the one request that was taken.
    pieces: Pieces,
    /// The head of the last request that failed because of its chain, and why, until that is
    /// logged.
    refused: Option<(u16, ChainFault)>,
    /// The plain requests that were gathered. Empty between two batches.
    plain: Plain,
    /// [`guard::losses`] when we looked last, first before the queue was mapped.
    losses: usize,
}

impl Ring {
    /// A ring at `address` in `memory`, whose requests are for `volume`. It goes on from the used
    /// index in memory, which is where a device that completes in order left it.
    pub(crate) fn new(
        memory: Arc<MemoryMap>,
        size: u32,
        address: RingAddress,
        options: RingOptions,
        volume: &Arc<Volume>,
    ) -> Result<Self, RingError> {
        let losses = guard::losses();
        let queue = SplitQueue::new(memory, size, address, options.event_idx)?;
        let used_idx = queue.next_used();
        // Each descriptor of a chain may be cut in two at the border of a region.
        let most_pieces = usize::from(chain::longest_chain(queue.size())) * 2 + MAX_SLOTS;
        Ok(Self {
            queue,
            in_order: options.in_order,
            next_avail: used_idx,
            seen_avail: used_idx,
            current: None,
            begun: None,
            unreturned: Vec::new(),
            parking: Parking::new(volume),
            alone: 0,
            record: Record::default(),
            pieces: Pieces::with_room(most_pieces),
            refused: None,
            plain: Plain::new(),
            losses,
        })
    }

    /// Track the ring in the part of `region` for queue `index`. Returns `false` if the region has
    /// no part that is long enough. Requests that were taken and not returned, as the region says,
    /// are served first, and then the avail ring from behind them.
    pub(crate) fn track(&mut self, region: &Arc<Inflight>, index: u16) -> Result<bool, RingError> {
        let next_used = self.queue.next_used();
        let tracked = Tracker::new(region, index, self.queue.size(), next_used)?;
        let Some((mut tracker, mut unreturned)) = tracked else {
            return Ok(false);
        };
        let to = self.queue.avail_idx();
        if unreturned.len() > usize::from(to.wrapping_sub(next_used)) {
            // More than the driver ever made available: they are those of a driver that is gone.
            tracker.forget(&unreturned);
            unreturned.clear();
        }
        // They were taken in order, so the avail ring goes on behind them. No more than `size`.
        let count = u16::try_from(unreturned.len()).unwrap_or(self.queue.size());
        self.next_avail = next_used.wrapping_add(count);
        self.seen_avail = self.next_avail;
        unreturned.reverse();
        self.unreturned = unreturned;
        self.record.begin(tracker, self.queue.size());
        if !self.in_order {
            self.parking.make_room(self.queue.size());
        }
        Ok(true)
    }

    /// Serve all present requests one by one: the last process may have crashed on one of them.
    pub(crate) fn be_careful(&mut self) {
        let waiting = self.queue.avail_idx().wrapping_sub(self.next_avail);
        // If the avail index is nonsense, that is found out later.
        let unreturned = u16::try_from(self.unreturned.len()).unwrap_or(u16::MAX);
        self.alone = waiting.min(self.queue.size()).saturating_add(unreturned);
    }

    /// The answer to GET_VRING_BASE when the ring stops. Requests that were taken and not returned
    /// are taken again from there.
    pub(crate) fn position(&self) -> u16 {
        self.queue.next_used()
    }

    /// Whether the front end truncated memory that this ring uses.
    pub(crate) fn is_lost(&self) -> bool {
        self.queue.memory().is_lost() || self.record.is_lost()
    }

    /// Whether memory was taken away under us since we looked last; most likely another's was.
    #[inline]
    pub(crate) fn look_for_losses(&mut self) -> Result<(), RingError> {
        let losses = guard::losses();
        if losses != self.losses {
            self.losses = losses;
            if self.is_lost() {
                return Err(RingError::MemoryLost);
            }
        }
        Ok(())
    }

    /// The requests that wait, and when to try them again.
    #[inline]
    pub(crate) fn parking(&self) -> &Parking {
        &self.parking
    }

    /// Return parked requests by this moment, and take no new ones. Returns whether any are parked.
    pub(crate) fn drain(&mut self, by: Instant) -> bool {
        // A request between two steps starts again later, even if nothing is parked.
        self.begun = None;
        if let Some(request) = self.current.take() {
            self.was_not_taken(request.head, request.from);
        }
        let must_drain = self.parking.must_drain();
        if must_drain {
            self.parking.drain(by);
        }
        must_drain
    }

    /// What to do next, before the avail ring is looked at.
    #[inline]
    pub(crate) fn next(&mut self) -> Next {
        if self.current.is_some() {
            Next::Resume
        } else if !self.parking.is_idle() {
            self.next_of_parking()
        } else if self.goes_alone() || !self.unreturned.is_empty() {
            Next::Take(Attempt::default())
        } else {
            Next::Gather
        }
    }

    fn next_of_parking(&mut self) -> Next {
        if let Some((lane, attempt)) = self.parking.next() {
            Next::Retry(lane, attempt)
        } else if self.parking.lets_new() {
            Next::Take(self.parking.first_attempt())
        } else {
            Next::Nothing
        }
    }

    /// Whether the next request must be served alone.
    #[inline]
    pub(crate) fn goes_alone(&self) -> bool {
        self.alone > 0
    }

    /// Whether the ring has work for which no kick will come.
    #[inline]
    pub(crate) fn is_amid(&self) -> bool {
        self.current.is_some() || !self.unreturned.is_empty() && !self.parking.is_blocked()
    }

    /// Whether the avail ring had a request when it was last read, or a request comes before those.
    #[inline]
    pub(crate) fn has_next(&self) -> bool {
        self.is_amid() || self.next_avail != self.seen_avail
    }

    /// How many requests were taken and not yet returned, or left in the avail ring.
    #[inline]
    pub(crate) fn unanswered(&self) -> usize {
        let begun = self.current.as_ref();
        let begun = begun.filter(|it| !matches!(it.from, Origin::Parked(_)));
        self.parking.len() + usize::from(begun.is_some())
    }

    /// The head of the request that [`Ring::take`] will take. If there is none, any number.
    pub(crate) fn next_head(&self, next: Next) -> u16 {
        let parked = |lane| self.parking.first(lane).map(|parked| parked.head);
        let known = match next {
            Next::Resume => self.current.as_ref().map(|current| current.head),
            Next::Retry(lane, _) => parked(lane),
            _ => None,
        };
        let known = known.or_else(|| self.unreturned.last().copied());
        known.unwrap_or_else(|| self.queue.head_at(self.next_avail))
    }

    /// Take the next requests of the avail ring, up to the first that isn't plain: at most
    /// `most_requests`, which is not 0, and about `most_bytes` of data. `None` if the next request
    /// isn't plain or there is none; [`Ring::take`] shows which.
    #[inline]
    pub(crate) fn gather(
        &mut self,
        most_requests: u32,
        most_bytes: u64,
    ) -> Result<Option<Gathered<'_>>, RingError> {
        if self.next_avail == self.seen_avail && !self.look()? {
            return Ok(None);
        }
        let waiting = u32::from(self.seen_avail.wrapping_sub(self.next_avail));
        let most = waiting.min(most_requests) as usize;
        let bytes = self
            .plain
            .gather(&self.queue, self.next_avail, most, most_bytes);
        match self.plain.requests() {
            [] => return Ok(None),
            [request] => {
                // With a lone request, nothing else hides the wait for these lines.
                request.prefetch_status();
                self.queue.prefetch_used();
            }
            _ => {}
        }
        self.record.taken(self.plain.heads());
        Ok(Some(Gathered::new(self, bytes)))
    }

    /// Take one request of any shape, as [`Ring::next`] returned. `None` if there is none.
    pub(crate) fn take(&mut self, next: Next) -> Result<Option<Taken<'_>>, RingError> {
        let request = match next {
            Next::Nothing => None,
            Next::Resume => self.current.take(),
            Next::Retry(lane, attempt) => match self.parking.first(lane) {
                Some(parked) => {
                    self.collect(parked.head);
                    Some(Request {
                        head: parked.head,
                        from: Origin::Parked(lane),
                        attempt,
                        since_ns: Some(parked.since_ns),
                    })
                }
                None => self.take_next(attempt)?,
            },
            Next::Take(attempt) => self.take_next(attempt)?,
            Next::Gather => self.take_next(Attempt::default())?,
        };
        Ok(request.map(|request| Taken::new(self, request)))
    }

    /// Take the next request of the avail ring.
    #[inline]
    fn take_next(&mut self, attempt: Attempt) -> Result<Option<Request>, RingError> {
        let left = self.unreturned.last().copied();
        let head = match left {
            Some(head) => head,
            None if self.next_avail == self.seen_avail && !self.look()? => return Ok(None),
            None => self.queue.head_at(self.next_avail),
        };
        let size = self.queue.size();
        if head >= size {
            return Err(RingError::Head { head, size });
        }
        self.collect(head);
        let from = match left {
            Some(_) => Origin::Unreturned,
            None => Origin::Avail,
        };
        if from == Origin::Avail {
            self.record.taken(&[head]);
        }
        let since_ns = self.parking.head_of_line().map(|parked| parked.since_ns);
        Ok(Some(Request {
            head,
            from,
            attempt,
            since_ns,
        }))
    }

    #[inline]
    fn collect(&mut self, head: u16) {
        if let Err(fault) = chain::collect(&self.queue, head, &mut self.pieces) {
            self.refused = Some((head, fault));
        }
    }

    /// The head of the last request that failed because of its chain, and why, unless it was
    /// logged.
    pub(crate) fn take_refused(&mut self) -> Option<(u16, ChainFault)> {
        self.refused.take()
    }

    /// The state after the last step of the request that was taken.
    #[inline]
    pub(super) fn take_begun(&mut self) -> Option<Begun> {
        // Most often there is none.
        self.begun.as_ref()?;
        self.begun.take()
    }

    /// The buffers of the one request that was taken.
    #[inline]
    pub(super) fn pieces(&mut self) -> &mut Pieces {
        &mut self.pieces
    }

    /// The plain requests that were gathered.
    #[inline]
    pub(super) fn plain(&self) -> &Plain {
        &self.plain
    }

    /// Complete the first plain requests, with these used lengths. The others stay in the avail
    /// ring. Returns the bytes of data of those that were completed.
    #[inline]
    pub(super) fn complete_plain(&mut self, written: &[u32]) -> u64 {
        let heads = self.plain.heads();
        let (done, left) = heads.split_at(written.len().min(heads.len()));
        for (&head, &len) in done.iter().zip(written) {
            self.next_avail = self.next_avail.wrapping_add(1);
            self.queue.add_used(head, len);
        }
        self.record.completed(done);
        let mut left_bytes = 0;
        if !left.is_empty() {
            self.record.not_taken(left);
            let left = self.plain.requests().iter().skip(done.len());
            left_bytes = left.map(PlainRequest::data_bytes).sum();
        }
        self.plain.clear();
        left_bytes
    }

    /// Complete a request, into which this many bytes were written.
    #[inline]
    pub(super) fn complete(&mut self, request: Request, written: u32) {
        let len = self.pieces.used_len(written);
        self.leave(request.from);
        self.record.completed(&[request.head]);
        self.queue.add_used(request.head, len);
    }

    /// Keep a request for its next step.
    pub(super) fn keep(&mut self, request: Request, begun: Option<Begun>) {
        self.parking.set_head_of_line(None);
        self.current = Some(request);
        self.begun = begun;
    }

    /// Park a request: in a lane, or in the avail ring, with all others behind it.
    pub(super) fn park(&mut self, request: Request, reason: WaitReason, since_ns: u64) {
        let Request { head, from, .. } = request;
        let parked = Parked {
            head,
            since_ns,
            reason,
        };
        match from {
            Origin::Parked(lane) if lane == reason.lane() => self.parking.keep_first(reason),
            Origin::Avail | Origin::Unreturned if !self.parking.has_room() => {
                self.parking.set_head_of_line(Some(parked));
                self.was_not_taken(head, from);
            }
            _ => {
                self.leave(from);
                self.parking.push(parked);
            }
        }
    }

    /// Remove a request from where it was found.
    fn leave(&mut self, from: Origin) {
        match from {
            Origin::Avail => self.next_avail = self.next_avail.wrapping_add(1),
            Origin::Unreturned => {
                self.unreturned.pop();
            }
            Origin::Parked(lane) => return self.parking.pop(lane),
        }
        self.alone = self.alone.saturating_sub(1);
        if self.parking.is_blocked() {
            self.parking.set_head_of_line(None);
        }
    }

    /// A request stays in the avail ring after all. Clear its mark.
    fn was_not_taken(&self, head: u16, from: Origin) {
        if from == Origin::Avail {
            self.record.not_taken(&[head]);
        }
    }

    /// Read the avail index. Returns whether there is a new request.
    #[inline]
    fn look(&mut self) -> Result<bool, RingError> {
        let (from, to, size) = (self.next_avail, self.queue.avail_idx(), self.queue.size());
        if to.wrapping_sub(from) > size {
            return Err(RingError::AvailJump { from, to, size });
        }
        self.seen_avail = to;
        if to == from {
            // A driver with one request at a time uses the same header again. Prefetch that, and
            // the next entry of the avail ring, before the index says that they are new.
            self.queue.prefetch_avail(from);
            self.plain.prefetch_header();
        }
        Ok(to != from)
    }

    /// Publish the requests that were completed since the last publication. Returns whether the
    /// driver wants a call for them, or `None` if there are none.
    pub(crate) fn publish_used(&mut self) -> Option<bool> {
        if !self.queue.has_unpublished() {
            return None;
        }
        self.record.returning();
        let old = self.queue.publish_used();
        self.record.returned(self.queue.next_used());
        Some(self.queue.needs_notification(old))
    }

    /// Whether the driver may wait for a call for what was published before this ring was made.
    pub(crate) fn may_owe_call(&self) -> bool {
        self.queue.may_owe_notification()
    }

    /// Ask the driver not to kick while the ring is polled.
    #[inline]
    pub(crate) fn disable_notification(&mut self) {
        self.queue.disable_notification();
    }

    /// Ask for a kick for the next request. Returns whether one came in the meantime, possibly
    /// without a kick.
    pub(crate) fn enable_notification(&mut self) -> Result<bool, RingError> {
        self.queue.enable_notification(self.next_avail);
        self.look()
    }
}
