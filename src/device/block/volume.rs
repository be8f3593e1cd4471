//! A disk as all its front doors share it: its operations, with admission and statistics.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use arc_swap::ArcSwapOption;
use parking_lot::RwLock;

use super::admission::Admission;
use super::cache::Cached;
use super::history::{Every, History};
use super::operation::Left;
use super::sanitize::Sanitizer;
use super::stats::Blocks;
use super::tap::{Direct, Tap, Tapped};
use super::turn::Queues;
use super::users::{Presence, User, Users};
use super::{
    Attempt, Batch, Finding, FindingReport, Lane, Limiter, Limits, Operation, OperationKind, Pace,
    Progress, QueueCounters, Refusal, Rest, Sanitize, SanitizerCounts, Serial, Stats, WaitReason,
};
use crate::device::faults::{Faults, Rule};
use crate::store::{Capacity, Disk, Error, Extent, Sink, Source};

/// A disk with its admission and statistics, shared by all queues of all its front ends.
#[derive(Debug)]
pub struct Volume {
    disk: Disk,
    serial: Serial,
    admission: Admission,
    sanitizer: Sanitizer,
    history: ArcSwapOption<History>,
    blocks: Blocks,
    /// What sees each change, while a flag of the admission says so.
    tap: RwLock<Option<Tapped>>,
    /// How many taps it has had.
    taps: AtomicU64,
    pub(super) cached: Cached,
    pub(super) queues: Arc<Queues>,
    users: Arc<Users>,
}

impl Volume {
    /// A volume on this connection to a disk. It is read-only if the connection is.
    pub fn new(disk: Disk, serial: Serial) -> Self {
        Self {
            // The threads that serve queues must not wait for memory.
            disk: disk.into_never_waiting(),
            serial,
            admission: Admission::new(),
            sanitizer: Sanitizer::default(),
            history: ArcSwapOption::empty(),
            blocks: Blocks::default(),
            tap: RwLock::new(None),
            taps: AtomicU64::new(0),
            cached: Cached::default(),
            queues: Arc::default(),
            users: Arc::default(),
        }
    }

    pub(in crate::device) fn disk(&self) -> &Disk {
        &self.disk
    }

    pub(super) fn admission(&self) -> &Admission {
        &self.admission
    }

    /// The present size, which makes [`crate::store::ByteRange`]s.
    pub fn capacity(&self) -> Capacity {
        self.disk.capacity()
    }

