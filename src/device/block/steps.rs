//! Executing operations, long ones in steps.
//!
//! A guest can ask for gigabytes in one request: a thousand descriptors that all name the same
//! 32 MiB are enough. If a worker finished that at once, other queues, other guests and a session
//! that stops the ring would wait for seconds. So such an operation is cut at round offsets of the
//! disk into steps of at most about a millisecond.

use super::operation::Left;
use super::tap::Hands;
use super::{Operation, Pace, Progress, Rest, Segment, Volume};
use crate::store::{ByteRange, Error, Piece, Sink, Source};

/// Cut a range into one step, which ends at a multiple of `step_bytes` on the disk, and the rest.
fn cut(range: ByteRange, step_bytes: u64) -> (ByteRange, ByteRange) {
    range.split_at(step_bytes - range.start_bytes() % step_bytes)
}

/// Call `act` with the first `bytes` of the pieces, and cut these off the pieces.
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

impl Volume {
    #[inline]
    pub(super) fn begin(
        &self,
        hands: &impl Hands,
        operation: Operation<'_, '_>,
        pace: Pace,
    ) -> Result<Progress, Error> {
        match operation {
            Operation::Read { range, to } => self.read(range, 0, to, pace),
            Operation::Write { range, from } => self.write(hands, range, from, pace),
            Operation::Flush => hands.flush(self.disk()).map(|()| Progress::Done(0)),
            Operation::GetId { to } => Ok(Progress::Done(self.serial().copy_to(to))),
            Operation::Discard(segments) => self.begin_segments(hands, false, segments, pace),
            Operation::WriteZeroes(segments) => self.begin_segments(hands, true, segments, pace),
        }
    }

    pub(super) fn go_on(
        &self,
        hands: &impl Hands,
        rest: Rest,
        from: &mut [Source<'_>],
        to: &mut [Sink<'_>],
        pace: Pace,
    ) -> Result<Progress, Error> {
        match rest.left {
            Left::Read { range, done_bytes } => self.read(range, done_bytes, to, pace),
            Left::Write { range } => self.write(hands, range, from, pace),
            Left::Segments {
                zero,
                segments,
                index,
                range,
            } => self.step_segments(hands, zero, (segments, index), range, pace),
            // `resume` has taken it apart.
            Left::Faulty { rest, .. } => self.go_on(hands, *rest, from, to, pace),
        }
    }

    fn read(
        &self,
        range: ByteRange,
        done_bytes: u64,
        to: &mut [Sink<'_>],
        pace: Pace,
    ) -> Result<Progress, Error> {
        if range.len_bytes() <= pace.step_bytes() {
            self.disk().read_into(range, to)?;
            return Ok(Progress::Done(done_bytes + range.len_bytes()));
        }
        let (now, range) = cut(range, pace.step_bytes());
        with_front(to, now.len_bytes(), |to| self.disk().read_into(now, to))?;
        let done_bytes = done_bytes + now.len_bytes();
        Ok(Progress::Rest(Rest {
            left: Left::Read { range, done_bytes },
            submission: None,
        }))
    }

    fn write(
        &self,
        hands: &impl Hands,
        range: ByteRange,
        from: &mut [Source<'_>],
        pace: Pace,
    ) -> Result<Progress, Error> {
        if range.len_bytes() <= hands.whole_bytes(pace) {
            hands.write(self.disk(), range, from)?;
            return Ok(Progress::Done(0));
        }
        let (now, range) = cut(range, pace.step_bytes());
        with_front(from, now.len_bytes(), |from| {
            hands.write(self.disk(), now, from)
        })?;
        Ok(Progress::Rest(Rest {
            left: Left::Write { range },
            submission: hands.submission(),
        }))
    }

    fn begin_segments(
        &self,
        hands: &impl Hands,
        zero: bool,
        segments: &[Segment],
        pace: Pace,
    ) -> Result<Progress, Error> {
        let total_bytes: u64 = segments.iter().map(|it| it.range.len_bytes()).sum();
        if total_bytes > pace.step_range_bytes() {
            return self.step_segments(hands, zero, (segments.into(), 0), None, pace);
        }
        for segment in segments {
            self.apply(hands, zero, *segment, segment.range)?;
        }
        Ok(Progress::Done(0))
    }

    /// One step of many ranges.
    fn step_segments(
        &self,
        hands: &impl Hands,
        zero: bool,
        (segments, mut index): (Box<[Segment]>, usize),
        mut range: Option<ByteRange>,
        pace: Pace,
    ) -> Result<Progress, Error> {
        let mut budget_bytes = pace.step_range_bytes();
        while let Some(segment) = segments.get(index) {
            if budget_bytes == 0 {
                return Ok(Progress::Rest(Rest {
                    left: Left::Segments {
                        zero,
                        segments,
                        index,
                        range,
                    },
                    submission: hands.submission(),
                }));
            }
            let left = range.unwrap_or(segment.range);
            let (now, left) = cut(left, pace.step_range_bytes());
            self.apply(hands, zero, *segment, now)?;
            budget_bytes = budget_bytes.saturating_sub(now.len_bytes());
            range = Some(left).filter(|left| left.len_bytes() > 0);
            index += usize::from(range.is_none());
        }
        Ok(Progress::Done(0))
    }

    fn apply(
        &self,
        hands: &impl Hands,
        zero: bool,
        segment: Segment,
        range: ByteRange,
    ) -> Result<(), Error> {
        if zero {
            // The guest has defined what it reads there, and the store must remember that.
            let unmap = segment.unmap && !self.admission().flags().is_sanitized();
            hands.zero(self.disk(), Segment { range, unmap })
        } else {
            hands.discard(self.disk(), range)
        }
    }
}
