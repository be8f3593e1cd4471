//! A ring that is being served: which of its requests is next, and what becomes of it.
//!
//! Requests are taken from four places: one that takes long goes on first, then those that a
//! process before this one had taken and not returned, those that are parked and may be tried
//! again, and what the avail ring has. Whatever is taken is held by a token ([`Gathered`],
//! [`Taken`]) that has to say what became of it: completed, parked, kept for its next step, or left
//! where it was. A request that is wrong in itself (a chain that can't be followed, a buffer
//! outside memory) fails alone; a ring whose indexes or heads make no sense is a [`RingError`],
//! after which nothing it says can be believed.

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
    /// Whether requests are to come back in the order in which they were made available.
    pub(crate) in_order: bool,
}

/// What a ring is to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Serve what comes, several at once if they are plain.
    Gather,
    /// Serve what comes, one by one: it may have to wait behind others.
    Take(Attempt),
    /// Go on with a request that has begun.
    Resume,
    /// Try the first one again that waits in a lane, or at the head of the line for the same.
    Retry(Lane, Attempt),
    /// Nothing can be done now.
    Nothing,
}

/// A ring that is being served.
#[derive(Debug)]
pub(crate) struct Ring {
    queue: SplitQueue,
    in_order: bool,
    /// The next entry of the avail ring to take.
    next_avail: u16,
    /// The avail index when last read.
    seen_avail: u16,
    /// The request that is between two steps. Its buffers stay in `pieces`.
    current: Option<Request>,
    /// What its last step left.
    begun: Option<Begun>,
    /// Requests that a process before us had taken and not returned; the last one comes first.
    unreturned: Vec<u16>,
    /// Requests that wait.
    parking: Parking,
    /// This many requests must be served one by one, since the process may have died of one.
    alone: u16,
    record: Record,
    /// Buffers of the one request that is taken.
    pieces: Pieces,
    /// The last request that was refused for its chain, by its head, until it was logged.
    refused: Option<(u16, ChainFault)>,
    /// The plain requests that are taken; none in between.
    plain: Plain,
    /// [`guard::losses`] when we looked last, first before the queue was mapped.
    losses: usize,
}

impl Ring {
    /// A ring at `address` in `memory`, whose requests are for `volume`. It goes on where the used
    /// index in memory says that it was left: a device that completes in order has nothing in
    /// between.
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
        // Room for every descriptor of a chain to be cut in two by the border of a region.
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

    /// Write down what is taken and returned in the part of `region` for queue `index`; whether it
    /// has one that is long enough. What was taken and not returned before, as the region says, is
    /// served first, and what the avail ring has after it next.
    pub(crate) fn track(&mut self, region: &Arc<Inflight>, index: u16) -> Result<bool, RingError> {
        let next_used = self.queue.next_used();
        let tracked = Tracker::new(region, index, self.queue.size(), next_used)?;
        let Some((mut tracker, mut unreturned)) = tracked else {
            return Ok(false);
        };
        let to = self.queue.avail_idx();
        if unreturned.len() > usize::from(to.wrapping_sub(next_used)) {
            // More than the driver ever asked for: it is about one that is gone.
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

    /// Serve what there is now one by one: the process before this one may have died of it.
    pub(crate) fn be_careful(&mut self) {
        let waiting = self.queue.avail_idx().wrapping_sub(self.next_avail);
        // Whether a driver that says nonsense has more out is seen later.
        let unreturned = u16::try_from(self.unreturned.len()).unwrap_or(u16::MAX);
        self.alone = waiting.min(self.queue.size()).saturating_add(unreturned);
    }

    /// The index that a front end is told when the ring stops ("GET_VRING_BASE"): what was taken
    /// and not returned is taken again from there.
    pub(crate) fn position(&self) -> u16 {
        self.queue.next_used()
    }

    /// Whether the front end took away memory that this ring uses.
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

    /// Requests that wait, and when to try them again.
    #[inline]
    pub(crate) fn parking(&self) -> &Parking {
        &self.parking
    }

    /// Return what is parked by this moment, and serve nothing else. Whether there is anything.
    pub(crate) fn drain(&mut self, by: Instant) -> bool {
        // One that is between two steps begins anew, also where nothing is parked.
        self.begun = None;
        if let Some(request) = self.current.take() {
            self.was_not_taken(request.head, request.from);
        }
        let has_any = self.parking.has_lanes();
        if has_any {
            self.parking.drain(by);
        }
        has_any
    }

    /// What to do next. Whether the avail ring has anything is not known yet.
    #[inline]
    pub(crate) fn next(&self) -> Next {
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

    fn next_of_parking(&self) -> Next {
        if let Some((lane, attempt)) = self.parking.next() {
            Next::Retry(lane, attempt)
        } else if self.parking.lets_new() {
            Next::Take(self.parking.first_attempt())
        } else {
            Next::Nothing
        }
    }

    /// Whether the next request is served alone.
    #[inline]
    pub(crate) fn goes_alone(&self) -> bool {
        self.alone > 0
    }

    /// Whether the ring has work that no kick announces.
    #[inline]
    pub(crate) fn is_amid(&self) -> bool {
        self.current.is_some() || !self.unreturned.is_empty() && !self.parking.is_blocked()
    }

    /// Whether there was a request when the avail ring was read last, or is one before it.
    #[inline]
    pub(crate) fn has_next(&self) -> bool {
        self.is_amid() || self.next_avail != self.seen_avail
    }

    /// How many requests were taken, and neither returned nor left.
    #[inline]
    pub(crate) fn unanswered(&self) -> usize {
        let begun = self.current.as_ref();
        let begun = begun.filter(|it| !matches!(it.from, Origin::Parked(_)));
        self.parking.len() + usize::from(begun.is_some())
    }

    /// The head of the request that [`Ring::take`] takes, or whatever stands there.
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

    /// Take the requests that come next in the avail ring as far as they are plain: at most
    /// `most_requests`, from 1 on, and about `most_bytes` of data. `None`: the next request isn't
    /// plain, or there is none; [`Ring::take`] tells.
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
                // Nothing else hides the wait for them.
                request.prefetch_status();
                self.queue.prefetch_used();
            }
            _ => {}
        }
        self.record.taken(self.plain.heads());
        Ok(Some(Gathered::new(self, bytes)))
    }

