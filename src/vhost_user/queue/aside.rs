//! Requests of a ring that were taken and must wait, in the order in which they were taken.
//!
//! Where requests may come back in any order, those behind one that waits go on. It is no more than
//! its head that is kept: its chain is walked anew when it is tried again, as it would be after a
//! crash, so what a guest changes meanwhile is its own business.

use std::collections::VecDeque;

use super::ring::{Ring, RingError, Served, Step};
use crate::device::Lane;
use crate::store::{Sink, Source};

/// A request that was taken out of the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Taken {
    pub(super) head: u16,
    pub(super) from: Origin,
}

/// Where a request was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// The avail ring.
    Avail,
    /// What a process before us left over.
    Unreturned,
    /// Those that were set aside.
    Aside(Lane),
}

/// Heads that wait, by what they wait for. By default there is no room for any.
#[derive(Debug, Default)]
pub(super) struct Aside {
    lanes: [VecDeque<u16>; Lane::ALL.len()],
    most: usize,
    count: usize,
}

impl Aside {
    /// With room for all requests that a driver can have on a ring of `size`; nothing is allocated
    /// later.
    pub(super) fn new(size: u16) -> Self {
        let most = usize::from(size);
        Self {
            lanes: std::array::from_fn(|_| VecDeque::with_capacity(most)),
            most,
            count: 0,
        }
    }

    /// How many wait in a lane.
    #[inline]
    pub(super) fn len(&self, lane: Lane) -> usize {
        self.lanes[lane.index()].len()
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The one that goes first.
    pub(super) fn first(&self, lane: Lane) -> Option<u16> {
        self.lanes[lane.index()].front().copied()
    }

    pub(super) fn remove_first(&mut self, lane: Lane) {
        let removed = self.lanes[lane.index()].pop_front();
        self.count -= usize::from(removed.is_some());
    }

    /// Whether one more may wait. Only a driver that breaks the rules has more out than its ring
    /// has room for.
    pub(super) fn has_room(&self) -> bool {
        self.count < self.most
    }

    pub(super) fn add(&mut self, lane: Lane, head: u16) {
        self.lanes[lane.index()].push_back(head);
        self.count += 1;
    }
}

impl Ring {
    /// Serve the request that goes first of those that wait in `lane`; without a lane the next one,
    /// as [`Ring::serve_one`].
    pub(super) fn serve_from(
        &mut self,
        lane: Option<Lane>,
        serve: impl for<'m> FnOnce(bool, &mut [Source<'m>], &mut [Sink<'m>]) -> Served,
    ) -> Result<Step, RingError> {
        if let Some(lane) = lane {
            if let Some(head) = self.aside.first(lane) {
                let from = Origin::Aside(lane);
                self.collect(head);
                return Ok(self.serve_taken(Taken { head, from }, serve));
            }
            self.at_front = None;
        }
        self.serve_one(serve)
    }

    /// Set a request aside, or have all wait behind it.
    pub(super) fn hold(&mut self, taken: Taken, lane: Lane) -> Step {
        let is_there = taken.from == Origin::Aside(lane);
        let is_aside = matches!(taken.from, Origin::Aside(_));
        if !is_there && (is_aside || self.aside.has_room()) {
            self.leave(taken.from);
            self.aside.add(lane, taken.head);
            return Step::Held {
                is_first: self.aside.len(lane) == 1,
            };
        }
        if !is_there {
            self.at_front = Some(lane);
            self.have_not_taken(taken);
        }
        Step::Held { is_first: true }
    }

    /// A request is not to be found any more where it was.
    pub(super) fn leave(&mut self, from: Origin) {
        match from {
            Origin::Avail => self.next_avail = self.next_avail.wrapping_add(1),
            Origin::Unreturned => {
                self.unreturned.pop();
            }
            Origin::Aside(lane) => return self.aside.remove_first(lane),
        }
        self.alone = self.alone.saturating_sub(1);
    }

    /// A request stays in the avail ring after all.
    fn have_not_taken(&self, taken: Taken) {
        if taken.from == Origin::Avail
            && let Some(tracker) = &self.tracker
        {
            tracker.not_taken(taken.head);
        }
    }

    /// Serve what there is now one by one: the process before this one may have died of it.
    pub(crate) fn be_careful(&mut self) {
        let waiting = self.avail_index().wrapping_sub(self.next_avail);
        // Whether a driver that says nonsense has more out is seen later.
        let unreturned = u16::try_from(self.unreturned.len()).unwrap_or(u16::MAX);
        self.alone = waiting.min(self.size()).saturating_add(unreturned);
    }

    /// Whether the next request is served alone.
    #[inline]
    pub(super) fn goes_alone(&self) -> bool {
        self.alone > 0
    }

    /// The head of the request that is served next, or whatever stands there.
    pub(super) fn next_head(&self, lane: Option<Lane>) -> u16 {
        let begun = self.current.map(|taken| taken.head);
        let aside = || lane.and_then(|lane| self.aside.first(lane));
        let left = || self.unreturned.last().copied();
        let known = begun.or_else(aside).or_else(left);
        known.unwrap_or_else(|| self.head(self.next_avail))
    }

    /// Whether a request waits for this.
    #[inline]
    pub(super) fn waits(&self, lane: Lane) -> bool {
        self.at_front == Some(lane) || self.aside.len(lane) > 0
    }

    /// How many requests are known to wait for this.
    #[inline]
    pub(super) fn waiting(&self, lane: Lane) -> usize {
        self.aside.len(lane) + usize::from(self.at_front == Some(lane))
    }

    /// Whether nothing goes on before the next request in order does.
    #[inline]
    pub(super) fn is_held(&self) -> bool {
        self.at_front.is_some()
    }

    /// Whether any request is known to wait.
    #[inline]
    pub(super) fn has_waiting(&self) -> bool {
        self.at_front.is_some() || !self.aside.is_empty()
    }

    /// Whether requests of this lane were set aside, so that their place in the avail ring is lost.
    pub(super) fn has_aside(&self, lane: Lane) -> bool {
        self.aside.len(lane) > 0
    }

    /// Whether requests of any lane were.
    #[inline]
    pub(super) fn has_any_aside(&self) -> bool {
        !self.aside.is_empty()
    }

    /// Whether a request is half done.
    #[inline]
    pub(super) fn is_half_done(&self) -> bool {
        self.current.is_some()
    }

    /// Whether a request is half done, or one of a process before us is still to be served.
    #[inline]
    pub(super) fn is_amid(&self) -> bool {
        self.current.is_some() || !self.unreturned.is_empty() && self.at_front.is_none()
    }

    /// Forget that a request is half done: it is where it was.
    pub(super) fn give_up(&mut self) {
        if let Some(taken) = self.current.take() {
            self.have_not_taken(taken);
        }
    }
}
