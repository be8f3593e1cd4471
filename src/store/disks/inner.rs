//! A disk itself, shared by its connections: its map and its record, and what changes both.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::change::Change;
use super::leftover::Leftover;
use super::table::{DiskTable, Placed};
use crate::store::base::error::Error;
use crate::store::base::points;
use crate::store::base::range::{Capacity, SectorSize};
use crate::store::base::sync::Mutex;
use crate::store::layout::entry::Entry;
use crate::store::layout::levels::TOP;
use crate::store::layout::record::Record;
use crate::store::layout::spec::{OnFull, Shrink};
use crate::store::pages::map::PageMap;
use crate::store::pages::mapped::Mapped;
use crate::store::pages::tree::Tree;

/// A disk. Its record is only changed by who holds the lock on the disk table.
#[derive(Debug)]
pub(crate) struct DiskInner {
    pub(crate) table: Arc<DiskTable>,
    slot: u32,
    about: Mutex<(Record, Placed)>,
    map: PageMap,
    /// As the record says, to be asked at any time.
    read_only: AtomicBool,
    stalls: AtomicBool,
    /// Whether nobody may ever change it.
    snapshot: bool,
    destroyed: AtomicBool,
}

/// A disk at one moment, with a reference to its tree.
#[derive(Debug)]
pub(crate) struct Moment {
    pub(crate) root: Entry,
    pub(crate) capacity: Capacity,
    pub(crate) mapped: Mapped,
}

impl DiskInner {
    pub(crate) fn new(
        table: Arc<DiskTable>,
        slot: u32,
        account: u16,
        record: Record,
        placed: Placed,
        mapped: Mapped,
    ) -> Self {
        let (spec, snapshot) = (record.spec, record.snapshot);
        let pool = Arc::clone(&table.pool);
        let tree = Tree::new(pool, account, placed.block, mapped);
        let capacity = Capacity::known(spec.size_bytes, spec.sector_size);
        Self {
            map: PageMap::new(tree, capacity, spec.detect_zeroes),
            table,
            slot,
            about: Mutex::new((record, placed)),
            read_only: AtomicBool::new(spec.read_only),
            stalls: AtomicBool::new(spec.on_full == OnFull::Stall),
            snapshot,
            destroyed: AtomicBool::new(false),
        }
    }

    pub(crate) fn map(&self) -> &PageMap {
        &self.map
    }

    pub(crate) fn tree(&self) -> &Tree {
        &self.map.tree
    }

    pub(crate) fn record(&self) -> Record {
        self.about.lock().0.clone()
    }

    pub(crate) fn sector_size(&self) -> SectorSize {
        self.map.capacity().sector_size()
    }

    pub(crate) fn is_read_only(&self) -> bool {
        self.read_only.load(Ordering::Relaxed)
    }

    pub(crate) fn is_snapshot(&self) -> bool {
        self.snapshot
    }

    pub(crate) fn is_destroyed(&self) -> bool {
        self.destroyed.load(Ordering::Acquire)
    }

    pub(crate) fn stalls(&self) -> bool {
        self.stalls.load(Ordering::Relaxed)
    }

    pub(crate) fn wait_for_room(&self) {
        self.table.pool.wait_for_room();
    }

    pub(crate) fn room_changes(&self) -> u64 {
        self.table.pool.room_changes()
    }

    pub(crate) fn charged_bytes(&self) -> u64 {
        let budget = self.table.pool.budget();
        budget.account(self.map.tree.account()).charged_bytes()
    }

    pub(crate) fn set_marks(&self, above_bytes: u64, below_bytes: u64) {
        let budget = self.table.pool.budget();
        let account = budget.account(self.map.tree.account());
        account.marks().set(above_bytes, below_bytes);
    }

    /// The disk as it is now, with a reference to its tree for who asks.
    pub(crate) fn share(&self) -> Moment {
        let _whole = self.map.locks().lock_all();
        Moment {
            root: self.map.tree.share_root(),
            capacity: self.map.capacity(),
            mapped: self.map.tree.mapped.share(),
        }
    }

    /// The reference isn't wanted any more.
    pub(crate) fn unshare(&self, root: Entry) -> Leftover {
        self.leftover([(root, TOP)])
    }

    pub(crate) fn leftover(&self, entries: impl Into<Vec<(Entry, u32)>>) -> Leftover {
        let mut leftover = Leftover::new(&self.table);
        leftover.entries = entries.into();
        leftover
    }