    /// The extent of the disk that begins at sector `start`, cut off before sector `end`: see
    /// [`Disk::extent_at`].
    ///
    /// # Errors
    /// The same.
    pub fn extent_at(&self, start: u64, end: u64) -> Result<Extent, Error> {
        self.disk.extent_at(start, end)
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

    /// A user of the disk comes, and stays for as long as what this returns lives. A sanitizer
    /// tells the users apart.
    pub fn arrive(&self) -> Presence {
        self.users.arrive()
    }

    /// Execute an operation of `user` if it is admitted, or the first step of a long one.
    ///
    /// # Errors
    /// [`Refusal`] if it must wait or fails.
    #[inline]
    pub fn execute(
        &self,
        user: User,
        operation: Operation<'_, '_>,
        pace: Pace,
        attempt: Attempt,
    ) -> Result<Progress, Refusal> {
        debug_assert!(operation.fits(), "buffers of another length than the range");
        let flags = self.admission.flags();
        if !flags.are_clear() {
            self.admission
                .decide(flags, &self.disk, operation.cost(), attempt)?;
            // Once, however often it is tried.
            if flags.is_sanitized() && attempt.fate().is_none() && !attempt.waited_for_memory() {
                let is_second = self.users.is_second(user);
                self.sanitizer.look_at(&self.disk, &operation, is_second)?;
            }
            if flags.are_faulty() {
                return self.execute_faulty(operation, pace, attempt);
            }
            if flags.have_history() {
                return self.execute_told(operation, pace, attempt);
            }
        }
        self.execute_now(operation, pace, attempt)
    }

    /// Execute an operation that was admitted: no fault is left to be done.
    pub(super) fn execute_admitted(
        &self,
        operation: Operation<'_, '_>,
        pace: Pace,
        attempt: Attempt,
    ) -> Result<Progress, Refusal> {
        match self.admission.flags().have_history() {
            true => self.execute_told(operation, pace, attempt),
            false => self.execute_now(operation, pace, attempt),
        }
    }

    /// Execute an operation that the history is told of before it is answered.
    #[cold]
    fn execute_told(
        &self,
        operation: Operation<'_, '_>,
        pace: Pace,
        attempt: Attempt,
    ) -> Result<Progress, Refusal> {
        let asked = operation.asked();
        let progress = self.execute_now(operation, pace, attempt)?;
        if let Some(history) = self.history.load().as_deref() {
            match asked.kind {
                OperationKind::Flush => history.flushed(),
                // The first step of a long one counts as all of it.
                OperationKind::Write => history.written(asked.bytes),
                _ => {}
            }
        }
        Ok(progress)
    }

    #[inline]
    fn execute_now(
        &self,
        operation: Operation<'_, '_>,
        pace: Pace,
        attempt: Attempt,
    ) -> Result<Progress, Refusal> {
        operation.may_be_poison();
        // Read before the disk looks for memory, so that memory freed later is a reason to try
        // again.
        let seen = self.disk.room_changes();
        let needs_memory = operation.needs_memory();
        if self.admission.flags().are_watched() {
            return self.execute_watched(operation, pace, attempt);
        }
        match self.begin(&Direct, operation, pace) {
            Err(error) if needs_memory && error.is_out_of_memory() => {
                Err(self.refuse_full(error, seen, attempt))
            }
            outcome => Ok(outcome?),
        }
    }

    /// Execute the next step of a long operation, with what is left of its buffers.
    ///
    /// # Errors
    /// [`Refusal`] if it must wait for memory or fails.
    pub fn resume<'m>(
        &self,
        rest: Rest,
        from: &mut [Source<'m>],
        to: &mut [Sink<'m>],
        pace: Pace,
        attempt: Attempt,
    ) -> Result<Progress, Refusal> {
        if let Left::Faulty { rest, ending } = rest.left {
            return self.resume_faulty(*rest, ending, from, to, pace);
        }
        let flags = self.admission.flags();
        if !flags.are_clear() {
            // Limits apply only to the first step.
            self.admission.decide(flags, &self.disk, None, attempt)?;
        }
        let seen = self.disk.room_changes();
        let needs_memory = rest.needs_memory();
        if flags.are_watched() {
            return self.resume_watched(rest, (from, to), pace, attempt);
        }
        match self.go_on(&Direct, rest, from, to, pace) {
            Err(error) if needs_memory && error.is_out_of_memory() => {
                Err(self.refuse_full(error, seen, attempt))
            }
            outcome => Ok(outcome?),
        }
    }

    pub(super) fn tapped(&self) -> Option<Tapped> {
        self.tap.read().clone()
    }

    /// Have `tap` see each change from now on, or nothing. Changes that have begun already may go
    /// on unseen: [`Volume::stats`] says when they have ended.
    pub fn set_tap(&self, tap: Option<Arc<dyn Tap>>) {
        let mut current = self.tap.write();
        self.admission.set_tapped(tap.is_some());
        // Under the lock, so that a change of the rule comes after it.
        if let Some(tap) = &tap {
            tap.writes_through(self.cached.rule().is_through());
        }
        let number = self.taps.fetch_add(1, Ordering::Relaxed) + 1;
        *current = tap.map(|tap| Tapped { tap, number });
    }

    pub(super) fn refuse_full(&self, error: Error, seen: u64, attempt: Attempt) -> Refusal {
        let reason = self.admission.without_memory(&self.disk, seen, attempt);
        reason.map_or(Refusal::Error(error), Refusal::Wait)
    }

    /// A batch of small reads and writes, to execute them together.
    pub fn batch(&self) -> Batch<'_> {
        Batch::new(self)
    }

    /// Whether the first waiting operation of a lane may be tried again now, and as which attempt.
    /// `None` means not yet.
    pub fn may_retry(&self, reason: WaitReason, now: Instant) -> Option<Attempt> {
        self.admission.may_retry(&self.disk, reason, now)
    }

    /// Count one more operation that waits in a lane of any queue.
    pub fn begins_to_wait(&self, lane: Lane) {
        self.admission.count_waiting(lane, 1);
    }

    /// Count one less operation that waits in a lane of any queue.
    pub fn ends_to_wait(&self, lane: Lane) {
        self.admission.count_waiting(lane, -1);
    }

    /// Mark the disk as failed, so that every operation fails, or remove that mark. This is for a
    /// disk that must not be used before its owner has repaired it.
    pub fn set_failed(&self, failed: bool) {
        self.admission.set_failed(failed);
    }

    /// Whether every operation fails.
    pub fn has_failed(&self) -> bool {
        self.admission.has_failed()
    }

    /// What its sanitizer does.
    pub fn sanitize(&self) -> Sanitize {
        self.sanitizer.mode()
    }

    /// Let its sanitizer do this from now on. What it has found stays.
    pub fn set_sanitize(&self, sanitize: Sanitize) {
        self.sanitizer.set(sanitize);
        self.admission.set_sanitized(sanitize != Sanitize::Off);
    }

    /// Call `tell` with each report of its sanitizer, from the threads that serve requests. Only
    /// the first call of this counts.
    pub fn on_finding(&self, tell: impl Fn(&FindingReport) + Send + Sync + 'static) {
        self.sanitizer.on_report(Box::new(tell));
    }

    /// A part of the disk is about to be changed without an operation of this volume. Beside users
    /// that is a finding.
    ///
    /// # Errors
    /// [`Refusal::Failed`] if it must not be done.
    pub fn is_changed_beside(&self, start_bytes: u64, length_bytes: u64) -> Result<(), Refusal> {
        match self.admission.flags().is_sanitized() && self.users.are_any() {
            true => self.sanitizer.find_second(start_bytes, length_bytes),
            false => Ok(()),
        }
    }

    /// Its history, if it has one.
    pub fn history(&self) -> Option<Arc<History>> {
        self.history.load_full()
    }

    /// Set its history, which is told of flushes and writes from now on, or follow another plan of
    /// it. One thread at a time may do that.
    pub fn set_history(&self, history: Option<Arc<History>>) {
        let plan = history.as_ref().map(|history| history.plan());
        let counts = plan.is_some_and(|plan| matches!(plan.every, Every::Written(_)));
        self.history.store(history);
        self.admission.set_history(plan.is_some(), counts);
    }

    /// The last findings of its sanitizer, oldest first.
    pub fn findings(&self) -> Vec<Finding> {
        self.sanitizer.findings()
    }

    /// How often its sanitizer has found something.
    pub fn sanitizer_counts(&self) -> SanitizerCounts {
        self.sanitizer.counts()
    }

    /// The disk's own limits.
    pub fn limits(&self) -> Limits {
        self.admission.limits()
    }

    /// Set new limits, with full buckets. Waiting operations notice this within about 10 ms.
    /// Setting the same limits again changes nothing.
    pub fn set_limits(&self, limits: &Limits) {
        self.admission.set_limits(limits);
    }

    /// The limiter of the group that the disk belongs to.
    pub fn group(&self) -> Option<Arc<Limiter>> {
        self.admission.group()
    }

    /// Set the group whose limits the disk shares, beside its own limits, or none. You can do this
    /// at any time.
    pub fn set_group(&self, group: Option<Arc<Limiter>>) {
        self.admission.set_group(group);
    }

    /// The faults that decide about operations. Change them with [`Volume::set_faults`].
    pub fn faults(&self) -> &Faults {
        self.admission.faults()
    }

    /// Have exactly these rules: see [`Faults::set`]. You can do this at any time.
    pub fn set_faults(&self, rules: Vec<Rule>) {
        self.admission.set_faults(rules);
    }

    /// How many operations faults hold now.
    pub fn held(&self) -> u64 {
        self.admission.waiting(Lane::Faults)
    }

    /// How many writes have found no memory: they failed, or began to wait for it.
    pub fn full_events(&self) -> u64 {
        self.admission.full_events()
    }

    /// How many operations have had to wait for limits. On a queue that keeps its order, operations
    /// behind a waiting one are not looked at, and not counted.
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

    /// Disconnect this volume from its disk; other connections stay. Every operation fails from now
    /// on, and waiting ones fail within about 10 ms.
    pub fn disconnect(&self) {
        self.disk.disconnect();
    }

    /// Counters for one user of queue `queue`.
    pub fn counters(&self, queue: u16) -> QueueCounters {
        QueueCounters::new(self.blocks.lend(queue))
    }

    /// The present statistics. Takes no lock that the data path takes.
    pub fn stats(&self) -> Stats {
        self.blocks.read()
    }
}
