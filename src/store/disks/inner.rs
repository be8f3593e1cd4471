//! A disk as its connections share it: its map and its record, and the operations that change both.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::change::Change;
use super::leftover::Leftover;
use super::table::{DiskTable, Holding, Placed};
use crate::store::base::error::Error;
use crate::store::base::points;
use crate::store::base::range::{Capacity, SectorSize};
use crate::store::base::sync::{Mutex, MutexGuard};
use crate::store::layout::entry::Entry;
use crate::store::layout::levels::TOP;
use crate::store::layout::record::{Record, check_settings};
use crate::store::layout::spec::{OnFull, Shrink};
use crate::store::memory::account::Account;
use crate::store::pages::locks::AllShards;
use crate::store::pages::map::PageMap;
use crate::store::pages::subtrees::detached::Detached;
use crate::store::pages::subtrees::mapped::Mapped;
use crate::store::pages::subtrees::subtree;
use crate::store::pages::tree::Tree;

/// A disk. Everything but its bytes changes only under the disk table's lock.
#[derive(Debug)]
pub(crate) struct DiskInner {
    table: Arc<DiskTable>,
    /// Its word in the disk table.
    pub(super) slot: u32,
    about: Mutex<About>,
    map: PageMap,
    /// Copies of fields of the record, to read them without its lock.
    read_only: AtomicBool,
    stalls: AtomicBool,
    /// Whether it is a snapshot, which never changes.
    snapshot: bool,
    destroyed: AtomicBool,
}

/// The record, and the blocks that hold it.
#[derive(Debug)]
struct About {
    record: Record,
    placed: Placed,
}

/// A disk at one moment, with a reference to its tree.
#[derive(Debug)]
pub(crate) struct Moment {
    pub(crate) root: Entry,
    pub(crate) capacity: Capacity,
    pub(crate) mapped: Mapped,
}

/// A changed record, before it replaces the disk's. It holds all locks of the disk's tree.
struct Edit<'d> {
    disk: &'d DiskInner,
    about: MutexGuard<'d, About>,
    record: Record,
    all: AllShards<'d>,
}

/// The record was replaced, and the disk's tree is still locked.
struct Committed<'d> {
    disk: &'d DiskInner,
    old: Placed,
    all: AllShards<'d>,
}

impl Edit<'_> {
    fn root(&self) -> Entry {
        self.disk.tree().root_entry()
    }
}

impl<'d> Edit<'d> {
    /// Publish the record, with the tree of `root`. This is the instant at which the whole change
    /// takes effect.
    ///
    /// # Errors
    /// [`Error::HostFull`]; nothing changes then.
    fn commit(self, root: Entry) -> Result<Committed<'d>, Error> {
        let Self {
            disk,
            mut about,
            record,
            all,
        } = self;
        let account = disk.tree().nodes.account();
        let placed = disk.table.place(account, &record, root, true)?;
        disk.table.publish(disk.slot, Some(placed));
        disk.tree().set_record(&all, Some(placed.block));
        let old = std::mem::replace(&mut *about, About { record, placed });
        Ok(Committed {
            disk,
            old: old.placed,
            all,
        })
    }
}

impl Committed<'_> {
    /// Release the locks, and free the record that was replaced.
    fn finish(self) {
        drop(self.all);
        self.disk.table.free(self.old);
    }
}

impl DiskInner {
    /// The disk whose record a slot names, with a tree that has `mapped`.
    pub(crate) fn new(
        table: Arc<DiskTable>,
        holding: Holding,
        record: Record,
        mapped: Mapped,
    ) -> Self {
        let Holding {
            slot,
            account,
            placed,
        } = holding;
        let (spec, snapshot) = (record.spec, record.snapshot);
        let pool = Arc::clone(table.pool());
        let tree = Tree::new(pool, account, placed.block, mapped);
        let capacity = Capacity::known(spec.size_bytes, spec.sector_size);
        Self {
            map: PageMap::new(tree, capacity, spec.detect_zeroes),
            table,
            slot,
            about: Mutex::new(About { record, placed }),
            read_only: AtomicBool::new(spec.read_only),
            stalls: AtomicBool::new(spec.on_full == OnFull::Stall),
            snapshot,
            destroyed: AtomicBool::new(false),
        }
    }

    pub(crate) fn map(&self) -> &PageMap {
        &self.map
    }

    fn tree(&self) -> &Tree {
        &self.map.tree
    }

    /// A copy of the record.
    pub(crate) fn record(&self) -> Record {
        self.with_record(Record::clone)
    }

    /// Part of the record, which may have changed when this returns.
    pub(crate) fn with_record<T>(&self, part: impl FnOnce(&Record) -> T) -> T {
        part(&self.about.lock().record)
    }

