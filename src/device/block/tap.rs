//! What sees each change of a disk, in the order in which it is made.
//!
//! A tap is behind a flag of [`Admission`](super::admission), so a disk without one doesn't pay for
//! it. While there is one, writes don't go in batches, and their data is copied before it is
//! written, so that the tap sees the very bytes that the disk gets.

use std::fmt::Debug;
use std::sync::Arc;

use super::{Pace, Segment, Submission};
use crate::store::{self, ByteRange, Disk, Error, Source};

/// A change of a disk, or a flush.
#[derive(Clone, Copy, Debug)]
pub enum Change<'a> {
    /// These bytes are written to the range.
    Write(ByteRange, &'a [u8]),
    /// The range reads zero afterwards.
    WriteZeroes(Segment),
    /// The range is given back.
    Discard(ByteRange),
    /// Earlier changes become stable.
    Flush,
}

/// What sees the changes of a disk. A long operation is several changes of one submission.
pub trait Tap: Debug + Send + Sync {
    /// The present moment, which is later than all before.
    fn moment(&self) -> u64;

    /// An operation begins to be carried out, which was submitted at `submitted`.
    fn begins(&self, submitted: u64) -> Submission;

    /// Make a change, with `act`, or leave it. Only one change is made at a time.
    ///
    /// # Errors
    /// That of `act`.
    fn change(
        &self,
        submission: Submission,
        change: &Change<'_>,
        act: &mut dyn FnMut() -> Result<(), Error>,
    ) -> Result<(), Error>;

    /// The whole operation is completed.
    fn completed(&self, submission: Submission);

    /// From now on a write is stable when it has completed (virtio 1.3 §5.2.6.2), or no longer.
    fn writes_through(&self, is_through: bool);
}

/// A tap, and which one of its disk it is.
#[derive(Clone, Debug)]
pub(super) struct Tapped {
    pub(super) tap: Arc<dyn Tap>,
    /// No other tap of the disk has had it. It is not 0.
    pub(super) number: u64,
}

/// How changes reach the disk.
pub(super) trait Hands {
    fn write(&self, disk: &Disk, range: ByteRange, from: &[Source<'_>]) -> Result<(), Error>;
    fn zero(&self, disk: &Disk, segment: Segment) -> Result<(), Error>;
    fn discard(&self, disk: &Disk, range: ByteRange) -> Result<(), Error>;
    fn flush(&self, disk: &Disk) -> Result<(), Error>;
    /// Which operation it is, if a tap sees the changes.
    fn submission(&self) -> Option<Submission>;
    /// Bytes of a write that is made at once.
    #[inline]
    fn whole_bytes(&self, pace: Pace) -> u64 {
        pace.step_bytes()
    }
}

/// Changes that nothing sees.
#[derive(Debug)]
pub(super) struct Direct;

impl Hands for Direct {
    #[inline]
    fn write(&self, disk: &Disk, range: ByteRange, from: &[Source<'_>]) -> Result<(), Error> {
        disk.write_from(range, from)
    }

    #[inline]
    fn zero(&self, disk: &Disk, segment: Segment) -> Result<(), Error> {
        disk.write_zeroes_range(segment.range, segment.unmap)
    }

    #[inline]
    fn discard(&self, disk: &Disk, range: ByteRange) -> Result<(), Error> {
        disk.discard_range(range)
    }

    #[inline]
    fn flush(&self, disk: &Disk) -> Result<(), Error> {
        disk.flush()
    }

    #[inline]
    fn submission(&self) -> Option<Submission> {
        None
    }
}

/// Changes that a tap sees, of one operation, before other hands make them.
#[derive(Debug)]
pub(super) struct Seen<'t, H> {
    pub(super) hands: &'t H,
    pub(super) tap: &'t dyn Tap,
    pub(super) submission: Submission,
}

impl<H> Seen<'_, H> {
    fn change(
        &self,
        change: &Change<'_>,
        act: &mut dyn FnMut() -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.tap.change(self.submission, change, act)
    }
}

impl<H: Hands> Hands for Seen<'_, H> {
    fn write(&self, disk: &Disk, range: ByteRange, from: &[Source<'_>]) -> Result<(), Error> {
        debug_assert_eq!(
            store::total_bytes(from),
            range.len_bytes(),
            "a step's bytes"
        );
        // A guest may change its buffer at any moment. A step is short.
        let mut bytes = vec![0; usize::try_from(range.len_bytes()).unwrap_or(0)];
        let mut at = 0;
        for piece in from {
            at += piece.copy_to(&mut bytes[at..]);
        }
        let change = Change::Write(range, &bytes);
        self.change(&change, &mut || {
            self.hands.write(disk, range, &[Source::from(&bytes[..])])
        })
    }

    fn zero(&self, disk: &Disk, segment: Segment) -> Result<(), Error> {
        self.change(&Change::WriteZeroes(segment), &mut || {
            self.hands.zero(disk, segment)
        })
    }

    fn discard(&self, disk: &Disk, range: ByteRange) -> Result<(), Error> {
        self.change(&Change::Discard(range), &mut || {
            self.hands.discard(disk, range)
        })
    }

    fn flush(&self, disk: &Disk) -> Result<(), Error> {
        self.change(&Change::Flush, &mut || self.hands.flush(disk))
    }

    fn submission(&self) -> Option<Submission> {
        Some(self.submission)
    }

    fn whole_bytes(&self, pace: Pace) -> u64 {
        self.hands.whole_bytes(pace)
    }
}
