//! Ledger, base and log of a cache, and folding: making the base catch up with what is stable.

use std::collections::HashMap;
use std::sync::Arc;
use std::thread::{self, ThreadId};

use super::log::Log;
use crate::crash::{Ledger, Logged, Moment};
use crate::store::{Change, Disk, Error, OnFull, Store};

/// When the writes of a disk are stable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rule {
    /// When a flush that was submitted after their completion has completed.
    #[default]
    Flush,
    /// At their completion: the guest has turned writeback off.
    WriteThrough,
    /// At their completion: the driver has not negotiated flush.
    NoFlush,
}

impl Rule {
    /// Whether a write is stable when it completes.
    pub(in crate::device::block) fn is_through(self) -> bool {
        self != Self::Flush
    }
}

/// Volatile writes became stable, though no flush covered them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Folded {
    /// How many.
    pub writes: usize,
    /// Why.
    pub reason: &'static str,
}

/// Something that a thread has done in its turn, and that its driver doesn't know yet.
#[derive(Clone, Copy, Debug)]
pub(super) enum Done {
    /// The write of this number.
    Write(u64),
    /// A flush that was submitted then.
    Flush(Moment),
}

/// The turn of a thread that serves a ring.
#[derive(Debug, Default)]
pub(super) struct InTurn {
    /// What it has done.
    pub(super) done: Vec<Done>,
    /// When the request that it serves was submitted at the latest, if that is known.
    pub(super) submitted: Option<Moment>,
}

/// Settled writes are applied to the base one by one, if they are so few.
const FEW_WRITES: usize = 8;
/// After that many bytes the base becomes a fork again, to share its pages with the disk.
const MOST_APPLIED_BYTES: u64 = 16 << 20;

/// Everything of a cache that is behind its lock.
#[derive(Debug)]
pub(super) struct State {
    pub(super) ledger: Ledger,
    pub(super) log: Log,
    pub(super) base: Disk,
    pub(super) rule: Rule,
    /// Since when that rule makes writes stable at their completion, if it does.
    through_since: Option<Moment>,
    /// What each thread that serves a ring has done in its turn.
    pub(super) turns: HashMap<ThreadId, InTurn>,
    /// Operations that are being executed.
    pub(super) entered: usize,
    /// How many wait for an instant at which nothing changes.
    pub(super) frozen: usize,
    /// Whether what waits will never be served: the power is off.
    pub(super) is_cut: bool,
    /// What was told to the owner only after the lock is released.
    pub(super) folded: Vec<Folded>,
    /// Bytes that were applied to the base since it was a fork.
    applied_bytes: u64,
    /// The base couldn't be made to follow.
    pub(super) broken: Option<String>,
    store: Arc<Store>,
    /// The store's key of the disk.
    pub(super) disk_key: String,
    base_key: String,
}

impl State {
    pub(super) fn new(store: &Arc<Store>, disk_key: &str, base: (&str, Disk), log: Log) -> Self {
        Self {
            ledger: Ledger::new(),
            log,
            base: base.1,
            rule: Rule::default(),
            through_since: None,
            turns: HashMap::new(),
            entered: 0,
            frozen: 0,
            is_cut: false,
            folded: Vec::new(),
            applied_bytes: 0,
            broken: None,
            store: Arc::clone(store),
            disk_key: disk_key.to_owned(),
            base_key: base.0.to_owned(),
        }
    }

    /// From now on writes are stable by this rule.
    pub(super) fn set_rule(&mut self, rule: Rule) {
        self.rule = rule;
        if rule.is_through() {
            let now = self.ledger.moment();
            self.through_since.get_or_insert(now);
        } else {
            self.through_since = None;
            self.ledger.writeback_on();
        }
    }

    /// Whether a write that was submitted then is stable when it completes, if nothing changes
    /// before that. The rule must hold for the whole of it.
    pub(super) fn is_through(&self, submitted: Moment) -> bool {
        self.through_since.is_some_and(|since| since < submitted)
    }

    /// When what this thread does was submitted: as its turn says, or now.
    pub(super) fn submitted(&mut self) -> Moment {
        let turn = self.turns.get(&thread::current().id());
        let known = turn.and_then(|turn| turn.submitted);
        known.unwrap_or_else(|| self.ledger.moment())
    }

    /// Whether nothing is being done, and all that was done has completed.
    pub(super) fn is_quiet(&self) -> bool {
        self.entered == 0 && self.turns.values().all(|turn| turn.done.is_empty())
    }

    /// Complete what was done, in order.
    pub(super) fn complete(&mut self, done: &[Done]) {
        let mut may_settle = false;
        for done in done {
            match *done {
                Done::Write(number) => {
                    let is_through = self.rule.is_through();
                    self.ledger.complete(number, is_through);
                    may_settle |= is_through;
                }
                Done::Flush(submitted) => {
                    self.ledger.flushed(submitted);
                    may_settle = true;
                }
            }
        }
        if may_settle {
            self.settle();
        }
    }

    /// Fold what is stable.
    fn settle(&mut self) {
        let settled = self.ledger.settle();
        let is_all = self.ledger.is_empty();
        let many = settled.len() > FEW_WRITES || self.applied_bytes > MOST_APPLIED_BYTES;
        if is_all && many {
            self.renew();
            return;
        }
        if self.fold(&settled).is_err() {
            self.fold_all("there is no memory to fold what a flush made stable");
        }
    }

    fn fold(&mut self, settled: &[Logged]) -> Result<(), Error> {
        for write in settled {
            write.apply(write.range, &self.log, &mut &self.base)?;
            self.applied_bytes += write.range.len_bytes();
            self.log.forget(write.number);
        }
        Ok(())
    }

    /// Make all that a read sees stable, and tell the owner if something volatile was.
    pub(super) fn fold_all(&mut self, reason: &'static str) {
        let writes = self.ledger.window().volatile().count();
        self.renew();
        if writes > 0 {
            self.folded.push(Folded { writes, reason });
        }
    }

    /// Fold the oldest writes until the log takes no more than `most_bytes`.
    pub(super) fn shorten(&mut self, most_bytes: u64) {
        let (log, mut left_bytes) = (&self.log, self.log.used_bytes());
        let settled = self.ledger.settle_oldest(|write| {
            let is_enough = left_bytes <= most_bytes;
            left_bytes -= log.cost_bytes(write.number).min(left_bytes);
            is_enough
        });
        let reason = "the log is full";
        if self.fold(&settled).is_err() || self.log.used_bytes() > most_bytes {
            self.fold_all(reason);
        } else {
            let writes = settled.len();
            self.folded.push(Folded { writes, reason });
        }
    }

    pub(super) fn stable_key(&self) -> &str {
        &self.base_key
    }

    /// Make the base a fork of the disk again, so that all that a read sees is stable.
    pub(super) fn renew(&mut self) {
        match self.store.reset(&self.base_key, &self.disk_key) {
            Ok(left) => {
                drop(left);
                self.ledger.clear();
                self.log.clear();
                self.applied_bytes = 0;
                self.broken = None;
            }
            Err(error) => self.broken = Some(error.to_string()),
        }
    }
}

/// A hidden fork of the disk `of`, which no restart keeps.
pub(super) fn hidden_fork(store: &Store, of: &str, key: &str) -> Result<Disk, Error> {
    let change = Change {
        settings: Some(&[]),
        quota_bytes: Some(None),
        even_below_charge: true,
        on_full: Some(OnFull::Error),
        read_only: Some(false),
    };
    let fork = store.fork_with(of, key, &change)?;
    Ok(fork.into_never_waiting())
}
