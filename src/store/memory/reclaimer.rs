//! The thread that gives memory back to the host and makes huge pages.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::huge::{Next, Pacer};
use super::pool::{Pool, Woken};
use super::spare::Waits;
use crate::store::base::error::Error;
use crate::threads::{self, Role};

/// How long freed memory waits for a new use: whole groups, and parts of one.
const WHOLE_AFTER: Duration = Duration::from_millis(100);
const PART_AFTER: Duration = Duration::from_millis(300);
/// How often it looks while there is memory to free.
const TICK: Duration = Duration::from_millis(50);
/// How long a group stays used up before a huge page is made of it.
const FULL_AFTER: Duration = Duration::from_millis(100);

/// The thread; dropping it ends the thread.
#[derive(Debug)]
pub(crate) struct Reclaimer {
    pool: Arc<Pool>,
    thread: Option<JoinHandle<()>>,
}

impl Reclaimer {
    /// Start it.
    ///
    /// # Errors
    /// [`Error::Arena`] if no thread can be started.
    pub(crate) fn start(pool: Arc<Pool>) -> Result<Self, Error> {
        if cfg!(ramblk_schedules) {
            // The test calls what the thread would do.
            return Ok(Self { pool, thread: None });
        }
        let work = Work::new(Arc::clone(&pool));
        let thread = threads::spawn(Role::Reclaimer, move || work.begin());
        let thread = thread.map_err(|source| Error::Arena {
            doing: "start a thread for",
            source,
        })?;
        Ok(Self {
            pool,
            thread: Some(thread),
        })
    }
}

impl Drop for Reclaimer {
    fn drop(&mut self) {
        self.pool.close();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What the thread knows.
#[derive(Debug)]
struct Work {
    pool: Arc<Pool>,
    pacer: Pacer,
    waits: Waits,
    /// When to give memory back, and when to make huge pages. `None`: there is nothing to do.
    back_at: Option<Instant>,
    huge_at: Option<Instant>,
}

impl Work {
    fn new(pool: Arc<Pool>) -> Self {
        Self {
            pool,
            pacer: Pacer::default(),
            waits: Waits::unknown(),
            back_at: None,
            huge_at: None,
        }
    }

    /// [Run](Self::run), in the thread whose waits count. What it reads is opened now: a process
    /// that has no more descriptors later needs none for this.
    fn begin(mut self) {
        if let Some(waits) = self.pool.waits() {
            self.waits = waits;
        }
        self.run();
    }

    /// Give memory back to the host, and make huge pages, until [`Pool::close`].
    fn run(mut self) {
        loop {
            let until = [self.back_at, self.huge_at].into_iter().flatten().min();
            // What comes meanwhile is found at the next tick.
            match self.pool.sleep(until, self.back_at.is_none()) {
                Woken::Closing => return,
                Woken::Stirred => self.back_at = Some(Instant::now() + TICK),
                Woken::Time => {}
            }
            let now = Instant::now();
            if self.back_at.is_some_and(|at| at <= now) {
                self.give_back();
            }
            if self.huge_at.is_some_and(|at| at <= now) {
                self.huge_at = self.make_huge();
            }
        }
    }

    fn give_back(&mut self) {
        let left = self.pool.reclaim_once(WHOLE_AFTER, PART_AFTER);
        self.back_at = (left > 0).then(|| Instant::now() + TICK);
        if self.huge_at.is_none() && self.pool.wants_huge() {
            self.waits.begin();
            self.huge_at = Some(Instant::now() + FULL_AFTER);
        }
    }

    /// Make some huge pages, if the machine has time for it. Returns when to go on.
    fn make_huge(&mut self) -> Option<Instant> {
        if !self.pool.wants_huge() {
            return None;
        }
        let pause = match self.pacer.next(self.waits.are_long() != Some(true)) {
            Next::HoldOff(pause) => pause,
            Next::Step => {
                let start = Instant::now();
                let mut made = 0;
                while self.pacer.goes_on(made, start.elapsed())
                    && self.pool.make_huge_page(FULL_AFTER)
                {
                    made += 1;
                }
                // Others may have waited for this.
                self.waits.begin();
                match made {
                    // None was used up that long ago.
                    0 => FULL_AFTER,
                    _ => self.pacer.pause(start.elapsed()),
                }
            }
        };
        Some(Instant::now() + pause)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use crate::store::memory::account::NO_DISK;
    use crate::store::memory::arena::{Arena, GROUP_BLOCKS, memory_file};

    const GROUPS: u32 = 4;

    #[test]
    fn groups_that_are_used_up_get_their_huge_pages_by_themselves() {
        let file = memory_file().unwrap();
        file.set_len(u64::from(GROUPS) << 21).unwrap();
        let arena = Arena::map(file, GROUPS * GROUP_BLOCKS).unwrap();
        let pool = Arc::new(Pool::new(arena, u64::MAX, 1, true));
        // Slowly, so that no group gets its page before it is used up.
        for block in 0..2 * GROUP_BLOCKS {
            if block % GROUP_BLOCKS == 0 {
                std::thread::sleep(Duration::from_millis(150));
            }
            pool.take(NO_DISK).unwrap();
        }
        assert!(pool.wants_huge());
        // However busy the machine is: nothing is known of it.
        let work = Work::new(Arc::clone(&pool));
        let thread = std::thread::spawn(move || work.run());
        let deadline = Instant::now() + Duration::from_secs(60);
        while pool.wants_huge() {
            assert!(Instant::now() < deadline, "no huge page is made");
            std::thread::sleep(TICK);
        }
        pool.close();
        thread.join().unwrap();
    }
}
