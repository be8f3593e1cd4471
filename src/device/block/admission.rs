//! Admission: may an operation run now, must it wait, or does it fail?
//!
//! One word of flags says whether anything may delay or fail the operations of a disk. The fast
//! path loads it once, relaxed, and goes on if it is 0. If a flag is set, [`Admission::decide`]
//! looks at the operation and at how often it was tried. A new reason to delay or to fail
//! operations is a new flag here and a new case there.
//!
//! Two things are not flags. What happens when memory is missing is a setting of the store's disk
//! ([`OnFull`]), which is read only then. And a disk that is importing has no front end yet.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Instant;

use parking_lot::Mutex;

use super::wait::{Decided, Reason, Stage, TRY_AFTER, TRY_EVERY};
use super::{Attempt, Class, Lane, Limiter, Limits, Refusal, WaitReason};
use crate::device::faults::{Faults, Rule};
use crate::store::{Disk, OnFull};

/// Every operation fails.
const FAILED: u32 = 1 << 0;
/// There is a limit: the disk's own, or its group's.
const LIMITED: u32 = 1 << 1;
/// A sanitizer looks at each operation, so none may go in a batch.
const SANITIZED: u32 = 1 << 2;
/// There are faults, or operations for which they decided something that is not done yet.
const FAULTY: u32 = 1 << 3;
/// A tap sees each change.
const TAPPED: u32 = 1 << 4;
/// There is a history, which is told of flushes and writes.
const HISTORY: u32 = 1 << 5;
/// The history counts what is written, so no write may go in a batch.
const COUNTED: u32 = 1 << 6;
/// Writes may be lost until a flush, so none may go in a batch.
const VOLATILE: u32 = 1 << 7;

/// What delays or fails a disk's operations, and how many wait.
#[derive(Debug)]
pub(super) struct Admission {
    flags: AtomicU32,
    limiter: Arc<Limiter>,
    faults: Faults,
    /// Serialises changes of the limits, of the group and of the faults.
    changing: Mutex<()>,
    full_events: AtomicU64,
    throttled_total: AtomicU64,
    /// How many wait, by lane.
    waiting: [AtomicU64; Lane::ALL.len()],
}

/// The flags as one load found them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flags(u32);

impl Flags {
    /// Whether nothing stands in the way of any operation.
    #[inline]
    pub(super) fn are_clear(self) -> bool {
        self.0 == 0
    }

    /// Whether a sanitizer looks at each operation.
    pub(super) fn is_sanitized(self) -> bool {
        self.has(SANITIZED)
    }

    /// Whether faults decide about operations: see [`super::faulty`].
    pub(super) fn are_faulty(self) -> bool {
        self.has(FAULTY)
    }

    /// Whether a tap or a volatile write cache sees each change.
    #[inline]
    pub(super) fn are_watched(self) -> bool {
        self.has(TAPPED | VOLATILE)
    }

    /// Whether it has a volatile write cache.
    pub(super) fn is_volatile(self) -> bool {
        self.has(VOLATILE)
    }

    /// Whether a history is told of flushes and writes.
    pub(super) fn have_history(self) -> bool {
        self.has(HISTORY)
    }

    fn has(self, flag: u32) -> bool {
        self.0 & flag != 0
    }
}

impl Admission {
    pub(super) fn new() -> Self {
        Self {
            flags: AtomicU32::new(0),
            limiter: Limiter::new(&Limits::default()),
            faults: Faults::default(),
            changing: Mutex::new(()),
            full_events: AtomicU64::new(0),
            throttled_total: AtomicU64::new(0),
            waiting: Default::default(),
        }
    }

    #[inline]
    pub(super) fn flags(&self) -> Flags {
        Flags(self.flags.load(Ordering::Relaxed))
    }

    fn set(&self, flag: u32, is_set: bool) {
        if is_set {
            self.flags.fetch_or(flag, Ordering::Release);
        } else {
            self.flags.fetch_and(!flag, Ordering::Release);
        }
    }

    pub(super) fn set_failed(&self, failed: bool) {
        self.set(FAILED, failed);
    }

