//! A disk itself, shared by its connections: its map and its record, and what changes both.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::catalog::check_settings;
use super::entry::Entry;
use super::ledger::{Ledger, Placed};
use super::map::PageMap;
use super::range::SectorSize;
use super::record::Record;
use super::sync::Mutex;
use super::tree::{TOP, Tree};
use super::{Capacity, Error, OnFull, Shrink, points};

/// A disk. Its record is only changed by who holds the ledger's lock.
#[derive(Debug)]
pub(super) struct DiskCore {
    ledger: Arc<Ledger>,
    slot: u32,
    account: u16,
    about: Mutex<(Record, Placed)>,
    map: PageMap,
    read_only: bool,
    stalls: bool,
    destroyed: AtomicBool,
}

/// A disk at one moment, with a reference to its tree.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    pub(super) root: Entry,
    pub(super) capacity: Capacity,
    pub(super) mapped_sectors: u64,
}

impl DiskCore {
    pub(super) fn new(
        ledger: Arc<Ledger>,
        slot: u32,
        account: u16,
        record: Record,
        placed: Placed,
        mapped_sectors: u64,
    ) -> Self {
        let spec = record.spec;
        let pool = Arc::clone(&ledger.pool);
        let tree = Tree::new(pool, account, placed.block, mapped_sectors);
        let capacity = Capacity::known(spec.size_bytes, spec.sector_size);
        Self {
            map: PageMap::new(tree, capacity, spec.detect_zeroes),
            ledger,
            slot,
            account,
            about: Mutex::new((record, placed)),
            read_only: spec.read_only,
            stalls: spec.on_full == OnFull::Stall,
            destroyed: AtomicBool::new(false),
        }
    }

    pub(super) fn map(&self) -> &PageMap {
        &self.map
    }

    pub(super) fn tree(&self) -> &Tree {
        &self.map.tree
    }

    pub(super) fn record(&self) -> Record {
        self.about.lock().0.clone()
    }

    pub(super) fn slot(&self) -> u32 {
        self.slot
    }

    pub(super) fn sector_size(&self) -> SectorSize {
        self.map.capacity().sector_size()
    }

    pub(super) fn is_read_only(&self) -> bool {
        self.read_only
    }

    pub(super) fn is_destroyed(&self) -> bool {
        self.destroyed.load(Ordering::Acquire)
    }

    pub(super) fn stalls(&self) -> bool {
        self.stalls
    }

    pub(super) fn wait_for_room(&self) {
        self.ledger.pool.wait_for_room();
    }

    pub(super) fn room_changes(&self) -> u64 {
        self.ledger.pool.room_changes()
    }

    pub(super) fn charged_bytes(&self) -> u64 {
        let budget = self.ledger.pool.budget();
        budget.account(self.account).charged_bytes()
    }

    pub(super) fn set_marks(&self, above_bytes: u64, below_bytes: u64) {
        let budget = self.ledger.pool.budget();
        let account = budget.account(self.account);
        account.marks().set(above_bytes, below_bytes);
    }

    /// The disk as it is now, with a reference to its tree for who asks.
    pub(super) fn share(&self) -> Moment {
        let _whole = self.map.gate().whole();
        Moment {
            root: self.map.tree.share_root(),
            capacity: self.map.capacity(),
            mapped_sectors: self.map.tree.mapped_sectors(),
        }
    }

    /// The reference isn't wanted after all.
    pub(super) fn unshare(&self, root: Entry) {
        self.map.tree.drop_entry(root, TOP);
    }

    /// Replace the record by a changed one, whose tree is `root` or the same as before. All of it
    /// under the whole gate, since the root must not change meanwhile; `then` runs there too.
    fn replace<T>(
        &self,
        change: impl FnOnce(&mut Record),
        root: Option<Entry>,
        before: impl FnOnce() -> Result<(), Error>,
        then: impl FnOnce() -> T,
    ) -> Result<T, Error> {
        let mut about = self.about.lock();
        let mut record = about.0.clone();
        change(&mut record);
        let (old, result) = {
            let _whole = self.map.gate().whole();
            before()?;
            let root = root.unwrap_or_else(|| self.map.tree.root_entry());
            let placed = self.ledger.place(self.account, &record, root, true)?;
            self.ledger.publish(self.slot, Some(placed));
            self.map.tree.set_record(Some(placed.block));
            let old = std::mem::replace(&mut *about, (record, placed));
            (old.1, then())
        };
        self.ledger.free(old);
        Ok(result)
    }