    pub(crate) fn key(&self) -> String {
        self.with_record(|record| record.key.clone())
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

    /// Whether a write that finds no memory waits for some.
    pub(crate) fn stalls(&self) -> bool {
        self.stalls.load(Ordering::Relaxed)
    }

    pub(crate) fn wait_for_room(&self) {
        self.table.pool().wait_for_room();
    }

    pub(crate) fn room_changes(&self) -> u64 {
        self.table.pool().room_changes()
    }

    fn account(&self) -> &Account {
        let number = self.tree().nodes.account();
        self.table.pool().budget().account(number)
    }

    pub(crate) fn charged_bytes(&self) -> u64 {
        self.account().charged_bytes()
    }

    pub(crate) fn set_marks(&self, above_bytes: u64, below_bytes: u64) {
        self.account().marks().set(above_bytes, below_bytes);
    }

    /// The root of its tree at this moment.
    pub(crate) fn root(&self) -> Entry {
        self.tree().root_entry()
    }

    /// The disk as it is now, with a reference to its tree for the caller.
    pub(crate) fn share(&self) -> Moment {
        self.share_under(&self.map.lock_all())
    }

    /// The same as [`DiskInner::share`], for a caller that holds all locks.
    pub(crate) fn share_under(&self, all: &AllShards<'_>) -> Moment {
        debug_assert!(
            self.tree().mapped.fits(self.map.capacity().sectors_512()),
            "more is mapped than the disk has"
        );
        Moment {
            root: self.tree().share_root(all),
            capacity: self.map.capacity(),
            mapped: self.tree().mapped.share(),
        }
    }

    /// Drop the reference of a [`Moment`].
    pub(crate) fn unshare(&self, root: Entry) {
        subtree::free(self.table.pool(), [(root, TOP)]);
    }

    fn leftover(&self, detached: Detached) -> Leftover {
        Leftover::new(&self.table, detached)
    }

    /// Begin to replace the record by a changed one. The caller holds the disk table's lock.
    fn edit(&self, change: impl FnOnce(&mut Record)) -> Edit<'_> {
        let about = self.about.lock();
        let mut record = about.record.clone();
        change(&mut record);
        Edit {
            disk: self,
            about,
            record,
            all: self.map.lock_all(),
        }
    }

    /// Check that the disk was not destroyed. The caller holds the disk table's lock.
    fn check_alive(&self) -> Result<(), Error> {
        if !self.is_destroyed() {
            return Ok(());
        }
        Err(Error::Disconnected { key: self.key() })
    }

