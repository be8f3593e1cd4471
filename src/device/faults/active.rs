//! A rule in force: what it has counted, and whether it fires for a request.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::dice::{About, Dice, hash_of};
use super::fate::{Fate, Hold, Holder};
use super::log::Firing;
use super::rule::{After, Kind, Pick, Rule, TargetOperation};
use super::target::Target;

/// A moment that never comes: some decades away, since not every clock can hold more.
const NEVER: Duration = Duration::from_secs(1 << 30);

/// A rule in force.
#[derive(Debug)]
pub(super) struct Active {
    pub(super) rule: Rule,
    pub(super) id: Arc<str>,
    hash: u64,
    /// Its number among all rules that the disk ever had.
    number: u32,
    /// How often it was released.
    released: u32,
    /// Requests that it was about, and their bytes; and flushes of the disk.
    pub(super) requests: u64,
    bytes: u64,
    flushes: u64,
    pub(super) fired: u64,
    first_fired: Option<Instant>,
    /// How often each operation asked for a start since the rule was armed.
    places: HashMap<(TargetOperation, u64), u64>,
    /// Whether there was no room for one more of these.
    pub(super) is_crowded: bool,
}

/// What a rule does with a request that it fires for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Effect {
    pub(super) hold: Option<Hold>,
    pub(super) fate: Fate,
}

impl Active {
    pub(super) fn new(rule: Rule, number: u32) -> Self {
        let id: Arc<str> = rule.id.as_deref().unwrap_or_default().into();
        Self {
            hash: hash_of(&id),
            id,
            rule,
            number,
            released: 0,
            requests: 0,
            bytes: 0,
            flushes: 0,
            fired: 0,
            first_fired: None,
            places: HashMap::new(),
            is_crowded: false,
        }
    }

    /// Let go what it holds.
    pub(super) fn release(&mut self) {
        self.released = self.released.wrapping_add(1);
    }

    /// Whether it still holds what it held as `holder`.
    pub(super) fn holds(&self, holder: Holder) -> bool {
        self.number == holder.rule && self.released == holder.released
    }

    /// How many starts it counts.
    pub(super) fn places(&self) -> usize {
        self.places.len()
    }

    /// Whether it may fire again.
    pub(super) fn is_spent(&self, now: Instant) -> bool {
        self.rule.times.is_some_and(|times| self.fired >= times)
            || self.ends_at().is_some_and(|end| end <= now)
    }

    fn ends_at(&self) -> Option<Instant> {
        let (first, lasts) = (self.first_fired?, self.rule.lasts?);
        first.checked_add(lasts)
    }

    fn is_armed(&self) -> bool {
        match self.rule.after {
            None => true,
            Some(After::Requests(least)) => self.requests >= least,
            Some(After::Bytes(least)) => self.bytes >= least,
            Some(After::Flushes(least)) => self.flushes >= least,
        }
    }

    /// Count a request, and fire for it if the rule does. `is_decided` says that an earlier rule
    /// has decided what becomes of it: then only one that makes it wait may fire. `room` is how
    /// many more starts may be counted.
    pub(super) fn ask(
        &mut self,
        target: &Target<'_>,
        is_decided: bool,
        room: &mut usize,
    ) -> Option<(Effect, Firing)> {
        let is_armed = self.is_armed();
        if target.operation == TargetOperation::Flush {
            self.flushes += 1;
        }
        if !self.rule.is_about(target.operation, target.spans) {
            return None;
        }
        self.requests += 1;
        self.bytes = self.bytes.saturating_add(target.bytes());
        if !is_armed || self.is_spent(target.now) {
            return None;
        }
        let (asked, mut dice) = self.dice(target, room);
        let picked = match self.rule.pick {
            Pick::All => true,
            Pick::Nth(count) => asked == Some(count),
            Pick::Every(count) => asked.is_some_and(|asked| asked.is_multiple_of(count)),
            Pick::Chance(chance) => dice.happens(chance),
        };
        if !picked || is_decided && !self.rule.kind.only_waits() {
            return None;
        }
        self.fired += 1;
        self.first_fired.get_or_insert(target.now);
        let wait = match self.rule.kind {
            Kind::Delay(delay) => Some(dice.wait(delay)),
            _ => None,
        };
        let firing = Firing {
            rule: Arc::clone(&self.id),
            number: self.fired,
            kind: self.rule.kind,
            wait,
            operation: target.operation,
            range: target.first(),
            asked,
        };
        Some((self.effect(target.now, wait), firing))
    }

    /// How often the request's start was asked for, if that is counted, and the dice for it.
    fn dice(&mut self, target: &Target<'_>, room: &mut usize) -> (Option<u64>, Dice) {
        let is_even = matches!(
            self.rule.kind,
            Kind::Error | Kind::Unsupported | Kind::Stall
        );
        let asked = match self.rule.pick {
            Pick::All if is_even => None,
            _ => Some(self.count(target, room)),
        };
        let about = About {
            seed: self.rule.seed,
            rule: self.hash,
            operation: target.operation,
            start_bytes: target.first().start_bytes,
            count: asked.unwrap_or(1),
        };
        (asked, Dice::new(about))
    }

    fn count(&mut self, target: &Target<'_>, room: &mut usize) -> u64 {
        let place = (target.operation, target.first().start_bytes);
        if let Some(count) = self.places.get_mut(&place) {
            *count += 1;
            return *count;
        }
        if *room == 0 {
            self.is_crowded = true;
        } else {
            *room -= 1;
            self.places.insert(place, 1);
        }
        1
    }

    fn effect(&self, now: Instant, wait: Option<Duration>) -> Effect {
        let never = || now.checked_add(NEVER).unwrap_or(now);
        let hold = match self.rule.kind {
            Kind::Delay(_) => wait.map(|wait| Hold {
                until: now.checked_add(wait).unwrap_or(now),
                holder: None,
            }),
            Kind::Stall => Some(Hold {
                until: self.ends_at().unwrap_or_else(never),
                holder: Some(Holder {
                    rule: self.number,
                    released: self.released,
                }),
            }),
            Kind::Error | Kind::Unsupported => None,
        };
        let fate = match self.rule.kind {
            Kind::Error => Fate::Fail,
            Kind::Unsupported => Fate::Unsupported,
            Kind::Delay(_) | Kind::Stall => Fate::Run,
        };
        Effect { hold, fate }
    }
}
