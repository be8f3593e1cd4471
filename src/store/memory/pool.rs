//! Blocks in use and free ones: taken, counted, shared, freed, and given back to the host.
//!
//! Invariants: a block in use has a count of the entries that name it, and memory behind it. The
//! count is only looked at where an entry says `SHARED`; whatever holds a reference keeps the
//! block. A block is charged before it is taken. Counts, owners and the free list are outside the
//! arena; after a crash they are made anew from the trees.
//!
//! Freed blocks are used again first. What is still free after a while is given back to the host by
//! a thread of its own, so that a discard costs its caller no system call.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Condvar;

use super::account::{Budget, NOBODY};
use super::arena::{Arena, Block, GROUP_BLOCKS};
use super::free::{Candidate, Free, Taken};
use crate::store::base::error::Error;
use crate::store::base::points;
use crate::store::base::sync::Mutex;
use crate::threads::{self, Role};

/// How long freed memory waits for a new use: whole groups, and parts of one.
const WHOLE_AFTER: Duration = Duration::from_millis(100);
const PART_AFTER: Duration = Duration::from_millis(300);
/// How often the reclaimer looks.
const TICK: Duration = Duration::from_millis(50);
/// How long a group stays used up before a huge page is made of it, and how many at a time, so that
/// others have the processor too.
const FULL_AFTER: Duration = Duration::from_millis(100);
const HUGE_AT_ONCE: usize = 32;
/// With this many stretches to punch in a group, the group's mapping is taken away first.
const MANY_STRETCHES: usize = 4;

const GROUP: usize = GROUP_BLOCKS as usize;
/// In a count: references below, the account that pays above.
const OWNER_SHIFT: u32 = 16;
const REFERENCES: u32 = (1 << OWNER_SHIFT) - 1;

type Counts = Box<[AtomicU32; GROUP]>;

/// All blocks of an arena.
pub(crate) struct Pool {
    arena: Arena,
    budget: Budget,
    counts: Box<[OnceLock<Counts>]>,
    free: Mutex<Free>,
    /// Beside the condition variables, and held for nothing else.
    wake: parking_lot::Mutex<Wake>,
    reclaimer: Condvar,
    room: Condvar,
    /// How often there was room where there may have been none before.
    room_changes: AtomicU64,
    /// Whether huge pages are made of groups that are used up.
    huge: AtomicBool,
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without thousands of counts.
        f.debug_struct("Pool")
            .field("arena", &self.arena)
            .field("limit_bytes", &self.budget.limit_bytes())
            .field("charged_bytes", &self.budget.charged_bytes())
            .finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct Wake {
    /// Something was freed, or a group used up.
    stirred: bool,
    closing: bool,
}

impl Pool {
    /// A pool of the groups from `first_group` on.
    pub(crate) fn new(arena: Arena, limit_bytes: u64, first_group: u32, huge: bool) -> Self {
        let groups = arena.blocks() / GROUP_BLOCKS;
        Self {
            counts: (0..groups).map(|_| OnceLock::new()).collect(),
            free: Mutex::new(Free::new(first_group, groups)),
            budget: Budget::new(limit_bytes),
            wake: parking_lot::Mutex::default(),
            reclaimer: Condvar::new(),
            room: Condvar::new(),
            room_changes: AtomicU64::new(0),
            arena,
            huge: AtomicBool::new(huge),
        }
    }

    pub(crate) fn arena(&self) -> &Arena {
        &self.arena
    }

    pub(crate) fn budget(&self) -> &Budget {
        &self.budget
    }

    fn count(&self, block: Block) -> &AtomicU32 {
        let group = self.counts[block.0 as usize / GROUP]
            .get_or_init(|| Box::new(std::array::from_fn(|_| AtomicU32::new(0))));
        &group[block.0 as usize % GROUP]
    }

    /// Take a block for `account`, with one reference. Its bytes are whatever the last user left.
    ///
    /// # Errors
    /// [`Error::Full`], [`Error::OverQuota`], [`Error::HostFull`]; nothing is taken then.
    pub(crate) fn take(&self, account: u16) -> Result<Block, Error> {
        self.budget.charge(account)?;
        self.take_charged(account)
    }

    /// As [`Pool::take`], but beyond limit and quota: for what replaces something that is freed at
    /// once.
    ///
    /// # Errors
    /// [`Error::HostFull`].
    pub(crate) fn take_beyond(&self, account: u16) -> Result<Block, Error> {
        self.budget.charge_beyond(account);
        self.take_charged(account)
    }

