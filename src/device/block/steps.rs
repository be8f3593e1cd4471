//! Requests that take long, a step at a time.
//!
//! A guest may ask for gigabytes in one request: a thousand descriptors that all name the same
//! 32 MiB are enough. A worker that finished it in one go would keep other queues, other guests and
//! whoever wants to stop the ring waiting for seconds. So such a request is cut at round places of
//! the disk into steps of about a millisecond at most, and what is left of it is kept in between.

use super::request::{Operation, Segment, Segments};
use super::tally::{Answered, Asked};
use super::waiting::Refusal;
use super::{Admission, BlockDevice, Status};
use crate::store::{ByteRange, Piece, Sink, Source};

/// How much of a long request is done in one go.
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
    fn step_bytes(self) -> u64 {
        match self {
            Self::Alone => 1 << 20,
            Self::BesideOthers => 64 << 10,
        }
    }

    /// What one step discards or zeroes, of a disk that is fully mapped in the worst case, and up
    /// to as much again where that ends a range.
    fn step_range_bytes(self) -> u64 {
        match self {
            Self::Alone => 64 << 20,
            Self::BesideOthers => 16 << 20,
        }
    }
}

/// What is left of a request between two calls of [`BlockDevice::serve`]; by default nothing.
#[derive(Debug, Default)]
pub struct Unfinished {
    pub(super) rest: Option<Rest>,
    pub(super) pace: Pace,
    pub(super) admission: Admission,
    pub(super) asked: Asked,
    /// What became of the request, for the tally.
    pub(super) answered: Option<Answered>,
    /// When it was taken, if it goes on after others were shown to the driver.
    pub(super) since_ns: Option<u64>,
}

impl Unfinished {
    /// How much to do in one go from now on.
    pub fn set_pace(&mut self, pace: Pace) {
        self.pace = pace;
    }

    /// With what right the next request comes; a request that has begun has it already.
    pub fn set_admission(&mut self, admission: Admission) {
        self.admission = admission;
    }

    /// The next request was taken at this moment, as [`Tally::held`](super::Tally::held) gave it.
    pub fn set_since(&mut self, since_ns: Option<u64>) {
        self.since_ns = since_ns;
    }

    /// How many requests have begun and are not answered.
    pub fn requests(&self) -> usize {
        self.since_ns.is_some().into()
    }
}

/// The rest of a request. Its buffers are with the caller: those that are done are empty.
#[derive(Debug)]
pub(super) enum Rest {
    Read {
        range: ByteRange,
        done_bytes: u64,
    },
    Write {
        range: ByteRange,
    },
    Ranges {
        zero: bool,
        /// On the heap, unlike those of a short request: a rest is moved about.
        segments: Box<Segments>,
        index: usize,
        /// What is left of the segment at `index`, if that has begun.
        range: Option<ByteRange>,
    },
}

/// How far a request came.
#[derive(Debug)]
pub(super) enum Progress {
    /// To its end, with so many data bytes written for the driver.
    Done(u64),
    /// This is left.
    Rest(Rest),
}

/// The part of a range that is one step: up to a multiple of `step_bytes` on the disk. And the
/// rest.
fn cut(range: ByteRange, step_bytes: u64) -> (ByteRange, ByteRange) {
    range.split_at(step_bytes - range.start_bytes() % step_bytes)
}

/// Let `act` have the first `bytes` of the pieces, which are taken off them.
fn with_front<P: Piece, T>(pieces: &mut [P], bytes: u64, act: impl FnOnce(&[P]) -> T) -> T {
    let mut left = usize::try_from(bytes).unwrap_or(usize::MAX);
    let full = pieces.iter().take_while(|piece| {
        let fits = piece.len() <= left;
        left -= if fits { piece.len() } else { 0 };
        fits
    });
    let at = full.count();
    let cut = pieces.get(at).map(|piece| piece.split_at(left));
    if let Some((head, _)) = cut {
        pieces[at] = head;
    }
    let result = act(&pieces[..pieces.len().min(at + 1)]);
    for piece in &mut pieces[..at] {
        *piece = piece.split_at(0).0;
    }
    if let Some((_, tail)) = cut {
        pieces[at] = tail;
    }
    result
}

