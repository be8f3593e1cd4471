//! The pressure signal: memory is short, or available again.
//!
//! It is raised when a charge passes a mark in either direction, and when a charge was refused.
//! Raising it never waits, and only says that there is something to check.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

/// Raised when memory is short or available again. One thread waits for it.
#[derive(Debug, Default)]
pub struct PressureSignal {
    raised: AtomicBool,
    refusals: AtomicU64,
    host_refusals: AtomicU64,
    lock: Mutex<()>,
    changed: Condvar,
}

impl PressureSignal {
    /// Wake the thread that waits. Until that thread has seen it, raising it again costs one load.
    pub fn raise(&self) {
        if !self.raised.load(Ordering::Relaxed) && !self.raised.swap(true, Ordering::AcqRel) {
            // A waiter reads `raised` under the lock, so it can't miss this.
            drop(self.lock.lock());
            self.changed.notify_all();
        }
    }

    /// Note that memory was refused because all disks together have as much as they may, and raise
    /// it.
    pub(crate) fn refuse(&self) {
        self.refusals.fetch_add(1, Ordering::Relaxed);
        self.raise();
    }

    /// The same, because the host has none.
    pub(crate) fn refuse_by_host(&self) {
        self.host_refusals.fetch_add(1, Ordering::Relaxed);
        self.raise();
    }

    /// How often memory was refused to a disk that was within its own quota.
    pub fn refusals(&self) -> u64 {
        self.refusals.load(Ordering::Relaxed) + self.host_refusals()
    }

    /// How often that was because the host had none.
    pub fn host_refusals(&self) -> u64 {
        self.host_refusals.load(Ordering::Relaxed)
    }

    /// Wait until it is raised, or return at once if it was raised since the last call. Returns
    /// `false` if that doesn't happen within `timeout`. Only one thread may wait.
    pub fn wait(&self, timeout: Option<Duration>) -> bool {
        let mut lock = self.lock.lock();
        if !self.raised.load(Ordering::Acquire) {
            match timeout {
                Some(timeout) => {
                    self.changed.wait_for(&mut lock, timeout);
                }
                None => self.changed.wait(&mut lock),
            }
        }
        self.raised.swap(false, Ordering::AcqRel)
    }
}

/// Two marks of a charge. Passing one of them raises the signal.
#[derive(Debug)]
pub(crate) struct Marks {
    above_bytes: AtomicU64,
    below_bytes: AtomicU64,
}

impl Default for Marks {
    fn default() -> Self {
        Self {
            above_bytes: AtomicU64::new(u64::MAX),
            below_bytes: AtomicU64::new(0),
        }
    }
}

impl Marks {
    /// Raise the signal when a charge reaches `above_bytes`, or falls below `below_bytes`.
    pub(crate) fn set(&self, above_bytes: u64, below_bytes: u64) {
        self.above_bytes.store(above_bytes, Ordering::Relaxed);
        self.below_bytes.store(below_bytes, Ordering::Relaxed);
    }

    pub(crate) fn rose(&self, to_bytes: u64, pressure: &PressureSignal) {
        if to_bytes >= self.above_bytes.load(Ordering::Relaxed) {
            pressure.raise();
        }
    }

    pub(crate) fn fell(&self, to_bytes: u64, pressure: &PressureSignal) {
        if to_bytes < self.below_bytes.load(Ordering::Relaxed) {
            pressure.raise();
        }
    }
}
