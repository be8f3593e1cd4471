//! The sequence of requests.

use std::ops::Range;

use crate::load::options::{Op, Pattern, Plan};
use crate::load::queue::content::Content;
use crate::load::virtqueue::slots::Kind;

/// The purpose of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::load) enum Job {
    /// Write every block once.
    Fill,
    /// The requested load.
    Load,
    /// Read back what this run has written.
    Sweep,
}

/// A sequence of requests, endless for [`Job::Load`].
#[derive(Debug)]
pub(in crate::load) struct Requests {
    op: Op,
    read_percent: u32,
    random: bool,
    /// Blocks for the load.
    blocks: Range<u64>,
    /// This queue's own blocks.
    own: Range<u64>,
    job: Job,
    next: u64,
    dice: fastrand::Rng,
}

impl Requests {
    /// The requests of one queue, which begin with the load itself.
    pub(in crate::load) fn new(plan: &Plan, queue: u16) -> Self {
        let options = &plan.options;
        let own = plan.slice(queue);
        let random = options.pattern == Pattern::Random;
        let seed = options.seed.wrapping_add(u64::from(queue) << 32);
        Self {
            op: options.op,
            read_percent: options.read_percent.into(),
            random,
            // A queue that compares must be the only one to write its blocks.
            blocks: if random && !options.verify {
                0..plan.blocks
            } else {
                own.clone()
            },
            next: own.start,
            own,
            job: Job::Load,
            dice: fastrand::Rng::with_seed(seed),
        }
    }

    /// Begin a job at its first block.
    pub(in crate::load) fn begin(&mut self, job: Job) {
        self.job = job;
        self.next = self.own.start;
    }

    /// The next request: its kind and its block.
    #[inline]
    pub(in crate::load) fn next(&mut self, content: Option<&Content>) -> Option<(Kind, u64)> {
        if self.job != Job::Load {
            return self.next_in_order(content);
        }
        let kind = match self.op {
            Op::Read => Kind::Read,
            Op::Write => Kind::Write,
            Op::Discard => Kind::Discard,
            Op::WriteZeroes => Kind::WriteZeroes,
            Op::Flush => return Some((Kind::Flush, self.own.start)),
            Op::Mixed if self.dice.u32(..100) < self.read_percent => Kind::Read,
            Op::Mixed => Kind::Write,
        };
        let mut block = if self.random {
            self.dice.u64(self.blocks.clone())
        } else {
            self.next
        };
        if let Some(content) = content {
            block = content.next_free(block);
        }
        if !self.random {
            self.next = block + 1;
            if self.next >= self.blocks.end {
                self.next = self.blocks.start;
            }
        }
        Some((kind, block))
    }

    #[cold]
    fn next_in_order(&mut self, content: Option<&Content>) -> Option<(Kind, u64)> {
        if self.next >= self.own.end {
            return None;
        }
        let (kind, block) = match (self.job, content) {
            (Job::Sweep, Some(content)) => match content.next_known(self.next) {
                Some(block) => (Kind::Read, block),
                None => {
                    self.next = self.own.end;
                    return None;
                }
            },
            _ => (Kind::Write, self.next),
        };
        self.next = block + 1;
        Some((kind, block))
    }
}
