//! What an operation waits for, and when it may be tried again.

use std::time::{Duration, Instant};

use super::Class;
use super::limits::Epoch;

/// How often to check a waiting operation: limits, memory or the disk may have changed.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// How often to try an operation again that found no memory, even if nothing was freed here: the
/// host itself may have memory again.
pub(super) const TRY_EVERY: Duration = Duration::from_millis(100);
/// How long to wait before that if something was freed, so that frequent frees don't cause constant
/// attempts.
pub(super) const TRY_AFTER: Duration = Duration::from_millis(1);

/// A group of operations that wait for the same thing, and go on in the order in which they came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// Reads that wait for their limits.
    Reads,
    /// Writes that wait for their limits.
    Writes,
    /// Writes that wait for memory.
    Memory,
}

impl Lane {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Reads, Self::Writes, Self::Memory];

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
    /// Its turn: the operations before it in its lane.
    Turn(Lane),
    /// The moment at which its limits allow it.
    Limit(Class, Instant, Epoch),
    /// Memory; it last saw this count of the store's changes.
    Memory { seen: u64, tried_at: Instant },
}

impl WaitReason {
    /// It waits for the operations before it in this lane.
    pub fn turn(lane: Lane) -> Self {
        Self(Reason::Turn(lane))
    }

    /// The lane in which it waits.
    pub fn lane(self) -> Lane {
        match self.0 {
            Reason::Turn(lane) => lane,
            Reason::Limit(class, ..) => class.into(),
            Reason::Memory { .. } => Lane::Memory,
        }
    }

    /// When to call [`super::Volume::may_retry`] next, at the latest, if it is the first of its
    /// lane.
    pub fn look_at(self, now: Instant) -> Instant {
        let look_at = now + LOOK_EVERY;
        match self.0 {
            Reason::Turn(_) => now,
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
    /// The last: limits don't apply, and without memory it fails.
    Last,
}

impl Default for Attempt {
    fn default() -> Self {
        Self::First {
            behind_reads: false,
            behind_writes: false,
        }
    }
}
