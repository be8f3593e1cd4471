//! The budget: which account is charged for which memory, and the bounds.
//!
//! Every block that a disk takes is charged to the pool and to the disk's account before it is
//! taken, and uncharged when it is freed. An account outlives its disk while other disks share
//! blocks that the disk took. Then it counts against no quota.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

use super::arena::BLOCK_BYTES;
use super::pressure::{Marks, PressureSignal};
use crate::store::base::error::Error;

/// The account of blocks whose disks are gone.
pub(crate) const NO_DISK: u16 = 0;

/// The number of accounts in a chunk, and of chunks.
const CHUNK: usize = 256;

/// How much one disk takes.
#[derive(Debug, Default)]
pub(crate) struct Account {
    charged_bytes: AtomicU64,
    /// The quota in blocks; 0 means none.
    quota_bytes: AtomicU64,
    marks: Marks,
}

impl Account {
    pub(crate) fn charged_bytes(&self) -> u64 {
        self.charged_bytes.load(Ordering::Relaxed)
    }

    /// Bound the account; `None` for no bound.
    pub(crate) fn set_quota(&self, bytes: Option<u64>) {
        self.quota_bytes
            .store(bytes.unwrap_or(0), Ordering::Relaxed);
    }

    pub(crate) fn marks(&self) -> &Marks {
        &self.marks
    }
}

type Chunk = Box<[Account; CHUNK]>;

/// All accounts and the limit on their sum.
#[derive(Debug)]
pub(crate) struct Budget {
    limit_bytes: u64,
    charged_bytes: AtomicU64,
    marks: Marks,
    pressure: Arc<PressureSignal>,
    chunks: Box<[OnceLock<Chunk>]>,
    numbers: Mutex<Numbers>,
}

#[derive(Debug)]
struct Numbers {
    next: u16,
    /// Accounts of disks that are gone. They are free as soon as nothing is charged to them.
    closed: Vec<u16>,
}

impl Budget {
    pub(crate) fn new(limit_bytes: u64) -> Self {
        Self {
            limit_bytes,
            charged_bytes: AtomicU64::new(0),
            marks: Marks::default(),
            pressure: Arc::default(),
            chunks: (0..=usize::from(u16::MAX) / CHUNK)
                .map(|_| OnceLock::new())
                .collect(),
            numbers: Mutex::new(Numbers {
                next: NO_DISK + 1,
                closed: Vec::new(),
            }),
        }
    }

    pub(crate) fn limit_bytes(&self) -> u64 {
        self.limit_bytes
    }

