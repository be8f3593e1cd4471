//! The pool of blocks: taking, counting, sharing and freeing them, and returning memory to the
//! host.
//!
//! Invariants: a block in use has memory, and a count of the entries that name it. The count is
//! read only if an entry has `SHARED`. A reference keeps the block. A block is charged before it is
//! taken. Counts, owners and the free list are outside the arena; after a crash they are rebuilt
//! from the trees.
//!
//! Freed blocks are reused first. A [thread](super::reclaimer) returns those that are still free
//! after a while to the host, so that a discard makes no system call.

use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Condvar;

use super::account::{Budget, NO_DISK};
use super::arena::{Arena, Block, GROUP_BLOCKS};
use super::free::{Candidate, Free, Taken};
use super::spare::Waits;
use crate::store::base::error::Error;
use crate::store::base::points;
use crate::store::base::sync::Mutex;

/// With at least this many runs to punch in a group, the group is unmapped first.
const MANY_STRETCHES: usize = 4;

const GROUP: usize = GROUP_BLOCKS as usize;
/// A count has the references in its low bits, and the account that pays above them.
const OWNER_SHIFT: u32 = 16;
const REFERENCES: u32 = (1 << OWNER_SHIFT) - 1;

/// The account in a count.
fn owner(count: u32) -> u16 {
    u16::try_from(count >> OWNER_SHIFT).unwrap_or(NO_DISK)
}

type Counts = Box<[AtomicU32; GROUP]>;

/// All blocks of an arena.
pub(crate) struct Pool {
    arena: Arena,
    budget: Budget,
    counts: Box<[OnceLock<Counts>]>,
    free: Mutex<Free>,
    /// The mutex of the condition variables, which protects nothing else.
    wake: parking_lot::Mutex<Wake>,
    reclaimer: Condvar,
    room: Condvar,
    /// Counts when there may be room again.
    room_changes: AtomicU64,
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not with thousands of counts.
        f.debug_struct("Pool")
            .field("arena", &self.arena)
            .field("limit_bytes", &self.budget.limit_bytes())
            .field("charged_bytes", &self.budget.charged_bytes())
            .finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct Wake {
    /// Memory was freed, or a group is fully used.
    stirred: bool,
    closing: bool,
}

/// Why [`Pool::sleep`] returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Woken {
    /// The pool is closed.
    Closing,
    /// Something was freed, or a group used up.
    Stirred,
    Time,
}

