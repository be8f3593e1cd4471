//! The sanitizer: requests that correct guests wouldn't make are counted, kept, or failed.
//!
//! It is behind a flag of the admission. A disk without it pays nothing; on a disk with it, reads
//! and writes go one by one.
//!
//! A sector is written if the store has mapped it. So on a disk with a sanitizer, zeroes are mapped
//! even if the guest allows that they be unmapped: it has defined what it reads there.

use std::collections::VecDeque;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::SystemTime;

use parking_lot::Mutex;

use super::{Operation, Refusal};
use crate::store::{ByteRange, Disk};

/// Bytes that may be written without a flush before that is a finding.
pub const UNFLUSHED_BYTES: u64 = 256 << 20;

/// How many findings are kept.
const MOST_KEPT: usize = 256;

/// How much of a read is looked at. Linux reads at most a megabyte or so at once, and a guest that
/// names the whole disk must not keep a worker busy.
const MOST_LOOKED_AT_BYTES: u64 = 1 << 30;

/// What the sanitizer does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Sanitize {
    /// Nothing.
    #[default]
    Off,
    /// Count.
    Count,
    /// Count, and keep the last findings.
    Log,
    /// The same, and fail reads of sectors that hold nothing, and changes by second users.
    Fail,
}

impl Sanitize {
    const ALL: [Self; 4] = [Self::Off, Self::Count, Self::Log, Self::Fail];
}

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FindingKind {
    /// A read of sectors that hold nothing: never written, or discarded since.
    UnwrittenRead,
    /// [`UNFLUSHED_BYTES`] were written without a flush.
    NoFlush,
    /// A change by another user than the first of those that are there.
    SecondWriter,
}

impl FindingKind {
    const COUNT: usize = 3;
}

/// Something was found: for the first time, or for one more thousandth time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FindingReport {
    /// What.
    pub kind: FindingKind,
    /// How often that was found by now.
    pub times: u64,
    /// The start of the request, in bytes.
    pub start_bytes: u64,
    /// The length of the request, in bytes.
    pub length_bytes: u64,
}

/// Of each kind the first finding is reported, and each one whose number is a multiple of this.
const REPORT_EVERY: u64 = 1000;

type Tell = Box<dyn Fn(&FindingReport) + Send + Sync>;

/// A request that was found.
#[derive(Clone, Copy, Debug)]
pub struct Finding {
    /// Its number, from 1 on.
    pub number: u64,
    /// When.
    pub at: SystemTime,
    /// What.
    pub kind: FindingKind,
    /// The start of the request, in bytes.
    pub request_start_bytes: u64,
    /// The length of the request, in bytes.
    pub request_length_bytes: u64,
    /// Where the first part that is wrong begins, in bytes.
    pub start_bytes: u64,
    /// The length of that part, in bytes.
    pub length_bytes: u64,
}

/// How often each kind was found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SanitizerCounts {
    /// Reads of sectors that hold nothing.
    pub unwritten_reads: u64,
    /// How often too much was written without a flush.
    pub no_flush: u64,
    /// Changes by another user than the first.
    pub second_writer: u64,
}

/// Looks at the operations of a disk.
#[derive(Default)]
pub(super) struct Sanitizer {
    mode: AtomicU8,
    /// How often each kind was found.
    found: [AtomicU64; FindingKind::COUNT],
    reporter: OnceLock<Tell>,
    /// Written since the last flush.
    unflushed_bytes: AtomicU64,
    kept: Mutex<VecDeque<Finding>>,
}

impl std::fmt::Debug for Sanitizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sanitizer")
            .field("mode", &self.mode())
            .field("counts", &self.counts())
            .finish_non_exhaustive()
    }
}

impl Sanitizer {
    /// Call `tell` with each report, from the threads that serve requests. Only the first call of
    /// this counts.
    pub(super) fn on_report(&self, tell: Tell) {
        let _ = self.reporter.set(tell);
    }

    pub(super) fn set(&self, mode: Sanitize) {
        self.mode.store(mode as u8, Ordering::Relaxed);
    }

    pub(super) fn mode(&self) -> Sanitize {
        let mode = usize::from(self.mode.load(Ordering::Relaxed));
        Sanitize::ALL.get(mode).copied().unwrap_or_default()
    }

    /// The last findings, oldest first.
    pub(super) fn findings(&self) -> Vec<Finding> {
        self.kept.lock().iter().copied().collect()
    }

    pub(super) fn counts(&self) -> SanitizerCounts {
        let count = |kind: FindingKind| self.found[kind as usize].load(Ordering::Relaxed);
        SanitizerCounts {
            unwritten_reads: count(FindingKind::UnwrittenRead),
            no_flush: count(FindingKind::NoFlush),
            second_writer: count(FindingKind::SecondWriter),
        }
    }

