//! The disk itself, beside its guests: under its limits, and counted as their requests are.

use std::time::Instant;

use parking_lot::Mutex;

use super::answers::{errno, run};
use crate::device::block::{Operation as Block, Progress, Refusal, Segment};
use crate::device::{Attempt, Pace, QueueCounters, Volume};
use crate::nbd::{About, Errno, Export, Operation, Run};
use crate::store::{ByteRange, Error, SECTOR_BYTES, Sink, Source};
use crate::vhost_user::Visitor;

/// The queue that operations are counted in.
const QUEUE: u16 = 0;

/// A disk that is written to.
#[derive(Debug)]
pub(super) struct Live {
    about: About,
    visitor: Visitor,
    /// Counters that no connection uses at the moment.
    counters: Mutex<Vec<QueueCounters>>,
}

/// What an operation on the volume needs.
#[derive(Default)]
struct Job<'a> {
    to: Vec<Sink<'a>>,
    from: Vec<Source<'a>>,
    segments: Vec<Segment>,
}

/// Why an operation failed.
enum Failure {
    Refused(Refusal),
    /// The client left while it waited.
    Gone,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Refused(error.into())
    }
}

impl Live {
    /// The disk `name`, whose size is fixed from now on.
    pub(super) fn new(name: &str, visitor: Visitor) -> Self {
        let capacity = visitor.volume().capacity();
        let sector_bytes = capacity.sector_size().bytes();
        Self {
            about: About {
                name: name.to_owned(),
                description: format!("disk {name}, to read and write"),
                size_bytes: capacity.bytes(),
                block_bytes: u32::try_from(sector_bytes).unwrap_or(u32::MAX),
                is_writable: true,
                is_shared: true,
            },
            visitor,
            counters: Mutex::default(),
        }
    }

    fn volume(&self) -> &Volume {
        self.visitor.volume()
    }

    fn range(&self, at_bytes: u64, len_bytes: u64) -> Result<ByteRange, Error> {
        let capacity = self.volume().capacity();
        capacity.range_512(at_bytes / SECTOR_BYTES, len_bytes)
    }

    fn run(&self, operation: Operation<'_>, is_gone: &dyn Fn() -> bool) -> Result<(), Failure> {
        let mut job = Job::default();
        let segment = |range, unmap| Segment { range, unmap };
        match operation {
            Operation::Read { at_bytes, into } => {
                let range = self.range(at_bytes, into.len() as u64)?;
                job.to.push(Sink::from(into));
                self.wait_for(&mut job, is_gone, |job| Block::Read {
                    range,
                    to: &mut job.to,
                })
            }
            Operation::Write { at_bytes, from } => {
                let range = self.range(at_bytes, from.len() as u64)?;
                job.from.push(Source::from(from));
                self.wait_for(&mut job, is_gone, |job| Block::Write {
                    range,
                    from: &mut job.from,
                })
            }
            Operation::Zero {
                at_bytes,
                len_bytes,
                may_unmap,
            } => {
                let range = self.range(at_bytes, len_bytes.into())?;
                job.segments.push(segment(range, may_unmap));
                self.wait_for(&mut job, is_gone, |job| Block::WriteZeroes(&job.segments))
            }
            Operation::Discard {
                at_bytes,
                len_bytes,
            } => {
                let range = self.range(at_bytes, len_bytes.into())?;
                job.segments.push(segment(range, true));
                self.wait_for(&mut job, is_gone, |job| Block::Discard(&job.segments))
            }
            Operation::Flush => self.wait_for(&mut job, is_gone, |_| Block::Flush),
        }
    }

    /// Execute an operation, however long it has to wait for its limits or for memory.
    fn wait_for<'m>(
        &self,
        job: &mut Job<'m>,
        is_gone: &dyn Fn() -> bool,
        block: impl for<'j> Fn(&'j mut Job<'m>) -> Block<'j, 'm>,
    ) -> Result<(), Failure> {
        let unused = self.counters.lock().pop();
        let mut counters = unused.unwrap_or_else(|| self.volume().counters(QUEUE));
        counters.take(1);
        let asked = block(job).asked();
        let mut attempt = Attempt::default();
        let done = loop {
            // A step cuts what it has used off the pieces, and another attempt needs them whole.
            let (to, from) = (job.to.clone(), job.from.clone());
            match self.steps(job, attempt, &block) {
                Ok(()) => break Ok(()),
                Err(Refusal::Wait(reason)) if reason.disconnects() => break Err(Failure::Gone),
                Err(Refusal::Wait(reason)) => {
                    (job.to, job.from) = (to, from);
                    self.volume().begins_to_wait(reason.lane());
                    let next = loop {
                        let now = Instant::now();
                        let reason = self.volume().still_held(reason, now);
                        if let Some(attempt) = self.volume().may_retry(reason, now) {
                            break Some(attempt);
                        }
                        if is_gone() {
                            break None;
                        }
                        let look_at = reason.look_at(now);
                        std::thread::sleep(look_at.saturating_duration_since(now));
                    };
                    self.volume().ends_to_wait(reason.lane());
                    match next {
                        Some(next) => attempt = next,
                        None => break Err(Failure::Gone),
                    }
                }
                Err(refusal) => break Err(Failure::Refused(refusal)),
            }
        };
        counters.answered_one(asked, done.is_ok());
        counters.shown(0);
        self.counters.lock().push(counters);
        done
    }

    /// Execute an operation in steps that leave room for the disk's guests.
    fn steps<'m>(
        &self,
        job: &mut Job<'m>,
        attempt: Attempt,
        block: &impl for<'j> Fn(&'j mut Job<'m>) -> Block<'j, 'm>,
    ) -> Result<(), Refusal> {
        let (volume, pace) = (self.volume(), Pace::BesideOthers);
        let user = self.visitor.user();
        let mut progress = volume.execute(user, block(job), pace, attempt)?;
        while let Progress::Rest(rest) = progress {
            progress = volume.resume(rest, &mut job.from, &mut job.to, pace, attempt)?;
        }
        Ok(())
    }
}

impl Export for Live {
    fn about(&self) -> &About {
        &self.about
    }

    fn execute(&self, operation: Operation<'_>, is_gone: &dyn Fn() -> bool) -> Result<(), Errno> {
        self.run(operation, is_gone)
            .map_err(|failure| match failure {
                Failure::Refused(Refusal::Error(error)) => errno(&error),
                Failure::Refused(Refusal::Unsupported) => Errno::NotSup,
                Failure::Refused(Refusal::Failed | Refusal::Fault | Refusal::Wait(_)) => Errno::Io,
                Failure::Gone => Errno::Shutdown,
            })
    }

    fn allocation(&self, at_bytes: u64, end_bytes: u64) -> Result<Run, Errno> {
        let sector_size = self.volume().capacity().sector_size();
        let find = |start, end| self.volume().extent_at(start, end);
        run(sector_size, at_bytes, end_bytes, find)
    }

    fn bitmaps(&self) -> Vec<String> {
        Vec::new()
    }

    fn has_bitmap(&self, _name: &str) -> bool {
        false
    }

    fn changes(&self, _: &str, _: u64, _: u64, _: usize) -> Result<Vec<Run>, Errno> {
        Err(Errno::Inval)
    }
}