    fn take_charged(&self, account: u16) -> Result<Block, Error> {
        match self.take_free() {
            Ok(block) => {
                let count = self.count(block);
                debug_assert_eq!(count.load(Ordering::Relaxed), 0, "{block:?} is in use");
                count.store(u32::from(account) << OWNER_SHIFT | 1, Ordering::Relaxed);
                Ok(block)
            }
            Err(error) => {
                self.budget.uncharge(account, 1);
                Err(error)
            }
        }
    }

    fn take_free(&self) -> Result<Block, Error> {
        let mut free = self.free.lock();
        let full = free.full_groups();
        loop {
            match free.take() {
                Candidate::Ready(block) => {
                    let is_new = free.full_groups() > full && self.huge.load(Ordering::Relaxed);
                    drop(free);
                    if is_new {
                        self.stir();
                    }
                    return Ok(block);
                }
                Candidate::Unbacked(first, count) => {
                    // A shorter stretch may still be had where a long one is not.
                    let backed = self.arena.back(first, count).map(|()| count);
                    let backed = backed.or_else(|_| self.arena.back(first, 1).map(|()| 1));
                    let count = backed.map_err(|source| {
                        self.budget.pressure().raise();
                        Error::HostFull { source }
                    })?;
                    free.backed(first, count);
                }
                Candidate::None => {
                    return Err(Error::Full {
                        limit_bytes: self.budget.limit_bytes(),
                    });
                }
            }
        }
    }

    /// Count one more entry that names the block. The caller knows of another one.
    pub(crate) fn share(&self, block: Block) {
        let had = self.count(block).fetch_add(1, Ordering::Relaxed) & REFERENCES;
        debug_assert!(
            had > 0 && had < REFERENCES,
            "{block:?} has {had} references"
        );
    }

    /// Whether the caller's entry is the only one that names the block: then nobody else can make
    /// another.
    pub(crate) fn is_exclusive(&self, block: Block) -> bool {
        self.count(block).load(Ordering::Acquire) & REFERENCES == 1
    }

    /// Count one entry less. Returns whether it was the last: then the caller frees the block and
    /// what it names.
    pub(crate) fn release(&self, block: Block) -> bool {
        let had = self.count(block).fetch_sub(1, Ordering::AcqRel) & REFERENCES;
        debug_assert!(had > 0, "{block:?} was free");
        had == 1
    }

    /// Recovery found an entry that names this block; whether it is the first one. It is charged
    /// to `account` then.
    pub(crate) fn found(&self, block: Block, account: u16) -> bool {
        let count = self.count(block);
        if count.fetch_add(1, Ordering::Relaxed) > 0 {
            return false;
        }
        count.fetch_or(u32::from(account) << OWNER_SHIFT, Ordering::Relaxed);
        self.budget.charge_beyond(account);
        true
    }

    /// An account for a new disk. Numbers of dropped disks whose blocks others still share are
    /// taken back once all are used up: a long line of forks is no shortage. The disk
    /// table is locked.
    ///
    /// # Errors
    /// [`Error::TooManyDisks`].
    pub(crate) fn open_account(&self, quota_bytes: Option<u64>) -> Result<u16, Error> {
        self.budget.open(quota_bytes).or_else(|_| {
            self.adopt_orphans();
            self.budget.open(quota_bytes)
        })
    }

    /// Blocks that closed accounts pay for become nobody's.
    fn adopt_orphans(&self) {
        let closed = self.budget.closed();
        for count in self
            .counts
            .iter()
            .filter_map(OnceLock::get)
            .flat_map(|counts| counts.iter())
        {
            let mut now = count.load(Ordering::Relaxed);
            while now & REFERENCES > 0
                && let Ok(owner) = u16::try_from(now >> OWNER_SHIFT)
                && closed[usize::from(owner)]
            {
                // Charged first: either account is right for a thread that frees the block.
                self.budget.adopt(owner, false);
                let new = u32::from(NOBODY) << OWNER_SHIFT | now & REFERENCES;
                let (set, read) = (Ordering::Relaxed, Ordering::Relaxed);
                match count.compare_exchange(now, new, set, read) {
                    Ok(_) => break,
                    Err(other) => {
                        self.budget.adopt(owner, true);
                        now = other;
                    }
                }
            }
        }
    }

    /// Make the free list out of the counts.
    pub(crate) fn sweep(&self, first_group: u32, last_data: usize) {
        let last = self.counts.iter().rposition(|group| group.get().is_some());
        let mut free = self.free.lock();
        for number in first_group as usize..=last.unwrap_or(0).max(last_data) {
            let mut used = [0u64; 8];
            if let Some(counts) = self.counts[number].get() {
                for (at, count) in counts.iter().enumerate() {
                    if count.load(Ordering::Relaxed) > 0 {
                        used[at / 64] |= 1 << (at % 64);
                    }
                }
            }
            free.found(u32::try_from(number).unwrap_or(u32::MAX), &used);
        }
        drop(free);
        self.freed();
    }