    /// Take one request of any shape: what [`Ring::next`] said. `None`: there is none.
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

    /// Take the next request in order.
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

    /// The request that was refused last for its chain, by its head, if it wasn't logged yet.
    pub(crate) fn take_refused(&mut self) -> Option<(u16, ChainFault)> {
        self.refused.take()
    }

    /// What the last step of the one request that is taken left.
    #[inline]
    pub(super) fn take_begun(&mut self) -> Option<Begun> {
        // Most often there is nothing to move.
        self.begun.as_ref()?;
        self.begun.take()
    }

    /// Buffers of the one request that is taken.
    #[inline]
    pub(super) fn pieces(&mut self) -> &mut Pieces {
        &mut self.pieces
    }

    /// The plain requests that are taken.
    #[inline]
    pub(super) fn plain(&self) -> &Plain {
        &self.plain
    }

    /// The first ones of the plain requests are done, with these lengths for the driver; the others
    /// stay in the avail ring. Returns how many bytes of data those have.
    #[inline]
    pub(super) fn complete_plain(&mut self, written: &[u32]) -> u64 {
        let heads = self.plain.heads();
        let (done, left) = heads.split_at(written.len().min(heads.len()));
        for (&head, &len) in done.iter().zip(written) {
            self.next_avail = self.next_avail.wrapping_add(1);
            self.queue.add_used(head, len);
        }
        self.record.completed(done);
        self.record.not_taken(left);
        let left = self.plain.requests().iter().skip(done.len());
        let left_bytes = left.map(PlainRequest::data_bytes).sum();
        self.plain.clear();
        left_bytes
    }

    /// A request is done, with this many bytes written.
    #[inline]
    pub(super) fn complete(&mut self, request: Request, written: u32) {
        let len = self.pieces.used_len(written);
        self.leave(request.from);
        self.record.completed(&[request.head]);
        self.queue.add_used(request.head, len);
    }

    /// A request goes on later.
    pub(super) fn keep(&mut self, request: Request, begun: Option<Begun>) {
        self.parking.set_head_of_line(None);
        self.current = Some(request);
        self.begun = begun;
    }

    /// A request must wait: in a lane, or where it is, and then all others wait behind it.
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

    /// A request is not to be found any more where it was.
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

    /// A request stays in the avail ring after all.
    fn was_not_taken(&self, head: u16, from: Origin) {
        if from == Origin::Avail {
            self.record.not_taken(&[head]);
        }
    }

    /// Read the avail index; whether there is something new.
    fn look(&mut self) -> Result<bool, RingError> {
        let (from, to, size) = (self.next_avail, self.queue.avail_idx(), self.queue.size());
        if to.wrapping_sub(from) > size {
            return Err(RingError::AvailJump { from, to, size });
        }
        self.seen_avail = to;
        if to == from {
            // A driver with one request at a time uses the same header again: prefetch that and the
            // place in the avail ring before the index says that they are new.
            self.queue.prefetch_avail(from);
            self.plain.prefetch_header();
        }
        Ok(to != from)
    }

    /// Show the driver what has been completed, if anything was since the last time; whether it
    /// wants to be called for that.
    pub(crate) fn publish_used(&mut self) -> Option<bool> {
        if !self.queue.has_unpublished() {
            return None;
        }
        self.record.returning();
        let old = self.queue.publish_used();
        self.record.returned(self.queue.next_used());
        Some(self.queue.needs_notification(old))
    }

    /// Ask the driver not to kick while we look by ourselves.
    #[inline]
    pub(crate) fn disable_notification(&mut self) {
        self.queue.disable_notification();
    }

    /// Ask for a kick from here on; whether something came meanwhile, which is then ours to find.
    pub(crate) fn enable_notification(&mut self) -> Result<bool, RingError> {
        self.queue.enable_notification(self.next_avail);
        self.look()
    }
}
