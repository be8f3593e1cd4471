//! Executing operations whose changes something sees: a tap, a volatile write cache, or both.

use std::sync::Arc;

use super::cache::{Cache, Entered, Rule};
use super::tap::{Direct, Hands, Seen, Tapped};
use super::turn::{self, Sightings, Turn, Watchers};
use super::{
    Attempt, Lane, Operation, Pace, Progress, Refusal, Rest, Segment, Submission, Volume,
    WaitReason,
};
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
        if self.admission().flags().are_watched() {
            // What was submitted before this was not through for the whole of it.
            self.queues.look(&self.watchers());
        }
        self.cached.set_rule(rule);
        if let Some(tapped) = self.tapped() {
            tapped.tap.writes_through(rule.is_through());
        }
    }

    /// All that a read sees is stable: its owner has changed the content.
    pub fn stabilise(&self) {
        if let Some(cache) = self.cache() {
            cache.stabilise();
        }
    }

    /// The store's key of the hidden disk with what is stable, if the write cache is volatile.
    pub fn stable_key(&self) -> Option<String> {
        self.cache().map(|cache| cache.stable_key())
    }

    /// Watch how far the driver of a queue has got, which `peek` returns: its avail index. Keep
    /// what this returns for as long as the queue is served.
    pub fn watch_queue(&self, peek: impl Fn() -> u16 + Send + Sync + 'static) -> Arc<Sightings> {
        self.queues.add(Box::new(peek))
    }

    /// Begin a turn of this thread, which serves the ring of a queue, if a tap or a cache sees what
    /// it does. The ring's next request is at this position of its avail ring.
    #[inline]
    pub fn begin_turn(&self, sightings: &Arc<Sightings>, position: u16) -> Option<Turn> {
        let is_watched = self.admission().flags().are_watched();
        is_watched.then(|| Turn::begin(&self.queues, sightings, position, self.watchers()))
    }

    fn watchers(&self) -> Watchers {
        Watchers {
            cache: self.cache(),
            tap: self.tapped(),
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
        let Some(tapped) = self.tapped() else {
            return self.begin(hands, operation, pace);
        };
        let seen = Seen {
            submission: turn::begins(&tapped),
            tap: &*tapped.tap,
            hands,
        };
        let progress = self.begin(&seen, operation, pace)?;
        Ok(completed(&tapped, seen.submission, progress))
    }

    fn go_on_seen(
        &self,
        hands: &impl Hands,
        rest: Rest,
        (from, to): (&mut [Source<'_>], &mut [Sink<'_>]),
        pace: Pace,
    ) -> Result<Progress, Error> {
        let Some(tapped) = self.tapped() else {
            return self.go_on(hands, rest, from, to, pace);
        };
        let seen = Seen {
            // The tap may be younger than the operation.
            submission: rest.submission.unwrap_or_else(|| turn::begins(&tapped)),
            tap: &*tapped.tap,
            hands,
        };
        let progress = self.go_on(&seen, rest, from, to, pace)?;
        Ok(completed(&tapped, seen.submission, progress))
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
fn completed(tapped: &Tapped, submission: Submission, progress: Progress) -> Progress {
    if matches!(progress, Progress::Done(_)) {
        turn::done(tapped, submission);
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
        let discarded = self.change(disk, WriteKind::Discard, range, || {
            disk.try_discard_range(range)
        });
        match discarded {
            // It is a hint. What a read sees now is stable.
            Err(error) if error.is_out_of_memory() => Ok(()),
            discarded => discarded,
        }
    }

    fn flush(&self, disk: &Disk) -> Result<(), Error> {
        disk.flush()?;
        self.flushed();
        Ok(())
    }

    fn submission(&self) -> Option<Submission> {
        None
    }

    fn whole_bytes(&self, pace: Pace) -> u64 {
        pace.step_bytes().max(WHOLE_BYTES)
    }
}
