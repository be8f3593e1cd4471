//! Small reads and writes, several at a time.

use std::time::Instant;

use super::admission::Flags;
use super::{Class, Refusal, Volume};
use crate::store::{self, ByteRange, Data, points};

/// Reads and writes of one piece each, which [`Batch::run`] executes together.
#[derive(Debug)]
pub struct Batch<'v> {
    volume: &'v Volume,
    /// The flags when the batch began.
    flags: Flags,
    /// When limits were first consulted: all operations of the batch use this time.
    now: Option<Instant>,
    /// `None` if the disk is gone. Each operation by itself then returns the reason.
    ranges: Option<store::Batch<'v>>,
}

impl<'v> Batch<'v> {
    pub(super) fn new(volume: &'v Volume) -> Self {
        Self {
            volume,
            flags: volume.admission().flags(),
            now: None,
            ranges: volume.disk().batch(),
        }
    }

    /// Add a read or a write of one piece, which is as long as `range`. It is done when
    /// [`Batch::run`] has returned, or already now.
    ///
    /// # Errors
    /// [`Refusal`]. Don't add one again that must wait: pass it to [`Volume::execute`], which
    /// returns what it waits for.
    #[inline]
    pub fn add(&mut self, range: ByteRange, data: Data<'v>) -> Result<(), Refusal> {
        if !self.flags.are_clear() {
            self.admit(range, data)?;
        }
        if let Data::Out(from) = data {
            points::may_be_poison(from);
        }
        if let Some(ranges) = &mut self.ranges
            && ranges.add(range, data)
        {
            return Ok(());
        }
        self.alone(range, data)
    }

    fn admit(&mut self, range: ByteRange, data: Data<'v>) -> Result<(), Refusal> {
        let now = *self.now.get_or_insert_with(Instant::now);
        let class = match data {
            Data::In(_) => Class::Read,
            Data::Out(_) => Class::Write,
        };
        let cost = (class, range.len_bytes());
        self.volume.admission().decide_now(self.flags, cost, now)
    }

    /// Execute one that the store does not accept into its batch.
    fn alone(&mut self, range: ByteRange, data: Data<'v>) -> Result<(), Refusal> {
        // It may have to wait for a lock. A thread must not do that while its batch holds locks.
        self.run();
        let disk = self.volume.disk();
        let result = match data {
            Data::In(to) => disk.read_into(range, &[to]),
            Data::Out(from) => disk.write_from(range, &[from]),
        };
        match result {
            Err(error)
                if error.is_out_of_memory() && self.volume.admission().without_memory_now(disk) =>
            {
                Err(Refusal::Wait(super::WaitReason::turn(super::Lane::Memory)))
            }
            result => Ok(result?),
        }
    }

    /// Execute all that was added. The batch is then empty.
    #[inline]
    pub fn run(&mut self) {
        if let Some(ranges) = &mut self.ranges {
            ranges.run();
        }
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        let is_run = self.ranges.as_ref().is_none_or(store::Batch::is_empty);
        debug_assert!(
            is_run || std::thread::panicking(),
            "a batch is dropped with what was added and not carried out"
        );
    }
}
