//! What is stable and what is volatile at a moment of a log.

use crate::crash::log::{Log, NEVER, Request, What};
use crate::crash::{Logged, Moment, Window, Windowed, WriteKind};
use crate::store::{Capacity, Error, SectorSize};

/// A way through a log, from its beginning to later and later moments.
#[derive(Debug)]
pub struct Walk<'l> {
    log: &'l Log,
    capacity: Capacity,
    /// How many of the requests were looked at.
    next: usize,
    /// Those that aren't folded, in the order of the log. Those that were not yet submitted are
    /// among them: a log may have one before another that was submitted earlier.
    pending: Vec<usize>,
    /// The flushes by completion, and how many of them have completed.
    flushes: Vec<(u64, u64)>,
    flushed: usize,
    covered_to: Moment,
}

impl<'l> Walk<'l> {
    /// From the beginning of a log.
    ///
    /// # Errors
    /// None is expected of a log that was read for its disk.
    pub fn new(log: &'l Log) -> Result<Self, Error> {
        let flushes = log.requests.iter().filter(|it| it.what == What::Flush);
        let mut flushes: Vec<(u64, u64)> = flushes
            .map(|flush| (flush.completed, flush.submitted))
            .collect();
        flushes.sort_unstable();
        Ok(Self {
            log,
            capacity: Capacity::new(log.disk_bytes, SectorSize::S512)?,
            next: 0,
            pending: Vec::new(),
            flushes,
            flushed: 0,
            covered_to: Moment(0),
        })
    }

    /// Go on to `moment`, which is not earlier than the one before. Returns the writes that have
    /// become stable since, to be applied to the base in this order, and what a crash then decides
    /// about. The number of a write is its place among the requests of the log.
    ///
    /// # Errors
    /// None is expected of a log that was read for its disk.
    pub fn go_to(&mut self, moment: Moment) -> Result<(Vec<Logged>, Window), Error> {
        while let Some(&(completed, submitted)) = self.flushes.get(self.flushed)
            && completed <= moment.0
        {
            self.covered_to = self.covered_to.max(Moment(submitted));
            self.flushed += 1;
        }
        let requests = &self.log.requests;
        while let Some(request) = requests.get(self.next) {
            if request.submitted > moment.0 && !self.is_any_later_submitted(moment) {
                break;
            }
            if request.changes() {
                self.pending.push(self.next);
            }
            self.next += 1;
        }
        let (mut settled, mut staying, mut pending) = (Vec::new(), Vec::new(), Vec::new());
        for &index in &self.pending {
            let request = &requests[index];
            if request.submitted > moment.0 {
                pending.push(index);
                continue;
            }
            let write = self.logged(index, request, moment)?;
            let is_stable = write.is_stable(self.covered_to);
            let is_free = |before: &Windowed| !before.write.overlaps(&write);
            if is_stable && staying.iter().all(is_free) {
                settled.push(write);
            } else {
                pending.push(index);
                staying.push(Windowed { write, is_stable });
            }
        }
        self.pending = pending;
        Ok((settled, Window::new(staying)))
    }

    /// Whether one of the next few requests was submitted by then: requests of several queues
    /// overtake each other on their way into the log.
    fn is_any_later_submitted(&self, moment: Moment) -> bool {
        /// As many as could be in flight: 256 queues of 1024 requests are not all busy.
        const MOST_OVERTAKEN: usize = 4096;
        let rest = &self.log.requests[self.next..];
        let mut near = rest.iter().take(MOST_OVERTAKEN);
        near.any(|request| request.submitted <= moment.0)
    }

    fn logged(&self, index: usize, request: &Request, moment: Moment) -> Result<Logged, Error> {
        let range = self
            .capacity
            .range_512(request.start_bytes / 512, request.length_bytes)?;
        let is_done = request.completed != NEVER && request.completed <= moment.0;
        Ok(Logged {
            number: index as u64,
            kind: match request.what {
                What::WriteZeroes { .. } => WriteKind::Zeroes,
                What::Discard => WriteKind::Discard,
                What::Write | What::Flush | What::Mark(_) => WriteKind::Write,
            },
            range,
            submitted: Moment(request.submitted),
            applied: Some(Moment(request.submitted)),
            completed: is_done.then_some(Moment(request.completed)),
            is_through: request.at_once,
        })
    }
}