    pub(super) fn has_failed(&self) -> bool {
        self.flags().has(FAILED)
    }

    pub(super) fn set_sanitized(&self, sanitized: bool) {
        self.set(SANITIZED, sanitized);
    }

    pub(super) fn set_tapped(&self, tapped: bool) {
        self.set(TAPPED, tapped);
    }

    /// Whether there is a history, and whether it counts what is written.
    pub(super) fn set_history(&self, is_there: bool, counts: bool) {
        self.set(HISTORY, is_there);
        self.set(COUNTED, counts);
    }

    pub(super) fn set_volatile(&self, is_volatile: bool) {
        self.set(VOLATILE, is_volatile);
    }

    pub(super) fn limits(&self) -> Limits {
        self.limiter.limits()
    }

    pub(super) fn group(&self) -> Option<Arc<Limiter>> {
        self.limiter.group()
    }

    pub(super) fn set_limits(&self, limits: &Limits) {
        let _changing = self.changing.lock();
        self.limiter.set(limits);
        self.set(LIMITED, self.limiter.is_active());
    }

    pub(super) fn set_group(&self, group: Option<Arc<Limiter>>) {
        let _changing = self.changing.lock();
        self.limiter.set_group(group);
        self.set(LIMITED, self.limiter.is_active());
    }

    pub(super) fn faults(&self) -> &Faults {
        &self.faults
    }

    pub(super) fn set_faults(&self, rules: Vec<Rule>) {
        let _changing = self.changing.lock();
        if !rules.is_empty() {
            self.set(FAULTY, true);
        }
        self.faults.set(rules);
    }

    /// Without rules, and if nothing waits that they decided about, go back to the fast path.
    #[cold]
    pub(super) fn may_end_faults(&self) {
        let _changing = self.changing.lock();
        let waits = self.waiting(Lane::Faults) + self.waiting(Lane::Memory);
        if self.faults.is_empty() && waits == 0 {
            self.set(FAULTY, false);
        }
    }

    /// Admit an operation of a batch. One that must wait is refused here, without being counted or
    /// taking from the limits: it leaves the batch and asks [`Self::decide`] by itself.
    #[cold]
    pub(super) fn decide_now(
        &self,
        flags: Flags,
        (class, bytes): (Class, u64),
        now: Instant,
    ) -> Result<(), Refusal> {
        if flags.has(FAILED) {
            return Err(Refusal::Failed);
        }
        let counted = TAPPED | VOLATILE | COUNTED;
        if flags.has(SANITIZED) || flags.has(counted) && class == Class::Write {
            return Err(Refusal::Wait(WaitReason::turn(class.into())));
        }
        if flags.has(FAULTY) {
            // It must be decided about once, so alone.
            return Err(Refusal::Wait(WaitReason::turn(Lane::Faults)));
        }
        if flags.has(LIMITED) && !self.limiter.take_now(class, bytes, now) {
            return Err(Refusal::Wait(WaitReason::turn(class.into())));
        }
        Ok(())
    }

    /// Admit an operation, or return why it waits or fails. `cost` is what it takes from the
    /// limits.
    #[cold]
    pub(super) fn decide(
        &self,
        flags: Flags,
        disk: &Disk,
        cost: Option<(Class, u64)>,
        attempt: Attempt,
    ) -> Result<(), Refusal> {
        if flags.has(FAILED) {
            return Err(Refusal::Failed);
        }
        match cost {
            Some(cost) if flags.has(LIMITED) => self.limit(disk, cost, attempt),
            _ => Ok(()),
        }
    }

