//! A rule in force: what it has counted, and whether it fires for a request.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::dice::{About, Dice, hash_of};
use super::fate::{Fate, Hold, Holder};
use super::latency::Latency;
use super::log::Firing;
use super::rule::{After, Kind, Pick, Rule, TargetOperation};
use super::target::Target;
use crate::store::SECTOR_BYTES;

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
    /// The device that it is like.
    latency: Option<Latency>,
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
            latency: None,
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
            Kind::Personality(personality) => {
                let new = || Latency::new(personality, target.now);
                let latency = self.latency.get_or_insert_with(new);
                Some(latency.serve(target, &mut dice))
            }
            _ => None,
        };
        let kind = settled(self.rule.kind, &mut dice, target);
        let firing = Firing {
            rule: Arc::clone(&self.id),
            number: self.fired,
            kind,
            wait,
            operation: target.operation,
            range: target.first(),
            asked,
        };
        let effect = Effect {
            hold: self.hold(target, wait),
            fate: fate(kind, &mut dice, target),
        };
        Some((effect, firing))
    }

    /// How often the request's start was asked for, if that is counted, and the dice for it.
    fn dice(&mut self, target: &Target<'_>, room: &mut usize) -> (Option<u64>, Dice) {
        let asked = match self.rule.pick {
            Pick::All if !self.rule.kind.takes_chances() => None,
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

    /// How long a request waits that this fires for.
    fn hold(&self, target: &Target<'_>, wait: Option<Duration>) -> Option<Hold> {
        let now = target.now;
        let later = |wait| now.checked_add(wait).unwrap_or(now);
        let held = |disconnects| Hold {
            until: self.ends_at().unwrap_or_else(|| later(NEVER)),
            holder: Some(Holder {
                rule: self.number,
                released: self.released,
            }),
            disconnects,
        };
        match self.rule.kind {
            Kind::Delay(_) | Kind::Personality(_) => wait.map(|wait| Hold {
                until: later(wait),
                holder: None,
                disconnects: false,
            }),
            Kind::Stall => Some(held(false)),
            Kind::Full if target.waits_for_memory => Some(held(false)),
            Kind::Disconnect => Some(Hold {
                until: later(NEVER),
                ..held(true)
            }),
            _ => None,
        }
    }
}

/// The kind with what chance has picked for a request.
fn settled(kind: Kind, dice: &mut Dice, target: &Target<'_>) -> Kind {
    match kind {
        Kind::Torn { sectors, is_silent } => {
            let all = target.first().len_bytes / SECTOR_BYTES;
            Kind::Torn {
                sectors: Some(sectors.unwrap_or_else(|| dice.below(all))),
                is_silent,
            }
        }
        other => other,
    }
}

/// What becomes of a request that a rule of this kind fires for.
fn fate(kind: Kind, dice: &mut Dice, target: &Target<'_>) -> Fate {
    match kind {
        Kind::Error => Fate::Fail,
        Kind::Unsupported => Fate::Unsupported,
        Kind::Delay(_) | Kind::Stall | Kind::Personality(_) => Fate::Run,
        Kind::Torn { sectors, is_silent } => Fate::Torn {
            sectors: sectors.unwrap_or(0),
            is_silent,
        },
        Kind::Lost | Kind::LostFlush => Fate::Lost,
        Kind::Misdirected(sectors) => Fate::Misdirected(sectors),
        Kind::Corrupt(bits) => Fate::Corrupt {
            bits,
            seed: dice.next(),
        },
        // It finds memory once the rule lets it go.
        Kind::Full if target.waits_for_memory => Fate::Run,
        Kind::Full => Fate::Full,
        Kind::Disconnect => Fate::Fail,
    }
}
