//! Operations about which faults decide.
//!
//! The decision is made when an operation has passed its limits, once: while it waits, its
//! [`WaitReason`] holds what was decided, and the attempts that follow carry it out. A long
//! operation is decided about as a whole, at its first step.

use std::time::Instant;

use super::wait::{Decided, Reason, Stage};
use super::{Attempt, Operation, Pace, Progress, Refusal, Segment, Volume, WaitReason};
use crate::device::faults::{Fate, Span, Target, TargetOperation};
use crate::store::ByteRange;

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
        }
    }

    /// Decide about an operation. Returns the attempt to carry it out with, unless it must wait.
    fn decide(&self, operation: &Operation<'_, '_>, attempt: Attempt) -> Result<Attempt, Refusal> {
        let Some((operation, spans)) = target(operation) else {
            return Ok(attempt);
        };
        let target = Target {
            operation,
            spans: &spans,
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
