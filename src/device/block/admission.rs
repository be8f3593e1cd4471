//! Requests that can't go on at once: over a limit, or without memory on a disk that is to stall.
//!
//! The device says what such a request waits for, and whether it is worth another try now. It keeps
//! none: who has the queue sets the request aside, or the queue, and gives it again later.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::limits::Epoch;
use super::request::Operation;
use super::{BlockDevice, Class, Limiter, Status};
use crate::store::{self, OnFull};

/// How often who waits looks whether something has changed: limits, memory, the disk itself.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// How often a write without memory is tried again though nothing was freed here: the host itself
/// may have some by now.
const TRY_EVERY: Duration = Duration::from_millis(100);
/// How soon it is tried again where something is freed all the time, if not for it.
const TRY_AFTER: Duration = Duration::from_millis(1);

/// What became of a request, or of a step of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Served {
    /// It is done; so many bytes were written, for the used ring.
    Done(u32),
    /// It takes long: part of it is done.
    Unfinished,
    /// It must wait, and is to be given again from the start, with all of its buffers. What it has
    /// done already does no harm when it is done again.
    Held(Hold),
}

/// What a request waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hold(Reason);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reason {
    /// Others of its class that wait.
    Others(Class),
    /// The moment at which its limits allow it.
    Limit(Class, Instant, Epoch),
    /// Memory; of the store, it last saw the changes up to this number.
    Room { seen: u64, tried_at: Instant },
}

/// Requests that wait for the same thing, and so go in the order in which they came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// Reads that wait for their limits.
    Reads,
    /// Writes that wait for their limits.
    Writes,
    /// Writes that wait for memory.
    Room,
}

impl Lane {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Reads, Self::Writes, Self::Room];

    /// Its place in [`Lane::ALL`].
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

impl Hold {
    /// Where it waits.
    pub fn lane(self) -> Lane {
        match self.0 {
            Reason::Others(class) | Reason::Limit(class, ..) => class.into(),
            Reason::Room { .. } => Lane::Room,
        }
    }

    /// When [`BlockDevice::admits`] is to be asked next, at the latest.
    pub fn look_at(self, now: Instant) -> Instant {
        let look_at = now + LOOK_EVERY;
        match self.0 {
            Reason::Others(_) => now,
            Reason::Limit(_, due, _) => due.min(look_at),
            Reason::Room { tried_at, .. } => look_at.min(tried_at + TRY_EVERY),
        }
    }
}

/// With what right a request comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It is new. A class of which others wait already is named here: it must not overtake them.
    New {
        /// Reads wait for their limits.
        behind_reads: bool,
        /// Writes wait for their limits.
        behind_writes: bool,
    },
    /// It waited, and nothing of its class is before it now.
    Next,
    /// It waited for the moment that it was given, which has come.
    Due,
    /// It waited for memory, of which there may be some now.
    Retry,
    /// It can't wait any longer: no limit holds it, and without memory it fails.
    Last,
}

impl Default for Admission {
    fn default() -> Self {
        Self::New {
            behind_reads: false,
            behind_writes: false,
        }
    }
}

/// Why a request isn't carried out now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It fails.
    Status(Status),
    /// There is no memory for it.
    Full,
    /// A limit says that it must wait.
    Held(Hold),
}

impl From<Status> for Refusal {
    fn from(status: Status) -> Self {
        Self::Status(status)
    }
}

impl From<store::Error> for Refusal {
    fn from(error: store::Error) -> Self {
        if error.is_want_of_memory() {
            Self::Full
        } else {
            Self::Status(error.into())
        }
    }
}

/// What keeps requests waiting, and what is known of those that wait.
#[derive(Debug)]
pub(super) struct Gate {
    pub(super) limiter: Arc<Limiter>,
    full_events: AtomicU64,
    throttled_total: AtomicU64,
    throttled: AtomicU64,
    stalled: AtomicU64,
}

impl Gate {
    pub(super) fn new() -> Self {
        Self {
            limiter: Limiter::new(&super::Limits::default()),
            full_events: AtomicU64::new(0),
            throttled_total: AtomicU64::new(0),
            throttled: AtomicU64::new(0),
            stalled: AtomicU64::new(0),
        }
    }

    /// A write found no memory.
    pub(super) fn count_full(&self) {
        self.full_events.fetch_add(1, Ordering::Relaxed);
    }
}

/// What one queue has waiting, counted by its device for as long as this lives.
#[derive(Debug)]
pub struct Waiting {
    device: Arc<BlockDevice>,
    throttled: u64,
    stalled: u64,
}

impl Waiting {
    /// Nothing waits yet.
    pub fn new(device: Arc<BlockDevice>) -> Self {
        Self {
            device,
            throttled: 0,
            stalled: 0,
        }
    }

    /// So many requests wait for their limits, and so many for memory.
    pub fn set(&mut self, throttled: u64, stalled: u64) {
        let gate = &self.device.gate;
        for (gauge, was, is) in [
            (&gate.throttled, &mut self.throttled, throttled),
            (&gate.stalled, &mut self.stalled, stalled),
        ] {
            if *was != is {
                // A difference that wraps around, as the sum does.
                gauge.fetch_add(is.wrapping_sub(*was), Ordering::Relaxed);
                *was = is;
            }
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.set(0, 0);
    }
}

impl BlockDevice {
    /// What keeps the disk within its own limits, which may be changed at any time.
    pub fn limiter(&self) -> &Arc<Limiter> {
        &self.gate.limiter
    }

