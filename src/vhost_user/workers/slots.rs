//! The rings of a worker: which are hot, which wait for a moment, and which are about to leave.

use std::collections::VecDeque;
use std::time::Instant;

use super::mail::{OrderReceiver, Placed};
use super::order::RingMail;
use super::slot::{Slot, State, Tools};
use crate::device::Pace;
use crate::vhost_user::queue::job::Turn;

/// A worker's rings. Each has a number here, its place, which epoll knows its kicks by.
#[derive(Debug, Default)]
pub(super) struct Slots {
    places: Vec<Option<Placed<RingMail>>>,
    /// Places whose ring is hot.
    hot: Vec<usize>,
    /// Places whose ring is cold, but has requests that wait for a moment.
    parked: Vec<usize>,
    /// Places whose ring is hot and leaves once it has returned what it had set aside.
    leaving: VecDeque<usize>,
}

/// What came of a turn of some rings.
#[derive(Debug, Default)]
pub(super) struct Round {
    pub(super) turn: Turn,
    /// Whether one of them broke.
    broken: bool,
    /// Whether one of them may leave.
    pub(super) left: bool,
}

impl Slots {
    pub(super) fn get_mut(&mut self, at: usize) -> Option<&mut Slot> {
        let placed = self.places.get_mut(at)?.as_mut()?;
        Some(&mut placed.ring)
    }

    /// Where ring `id` is.
    pub(super) fn find(&self, id: u64) -> Option<usize> {
        let is_it = |place: &Option<Placed<RingMail>>| place.as_ref().is_some_and(|it| it.id == id);
        self.places.iter().position(is_it)
    }

    pub(super) fn orders(&self, id: u64) -> Option<&OrderReceiver<RingMail>> {
        let placed = self.places.get(self.find(id)?)?.as_ref()?;
        Some(&placed.orders)
    }

    /// A place that is free.
    pub(super) fn free(&self) -> usize {
        let free = self.places.iter().position(Option::is_none);
        free.unwrap_or(self.places.len())
    }

    /// Put a ring into the [free](Self::free) place `at`. It is hot: kicks that came before epoll
    /// watched for them were missed, so it has a turn at least.
    pub(super) fn insert(&mut self, at: usize, mut placed: Placed<RingMail>) {
        debug_assert!(self.find(placed.id).is_none(), "ring {} is here", placed.id);
        placed.ring.arrive();
        if at == self.places.len() {
            self.places.push(Some(placed));
        } else {
            debug_assert!(self.places[at].is_none(), "place {at} is taken");
            self.places[at] = Some(placed);
        }
        self.hot.push(at);
    }

    /// Take a ring out of its place.
    pub(super) fn remove(&mut self, at: usize) -> Option<Placed<RingMail>> {
        let placed = self.places.get_mut(at)?.take()?;
        self.keep_hot();
        self.parked.retain(|&other| other != at);
        self.leaving.retain(|&other| other != at);
        Some(placed)
    }

    /// How many rings are hot.
    pub(super) fn hot(&self) -> usize {
        self.hot.len()
    }

    /// Whether a ring may be cold. Places that are free or broken count as cold, at the price of a
    /// few looks.
    pub(super) fn may_have_cold(&self) -> bool {
        self.hot.len() < self.places.len()
    }

    /// A turn of each hot ring, in their order. Once `is_called`, or one of them may leave, the
    /// others have their turn after that: a session that waits for either doesn't wait for the
    /// turns of thousands of rings.
    pub(super) fn round(
        &mut self,
        pace: Pace,
        tools: &Tools,
        is_called: impl Fn() -> bool,
    ) -> Round {
        let mut round = Round::default();
        let mut served = 0;
        while let Some(&at) = self.hot.get(served) {
            served += 1;
            self.serve(at, pace, tools, &mut round);
            // Rings that leave soon come in between, in turn.
            if let Some(at) = self.leaving.pop_front() {
                self.leaving.push_back(at);
                self.serve(at, pace, tools, &mut round);
            }
            if served < self.hot.len() && (round.left || is_called()) {
                self.hot.rotate_left(served);
                break;
            }
        }
        if round.broken {
            self.keep_hot();
        }
        round
    }