    pub(crate) fn charged_bytes(&self) -> u64 {
        self.charged_bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn marks(&self) -> &Marks {
        &self.marks
    }

    /// Raised when a charge passes a mark, or a bound refuses one.
    pub(crate) fn pressure(&self) -> &Arc<PressureSignal> {
        &self.pressure
    }

    pub(crate) fn account(&self, number: u16) -> &Account {
        let chunk = self.chunks[usize::from(number) / CHUNK]
            .get_or_init(|| Box::new(std::array::from_fn(|_| Account::default())));
        &chunk[usize::from(number) % CHUNK]
    }

    /// A number for a new disk, bounded by its quota.
    ///
    /// # Errors
    /// [`Error::TooManyDisks`].
    pub(crate) fn open(&self, quota_bytes: Option<u64>) -> Result<u16, Error> {
        let number = self.spare_number()?;
        self.account(number).set_quota(quota_bytes);
        Ok(number)
    }

    fn spare_number(&self) -> Result<u16, Error> {
        let mut numbers = self.numbers.lock();
        let spare = |&number: &u16| self.account(number).charged_bytes() == 0;
        // The account that was closed last is the most likely to be empty. Checking a few is enough
        // while there are numbers that were never used.
        let fresh = numbers.next < u16::MAX;
        let look = if fresh { 16 } else { usize::MAX };
        if let Some(at) = numbers.closed.iter().rev().take(look).position(spare) {
            let at = numbers.closed.len() - 1 - at;
            return Ok(numbers.closed.swap_remove(at));
        }
        if !fresh {
            return Err(Error::TooManyDisks);
        }
        numbers.next += 1;
        Ok(numbers.next - 1)
    }

    /// Close the account of a destroyed disk. What is still charged to it counts only for the pool.
    pub(crate) fn close(&self, number: u16) {
        let account = self.account(number);
        account.set_quota(None);
        account.marks.set(u64::MAX, 0);
        self.numbers.lock().closed.push(number);
    }

    /// Which accounts are closed.
    pub(crate) fn closed(&self) -> Vec<bool> {
        let mut closed = vec![false; usize::from(u16::MAX) + 1];
        for &number in &self.numbers.lock().closed {
            closed[usize::from(number)] = true;
        }
        closed
    }

    /// Move the charge for a block from one account to another, beyond the quota of that.
    pub(crate) fn transfer(&self, from: u16, to: u16) {
        let to = self.account(to);
        add_beyond(&to.charged_bytes);
        to.marks.rose(to.charged_bytes(), &self.pressure);
        let from = self.account(from);
        let charged_bytes = sub(&from.charged_bytes, 1);
        from.marks.fell(charged_bytes, &self.pressure);
    }

    /// Reserve a block.
    ///
    /// # Errors
    /// [`Error::OverQuota`] or [`Error::Full`]; then nothing is reserved.
    pub(crate) fn charge(&self, number: u16) -> Result<(), Error> {
        let account = self.account(number);
        let quota_bytes = account.quota_bytes.load(Ordering::Relaxed);
        let bound = if quota_bytes == 0 {
            u64::MAX
        } else {
            quota_bytes
        };
        let charged_bytes = add(&account.charged_bytes, bound).map_err(|()| {
            self.pressure.raise();
            Error::OverQuota { quota_bytes }
        })?;
        let all_bytes = add(&self.charged_bytes, self.limit_bytes).map_err(|()| {
            sub(&account.charged_bytes, 1);
            self.pressure.refuse();
            Error::Full {
                limit_bytes: self.limit_bytes,
            }
        })?;
        account.marks.rose(charged_bytes, &self.pressure);
        self.marks.rose(all_bytes, &self.pressure);
        Ok(())
    }

    /// Charge a block beyond the bounds: one that exists already, or that replaces another one.
    pub(crate) fn charge_beyond(&self, number: u16) {
        add_beyond(&self.account(number).charged_bytes);
        add_beyond(&self.charged_bytes);
    }

    /// Uncharge blocks.
    pub(crate) fn uncharge(&self, number: u16, blocks: u64) {
        let account = self.account(number);
        let charged_bytes = sub(&account.charged_bytes, blocks);
        account.marks.fell(charged_bytes, &self.pressure);
        // An account may be below zero for a moment, while a `transfer` is undone;
        // the sum never is.
        debug_assert!(self.charged_bytes() >= blocks * BLOCK_BYTES as u64);
        let all_bytes = sub(&self.charged_bytes, blocks);
        self.marks.fell(all_bytes, &self.pressure);
    }
}

/// Add a block, unless the sum would exceed `bound`. Returns the sum.
fn add(to: &AtomicU64, bound: u64) -> Result<u64, ()> {
    let more = |charged: u64| {
        charged
            .checked_add(BLOCK_BYTES as u64)
            .filter(|&sum| sum <= bound)
    };
    to.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
        .map(|had| had + BLOCK_BYTES as u64)
        .map_err(|_| ())
}

fn add_beyond(to: &AtomicU64) {
    to.fetch_add(BLOCK_BYTES as u64, Ordering::Relaxed);
}

/// Subtract blocks. Returns the rest.
fn sub(from: &AtomicU64, blocks: u64) -> u64 {
    let bytes = blocks * BLOCK_BYTES as u64;
    from.fetch_sub(bytes, Ordering::Relaxed).wrapping_sub(bytes)
}