    /// Free blocks whose last reference is gone.
    pub(crate) fn give_back(&self, blocks: &mut Vec<Block>) {
        if blocks.is_empty() {
            return;
        }
        let owner = |&block: &Block| self.count(block).swap(0, Ordering::Relaxed) >> OWNER_SHIFT;
        let owners: Vec<u32> = blocks.iter().map(owner).collect();
        for same in owners.chunk_by(|a, b| a == b) {
            let owner = same.first().and_then(|&owner| u16::try_from(owner).ok());
            self.budget
                .uncharge(owner.unwrap_or(NOBODY), same.len() as u64);
        }
        if blocks.len() > 1 {
            blocks.sort_unstable();
        }
        self.free.lock().give_back(blocks);
        blocks.clear();
        points::reach("page-freed");
        self.freed();
    }

    fn freed(&self) {
        self.stir();
        self.make_room();
    }

    /// Something was freed, or a bound raised: wake the writes that wait for memory.
    pub(crate) fn make_room(&self) {
        self.room_changes.fetch_add(1, Ordering::Release);
        self.room.notify_all();
    }

    pub(crate) fn room_changes(&self) -> u64 {
        self.room_changes.load(Ordering::Acquire)
    }

    /// Wake the pool's thread: there is something to do.
    fn stir(&self) {
        let mut wake = self.wake.lock();
        if !wake.stirred {
            wake.stirred = true;
            self.reclaimer.notify_one();
        }
    }

    /// Wait until something was freed, or for a moment.
    pub(crate) fn wait_for_room(&self) {
        let mut wake = self.wake.lock();
        self.room.wait_for(&mut wake, Duration::from_millis(20));
    }

    /// Give memory back to the host until [`Pool::close`].
    fn reclaim(&self) {
        loop {
            {
                let mut wake = self.wake.lock();
                while !wake.stirred && !wake.closing {
                    self.reclaimer.wait(&mut wake);
                }
                wake.stirred = false;
            }
            // Until nothing is left to do; what comes meanwhile only makes it go on.
            loop {
                let mut wake = self.wake.lock();
                if !wake.closing {
                    self.reclaimer.wait_for(&mut wake, TICK);
                }
                if wake.closing {
                    return;
                }
                drop(wake);
                let left = self.reclaim_once(WHOLE_AFTER, PART_AFTER);
                let more = self.make_huge();
                if left == 0 && !more {
                    break;
                }
            }
        }
    }

    /// Give the host what was free for that long: whole groups, and parts of one. Returns how many
    /// groups had something to give.
    pub(crate) fn reclaim_once(&self, whole_after: Duration, part_after: Duration) -> usize {
        let groups = self.free.lock().held_groups();
        for &group in &groups {
            let taken = self.free.lock().take_held(group, whole_after, part_after);
            if let Some(taken) = taken {
                self.punch(&taken);
            }
        }
        groups.len()
    }

    /// Make huge pages of some groups that are used up. Returns whether there are more. Not at
    /// once, since an access waits while its group is made one, and a group that was just used up
    /// is accessed.
    fn make_huge(&self) -> bool {
        for _ in 0..HUGE_AT_ONCE {
            let Some(group) = self.free.lock().take_full(FULL_AFTER) else {
                break;
            };
            if !self.huge.load(Ordering::Relaxed) {
                continue;
            }
            // Where the system makes none it never will; small pages do as well.
            if let Err(error) = self.arena.collapse(group) {
                tracing::debug!(%error, "the system makes no huge pages");
                self.huge.store(false, Ordering::Relaxed);
            }
        }
        self.free.lock().full_groups() > 0
    }

    fn punch(&self, taken: &Taken) {
        points::reach("before-punch");
        let runs = taken.runs();
        let unmaps = runs.len() >= MANY_STRETCHES;
        if unmaps {
            // Refusal costs time only.
            let _ = self.arena.unmap(taken.group());
        }
        let mut punched = true;
        for (first, count) in runs {
            punched &= self.arena.punch(first, count).is_ok();
        }
        if unmaps {
            for (first, count) in taken.used_runs() {
                let _ = self.arena.map_again(first, count);
            }
        }
        self.free.lock().put_back(taken, punched);
    }

    fn close(&self) {
        self.wake.lock().closing = true;
        self.reclaimer.notify_all();
    }
}

/// The thread that returns memory to the host; dropping it ends the thread.
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
        let worker = Arc::clone(&pool);
        let thread = threads::spawn(Role::Reclaimer, move || worker.reclaim());
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