    fn limit(
        &self,
        disk: &Disk,
        (class, bytes): (Class, u64),
        attempt: Attempt,
    ) -> Result<(), Refusal> {
        let (is_first, is_behind) = match attempt {
            Attempt::First {
                behind_reads,
                behind_writes,
            } => match class {
                Class::Read => (true, behind_reads),
                Class::Write => (true, behind_writes),
            },
            Attempt::Turn => (false, false),
            Attempt::Due | Attempt::Memory | Attempt::Decided(_) | Attempt::Last => return Ok(()),
        };
        if disk.is_disconnected() {
            return Ok(());
        }
        let reason = if is_behind {
            Reason::Turn(class.into(), None)
        } else {
            // Read before the reservation: if the limits change in between, the reservation counts
            // as one of the old limits, and the operation asks again.
            let epoch = self.limiter.epoch();
            let now = Instant::now();
            let due = self.limiter.reserve(class, bytes, now);
            if due <= now {
                return Ok(());
            }
            Reason::Limit(class, due, epoch)
        };
        if is_first {
            self.throttled_total.fetch_add(1, Ordering::Relaxed);
        }
        Err(Refusal::Wait(WaitReason(reason)))
    }

    /// The reason for which an operation that found no memory waits, or `None` if it fails. `seen`
    /// is [`Disk::room_changes`] from before it looked for memory.
    #[cold]
    pub(super) fn without_memory(
        &self,
        disk: &Disk,
        seen: u64,
        attempt: Attempt,
    ) -> Option<WaitReason> {
        if !attempt.waited_for_memory() {
            self.full_events.fetch_add(1, Ordering::Relaxed);
        }
        if !stalls(disk) || attempt.is_last() {
            return None;
        }
        Some(WaitReason(Reason::Memory {
            seen,
            tried_at: Instant::now(),
            fate: attempt.fate(),
        }))
    }

    /// The same for an operation of a batch. Returns whether it may have to wait: then it leaves
    /// the batch and is tried by itself, and is counted there.
    #[cold]
    pub(super) fn without_memory_now(&self, disk: &Disk) -> bool {
        let stalls = stalls(disk);
        if !stalls {
            self.full_events.fetch_add(1, Ordering::Relaxed);
        }
        stalls
    }

    /// Whether the first operation of a lane may be tried again now, and as which attempt. `None`
    /// means not yet.
    pub(super) fn may_retry(
        &self,
        disk: &Disk,
        reason: WaitReason,
        now: Instant,
    ) -> Option<Attempt> {
        let is_gone = disk.is_disconnected();
        match reason.0 {
            // The one before it has just found memory.
            Reason::Turn(Lane::Memory, fate) => Some(Attempt::after_memory(fate)),
            Reason::Turn(..) => Some(Attempt::Turn),
            Reason::Limit(_, due, _) if is_gone || due <= now => Some(Attempt::Due),
            Reason::Limit(.., epoch) => (epoch != self.limiter.epoch()).then_some(Attempt::Turn),
            Reason::Held { hold, fate } => {
                let decided = Decided::new(fate, Stage::Held);
                let may_go = is_gone || hold.until <= now;
                may_go.then_some(Attempt::Decided(decided))
            }
            Reason::Memory {
                seen,
                tried_at,
                fate,
            } => {
                let ago = now.saturating_duration_since(tried_at);
                let may_go = is_gone
                    || !stalls(disk)
                    || ago >= TRY_EVERY
                    || ago >= TRY_AFTER && seen != disk.room_changes();
                may_go.then(|| Attempt::after_memory(fate))
            }
        }
    }

    /// Count an operation that was made to find no memory.
    pub(super) fn count_full(&self) {
        self.full_events.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn full_events(&self) -> u64 {
        self.full_events.load(Ordering::Relaxed)
    }

    pub(super) fn throttled_total(&self) -> u64 {
        self.throttled_total.load(Ordering::Relaxed)
    }

    /// Change the number of operations that wait in a lane by `more`, which may be negative.
    pub(super) fn count_waiting(&self, lane: Lane, more: i64) {
        // A negative difference wraps around, and so does the sum.
        self.waiting[lane.index()].fetch_add(more.cast_unsigned(), Ordering::Relaxed);
    }

    pub(super) fn waiting(&self, lane: Lane) -> u64 {
        self.waiting[lane.index()].load(Ordering::Relaxed)
    }
}

/// Whether writes wait when there is no memory for them. The disk's owner may change this at any
/// time: if they no longer do, those that wait fail within about 10 ms.
pub(super) fn stalls(disk: &Disk) -> bool {
    disk.on_full() == OnFull::Stall
}