    /// Replace the record by a changed one, whose tree is `root` or the same as before. All of it
    /// under all shards, since the root must not change meanwhile; `then` runs there too.
    pub(crate) fn replace<T>(
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
            let _whole = self.map.locks().lock_all();
            before()?;
            let root = root.unwrap_or_else(|| self.map.tree.root_entry());
            let placed = self
                .table
                .place(self.map.tree.account(), &record, root, true)?;
            self.table.publish(self.slot, Some(placed));
            self.map.tree.set_record(Some(placed.block));
            let old = std::mem::replace(&mut *about, (record, placed));
            (old.1, then())
        };
        self.table.free(old);
        Ok(result)
    }

    /// Change what the record says, but for size and tree. The disk table is locked.
    pub(crate) fn change_record(&self, change: impl FnOnce(&mut Record)) -> Result<(), Error> {
        self.replace(change, None, || Ok(()), || ())
    }

    /// To be asked under the lock on the disk table.
    fn alive(&self) -> Result<(), Error> {
        if !self.is_destroyed() {
            return Ok(());
        }
        Err(Error::Disconnected {
            key: self.record().key,
        })
    }

    /// Change the record, and the size with it: all of it at one instant, or nothing.
    pub(crate) fn change(
        &self,
        change: &Change<'_>,
        size: Option<(u64, Shrink)>,
    ) -> Result<Leftover, Error> {
        change.check()?;
        let sector_size = self.sector_size();
        let capacity = size.map(|(size_bytes, _)| Capacity::new(size_bytes, sector_size));
        let capacity = capacity.transpose()?;
        let _slots = self.table.lock();
        self.alive()?;
        let from_bytes = self.map.capacity().bytes();
        let to_bytes = capacity.map_or(from_bytes, Capacity::bytes);
        let shrinks = to_bytes < from_bytes;
        if shrinks && size.is_some_and(|(_, shrink)| shrink == Shrink::Refuse) {
            return Err(Error::WouldShrink {
                from_bytes,
                to_bytes,
            });
        }
        if let Some(Some(quota_bytes)) = change.quota_bytes {
            self.check_quota(quota_bytes, change.even_below_charge)?;
        }
        let mut left = self.leftover([]);
        let cut = self.replace(
            |record| {
                change.apply(record);
                record.spec.size_bytes = to_bytes;
            },
            None,
            || {
                if shrinks {
                    self.map.prepare_cut(to_bytes)?;
                }
                Ok(())
            },
            || {
                if let Some(capacity) = capacity {
                    self.map.set_capacity(capacity);
                }
                if shrinks {
                    points::reach("shrink-committed");
                    self.map.cut(to_bytes, &mut left)
                } else {
                    Ok(())
                }
            },
        )?;
        self.follow_record(change);
        cut.map(|()| left)
    }

    /// Whether a quota is not below what the disk is charged for; raising one always is well.
    pub(crate) fn check_quota(
        &self,
        quota_bytes: u64,
        even_below_charge: bool,
    ) -> Result<(), Error> {
        let had = self.record().spec.quota_bytes;
        let charged_bytes = self.charged_bytes();
        let rises = had.is_some_and(|had| quota_bytes >= had);
        if quota_bytes >= charged_bytes || rises || even_below_charge {
            return Ok(());
        }
        Err(Error::QuotaBelowCharge {
            quota_bytes,
            charged_bytes,
        })
    }

    /// Have what is asked at any time be as the record says.
    fn follow_record(&self, change: &Change<'_>) {
        let spec = self.about.lock().0.spec;
        self.read_only.store(spec.read_only, Ordering::Relaxed);
        let stalls = spec.on_full == OnFull::Stall;
        self.stalls.store(stalls, Ordering::Relaxed);
        let pool = &self.table.pool;
        pool.budget()
            .account(self.map.tree.account())
            .set_quota(spec.quota_bytes);
        if change.quota_bytes.is_some() {
            pool.make_room();
        }
    }

    /// After recovery: a shrink that was committed, but not carried out.
    pub(crate) fn cut_to_size(&self) -> Result<(), Error> {
        if self.map.is_cut() {
            return Ok(());
        }
        let size_bytes = self.map.capacity().bytes();
        let mut left = self.leftover([]);
        let _whole = self.map.locks().lock_all();
        self.map.prepare_cut(size_bytes)?;
        self.map.cut(size_bytes, &mut left)
    }

    /// Take over the content and size of another disk, with these settings if there are any. The
    /// disk table is locked.
    pub(crate) fn reset(&self, to: &Self, settings: Option<&[u8]>) -> Result<Leftover, Error> {
        if self.snapshot {
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
            |record| {
                record.spec.size_bytes = moment.capacity.bytes();
                if let Some(settings) = settings {
                    settings.clone_into(&mut record.settings);
                }
            },
            Some(moment.root),
            || {
                before = self.map.tree.root_entry();
                Ok(())
            },
            || {
                self.map.set_capacity(moment.capacity);
                self.map.tree.mapped.take_over(&moment.mapped);
            },
        )
        .inspect_err(|_| drop(to.unshare(moment.root)))?;
        Ok(self.leftover([(before, TOP)]))
    }

    /// End the disk for every connection, at one instant. The disk table is locked.
    pub(crate) fn end(&self) -> Leftover {
        let about = self.about.lock();
        let root = {
            let _whole = self.map.locks().lock_all();
            self.destroyed.store(true, Ordering::Release);
            self.table.publish(self.slot, None);
            self.map.tree.mapped.take_over(&Mapped::default());
            self.map.detach()
        };
        self.table.pool.budget().close(self.map.tree.account());
        let mut left = self.leftover([root]);
        left.record = Some(about.1);
        left.slot = Some(self.slot);
        left
    }
}
