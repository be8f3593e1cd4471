//! The keeper: one thread that drops the oldest points of histories, and takes those that are a
//! matter of time.
//!
//! It starts with the first history, and sleeps until a bell rings: some points were taken, or a
//! plan has changed. If all histories go by flushes or bytes, it wakes for nothing else.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::Instant;

use parking_lot::Mutex;

use crate::device::history::{Bell, History};
use crate::threads::{self, Role};

/// The histories of all disks, and the thread that keeps them.
#[derive(Debug, Default)]
pub(crate) struct Keeper {
    bell: Arc<Bell>,
    histories: Arc<Mutex<Vec<Weak<History>>>>,
    ends: Arc<AtomicBool>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Keeper {
    /// The bell that histories ring.
    pub(crate) fn bell(&self) -> &Arc<Bell> {
        &self.bell
    }

    /// Keep a history, until its last reference is dropped.
    ///
    /// # Errors
    /// There is no thread left.
    pub(crate) fn keep(&self, history: &Arc<History>) -> std::io::Result<()> {
        self.histories.lock().push(Arc::downgrade(history));
        let mut thread = self.thread.lock();
        if thread.is_none() {
            let (bell, ends) = (Arc::clone(&self.bell), Arc::clone(&self.ends));
            let histories = Arc::clone(&self.histories);
            let watch = move || watch(&bell, &ends, &histories);
            *thread = Some(threads::spawn(Role::Keeper, watch)?);
        }
        self.bell.ring();
        Ok(())
    }

    fn present(histories: &Mutex<Vec<Weak<History>>>) -> Vec<Arc<History>> {
        let mut histories = histories.lock();
        histories.retain(|history| history.strong_count() > 0);
        histories.iter().filter_map(Weak::upgrade).collect()
    }

    /// How many points all histories have, and how much memory only they have.
    pub(crate) fn amount(&self) -> (u64, u64) {
        let all = Self::present(&self.histories);
        all.iter()
            .map(|history| history.amount())
            .fold((0, 0), |(points, held_bytes), amount| {
                (
                    points + amount.points as u64,
                    held_bytes + amount.held_bytes,
                )
            })
    }

    /// Drop the oldest point of all histories, but the last one of none. Returns whether there was
    /// one.
    pub(crate) fn drop_oldest(&self) -> bool {
        let all = Self::present(&self.histories);
        let oldest = all
            .iter()
            .filter_map(|history| Some((history.oldest_ms()?, history)))
            .min_by_key(|(at_ms, _)| *at_ms);
        oldest.is_some_and(|(_, history)| history.drop_oldest())
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Release);
        self.bell.ring();
        if let Some(thread) = self.thread.lock().take() {
            let _ = thread.join();
        }
    }
}

fn watch(bell: &Bell, ends: &AtomicBool, histories: &Mutex<Vec<Weak<History>>>) {
    while !ends.load(Ordering::Acquire) {
        let mut due: Option<Instant> = None;
        for history in Keeper::present(histories) {
            let next = history.tick(Instant::now());
            history.tidy();
            due = due.into_iter().chain(next).min();
        }
        bell.wait(due.map(|due| due.saturating_duration_since(Instant::now())));
    }
}
