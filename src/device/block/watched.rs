//! Executing operations whose changes something sees: a tap, a volatile write cache, or both.

use std::sync::Arc;

use super::cache::{Cache, Entered, Rule};
use super::tap::{Direct, Hands, Seen, Tap};
use super::{Attempt, Lane, Operation, Pace, Progress, Refusal, Rest, Segment, Volume, WaitReason};
use crate::crash::WriteKind;
use crate::store::{ByteRange, Disk, Error, Sink, Source};

/// A write of at most that many bytes is one write of a cache, and not several. Linux asks for less
/// at once.
const WHOLE_BYTES: u64 = 4 << 20;

impl Volume {
    /// Its volatile write cache.
    pub fn cache(&self) -> Option<Arc<Cache>> {
        match self.admission().flags().is_volatile() {
            true => self.cached.get(),
            false => None,
        }
    }

    /// Give it this cache, or none. No front end may be connected.
    pub fn set_cache(&self, cache: Option<Arc<Cache>>) {
        let is_volatile = cache.is_some();
        let before = self.cached.set(cache);
        self.admission().set_volatile(is_volatile);
        drop(before);
    }

    /// From now on writes are stable by this rule, as a cache and a tap see it.
    pub(in crate::device) fn set_rule(&self, rule: Rule) {
        self.cached.set_rule(rule);
        if let Some(tap) = self.tap() {
            tap.writes_through(rule.is_through());
        }
    }

    /// All that a read sees is stable: its owner has changed the content.
    pub fn stabilise(&self) {
        if let Some(cache) = self.cache() {
            cache.stabilise();
        }
    }

    /// [`Volume::execute`] for an operation that was admitted.
    #[cold]
    pub(super) fn execute_watched(
        &self,
        operation: Operation<'_, '_>,
        pace: Pace,
        attempt: Attempt,
    ) -> Result<Progress, Refusal> {
        if matches!(operation, Operation::Read { .. } | Operation::GetId { .. }) {
            return Ok(self.begin(&Direct, operation, pace)?);
        }
        let cache = self.cache();
        let entered = cache.as_deref().map(|cache| enter(cache, attempt));
        let entered = entered.transpose()?;
        let seen = self.disk().room_changes();
        let needs_memory = operation.needs_memory();
        let progress = match &entered {
            None => self.begin_seen(&Direct, operation, pace),
            Some(entered) => self.begin_seen(entered, operation, pace),
        };
        self.outcome(progress, needs_memory.then_some(seen), attempt)
    }

    /// [`Volume::resume`] for a step that was admitted.
    #[cold]
    pub(super) fn resume_watched<'m>(
        &self,
        rest: Rest,
        (from, to): (&mut [Source<'m>], &mut [Sink<'m>]),
        pace: Pace,
        attempt: Attempt,
    ) -> Result<Progress, Refusal> {
        if !rest.is_change() {
            return Ok(self.go_on(&Direct, rest, from, to, pace)?);
        }
        let cache = self.cache();
        let entered = cache.as_deref().map(|cache| enter(cache, attempt));
        let entered = entered.transpose()?;
        let seen = self.disk().room_changes();
        let needs_memory = rest.needs_memory();
        let progress = match &entered {
            None => self.go_on_seen(&Direct, rest, (from, to), pace),
            Some(entered) => self.go_on_seen(entered, rest, (from, to), pace),
        };
        self.outcome(progress, needs_memory.then_some(seen), attempt)
    }

    fn begin_seen(
        &self,
        hands: &impl Hands,
        operation: Operation<'_, '_>,
        pace: Pace,
    ) -> Result<Progress, Error> {
        let Some(tap) = self.tap() else {
            return self.begin(hands, operation, pace);
        };
        let seen = Seen {
            submitted: tap.submitted(),
            tap: &*tap,
            hands,
        };
        let progress = self.begin(&seen, operation, pace)?;
        Ok(completed(seen.tap, seen.submitted, progress))
    }

    fn go_on_seen(
        &self,
        hands: &impl Hands,
        rest: Rest,
        (from, to): (&mut [Source<'_>], &mut [Sink<'_>]),
        pace: Pace,
    ) -> Result<Progress, Error> {
        let Some(tap) = self.tap() else {
            return self.go_on(hands, rest, from, to, pace);
        };
        let seen = Seen {
            // The tap may be younger than the operation.
            submitted: rest.submitted.unwrap_or_else(|| tap.submitted()),
            tap: &*tap,
            hands,
        };
        let progress = self.go_on(&seen, rest, from, to, pace)?;
        Ok(completed(seen.tap, seen.submitted, progress))
    }

    fn outcome(
        &self,
        progress: Result<Progress, Error>,
        seen: Option<u64>,
        attempt: Attempt,
    ) -> Result<Progress, Refusal> {
        progress.map_err(|error| match seen {
            Some(seen) if error.is_out_of_memory() => self.refuse_full(error, seen, attempt),
            _ => Refusal::Error(error),
        })
    }
}

/// Tell the tap if that was the last step.
fn completed(tap: &dyn Tap, submitted: u64, progress: Progress) -> Progress {
    if matches!(progress, Progress::Done(_)) {
        tap.completed(submitted);
    }
    progress
}

fn enter(cache: &Cache, attempt: Attempt) -> Result<Entered<'_>, Refusal> {
    let may_wait = !attempt.is_last();
    cache.enter(may_wait).ok_or_else(|| match may_wait {
        true => Refusal::Wait(WaitReason::turn(Lane::Writes)),
        false => Refusal::Failed,
    })
}

/// Changes that a volatile write cache sees.
impl Hands for Entered<'_> {
    fn write(&self, disk: &Disk, range: ByteRange, from: &[Source<'_>]) -> Result<(), Error> {
        self.change(disk, WriteKind::Write, range, || {
            disk.write_from(range, from)
        })
    }

    fn zero(&self, disk: &Disk, segment: Segment) -> Result<(), Error> {
        self.change(disk, WriteKind::Zeroes, segment.range, || {
            Direct.zero(disk, segment)
        })
    }

    fn discard(&self, disk: &Disk, range: ByteRange) -> Result<(), Error> {
        self.change(disk, WriteKind::Discard, range, || {
            disk.discard_range(range)
        })
    }

    fn flush(&self, disk: &Disk) -> Result<(), Error> {
        disk.flush()?;
        self.flushed();
        Ok(())
    }

    fn submitted(&self) -> Option<u64> {
        None
    }

    fn whole_bytes(&self, pace: Pace) -> u64 {
        pace.step_bytes().max(WHOLE_BYTES)
    }
}
