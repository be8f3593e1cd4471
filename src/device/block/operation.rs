//! What a front door asks of a disk, and what can come of it.

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

/// A range to discard or to zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The range, inside the disk.
    pub range: ByteRange,
    /// Whether zeroing may unmap it. A discard always does.
    pub unmap: bool,
}

/// What a client asks for. The buffers of a read or a write hold as many bytes as their range.
/// What a long one has used of them is cut off, so that they hold the rest.
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
    /// For tests of what becomes of an operation that the process dies of.
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

    /// What it takes from the limits. Discards and zeroes move no bytes and may name the whole
    /// disk, so each is one write of none.
    pub(super) fn cost(&self) -> Option<(Class, u64)> {
        match self {
            Self::Read { range, .. } => Some((Class::Read, range.len_bytes())),
            Self::Write { range, .. } => Some((Class::Write, range.len_bytes())),
            Self::Discard(_) | Self::WriteZeroes(_) => Some((Class::Write, 0)),
            Self::Flush | Self::GetId { .. } => None,
        }
    }

    /// Whether it waits for memory if there is none. A discard doesn't: what there is no memory to
    /// cut out of a page stays.
    pub(super) fn needs_memory(&self) -> bool {
        matches!(self, Self::Write { .. } | Self::WriteZeroes(_))
    }
}

/// How much of a long operation is done in one go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pace {
    /// About a millisecond's worth: nobody else waits.
    #[default]
    Alone,
    /// A few microseconds' worth: other queues wait.
    BesideOthers,
}

impl Pace {
    /// Payload of one step.
    pub(super) fn step_bytes(self) -> u64 {
        match self {
            Self::Alone => 1 << 20,
            Self::BesideOthers => 64 << 10,
        }
    }

    /// What one step discards or zeroes, of a disk that is fully mapped in the worst case, and up
    /// to as much again where that ends a range.
    pub(super) fn step_range_bytes(self) -> u64 {
        match self {
            Self::Alone => 64 << 20,
            Self::BesideOthers => 16 << 20,
        }
    }
}

/// How far an operation came.
#[derive(Debug)]
pub enum Progress {
    /// To its end, with this many bytes in the client's buffers.
    Done(u64),
    /// This is left: hand it to [`super::Volume::resume`] with what is left of the buffers.
    Rest(Rest),
}

/// The rest of a long operation.
#[derive(Debug)]
pub struct Rest(pub(super) Left);

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
        /// On the heap, unlike those of a short operation: a rest is moved about.
        segments: Box<[Segment]>,
        index: usize,
        /// What is left of the segment at `index`, if that has begun.
        range: Option<ByteRange>,
    },
}

impl Rest {
    /// As [`Operation::needs_memory`].
    pub(super) fn needs_memory(&self) -> bool {
        matches!(
            self.0,
            Left::Write { .. } | Left::Segments { zero: true, .. }
        )
    }
}

/// Why an operation is not carried out now.
#[derive(Debug)]
pub enum Refusal {
    /// The disk is marked as failed: every operation fails.
    Failed,
    /// The disk refuses it. Part of it may have been done.
    Error(store::Error),
    /// It must wait. Ask for it again, from its start and with all of its buffers; doing again what
    /// was done already does no harm.
    Wait(WaitReason),
}

impl From<store::Error> for Refusal {
    fn from(error: store::Error) -> Self {
        Self::Error(error)
    }
}
