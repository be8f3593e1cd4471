//! A bell for whoever wants to know that memory gets short, or is there again.
//!
//! It is rung when a charge passes a mark, upwards or downwards, and when something was refused for
//! want of memory. Who rings never waits, and nothing is told but that there is something to look
//! at.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

/// The bell.
#[derive(Debug, Default)]
pub struct Alarm {
    rung: AtomicBool,
    lock: Mutex<()>,
    heard: Condvar,
}

impl Alarm {
    /// Ring it. While it was not heard, ringing again costs a look.
    pub fn ring(&self) {
        if !self.rung.load(Ordering::Relaxed) && !self.rung.swap(true, Ordering::AcqRel) {
            // Who waits has looked under the lock, so it can't be missed.
            drop(self.lock.lock());
            self.heard.notify_all();
        }
    }

    /// Wait until it is rung, or was since it was waited for last; `false` if it wasn't for
    /// `timeout`. For one thread.
    pub fn wait(&self, timeout: Option<Duration>) -> bool {
        let mut lock = self.lock.lock();
        if !self.rung.load(Ordering::Acquire) {
            match timeout {
                Some(timeout) => {
                    self.heard.wait_for(&mut lock, timeout);
                }
                None => self.heard.wait(&mut lock),
            }
        }
        self.rung.swap(false, Ordering::AcqRel)
    }
}

/// Two marks of a charge: who passes one of them rings the bell.
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
    /// Ring when a charge comes to `above_bytes` or more, or to less than `below_bytes`.
    pub(crate) fn set(&self, above_bytes: u64, below_bytes: u64) {
        self.above_bytes.store(above_bytes, Ordering::Relaxed);
        self.below_bytes.store(below_bytes, Ordering::Relaxed);
    }

    pub(crate) fn rose(&self, to_bytes: u64, alarm: &Alarm) {
        if to_bytes >= self.above_bytes.load(Ordering::Relaxed) {
            alarm.ring();
        }
    }

    pub(crate) fn fell(&self, to_bytes: u64, alarm: &Alarm) {
        if to_bytes < self.below_bytes.load(Ordering::Relaxed) {
            alarm.ring();
        }
    }
}
