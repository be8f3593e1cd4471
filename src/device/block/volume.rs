//! A disk as all its front doors share it: its operations, with admission and statistics.

use std::sync::Arc;
use std::time::Instant;

use super::admission::Admission;
use super::stats::Blocks;
use super::{
    Attempt, Batch, Lane, Limiter, Limits, Operation, Pace, Progress, QueueCounters, Refusal, Rest,
    Serial, Stats, WaitReason,
};
use crate::store::{Capacity, Disk, Sink, Source};

/// A disk with what holds its operations up and what counts them, shared by all queues of all its
/// front ends.
#[derive(Debug)]
pub struct Volume {
    disk: Disk,
    serial: Serial,
    admission: Admission,
    blocks: Blocks,
}

impl Volume {
    /// A volume on this connection to a disk. It is read-only if the connection is.
    pub fn new(disk: Disk, serial: Serial) -> Self {
        Self {
            // A queue has other things to do than to wait for memory.
            disk: disk.into_never_waiting(),
            serial,
            admission: Admission::new(),
            blocks: Blocks::default(),
        }
    }

    pub(in crate::device) fn disk(&self) -> &Disk {
        &self.disk
    }

    pub(super) fn admission(&self) -> &Admission {
        &self.admission
    }

    /// The size now: what makes [`crate::store::ByteRange`]s.
    pub fn capacity(&self) -> Capacity {
        self.disk.capacity()
    }

    /// Whether writes, discards and zeroes fail.
    pub fn is_read_only(&self) -> bool {
        self.disk.is_read_only()
    }

    /// The store's number of the disk; 0 once that is gone.
    pub fn disk_id(&self) -> u64 {
        self.disk.get_info().map_or(0, |info| info.id)
    }

    /// The disk's identifier.
    pub fn serial(&self) -> &Serial {
        &self.serial
    }

    /// Begin an operation if it may go now, and end it unless it takes long.
    ///
    /// # Errors
    /// [`Refusal`].
    #[inline]
    pub fn execute(
        &self,
        operation: Operation<'_, '_>,
        pace: Pace,
        attempt: Attempt,
    ) -> Result<Progress, Refusal> {
        debug_assert!(operation.fits(), "buffers of another length than the range");
        let flags = self.admission.flags();
        if !flags.are_clear() {
            self.admission
                .decide(flags, &self.disk, operation.cost(), attempt)?;
        }
        operation.may_be_poison();
        // Before the disk is asked for memory: what is freed after that is worth another try.
        let seen = self.disk.room_changes();
        let needs_memory = operation.needs_memory();
        match self.begin(operation, pace) {
            Err(error) if needs_memory && error.is_want_of_memory() => {
                Err(self.refuse_full(error, seen, attempt))
            }
            outcome => Ok(outcome?),
        }
    }

    /// Do the next step of a long operation, with what is left of its buffers.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn resume<'m>(
        &self,
        rest: Rest,
        from: &mut [Source<'m>],
        to: &mut [Sink<'m>],
        pace: Pace,
        attempt: Attempt,
    ) -> Result<Progress, Refusal> {
        let flags = self.admission.flags();
        if !flags.are_clear() {
            // It has passed its limits.
            self.admission.decide(flags, &self.disk, None, attempt)?;
        }
        let seen = self.disk.room_changes();
        let needs_memory = rest.needs_memory();
        match self.go_on(rest, from, to, pace) {
            Err(error) if needs_memory && error.is_want_of_memory() => {
                Err(self.refuse_full(error, seen, attempt))
            }
            outcome => Ok(outcome?),
        }
    }

    fn refuse_full(&self, error: crate::store::Error, seen: u64, attempt: Attempt) -> Refusal {
        let reason = self.admission.without_memory(&self.disk, seen, attempt);
        reason.map_or(Refusal::Error(error), Refusal::Wait)
    }

    /// Small reads and writes, to be carried out together.
    pub fn batch(&self) -> Batch<'_> {
        Batch::new(self)
    }

    /// As which attempt an operation that waits, and is the first of its lane, may be tried again
    /// now; `None`: not yet.
    pub fn may_retry(&self, reason: WaitReason, now: Instant) -> Option<Attempt> {
        self.admission.may_retry(&self.disk, reason, now)
    }

    /// One more operation waits in a lane of some queue.
    pub fn begins_to_wait(&self, lane: Lane) {
        self.admission.count_waiting(lane, 1);
    }

    /// One of those operations waits no longer.
    pub fn ends_to_wait(&self, lane: Lane) {
        self.admission.count_waiting(lane, -1);
    }

    /// Have every operation fail from now on, or be carried out again. For a disk that must not be
    /// touched before somebody has looked at it.
    pub fn set_failed(&self, failed: bool) {
        self.admission.set_failed(failed);
    }

    /// Whether every operation fails.
    pub fn has_failed(&self) -> bool {
        self.admission.has_failed()
    }

    /// The disk's own limits.
    pub fn limits(&self) -> Limits {
        self.admission.limits()
    }

    /// Have other limits from now on, with full buckets. Operations that wait notice within some
    /// 10 ms. The same limits again change nothing.
    pub fn set_limits(&self, limits: &Limits) {
        self.admission.set_limits(limits);
    }

    /// The limiter of the group that the disk belongs to.
    pub fn group(&self) -> Option<Arc<Limiter>> {
        self.admission.group()
    }

    /// Have the disk share the limits of a group, beside its own, or those of none. At any time.
    pub fn set_group(&self, group: Option<Arc<Limiter>>) {
        self.admission.set_group(group);
    }

    /// How many writes found no memory so far: they failed, or began to wait for it.
    pub fn full_events(&self) -> u64 {
        self.admission.full_events()
    }

    /// How many operations had to wait for their limits so far. On a queue that keeps its order
    /// those behind one that waits are not looked at yet, and not counted.
    pub fn throttled_total(&self) -> u64 {
        self.admission.throttled_total()
    }

    /// How many operations wait for their limits now.
    pub fn throttled(&self) -> u64 {
        let waiting = |lane| self.admission.waiting(lane);
        waiting(Lane::Reads).wrapping_add(waiting(Lane::Writes))
    }

    /// How many writes wait for memory now.
    pub fn stalled(&self) -> u64 {
        self.admission.waiting(Lane::Memory)
    }

    /// End the disk for this volume, not for others: every operation fails from now on, and those
    /// that wait do within some 10 ms.
    pub fn disconnect(&self) {
        self.disk.disconnect();
    }

    /// What to count the operations of one user of queue `queue` with.
    pub fn counters(&self, queue: u16) -> QueueCounters {
        QueueCounters::new(self.blocks.lend(queue))
    }

    /// What has been done until now. Takes no lock that the data path takes.
    pub fn stats(&self) -> Stats {
        self.blocks.read()
    }
}