impl BlockDevice {
    /// Begin a request, if it may go now, and end it unless it takes long.
    pub(super) fn execute(
        &self,
        operation: Operation<'_, '_>,
        pace: Pace,
        admission: Admission,
    ) -> Result<Progress, Refusal> {
        // Here and not before: an operation is 4 KiB, which would be moved once more.
        self.admit(&operation, admission)?;
        match operation {
            Operation::Read { range, to } => self.read(range, 0, to, pace),
            Operation::Write { range, from } => self.write(range, from, pace),
            Operation::Flush => {
                self.disk.flush()?;
                Ok(Progress::Done(0))
            }
            Operation::GetId { to } => Ok(Progress::Done(self.serial.copy_to(to))),
            Operation::Discard(segments) => self.begin_ranges(false, &segments, pace),
            Operation::WriteZeroes(segments) => self.begin_ranges(true, &segments, pace),
        }
    }

    /// Go on with a request.
    pub(super) fn go_on(
        &self,
        rest: Rest,
        readable: &mut [Source<'_>],
        data_in: &mut [Sink<'_>],
        pace: Pace,
    ) -> Result<Progress, Refusal> {
        match rest {
            Rest::Read { range, done_bytes } => self.read(range, done_bytes, data_in, pace),
            Rest::Write { range } => self.write(range, readable, pace),
            Rest::Ranges {
                zero,
                segments,
                index,
                range,
            } => self.ranges(zero, segments, index, range, pace),
        }
    }

    fn read(
        &self,
        range: ByteRange,
        done_bytes: u64,
        to: &mut [Sink<'_>],
        pace: Pace,
    ) -> Result<Progress, Refusal> {
        if range.len_bytes() <= pace.step_bytes() {
            self.disk.read_into(range, to)?;
            return Ok(Progress::Done(done_bytes + range.len_bytes()));
        }
        let (now, range) = cut(range, pace.step_bytes());
        with_front(to, now.len_bytes(), |to| self.disk.read_into(now, to))?;
        Ok(Progress::Rest(Rest::Read {
            range,
            done_bytes: done_bytes + now.len_bytes(),
        }))
    }

    fn write(
        &self,
        range: ByteRange,
        from: &mut [Source<'_>],
        pace: Pace,
    ) -> Result<Progress, Refusal> {
        if range.len_bytes() <= pace.step_bytes() {
            self.disk.write_from(range, from)?;
            return Ok(Progress::Done(0));
        }
        let (now, range) = cut(range, pace.step_bytes());
        with_front(from, now.len_bytes(), |from| {
            self.disk.write_from(now, from)
        })?;
        Ok(Progress::Rest(Rest::Write { range }))
    }

    /// Prove every range before the first is touched: all or nothing.
    fn begin_ranges(
        &self,
        zero: bool,
        segments: &Segments,
        pace: Pace,
    ) -> Result<Progress, Refusal> {
        if self.disk.is_read_only() {
            return Err(Status::IoErr.into());
        }
        let capacity = self.disk.capacity();
        let mut total_bytes = 0;
        for segment in segments.iter() {
            total_bytes += segment.range(capacity)?.len_bytes();
        }
        if total_bytes > pace.step_range_bytes() {
            return self.ranges(zero, Box::new(segments.clone()), 0, None, pace);
        }
        for segment in segments.iter() {
            self.apply(zero, segment, segment.range(capacity)?)?;
        }
        Ok(Progress::Done(0))
    }

    /// One step of many ranges.
    fn ranges(
        &self,
        zero: bool,
        segments: Box<Segments>,
        mut index: usize,
        mut range: Option<ByteRange>,
        pace: Pace,
    ) -> Result<Progress, Refusal> {
        let capacity = self.disk.capacity();
        let mut budget_bytes = pace.step_range_bytes();
        while let Some(segment) = segments.get(index) {
            if budget_bytes == 0 {
                return Ok(Progress::Rest(Rest::Ranges {
                    zero,
                    segments,
                    index,
                    range,
                }));
            }
            let left = match range {
                Some(range) => range,
                None => segment.range(capacity)?,
            };
            let (now, left) = cut(left, pace.step_range_bytes());
            self.apply(zero, segment, now)?;
            budget_bytes = budget_bytes.saturating_sub(now.len_bytes());
            range = Some(left).filter(|left| left.len_bytes() > 0);
            index += usize::from(range.is_none());
        }
        Ok(Progress::Done(0))
    }

    /// A discard never waits for memory: what there is none to cut out of stays.
    fn apply(&self, zero: bool, segment: Segment, range: ByteRange) -> Result<(), Refusal> {
        if zero {
            self.disk.write_zeroes_range(range, segment.unmap())?;
        } else {
            self.disk.discard_range(range).map_err(Status::from)?;
        }
        Ok(())
    }
}