    /// Change the record and the size, all of it at one instant or nothing.
    ///
    /// # Errors
    /// As [`Disk::change`](crate::store::Disk::change).
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
        self.check_alive()?;
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
        let edit = self.edit(|record| {
            change.apply(record);
            record.spec.size_bytes = to_bytes;
        });
        if shrinks {
            self.map.prepare_cut(&edit.all, to_bytes)?;
        }
        let root = edit.root();
        let committed = edit.commit(root)?;
        if let Some(capacity) = capacity {
            self.map.set_capacity(&committed.all, capacity);
        }
        let mut detached = Detached::default();
        let cut = if shrinks {
            points::reach("shrink-committed");
            self.map.cut(&committed.all, to_bytes, &mut detached)
        } else {
            Ok(())
        };
        committed.finish();
        self.follow_record(change);
        let left = self.leftover(detached);
        cut.map(|()| left)
    }

    /// Check that a quota is not below the disk's charge. You can always raise a quota.
    ///
    /// # Errors
    /// [`Error::QuotaBelowCharge`].
    pub(crate) fn check_quota(
        &self,
        quota_bytes: u64,
        even_below_charge: bool,
    ) -> Result<(), Error> {
        let had = self.with_record(|record| record.spec.quota_bytes);
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

    /// Update the copies that are read without the record's lock.
    fn follow_record(&self, change: &Change<'_>) {
        let spec = self.with_record(|record| record.spec);
        self.read_only.store(spec.read_only, Ordering::Relaxed);
        let stalls = spec.on_full == OnFull::Stall;
        self.stalls.store(stalls, Ordering::Relaxed);
        self.account().set_quota(spec.quota_bytes);
        if change.quota_bytes.is_some() {
            self.table.pool().make_room();
        }
    }

    /// After recovery: finish a shrink that was committed and then interrupted.
    ///
    /// # Errors
    /// [`Error::is_out_of_memory`].
    pub(crate) fn cut_to_size(&self) -> Result<(), Error> {
        if self.map.is_cut() {
            return Ok(());
        }
        let size_bytes = self.map.capacity().bytes();
        let mut detached = Detached::default();
        let all = self.map.lock_all();
        let prepared = self.map.prepare_cut(&all, size_bytes);
        let cut = prepared.and_then(|()| self.map.cut(&all, size_bytes, &mut detached));
        drop(all);
        detached.free(self.table.pool());
        cut
    }

    /// Take over the content and size of another disk, and `settings` if there are any. The size is
    /// at least `least_bytes`. The caller holds the disk table's lock.
    ///
    /// # Errors
    /// As [`Store::reset_with`](crate::store::Store::reset_with).
    pub(crate) fn reset(
        &self,
        to: &Self,
        settings: Option<&[u8]>,
        least_bytes: u64,
    ) -> Result<Leftover, Error> {
        self.check_may_change()?;
        let before = self.replace_content(to, settings, least_bytes, false)?;
        Ok(self.leftover(Detached::tree(before)))
    }

    /// Take over content, size and charge of `from`, which no connection writes to and which the
    /// caller destroys next. Returns the root of this disk's old tree. The caller holds the disk
    /// table's lock.
    ///
    /// # Errors
    /// As [`Store::take_over`](crate::store::Store::take_over).
    pub(crate) fn take_over(&self, from: &Self, settings: &[u8]) -> Result<Entry, Error> {
        check_settings(settings)?;
        self.check_may_change()?;
        let quota_bytes = self.with_record(|record| record.spec.quota_bytes);
        if let Some(quota_bytes) = quota_bytes.filter(|&bytes| bytes < from.charged_bytes()) {
            return Err(Error::OverQuota { quota_bytes });
        }
        let before = self.replace_content(from, Some(settings), 0, true)?;
        self.account().set_quota(quota_bytes);
        self.table.pool().make_room();
        Ok(before)
    }

    /// Whether another disk's content may become this one's.
    pub(crate) fn check_may_change(&self) -> Result<(), Error> {
        if self.snapshot {
            return Err(Error::IsReadOnly { key: self.key() });
        }
        Ok(())
    }

    /// Replace content and size by those of `from`, at one instant; the size is at least
    /// `least_bytes`. With `and_charge` the two disks also exchange their accounts: the blocks of
    /// the new tree stay charged to the account that already pays for them. Returns the root of
    /// this disk's old tree.
    fn replace_content(
        &self,
        from: &Self,
        settings: Option<&[u8]>,
        least_bytes: u64,
        and_charge: bool,
    ) -> Result<Entry, Error> {
        let sector_size = self.sector_size();
        if least_bytes > 0 {
            Capacity::new(least_bytes, sector_size)?;
        }
        let moment = from.share();
        let size_bytes = moment.capacity.bytes().max(least_bytes);
        let size_bytes = size_bytes.next_multiple_of(sector_size.bytes());
        let edit = self.edit(|record| {
            record.spec.size_bytes = size_bytes;
            if let Some(settings) = settings {
                settings.clone_into(&mut record.settings);
            }
        });
        let exchange = || {
            if and_charge {
                self.tree().nodes.exchange_account(&from.tree().nodes);
            }
        };
        let before = edit.root();
        exchange();
        let arrived = self.table.arrived(moment.root);
        let committed = edit.commit(arrived).inspect_err(|_| {
            exchange();
            from.unshare(moment.root);
        })?;
        let capacity = Capacity::known(size_bytes, sector_size);
        self.map.set_capacity(&committed.all, capacity);
        self.tree().mapped.take_over(&moment.mapped);
        committed.finish();
        Ok(before)
    }

    /// A record of `placed` with the tree of `moment` has replaced that of this disk in the table.
    /// Returns the old content. The caller holds the disk table's lock.
    pub(crate) fn replaced(
        &self,
        all: &AllShards<'_>,
        record: Record,
        placed: Placed,
        moment: &Moment,
    ) -> Leftover {
        let before = self.root();
        let size_bytes = record.spec.size_bytes;
        self.renamed(all, record, placed);
        self.map
            .set_capacity(all, Capacity::known(size_bytes, self.sector_size()));
        self.tree().mapped.take_over(&moment.mapped);
        self.leftover(Detached::tree(before))
    }

    /// A record of `placed` with the same tree has replaced this disk's in the table. The caller
    /// holds the disk table's lock.
    pub(crate) fn renamed(&self, all: &AllShards<'_>, record: Record, placed: Placed) {
        self.tree().set_record(all, Some(placed.block));
        let old = std::mem::replace(&mut *self.about.lock(), About { record, placed });
        self.table.free(old.placed);
    }

    /// Destroy the disk for all its connections, at one instant. The caller holds the disk table's
    /// lock.
    pub(crate) fn end(&self) -> Leftover {
        let all = self.map.lock_all();
        self.table.publish(self.slot, None);
        self.ended(&all)
    }

    /// The table doesn't name this disk any more. Returns what it had. The caller holds the disk
    /// table's lock.
    pub(crate) fn ended(&self, all: &AllShards<'_>) -> Leftover {
        let about = self.about.lock();
        self.destroyed.store(true, Ordering::Release);
        self.tree().mapped.take_over(&Mapped::default());
        let root = self.map.detach(all);
        let account = self.tree().nodes.account();
        self.table.pool().budget().close(account);
        let mut left = self.leftover(Detached::tree(root));
        left.record = Some(about.placed);
        left.slot = Some(self.slot);
        left
    }
}