    /// The limiter of the group that the disk belongs to.
    pub fn group(&self) -> Option<Arc<Limiter>> {
        self.gate.limiter.group()
    }

    /// Have the disk share the limits of a group, beside its own, or those of none. At any time.
    pub fn set_group(&self, group: Option<Arc<Limiter>>) {
        self.gate.limiter.set_group(group);
    }

    /// Whether writes wait when there is no memory for them, which the disk may change at any
    /// time: once it doesn't, those that wait fail within some 10 ms.
    #[inline]
    pub(super) fn stalls(&self) -> bool {
        self.disk.on_full() == OnFull::Stall
    }

    /// How many writes found no memory so far: they failed, or began to wait for it.
    pub fn full_events(&self) -> u64 {
        self.gate.full_events.load(Ordering::Relaxed)
    }

    /// How many requests had to wait for their limits so far. On a queue that keeps its order those
    /// behind one that waits are not looked at yet, and not counted.
    pub fn throttled_total(&self) -> u64 {
        self.gate.throttled_total.load(Ordering::Relaxed)
    }

    /// How many requests wait for their limits now.
    pub fn throttled(&self) -> u64 {
        self.gate.throttled.load(Ordering::Relaxed)
    }

    /// How many writes wait for memory now.
    pub fn stalled(&self) -> u64 {
        self.gate.stalled.load(Ordering::Relaxed)
    }

    /// End the disk for this device, not for others: every request fails from now on, and those
    /// that wait do within some 10 ms.
    pub fn disconnect(&self) {
        self.disk.disconnect();
    }

    /// With what right a request that waits, and is the first of its lane, is to be given again
    /// now; `None`: not yet.
    pub fn admits(&self, hold: Hold, now: Instant) -> Option<Admission> {
        let is_gone = self.disk.is_disconnected();
        match hold.0 {
            Reason::Others(_) => Some(Admission::Next),
            Reason::Limit(_, due, _) if is_gone || due <= now => Some(Admission::Due),
            Reason::Limit(.., epoch) => {
                (epoch != self.gate.limiter.epoch()).then_some(Admission::Next)
            }
            Reason::Room { seen, tried_at } => {
                let ago = now.saturating_duration_since(tried_at);
                let may_go = is_gone
                    || !self.stalls()
                    || ago >= TRY_EVERY
                    || ago >= TRY_AFTER && seen != self.disk.room_changes();
                may_go.then_some(Admission::Retry)
            }
        }
    }

    /// Let an operation that is about to begin pass its limits, or say what it waits for.
    #[inline]
    pub(super) fn admit(
        &self,
        operation: &Operation<'_, '_>,
        admission: Admission,
    ) -> Result<(), Refusal> {
        if self.gate.limiter.is_active() {
            self.admit_limited(operation, admission)
        } else {
            Ok(())
        }
    }

    fn admit_limited(
        &self,
        operation: &Operation<'_, '_>,
        admission: Admission,
    ) -> Result<(), Refusal> {
        let limiter = &self.gate.limiter;
        let (class, bytes) = match operation {
            Operation::Read { range, .. } => (Class::Read, range.len_bytes()),
            Operation::Write { range, .. } => (Class::Write, range.len_bytes()),
            Operation::Discard(_) | Operation::WriteZeroes(_) => (Class::Write, 0),
            Operation::Flush | Operation::GetId { .. } => return Ok(()),
        };
        let (is_new, is_behind) = match admission {
            Admission::New {
                behind_reads,
                behind_writes,
            } => match class {
                Class::Read => (true, behind_reads),
                Class::Write => (true, behind_writes),
            },
            Admission::Next => (false, false),
            Admission::Due | Admission::Retry | Admission::Last => return Ok(()),
        };
        if self.disk.is_disconnected() {
            return Ok(());
        }
        let reason = if is_behind {
            Reason::Others(class)
        } else {
            // Before the reservation: one in limits that change meanwhile counts as an old one.
            let epoch = limiter.epoch();
            let now = Instant::now();
            let due = limiter.reserve(class, bytes, now);
            if due <= now {
                return Ok(());
            }
            Reason::Limit(class, due, epoch)
        };
        if is_new {
            self.gate.throttled_total.fetch_add(1, Ordering::Relaxed);
        }
        Err(Refusal::Held(Hold(reason)))
    }

    /// What a request waits for that found no memory, if it is to wait. `seen` are the changes of
    /// the store before it looked for memory.
    pub(super) fn wait_for_room(&self, seen: u64, admission: Admission) -> Option<Hold> {
        if admission != Admission::Retry {
            self.gate.count_full();
        }
        if !self.stalls() || admission == Admission::Last {
            return None;
        }
        let tried_at = Instant::now();
        Some(Hold(Reason::Room { seen, tried_at }))
    }
}