impl Pool {
    /// A pool of the groups from `first_group` on.
    pub(crate) fn new(arena: Arena, limit_bytes: u64, first_group: u32, huge: bool) -> Self {
        let groups = arena.blocks() / GROUP_BLOCKS;
        Self {
            counts: (0..groups).map(|_| OnceLock::new()).collect(),
            free: Mutex::new(Free::new(first_group, groups, huge)),
            budget: Budget::new(limit_bytes),
            wake: parking_lot::Mutex::default(),
            reclaimer: Condvar::new(),
            room: Condvar::new(),
            room_changes: AtomicU64::new(0),
            arena,
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

    /// Take a block for `account`, with one reference. It still has the bytes of its last user.
    ///
    /// # Errors
    /// [`Error::Full`], [`Error::OverQuota`], [`Error::HostFull`]; then nothing is taken.
    pub(crate) fn take(&self, account: u16) -> Result<Block, Error> {
        self.budget.charge(account)?;
        self.take_charged(account)
    }

    /// The same as [`Pool::take`], but beyond limit and quota, for a block that replaces one which
    /// is freed at once.
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
        let mut opened = false;
        loop {
            match free.take() {
                Candidate::Ready(block) => {
                    let used_up = free.full_groups() > full;
                    drop(free);
                    // There is a huge page to make, or to return what isn't used of one.
                    if used_up || opened {
                        self.stir();
                    }
                    return Ok(block);
                }
                Candidate::Unbacked(first, count) => {
                    // There may still be memory for a shorter run.
                    let backed = self.arena.back(first, count).map(|()| count);
                    let backed = backed.or_else(|_| self.arena.back(first, 1).map(|()| 1));
                    let count = backed.map_err(|source| {
                        self.budget.pressure().refuse_by_host();
                        Error::HostFull { source }
                    })?;
                    free.backed(first, count);
                }
                Candidate::Huge(group) => {
                    let start = Instant::now();
                    let made = self.arena.back_huge(group).is_ok();
                    free.backed_huge(group, made, start.elapsed());
                    opened = true;
                }
                Candidate::None => {
                    return Err(Error::Full {
                        limit_bytes: self.budget.limit_bytes(),
                    });
                }
            }
        }
    }

    /// Count one more entry that names the block. The caller knows another one.
    pub(crate) fn share(&self, block: Block) {
        let had = self.count(block).fetch_add(1, Ordering::Relaxed) & REFERENCES;
        debug_assert!(
            had > 0 && had < REFERENCES,
            "{block:?} has {had} references"
        );
    }

    /// Whether the caller's entry is the only one that names the block. Then no other thread can
    /// make another one.
    pub(crate) fn is_exclusive(&self, block: Block) -> bool {
        self.count(block).load(Ordering::Acquire) & REFERENCES == 1
    }

    /// Count one entry less. Returns whether it was the last. Then the caller frees the block and
    /// what that names.
    pub(crate) fn release(&self, block: Block) -> bool {
        let had = self.count(block).fetch_sub(1, Ordering::AcqRel) & REFERENCES;
        debug_assert!(had > 0, "{block:?} was free");
        had == 1
    }

    /// Recovery found an entry that names this block. If it is the first one, charge the block to
    /// `account`. Returns whether it is.
    pub(crate) fn found(&self, block: Block, account: u16) -> bool {
        let count = self.count(block);
        if count.fetch_add(1, Ordering::Relaxed) > 0 {
            return false;
        }
        count.fetch_or(u32::from(account) << OWNER_SHIFT, Ordering::Relaxed);
        self.budget.charge_beyond(account);
        true
    }

    /// An account for a new disk. If all numbers are used, those of destroyed disks whose blocks
    /// others still share are freed, so a long chain of forks doesn't use them up. The caller holds
    /// the disk table's lock.
    ///
    /// # Errors
    /// [`Error::TooManyDisks`].
    pub(crate) fn open_account(&self, quota_bytes: Option<u64>) -> Result<u16, Error> {
        self.budget.open(quota_bytes).or_else(|_| {
            self.adopt_orphans();
            self.budget.open(quota_bytes)
        })
    }

    /// Move the charges of closed accounts to [`NO_DISK`].
    fn adopt_orphans(&self) {
        let closed = self.budget.closed();
        for count in self
            .counts
            .iter()
            .filter_map(OnceLock::get)
            .flat_map(|counts| counts.iter())
        {
            let is_closed = |owner: u16| closed[usize::from(owner)];
            self.transfer(count, is_closed, NO_DISK);
        }
    }

    /// Charge a block to `to` if it is in use and one of the accounts `of` pays for it. Returns
    /// whether that was so.
    fn transfer(&self, count: &AtomicU32, of: impl Fn(u16) -> bool, to: u16) -> bool {
        let mut now = count.load(Ordering::Relaxed);
        while now & REFERENCES > 0 && of(owner(now)) {
            let from = owner(now);
            // Charge first: a thread that frees the block may use either account.
            self.budget.transfer(from, to);
            let new = u32::from(to) << OWNER_SHIFT | now & REFERENCES;
            let (set, read) = (Ordering::Relaxed, Ordering::Relaxed);
            match count.compare_exchange(now, new, set, read) {
                Ok(_) => return true,
                Err(other) => {
                    self.budget.transfer(to, from);
                    now = other;
                }
            }
        }
        false
    }

    /// Charge a block that `from` pays for to `to`, beyond the quota of that. Returns whether
    /// `from` paid. The caller knows an entry that names the block.
    pub(crate) fn charge_instead(&self, block: Block, from: u16, to: u16) -> bool {
        self.transfer(self.count(block), |owner| owner == from, to)
    }

    /// How many entries name the block, and which account pays for it.
    pub(crate) fn standing(&self, block: Block) -> (u32, u16) {
        let count = self.count(block).load(Ordering::Relaxed);
        (count & REFERENCES, owner(count))
    }

    /// Make the free list from the counts.
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
        let owner = |&block: &Block| owner(self.count(block).swap(0, Ordering::Relaxed));
        let owners: Vec<u16> = blocks.iter().map(owner).collect();
        for same in owners.chunk_by(|a, b| a == b) {
            let owner = same.first().copied().unwrap_or(NO_DISK);
            self.budget.uncharge(owner, same.len() as u64);
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

    /// Memory was freed, or a bound raised: wake the writes that wait for memory.
    pub(crate) fn make_room(&self) {
        self.room_changes.fetch_add(1, Ordering::Release);
        self.room.notify_all();
    }

    pub(crate) fn room_changes(&self) -> u64 {
        self.room_changes.load(Ordering::Acquire)
    }

    /// Wake the pool's thread, for which there is work.
    fn stir(&self) {
        let mut wake = self.wake.lock();
        if !wake.stirred {
            wake.stirred = true;
            self.reclaimer.notify_one();
        }
    }

    /// Wait until memory was freed, but only for a moment.
    pub(crate) fn wait_for_room(&self) {
        let mut wake = self.wake.lock();
        self.room.wait_for(&mut wake, Duration::from_millis(20));
    }

    /// Wait until `until`, if there is one, or until the pool is closed; `may_stir`: or something
    /// was freed or used up.
    pub(super) fn sleep(&self, until: Option<Instant>, may_stir: bool) -> Woken {
        let mut wake = self.wake.lock();
        loop {
            if wake.closing {
                return Woken::Closing;
            }
            if may_stir && std::mem::take(&mut wake.stirred) {
                return Woken::Stirred;
            }
            match until {
                None => self.reclaimer.wait(&mut wake),
                Some(until) if until <= Instant::now() => return Woken::Time,
                Some(until) => {
                    self.reclaimer.wait_until(&mut wake, until);
                }
            }
        }
    }

    /// Return memory to the host that was free for that long: whole groups, and parts of groups.
    /// Returns how many groups had some.
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

    /// How long threads wait for a processor, for the thread that calls this; `None` if no huge
    /// pages are made.
    pub(super) fn waits(&self) -> Option<Waits> {
        self.free.lock().waits()
    }

    /// Whether groups wait for a huge page.
    pub(super) fn wants_huge(&self) -> bool {
        self.free.lock().full_groups() > 0
    }

    /// Make a huge page of the next group that was used up that long ago and still is. Returns
    /// whether there was one. An access to it waits meanwhile, and a group that was just used up is
    /// accessed.
    pub(crate) fn make_huge_page(&self, after: Duration) -> bool {
        let Some(group) = self.free.lock().take_full(after) else {
            return false;
        };
        // Where the system makes none it never will; small pages do as well.
        if let Err(error) = self.arena.collapse(group) {
            tracing::debug!(%error, "the system makes no huge pages");
            self.free.lock().make_no_huge();
        }
        true
    }

    fn punch(&self, taken: &Taken) {
        points::reach("before-punch");
        let runs = taken.runs();
        let unmaps = runs.len() >= MANY_STRETCHES;
        if unmaps {
            // If this is refused, it only costs time.
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

    /// End the thread that waits in [`Pool::sleep`].
    pub(super) fn close(&self) {
        self.wake.lock().closing = true;
        self.reclaimer.notify_all();
    }
}
