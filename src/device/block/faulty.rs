//! Operations about which faults decide.
//!
//! The decision is made when an operation has passed its limits, once: while it waits, its
//! [`WaitReason`] holds what was decided, and the attempts that follow carry it out. A long
//! operation is decided about as a whole, at its first step.

use std::time::Instant;

use super::admission::stalls;
use super::operation::{Ending, Left};
use super::wait::{Decided, Reason, Stage};
use super::{Attempt, Operation, Pace, Progress, Refusal, Rest, Segment, Volume, WaitReason};
use crate::device::faults::{Fate, Flips, Span, Target, TargetOperation};
use crate::store::{self, ByteRange, Piece, SECTOR_BYTES, Sink, Source};

/// Bytes of a sector, as the length of an array.
const SECTOR: usize = 512;

fn span(range: ByteRange) -> Span {
    Span {
        start_bytes: range.start_bytes(),
        len_bytes: range.len_bytes(),
    }
}

fn spans(segments: &[Segment]) -> Vec<Span> {
    segments.iter().map(|it| span(it.range)).collect()
}

/// What faults know an operation by. `None` if they are never about it.
fn target(operation: &Operation<'_, '_>) -> Option<(TargetOperation, Vec<Span>)> {
    Some(match operation {
        Operation::Read { range, .. } => (TargetOperation::Read, vec![span(*range)]),
        Operation::Write { range, .. } => (TargetOperation::Write, vec![span(*range)]),
        Operation::Flush => (TargetOperation::Flush, Vec::new()),
        Operation::Discard(segments) => (TargetOperation::Discard, spans(segments)),
        Operation::WriteZeroes(segments) => (TargetOperation::WriteZeroes, spans(segments)),
        Operation::GetId { .. } => return None,
    })
}

