//! The operations that a front door asks for, and their results.

use super::{Class, WaitReason};
use crate::store::{self, ByteRange, Sink, Source, points};

/// How many [`OperationKind`]s there are.
pub(super) const OPERATIONS: usize = 6;

/// The kinds of operations, as they are counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OperationKind {
    /// The disk's bytes to the client.
    Read = 0,
    /// The client's bytes to the disk.
    Write,
    /// Earlier writes made stable.
    Flush,
    /// Ranges given back.
    Discard,
    /// Ranges that read zero afterwards.
    WriteZeroes,
    /// The identifier, or something that the front door does not serve.
    #[default]
    Other,
}

/// An operation as it is counted: its kind, and the bytes of the disk that it names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// Its kind.
    pub kind: OperationKind,
    /// Bytes read, written, discarded or zeroed if it succeeds.
    pub bytes: u64,
}

/// A range to discard or to write zeroes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The range, inside the disk.
    pub range: ByteRange,
    /// Whether zeroing may unmap it. A discard always does.
    pub unmap: bool,
}

/// An operation. The buffers of a read or a write have as many bytes as its range. A long operation
/// cuts off what it has used of them, so that they have the rest.
#[derive(Debug)]
pub enum Operation<'a, 'm> {
    /// The disk's bytes to the client.
    Read {
        /// From where.
        range: ByteRange,
        /// To where.
        to: &'a mut [Sink<'m>],
    },
    /// The client's bytes to the disk.
    Write {
        /// To where.
        range: ByteRange,
        /// From where.
        from: &'a mut [Source<'m>],
    },
    /// Earlier writes made stable.
    Flush,
    /// The identifier: as many bytes as the buffers hold.
    GetId {
        /// To where.
        to: &'a [Sink<'m>],
    },
    /// Give ranges back.
    Discard(&'a [Segment]),
    /// Have ranges read zero.
    WriteZeroes(&'a [Segment]),
}

impl Operation<'_, '_> {
    /// For tests of operations that crash the process.
    #[inline]
    pub(super) fn may_be_poison(&self) {
        if let Self::Write { from, .. } = self {
            from.iter().for_each(|&from| points::may_be_poison(from));
        }
    }

    /// Whether the buffers of a read or a write hold as many bytes as its range.
    pub(super) fn fits(&self) -> bool {
        match self {
            Self::Read { range, to } => store::total_bytes(to) == range.len_bytes(),
            Self::Write { range, from } => store::total_bytes(from) == range.len_bytes(),
            _ => true,
        }
    }

    /// How it is counted.
    pub fn asked(&self) -> Asked {
        let sum = |segments: &[Segment]| segments.iter().map(|it| it.range.len_bytes()).sum();
        let (kind, bytes) = match self {
            Self::Read { range, .. } => (OperationKind::Read, range.len_bytes()),
            Self::Write { range, .. } => (OperationKind::Write, range.len_bytes()),
            Self::Flush => (OperationKind::Flush, 0),
            Self::GetId { .. } => (OperationKind::Other, 0),
            Self::Discard(segments) => (OperationKind::Discard, sum(segments)),
            Self::WriteZeroes(segments) => (OperationKind::WriteZeroes, sum(segments)),
        };
        Asked { kind, bytes }
    }

    /// What it takes from the limits. Discards and write-zeroes move no bytes and may name the
    /// whole disk, so each counts as one write of no bytes.
    pub(super) fn cost(&self) -> Option<(Class, u64)> {
        match self {
            Self::Read { range, .. } => Some((Class::Read, range.len_bytes())),
            Self::Write { range, .. } => Some((Class::Write, range.len_bytes())),
            Self::Discard(_) | Self::WriteZeroes(_) => Some((Class::Write, 0)),
            Self::Flush | Self::GetId { .. } => None,
        }
    }

    /// Whether it may wait for memory. A discard doesn't: if there is no memory to cut sectors out
    /// of a shared page, they stay.
    pub(super) fn needs_memory(&self) -> bool {
        matches!(self, Self::Write { .. } | Self::WriteZeroes(_))
    }
}

/// How much of a long operation one step does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pace {
    /// About a millisecond's worth: no other queue waits.
    #[default]
    Alone,
    /// A few microseconds' worth: other queues wait.
    BesideOthers,
}

impl Pace {
    /// Bytes of payload of one step.
    pub(super) fn step_bytes(self) -> u64 {
        match self {
            Self::Alone => 1 << 20,
            Self::BesideOthers => 64 << 10,
        }
    }

    /// Bytes that one step discards or zeroes, chosen for a fully mapped disk, which is the worst
    /// case. A step does up to twice as much if that ends a range.
    pub(super) fn step_range_bytes(self) -> u64 {
        match self {
            Self::Alone => 64 << 20,
            Self::BesideOthers => 16 << 20,
        }
    }
}

/// How much of an operation is done.
#[derive(Debug)]
pub enum Progress {
    /// All of it, with this many bytes in the client's buffers.
    Done(u64),
    /// A part. Pass the rest to [`super::Volume::resume`] with what is left of the buffers.
    Rest(Rest),
}

/// An operation that a [tap](super::Tap) sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Submission {
    /// No other operation that this tap sees has this number.
    pub number: u64,
    /// The moment at which it was submitted. Others may have the same.
    pub at: u64,
}

/// The rest of a long operation.
#[derive(Debug)]
pub struct Rest {
    pub(super) left: Left,
    /// Which operation it is, if a tap saw it begin.
    pub(super) submission: Option<Submission>,
}

#[derive(Debug)]
pub(super) enum Left {
    Read {
        range: ByteRange,
        done_bytes: u64,
    },
    Write {
        range: ByteRange,
    },
    Segments {
        zero: bool,
        /// On the heap, unlike those of a short operation, since a rest is moved around.
        segments: Box<[Segment]>,
        index: usize,
        /// The rest of the segment at `index`, if that has begun.
        range: Option<ByteRange>,
    },
    /// Of an operation with which a fault does something at its end, or step by step.
    Faulty {
        rest: Box<Rest>,
        ending: Ending,
    },
}

/// What a fault does with an operation while it is carried out.
#[derive(Clone, Copy, Debug)]
pub(super) enum Ending {
    /// It fails once the part is done that it was cut to, which has this number of sectors.
    Torn { sectors: u64 },
    /// Bits of what is read from this range are wrong.
    Corrupt {
        range: ByteRange,
        bits: u32,
        seed: u64,
    },
}

impl Rest {
    /// Whether it changes the disk.
    pub(super) fn is_change(&self) -> bool {
        match &self.left {
            Left::Faulty { rest, .. } => rest.is_change(),
            left => !matches!(left, Left::Read { .. }),
        }
    }

    /// The same as [`Operation::needs_memory`].
    pub(super) fn needs_memory(&self) -> bool {
        match &self.left {
            Left::Faulty { rest, .. } => rest.needs_memory(),
            left => matches!(left, Left::Write { .. } | Left::Segments { zero: true, .. }),
        }
    }
}

/// Why an operation is not executed now.
#[derive(Debug)]
pub enum Refusal {
    /// The disk is marked as failed: every operation fails.
    Failed,
    /// A fault on command fails it. Part of it may have been done.
    Fault,
    /// A fault on command says that it isn't supported.
    Unsupported,
    /// The disk refuses it. Part of it may have been done.
    Error(store::Error),
    /// It must wait. Execute it again later, from its start and with all of its buffers. Repeating
    /// the part that was done does no harm.
    Wait(WaitReason),
}

impl From<store::Error> for Refusal {
    fn from(error: store::Error) -> Self {
        Self::Error(error)
    }
}
