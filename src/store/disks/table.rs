//! The disk table: how a disk's record is added, replaced and removed. There is one control
//! operation at a time, and each takes effect with one store of a word: that of the table, or for
//! several disks that of their list.

use std::sync::Arc;

use crate::store::base::error::Error;
use crate::store::base::limits::MOST_DISKS;
use crate::store::base::points;
use crate::store::base::sync::{Mutex, MutexGuard};
use crate::store::layout::entry::Entry;
use crate::store::layout::record::Record;
use crate::store::layout::slots;
use crate::store::layout::superblock;
use crate::store::memory::arena::Block;
use crate::store::memory::pool::Pool;

/// The disk table of an arena, and the pool that its records come from.
#[derive(Debug)]
pub(crate) struct DiskTable {
    pool: Arc<Pool>,
    slots: Mutex<Slots>,
}

/// Which slots are free. Only the thread that holds the lock around this may change records.
#[derive(Debug)]
pub(crate) struct Slots {
    next_id: u64,
    next_slot: u32,
    spare: Vec<u32>,
    used: usize,
}

/// The blocks of a record.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Placed {
    pub(crate) block: Block,
    pub(crate) settings: Option<Block>,
}

/// What a disk holds beside its tree.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Holding {
    pub(crate) slot: u32,
    pub(crate) account: u16,
    pub(crate) placed: Placed,
}

impl DiskTable {
    /// The table of an arena in which these slots are in use.
    pub(crate) fn new(pool: Arc<Pool>, used: &[u32], last_id: u64) -> Self {
        let next_slot = used.iter().max().map_or(0, |slot| slot + 1);
        let mut taken = vec![false; next_slot as usize];
        for &slot in used {
            taken[slot as usize] = true;
        }
        let spare = (0..next_slot).filter(|&slot| !taken[slot as usize]);
        Self {
            slots: Mutex::new(Slots {
                next_id: last_id + 1,
                next_slot,
                spare: spare.collect(),
                used: used.len(),
            }),
            pool,
        }
    }

    pub(crate) fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    /// Take the lock for a control operation.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock()
    }

    /// Write a record that nothing names yet. If it `replaces` another record of the same disk,
    /// limit and quota don't apply.
    ///
    /// # Errors
    /// [`Error::is_out_of_memory`]; then nothing is taken.
    pub(crate) fn place(
        &self,
        account: u16,
        record: &Record,
        root: Entry,
        replaces: bool,
    ) -> Result<Placed, Error> {
        let take = || match replaces {
            true => self.pool.take_beyond(account),
            false => self.pool.take(account),
        };
        let block = take()?;
        let settings = if record.settings.is_empty() {
            None
        } else {
            Some(take().inspect_err(|_| self.free_block(block))?)
        };
        record.write(self.pool.arena(), block, settings, root);
        points::reach("record-written");
        Ok(Placed { block, settings })
    }

    /// Take what a new disk holds. The record has the tree of `root`, and the slot doesn't name it
    /// yet.
    ///
    /// # Errors
    /// [`Error::TooManyDisks`], [`Error::is_out_of_memory`]; then nothing is taken.
    pub(crate) fn hold(
        &self,
        slots: &mut Slots,
        record: &Record,
        root: Entry,
    ) -> Result<Holding, Error> {
        let slot = slots.take(&self.pool)?;
        let opened = self.pool.open_account(record.spec.quota_bytes);
        let placed = opened.and_then(|account| {
            let placed = self.place(account, record, root, false);
            let placed = placed.inspect_err(|_| self.pool.budget().close(account))?;
            Ok((account, placed))
        });
        let (account, placed) = placed.inspect_err(|_| slots.give_back(slot))?;
        Ok(Holding {
            slot,
            account,
            placed,
        })
    }

    /// Free what a disk that was never published holds, but not the tree below its record.
    pub(crate) fn let_go(&self, slots: &mut Slots, holding: Holding) {
        self.free(holding.placed);
        self.pool.budget().close(holding.account);
        slots.give_back(holding.slot);
    }

    /// The root of a tree whose content comes to a disk as a whole, with what the arena's layout
    /// can say of that.
    pub(crate) fn arrived(&self, root: Entry) -> Entry {
        match superblock::layout(self.pool.arena()) {
            // Not converted yet, and its own version would refuse the entry.
            1 => root,
            _ => root.untouched(),
        }
    }

    /// Let a slot name a record, or none. This is the instant at which the operation takes effect.
    pub(crate) fn publish(&self, slot: u32, placed: Option<Placed>) {
        self.publish_block(slot, placed.map(|placed| placed.block));
    }

    /// The same, by the record's block.
    pub(crate) fn publish_block(&self, slot: u32, record: Option<Block>) {
        slots::set(self.pool.arena(), slot, record);
        points::reach("slot-published");
    }

    /// Free a record that no slot names any more, but not the tree below it.
    pub(crate) fn free(&self, placed: Placed) {
        self.free_block(placed.block);
        if let Some(settings) = placed.settings {
            self.free_block(settings);
        }
    }

    /// Free a block that nothing names.
    pub(crate) fn free_block(&self, block: Block) {
        if self.pool.release(block) {
            self.pool.give_back(&mut vec![block]);
        }
    }
}

impl Slots {
    /// A number that no disk of this arena has had.
    pub(crate) fn next_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id - 1
    }

    /// A slot for a new disk.
    ///
    /// # Errors
    /// [`Error::TooManyDisks`], [`Error::HostFull`].
    pub(crate) fn take(&mut self, pool: &Pool) -> Result<u32, Error> {
        if self.used >= MOST_DISKS {
            return Err(Error::TooManyDisks);
        }
        let slot = match self.spare.pop() {
            Some(slot) => slot,
            None => {
                slots::back(pool.arena(), self.next_slot)?;
                self.next_slot += 1;
                self.next_slot - 1
            }
        };
        self.used += 1;
        Ok(slot)
    }

    /// Free a slot that no longer names a record.
    pub(crate) fn give_back(&mut self, slot: u32) {
        debug_assert!(self.used > 0 && slot < self.next_slot && !self.spare.contains(&slot));
        self.spare.push(slot);
        self.used -= 1;
    }
}
