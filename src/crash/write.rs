//! Moments, and what is known of a write.

use crate::store::ByteRange;

/// A point in the order of a disk's events: submissions, applications and completions. No two
/// events have the same one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(pub u64);

/// What a write does to its range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WriteKind {
    /// Data replaces the content.
    Write,
    /// The range reads as zeros, and is unmapped.
    Discard,
    /// The range reads as zeros, and stays mapped.
    Zeroes,
}

/// A write, discard or write-zeroes of one range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Logged {
    /// Its number, in order of submission.
    pub number: u64,
    /// What it does.
    pub kind: WriteKind,
    /// Where.
    pub range: ByteRange,
    /// When the device took it from its queue.
    pub submitted: Moment,
    /// When a read would see it; `None` as long as none does.
    pub applied: Option<Moment>,
    /// When the driver was told that it is done; `None` while it is in flight.
    pub completed: Option<Moment>,
    /// Whether it is stable as soon as it has completed: flush was never negotiated, or writeback
    /// was off for the whole of it.
    pub is_through: bool,
}

impl Logged {
    /// Whether it is stable, if the last of the flushes that have completed was submitted at
    /// `covered_to` (that is, the one of them that was submitted last).
    pub fn is_stable(&self, covered_to: Moment) -> bool {
        self.completed
            .is_some_and(|completed| self.is_through || completed < covered_to)
    }

    /// Whether the two have a sector in common.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.range.start_bytes() < other.range.end_bytes()
            && other.range.start_bytes() < self.range.end_bytes()
    }

    /// Whether it had completed before `other` was submitted.
    pub fn is_done_before(&self, other: &Self) -> bool {
        self.completed
            .is_some_and(|completed| completed < other.submitted)
    }
}