/// Cut the pieces to their first `bytes`.
fn cut(pieces: &mut [Source<'_>], bytes: u64) {
    let mut left = usize::try_from(bytes).unwrap_or(usize::MAX);
    for piece in pieces {
        *piece = piece.split_at(left.min(piece.len())).0;
        left -= piece.len();
    }
}

/// How many bytes of a read of `range` are done.
fn done_bytes(progress: &Progress, range: ByteRange) -> u64 {
    match progress {
        Progress::Rest(Rest {
            left: Left::Read { range: left, .. },
            ..
        }) => range.len_bytes() - left.len_bytes().min(range.len_bytes()),
        _ => range.len_bytes(),
    }
}

/// What a fault makes of a step of an operation.
fn end(progress: Progress, ending: Ending) -> Result<Progress, Refusal> {
    match (progress, ending) {
        (Progress::Rest(rest), ending) => {
            let rest = Box::new(rest);
            Ok(Progress::Rest(Rest {
                left: Left::Faulty { rest, ending },
                submission: None,
            }))
        }
        (Progress::Done(_), Ending::Torn { .. }) => Err(Refusal::Fault),
        (done, Ending::Corrupt { .. }) => Ok(done),
    }
}

impl Volume {
    /// Execute an operation of a disk with faults, which has passed its limits.
    #[cold]
    pub(super) fn execute_faulty(
        &self,
        operation: Operation<'_, '_>,
        pace: Pace,
        attempt: Attempt,
    ) -> Result<Progress, Refusal> {
        let attempt = match attempt {
            // It was decided about before it waited.
            Attempt::Decided(_) | Attempt::Memory => attempt,
            _ => self.decide(&operation, attempt)?,
        };
        match attempt.fate().unwrap_or_default() {
            Fate::Run => self.execute_admitted(operation, pace, attempt),
            Fate::Fail => Err(Refusal::Fault),
            Fate::Unsupported => Err(Refusal::Unsupported),
            Fate::Full => {
                self.admission().count_full();
                let size_bytes = self.capacity().bytes();
                Err(store::Error::Full {
                    limit_bytes: size_bytes,
                }
                .into())
            }
            Fate::Lost => Ok(Progress::Done(0)),
            Fate::Torn { sectors, is_silent } => {
                self.tear(operation, sectors, is_silent, pace, attempt)
            }
            Fate::Misdirected(sectors) => {
                self.execute_admitted(self.misdirected(operation, sectors), pace, attempt)
            }
            Fate::Corrupt { bits, seed } => {
                self.read_wrongly(operation, (bits, seed), pace, attempt)
            }
        }
    }

    /// Write the first sectors of a write only.
    fn tear(
        &self,
        operation: Operation<'_, '_>,
        sectors: u64,
        is_silent: bool,
        pace: Pace,
        attempt: Attempt,
    ) -> Result<Progress, Refusal> {
        let Operation::Write { range, from } = operation else {
            return self.execute_admitted(operation, pace, attempt);
        };
        let (range, _) = range.split_at(sectors.saturating_mul(SECTOR_BYTES));
        cut(from, range.len_bytes());
        let progress = self.execute_admitted(Operation::Write { range, from }, pace, attempt)?;
        match is_silent {
            true => Ok(progress),
            false => end(progress, Ending::Torn { sectors }),
        }
    }

    /// The same write elsewhere.
    fn misdirected<'a, 'm>(&self, operation: Operation<'a, 'm>, sectors: i64) -> Operation<'a, 'm> {
        let Operation::Write { range, from } = operation else {
            return operation;
        };
        let capacity = self.capacity();
        let (start, len_bytes) = (range.start_bytes() / SECTOR_BYTES, range.len_bytes());
        // How many places there are for a write of this length.
        let len = len_bytes / SECTOR_BYTES;
        let places = i128::from(capacity.sectors_512().saturating_sub(len)) + 1;
        let start = (i128::from(start) + i128::from(sectors)).rem_euclid(places);
        let elsewhere = u64::try_from(start).ok();
        let elsewhere = elsewhere.and_then(|start| capacity.range_512(start, len_bytes).ok());
        // The disk has just become smaller: then it refuses this one.
        let range = elsewhere.unwrap_or(range);
        Operation::Write { range, from }
    }

    /// Read, with some bits wrong.
    fn read_wrongly(
        &self,
        operation: Operation<'_, '_>,
        (bits, seed): (u32, u64),
        pace: Pace,
        attempt: Attempt,
    ) -> Result<Progress, Refusal> {
        let Operation::Read { range, to } = operation else {
            return self.execute_admitted(operation, pace, attempt);
        };
        // Reading cuts off what it has used.
        let pieces = to.to_vec();
        let progress = self.execute_admitted(Operation::Read { range, to }, pace, attempt)?;
        let ending = Ending::Corrupt { range, bits, seed };
        self.flip(&pieces, ending, 0, done_bytes(&progress, range))?;
        end(progress, ending)
    }

    /// Execute the next step of an operation that a fault changes.
    #[cold]
    pub(super) fn resume_faulty<'m>(
        &self,
        rest: Rest,
        ending: Ending,
        from: &mut [Source<'m>],
        to: &mut [Sink<'m>],
        pace: Pace,
    ) -> Result<Progress, Refusal> {
        // If it finds no memory now, it begins again later.
        let fate = match ending {
            Ending::Torn { sectors } => Fate::Torn {
                sectors,
                is_silent: false,
            },
            Ending::Corrupt { bits, seed, .. } => Fate::Corrupt { bits, seed },
        };
        let attempt = Attempt::Decided(Decided::new(fate, Stage::Held));
        let pieces = to.to_vec();
        let before = match (&rest.left, ending) {
            (Left::Read { range: left, .. }, Ending::Corrupt { range, .. }) => {
                range.len_bytes() - left.len_bytes().min(range.len_bytes())
            }
            _ => 0,
        };
        let progress = self.resume(rest, from, to, pace, attempt)?;
        if let Ending::Corrupt { range, .. } = ending {
            self.flip(&pieces, ending, before, done_bytes(&progress, range))?;
        }
        end(progress, ending)
    }

    /// Have wrong bits in the bytes from `from` to `to` of a read, which begin with `pieces`. Each
    /// byte is read again, since a guest may change what it has got.
    fn flip(&self, pieces: &[Sink<'_>], ending: Ending, from: u64, to: u64) -> Result<(), Refusal> {
        let Ending::Corrupt { range, bits, seed } = ending else {
            return Ok(());
        };
        let flips = Flips::new(seed, bits, range.len_bytes());
        for (byte, mask) in flips.within(from..to) {
            let mut sector = [0; SECTOR];
            let (_, rest) = range.split_at(byte / SECTOR_BYTES * SECTOR_BYTES);
            let (this, _) = rest.split_at(SECTOR_BYTES);
            self.disk()
                .read_into(this, &[Sink::from(&mut sector[..])])?;
            let at = usize::try_from(byte % SECTOR_BYTES).unwrap_or(0);
            let (mut left, wrong) = (byte - from, sector[at] ^ mask);
            for piece in pieces {
                let len = piece.len() as u64;
                if left < len {
                    let at = usize::try_from(left).unwrap_or(0);
                    piece.split_at(at).1.copy_from(&[wrong]);
                    break;
                }
                left -= len;
            }
        }
        Ok(())
    }

    /// Decide about an operation. Returns the attempt to carry it out with, unless it must wait.
    fn decide(&self, operation: &Operation<'_, '_>, attempt: Attempt) -> Result<Attempt, Refusal> {
        let Some((operation, spans)) = target(operation) else {
            return Ok(attempt);
        };
        let target = Target {
            operation,
            spans: &spans,
            size_bytes: self.capacity().bytes(),
            waits_for_memory: stalls(self.disk()),
            now: Instant::now(),
        };
        let verdict = self.faults().decide(&target);
        if verdict.is_unruled {
            self.admission().may_end_faults();
        }
        let is_last = attempt.is_last();
        match verdict.hold {
            Some(hold) if !is_last => {
                let fate = verdict.fate;
                return Err(Refusal::Wait(WaitReason(Reason::Held { hold, fate })));
            }
            // Nothing can wait any more.
            Some(hold) if hold.holder.is_some() => return Err(Refusal::Fault),
            _ => {}
        }
        let stage = match is_last {
            true => Stage::Last,
            false => Stage::Held,
        };
        Ok(Attempt::Decided(Decided::new(verdict.fate, stage)))
    }

    /// The reason for which a held operation goes on waiting, after [`Faults::epoch`] has changed:
    /// if its rule no longer holds it, it waits no longer.
    ///
    /// [`Faults::epoch`]: crate::device::faults::Faults::epoch
    pub fn still_held(&self, reason: WaitReason, now: Instant) -> WaitReason {
        match reason.0 {
            Reason::Held { mut hold, fate } => {
                if hold
                    .holder
                    .is_some_and(|holder| !self.faults().holds(holder))
                {
                    (hold.until, hold.holder) = (now, None);
                }
                WaitReason(Reason::Held { hold, fate })
            }
            _ => reason,
        }
    }
}