    fn serve(&mut self, at: usize, pace: Pace, tools: &Tools, round: &mut Round) {
        if let Some(slot) = self.get_mut(at) {
            // A new call descriptor may have broken it since it was hot.
            if slot.state != State::Broken {
                let turn = slot.turn(pace, tools);
                round.turn.steps += turn.steps;
                round.turn.bytes += turn.bytes;
            }
            round.broken |= slot.state == State::Broken;
            round.left |= slot.may_leave();
        }
    }

    /// Let rings that have run dry for long enough go cold; `is_busy` as in [`Slot::cool`].
    pub(super) fn cool(&mut self, now: Instant, is_busy: bool, tools: &Tools) {
        let mut cooled = false;
        for &at in &self.hot {
            if let Some(placed) = self.places.get_mut(at).and_then(Option::as_mut) {
                let slot = &mut placed.ring;
                slot.cool(now, is_busy, tools);
                cooled |= slot.state != State::Hot;
                if slot.state == State::Cold && slot.look_at.is_some() && !slot.is_parked {
                    slot.is_parked = true;
                    self.parked.push(at);
                }
            }
        }
        if cooled {
            self.keep_hot();
        }
    }

    /// Rings whose requests have waited long enough are hot again.
    pub(super) fn wake_parked(&mut self, now: Instant) {
        let (places, hot) = (&mut self.places, &mut self.hot);
        self.parked.retain(|&at| {
            let Some(placed) = places.get_mut(at).and_then(Option::as_mut) else {
                return false;
            };
            let slot = &mut placed.ring;
            let is_cold = slot.state == State::Cold;
            slot.is_parked = is_cold && slot.look_at.is_some_and(|at| at > now);
            if is_cold && !slot.is_parked {
                slot.state = State::Hot;
                hot.push(at);
            }
            slot.is_parked
        });
    }

    /// When the first parked ring has waited long enough.
    pub(super) fn next_wake(&self) -> Option<Instant> {
        let parked = self.parked.iter();
        let parked = parked.filter_map(|&at| self.places.get(at)?.as_ref());
        parked.filter_map(|placed| placed.ring.look_at).min()
    }

    /// The ring in place `at` was kicked; nothing if it is hot or gone. `slept` as in
    /// [`Slot::kicked`].
    pub(super) fn kicked(&mut self, at: usize, now: Instant, slept: bool) {
        if let Some(slot) = self.get_mut(at)
            && slot.state == State::Cold
        {
            slot.kicked(now, slept);
            self.hot.push(at);
        }
    }

    /// Serve a ring, which returns what it had set aside, until it may leave.
    pub(super) fn begin_to_leave(&mut self, at: usize) {
        self.leaving.push_back(at);
        if let Some(slot) = self.get_mut(at)
            && slot.state == State::Cold
        {
            slot.state = State::Hot;
            self.hot.push(at);
        }
    }

    /// A ring that has returned what it had set aside, or never will.
    pub(super) fn may_leave(&self) -> Option<usize> {
        let may_leave = |place: &Option<Placed<RingMail>>| {
            let placed = place.as_ref();
            placed.is_some_and(|placed| placed.ring.may_leave())
        };
        self.places.iter().position(may_leave)
    }

    /// How many rings had requests since this was asked last, and one of them that can move.
    pub(super) fn take_busy(&mut self) -> (usize, Option<usize>) {
        let (mut busy, mut movable) = (0, None);
        for &at in &self.hot {
            if let Some(placed) = self.places.get_mut(at).and_then(Option::as_mut)
                && std::mem::take(&mut placed.ring.served)
            {
                busy += 1;
                movable = Some(at)
                    .filter(|_| placed.ring.leaving.is_none())
                    .or(movable);
            }
        }
        (busy, movable)
    }

    fn keep_hot(&mut self) {
        let places = &self.places;
        let is_hot = |at: &usize| {
            let placed = places.get(*at).and_then(Option::as_ref);
            placed.is_some_and(|placed| placed.ring.state == State::Hot)
        };
        self.hot.retain(is_hot);
    }
}