    /// Look at an operation that was admitted and is executed next. `is_second`: another user has
    /// been there for longer than the one that asks for it.
    ///
    /// # Errors
    /// [`Refusal::Failed`] for a read of sectors that hold nothing, and for a change by a second
    /// user, if these must fail.
    #[cold]
    pub(super) fn look_at(
        &self,
        disk: &Disk,
        operation: &Operation<'_, '_>,
        is_second: bool,
    ) -> Result<(), Refusal> {
        if is_second && let Some((start_bytes, length_bytes)) = changed(operation) {
            self.find_second(start_bytes, length_bytes)?;
        }
        match operation {
            Operation::Read { range, .. } => self.look_at_read(disk, *range),
            Operation::Write { range, .. } => {
                self.look_at_write(*range);
                Ok(())
            }
            Operation::Flush => {
                self.unflushed_bytes.store(0, Ordering::Relaxed);
                Ok(())
            }
            Operation::GetId { .. } | Operation::Discard(_) | Operation::WriteZeroes(_) => Ok(()),
        }
    }

    fn look_at_read(&self, disk: &Disk, range: ByteRange) -> Result<(), Refusal> {
        let Some((start_bytes, length_bytes)) = unwritten(disk, range) else {
            return Ok(());
        };
        let request = (range.start_bytes(), range.len_bytes());
        let kind = FindingKind::UnwrittenRead;
        self.find(kind, request, (start_bytes, length_bytes));
        self.may_go_on()
    }

    /// A change of a part of the disk, beside the user who came first.
    ///
    /// # Errors
    /// [`Refusal::Failed`] if it must fail.
    pub(super) fn find_second(&self, start_bytes: u64, length_bytes: u64) -> Result<(), Refusal> {
        let request = (start_bytes, length_bytes);
        self.find(FindingKind::SecondWriter, request, request);
        self.may_go_on()
    }

    /// Whether a request that was found is carried out.
    fn may_go_on(&self) -> Result<(), Refusal> {
        match self.mode() {
            Sanitize::Fail => Err(Refusal::Failed),
            Sanitize::Off | Sanitize::Count | Sanitize::Log => Ok(()),
        }
    }

    fn look_at_write(&self, range: ByteRange) {
        let more = range.len_bytes();
        let had = self.unflushed_bytes.fetch_add(more, Ordering::Relaxed);
        if had / UNFLUSHED_BYTES != had.saturating_add(more) / UNFLUSHED_BYTES {
            let request = (range.start_bytes(), more);
            self.find(FindingKind::NoFlush, request, request);
        }
    }

    /// Count a request, whose part is wrong, and keep it if that is wanted.
    fn find(&self, kind: FindingKind, request: (u64, u64), part: (u64, u64)) {
        let times = self.found[kind as usize].fetch_add(1, Ordering::Relaxed) + 1;
        if (times == 1 || times.is_multiple_of(REPORT_EVERY))
            && let Some(tell) = self.reporter.get()
        {
            tell(&FindingReport {
                kind,
                times,
                start_bytes: request.0,
                length_bytes: request.1,
            });
        }
        if !matches!(self.mode(), Sanitize::Log | Sanitize::Fail) {
            return;
        }
        let mut kept = self.kept.lock();
        if kept.len() == MOST_KEPT {
            kept.pop_front();
        }
        let number = kept.back().map_or(0, |last| last.number) + 1;
        kept.push_back(Finding {
            number,
            at: SystemTime::now(),
            kind,
            request_start_bytes: request.0,
            request_length_bytes: request.1,
            start_bytes: part.0,
            length_bytes: part.1,
        });
    }
}

/// Start and length of what an operation changes, in bytes, from its first range to its last one;
/// `None` if it changes nothing.
fn changed(operation: &Operation<'_, '_>) -> Option<(u64, u64)> {
    match operation {
        Operation::Write { range, .. } => Some((range.start_bytes(), range.len_bytes())),
        Operation::Discard(segments) | Operation::WriteZeroes(segments) => {
            let start = segments.iter().map(|it| it.range.start_bytes()).min()?;
            let end = segments.iter().map(|it| it.range.end_bytes()).max()?;
            Some((start, end - start))
        }
        Operation::Read { .. } | Operation::Flush | Operation::GetId { .. } => None,
    }
}

/// The first part of a range that holds nothing: start and length in bytes.
fn unwritten(disk: &Disk, range: ByteRange) -> Option<(u64, u64)> {
    let sector_bytes = disk.sector_size().bytes();
    let end_bytes = range.start_bytes() + range.len_bytes().min(MOST_LOOKED_AT_BYTES);
    let (start, end) = (
        range.start_bytes() / sector_bytes,
        end_bytes.div_ceil(sector_bytes),
    );
    let mut at = start;
    // At most two extents. If a disk shrinks meanwhile, its reads fail by themselves.
    while at < end {
        let extent = disk.extent_at(at, end).ok()?;
        if !extent.mapped {
            return Some((at * sector_bytes, extent.sectors * sector_bytes));
        }
        at += extent.sectors;
    }
    None
}
