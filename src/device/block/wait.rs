//! What an operation waits for, and when it may be tried again.

use std::time::{Duration, Instant};

use super::Class;
use super::limits::Epoch;
use crate::device::faults::{Fate, Hold};

/// How often to check a waiting operation: limits, memory or the disk may have changed.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// How often to try an operation again that found no memory, even if nothing was freed here: the
/// host itself may have memory again.
pub(super) const TRY_EVERY: Duration = Duration::from_millis(100);
/// How long to wait before that if something was freed, so that frequent frees don't cause constant
/// attempts.
pub(super) const TRY_AFTER: Duration = Duration::from_millis(1);

/// A group of operations that wait for the same thing, and go on in the order in which they came,
/// except as a lane says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// Reads that wait for their limits.
    Reads,
    /// Writes that wait for their limits.
    Writes,
    /// Writes that wait for memory.
    Memory,
    /// Operations that a fault holds, in the order in which they may go on.
    Faults,
}

impl Lane {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Reads, Self::Writes, Self::Memory, Self::Faults];

    /// Its index in [`Lane::ALL`].
    pub fn index(self) -> usize {
        self as usize
    }
}

impl From<Class> for Lane {
    fn from(class: Class) -> Self {
        match class {
            Class::Read => Self::Reads,
            Class::Write => Self::Writes,
        }
    }
}

/// What an operation waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitReason(pub(super) Reason);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// Its turn: the operations before it in its lane. What becomes of it may be decided.
    Turn(Lane, Option<Fate>),
    /// The moment at which its limits allow it.
    Limit(Class, Instant, Epoch),
    /// Memory; it last saw this count of the store's changes.
    Memory {
        seen: u64,
        tried_at: Instant,
        /// What becomes of it, if that is decided.
        fate: Option<Fate>,
    },
    /// A fault holds it, and what becomes of it then is decided.
    Held { hold: Hold, fate: Fate },
}

impl WaitReason {
    /// It waits for the operations before it in this lane.
    pub fn turn(lane: Lane) -> Self {
        Self(Reason::Turn(lane, None))
    }

    /// The same once the operations before it in its lane are gone.
    #[must_use]
    pub fn comes_first(self) -> Self {
        match self.0 {
            Reason::Held { .. } => self,
            Reason::Memory { fate, .. } => Self(Reason::Turn(Lane::Memory, fate)),
            Reason::Turn(lane, fate) => Self(Reason::Turn(lane, fate)),
            Reason::Limit(class, ..) => Self(Reason::Turn(class.into(), None)),
        }
    }

    /// The last attempt at an operation that waits for this: its queue stops.
    pub fn last_attempt(self) -> Attempt {
        let decided = match self.0 {
            Reason::Turn(_, fate) | Reason::Memory { fate, .. } => fate,
            // Only its rule knows when it could go on.
            Reason::Held { hold, .. } if hold.holder.is_some() => Some(Fate::Fail),
            Reason::Held { fate, .. } => Some(fate),
            Reason::Limit(..) => None,
        };
        decided.map_or(Attempt::Last, |fate| {
            Attempt::Decided(Decided::new(fate, Stage::Last))
        })
    }

    /// Whether a fault ends the connection of the front end whose operation this is.
    pub fn disconnects(self) -> bool {
        matches!(self.0, Reason::Held { hold, .. } if hold.disconnects)
    }

    /// Until when a fault holds it, if one does.
    pub fn held_until(self) -> Option<Instant> {
        match self.0 {
            Reason::Held { hold, .. } => Some(hold.until),
            _ => None,
        }
    }

    /// The lane in which it waits.
    pub fn lane(self) -> Lane {
        match self.0 {
            Reason::Turn(lane, _) => lane,
            Reason::Limit(class, ..) => class.into(),
            Reason::Memory { .. } => Lane::Memory,
            Reason::Held { .. } => Lane::Faults,
        }
    }

    /// When to call [`super::Volume::may_retry`] next, at the latest, if it is the first of its
    /// lane.
    pub fn look_at(self, now: Instant) -> Instant {
        let look_at = now + LOOK_EVERY;
        match self.0 {
            Reason::Turn(..) => now,
            Reason::Held { hold, .. } => hold.until.min(look_at),
            Reason::Limit(_, due, _) => due.min(look_at),
            Reason::Memory { tried_at, .. } => look_at.min(tried_at + TRY_EVERY),
        }
    }
}

/// Which attempt at an operation this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// The first. It must not overtake waiting operations of its class.
    First {
        /// Reads wait for their limits.
        behind_reads: bool,
        /// Writes wait for their limits.
        behind_writes: bool,
    },
    /// The operations before it are gone.
    Turn,
    /// The moment at which its limits allow it has come.
    Due,
    /// It waited for memory, and there may be some now.
    Memory,
    /// Faults have decided what becomes of it, once and for all attempts.
    Decided(Decided),
    /// The last: limits don't apply, and without memory it fails.
    Last,
}

/// An attempt at an operation about which faults have decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decided {
    pub(super) fate: Fate,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// It no longer waits for the fault, or never did.
    Held,
    /// It waited for memory.
    Memory,
    /// The last attempt.
    Last,
}

impl Decided {
    pub(super) fn new(fate: Fate, stage: Stage) -> Self {
        Self { fate, stage }
    }
}

impl Attempt {
    /// The attempt at an operation that waited for memory.
    pub(super) fn after_memory(fate: Option<Fate>) -> Self {
        fate.map_or(Self::Memory, |fate| {
            Self::Decided(Decided::new(fate, Stage::Memory))
        })
    }

    /// What becomes of the operation, if that is decided.
    pub(super) fn fate(self) -> Option<Fate> {
        match self {
            Self::Decided(decided) => Some(decided.fate),
            _ => None,
        }
    }

    pub(super) fn waited_for_memory(self) -> bool {
        match self {
            Self::Decided(decided) => decided.stage == Stage::Memory,
            other => other == Self::Memory,
        }
    }

    pub(super) fn is_last(self) -> bool {
        match self {
            Self::Decided(decided) => decided.stage == Stage::Last,
            other => other == Self::Last,
        }
    }
}

impl Default for Attempt {
    fn default() -> Self {
        Self::First {
            behind_reads: false,
            behind_writes: false,
        }
    }
}