    /// Change what the record says, but for size and tree. The ledger is locked.
    pub(super) fn change_record(&self, change: impl FnOnce(&mut Record)) -> Result<(), Error> {
        self.replace(change, None, || Ok(()), || ())
    }

    pub(super) fn set_settings(&self, settings: &[u8]) -> Result<(), Error> {
        check_settings(settings)?;
        let _slots = self.ledger.lock();
        self.alive()?;
        self.change_record(|record| settings.clone_into(&mut record.settings))
    }

    pub(super) fn set_quota(&self, quota_bytes: Option<u64>) -> Result<(), Error> {
        let _slots = self.ledger.lock();
        self.alive()?;
        self.change_record(|record| record.spec.quota_bytes = quota_bytes)?;
        let budget = self.ledger.pool.budget();
        budget.account(self.account).set_quota(quota_bytes);
        self.ledger.pool.make_room();
        Ok(())
    }

    /// To be asked under the ledger's lock.
    fn alive(&self) -> Result<(), Error> {
        if !self.is_destroyed() {
            return Ok(());
        }
        Err(Error::Disconnected {
            key: self.record().key,
        })
    }

    pub(super) fn resize(&self, size_bytes: u64, shrink: Shrink) -> Result<(), Error> {
        let capacity = Capacity::new(size_bytes, self.sector_size())?;
        let _slots = self.ledger.lock();
        self.alive()?;
        let from_bytes = self.map.capacity().bytes();
        if size_bytes < from_bytes && shrink == Shrink::Refuse {
            return Err(Error::WouldShrink {
                from_bytes,
                to_bytes: size_bytes,
            });
        }
        let shrinks = size_bytes < from_bytes;
        let cut = self.replace(
            |record| record.spec.size_bytes = size_bytes,
            None,
            || {
                if shrinks {
                    self.map.prepare_cut(size_bytes)?;
                }
                Ok(())
            },
            || {
                self.map.set_capacity(capacity);
                points::reach("shrink-committed");
                if shrinks {
                    self.map.cut(size_bytes)
                } else {
                    Ok(Vec::new())
                }
            },
        )?;
        self.map.tree.drop_entries(cut?);
        Ok(())
    }

    /// After recovery: a shrink that was committed, but not carried out.
    pub(super) fn cut_to_size(&self) -> Result<(), Error> {
        if self.map.is_cut() {
            return Ok(());
        }
        let size_bytes = self.map.capacity().bytes();
        let cut = {
            let _whole = self.map.gate().whole();
            self.map.prepare_cut(size_bytes)?;
            self.map.cut(size_bytes)?
        };
        self.map.tree.drop_entries(cut);
        Ok(())
    }

    /// Take over the content and size of another disk. The ledger is locked.
    pub(super) fn reset(&self, to: &Self) -> Result<(), Error> {
        if self.read_only {
            return Err(Error::IsReadOnly {
                key: self.record().key,
            });
        }
        if self.sector_size() != to.sector_size() {
            return Err(Error::Unimplemented {
                what: "a reset to a disk with another sector size; fork that one instead".into(),
            });
        }
        let moment = to.share();
        let mut before = Entry::NONE;
        self.replace(
            |record| record.spec.size_bytes = moment.capacity.bytes(),
            Some(moment.root),
            || {
                before = self.map.tree.root_entry();
                Ok(())
            },
            || {
                self.map.set_capacity(moment.capacity);
                self.map.tree.set_mapped(moment.mapped_sectors);
            },
        )
        .inspect_err(|_| to.unshare(moment.root))?;
        self.map.tree.drop_entry(before, TOP);
        Ok(())
    }

    /// End the disk for every connection and free its memory now. The ledger is locked.
    pub(super) fn destroy(&self) {
        let about = self.about.lock();
        let (root, level) = {
            let _whole = self.map.gate().whole();
            self.destroyed.store(true, Ordering::Release);
            self.ledger.publish(self.slot, None);
            self.map.detach()
        };
        self.map.tree.set_mapped(0);
        self.map.tree.drop_entry(root, level);
        self.ledger.free(about.1);
        self.ledger.pool.budget().close(self.account);
    }
}
