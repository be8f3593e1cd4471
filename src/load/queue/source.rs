//! Which request comes next.

use std::ops::Range;

use crate::load::options::{Op, Pattern, Plan};
use crate::load::queue::content::Model;
use crate::load::virtqueue::slots::Kind;

/// What requests are made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::load) enum Job {
    /// Writing every block once.
    Fill,
    /// What the user asked for.
    Load,
    /// Reading what this run has written.
    Sweep,
}

/// An endless list of requests, or for some jobs one with an end.
#[derive(Debug)]
pub(in crate::load) struct Source {
    op: Op,
    read_percent: u32,
    random: bool,
    /// Blocks for the load.
    blocks: Range<u64>,
    /// Blocks that no other queue uses in order.
    own: Range<u64>,
    job: Job,
    next: u64,
    dice: fastrand::Rng,
}

impl Source {
    /// For one queue.
    pub(in crate::load) fn new(plan: &Plan, queue: u16) -> Self {
        let options = &plan.options;
        let own = plan.slice(queue);
        let random = options.pattern == Pattern::Random;
        let seed = options.seed.wrapping_add(u64::from(queue) << 32);
        Self {
            op: options.op,
            read_percent: options.read_percent.into(),
            random,
            // Whoever compares must be the only one to write there.
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
    pub(in crate::load) fn next(&mut self, model: Option<&Model>) -> Option<(Kind, u64)> {
        if self.job != Job::Load {
            return self.next_in_order(model);
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
        if let Some(model) = model {
            block = model.next_free(block);
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
    fn next_in_order(&mut self, model: Option<&Model>) -> Option<(Kind, u64)> {
        if self.next >= self.own.end {
            return None;
        }
        let (kind, block) = match (self.job, model) {
            (Job::Sweep, Some(model)) => match model.next_known(self.next) {
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
