//! The disks of a store, by key.

use std::collections::HashMap;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use super::arena_file::{self, StoreOptions};
use super::change::Change;
use super::disk::Disk;
use super::inner::DiskInner;
use super::leftover::Leftover;
use super::recover;
use super::table::{DiskTable, Holding, Placed};
use crate::store::base::error::Error;
use crate::store::base::limits::MAX_KEY_BYTES;
use crate::store::base::new_file::NewFile;
use crate::store::base::points;
use crate::store::base::range::Capacity;
use crate::store::base::sync::RwLock;
use crate::store::layout::entry::Entry;
use crate::store::layout::levels::TOP;
use crate::store::layout::record::{Record, check_settings};
use crate::store::layout::spec::DiskSpec;
use crate::store::layout::superblock;
use crate::store::memory::arena;
use crate::store::memory::pool::Pool;
use crate::store::memory::pressure::PressureSignal;
use crate::store::memory::reclaimer::Reclaimer;
use crate::store::pages::subtrees::detached::Detached;
use crate::store::pages::subtrees::mapped::Mapped;

/// A set of disks that share one memory limit.
#[derive(Debug)]
pub struct Store {
    pub(super) disks: RwLock<HashMap<String, Arc<DiskInner>>>,
    pub(super) table: Arc<DiskTable>,
    _reclaimer: Reclaimer,
}

impl Store {
    /// An empty store whose disks together never take more than `limit_bytes` of memory, including
    /// nodes and records. It ends with the process.
    ///
    /// # Errors
    /// [`Error::LimitTooLarge`]; [`Error::Reserve`], [`Error::Arena`] and [`Error::HostFull`] if
    /// there is no address space, no thread or no memory left.
    pub fn new(limit_bytes: u64) -> Result<Self, Error> {
        Self::with_options(&StoreOptions::new(limit_bytes))
    }

    /// The same as [`Store::new`], with these options.
    ///
    /// # Errors
    /// The same as [`Store::new`].
    pub fn with_options(options: &StoreOptions) -> Result<Self, Error> {
        let file = arena::memory_file().map_err(Error::arena("create"))?;
        Self::create_in(file, options)
    }

    /// An empty store in an empty file, on a tmpfs or a memfd. The store lives as long as the file.
    ///
    /// # Errors
    /// The same as [`Store::new`]; [`Error::Busy`] if another process has it open.
    pub fn create_in(file: File, options: &StoreOptions) -> Result<Self, Error> {
        Self::start(arena_file::create(file, options)?, Vec::new())
    }

    /// An empty store in a new file, which appears only when it is a complete arena.
    ///
    /// # Errors
    /// The same as [`Store::create_in`]; [`Error::Arena`] if the file exists or can't be created.
    pub fn create_at(path: &Path, options: &StoreOptions) -> Result<Self, Error> {
        let folder = path.parent().unwrap_or(Path::new("."));
        let new = NewFile::new_in(folder, 0o600).map_err(Error::arena("create"))?;
        let file = new.file().try_clone().map_err(Error::arena("create"))?;
        let store = Self::create_in(file, options)?;
        new.persist_new(path).map_err(Error::arena("create"))?;
        Ok(store)
    }

    /// Open the store in a file. Every disk is as it was when the last process ended, however that
    /// ended. If the limit is larger than before, the arena grows.
    ///
    /// # Errors
    /// [`Error::Busy`], [`Error::Foreign`], [`Error::OtherLayout`], [`Error::Damaged`]; then the
    /// file stays as it is. Otherwise the same as [`Store::new`].
    pub fn open_in(file: File, options: &StoreOptions) -> Result<Self, Error> {
        let (pool, found) = arena_file::open(file, options)?;
        Self::start(pool, found)
    }

    /// [`Store::open_in`] on the file at `path`.
    ///
    /// # Errors
    /// The same as [`Store::open_in`]; [`Error::Arena`] if there is no such file.
    pub fn open_at(path: &Path, options: &StoreOptions) -> Result<Self, Error> {
        let file = File::options().read(true).write(true).open(path);
        Self::open_in(file.map_err(Error::arena("open"))?, options)
    }

    /// The layout of the arena: the current one, or an older one that was not converted yet and
    /// that its own version can still read.
    pub fn layout(&self) -> u64 {
        superblock::layout(self.table.pool().arena())
    }

    /// Convert the arena to the current layout, at one instant. The caller has converted the
    /// settings of all disks, or can still read the old ones.
    pub fn carry_over(&self) {
        superblock::carry_over(self.table.pool().arena());
    }

    fn start(pool: Pool, found: Vec<recover::Found>) -> Result<Self, Error> {
        let pool = Arc::new(pool);
        let used: Vec<u32> = found.iter().map(|disk| disk.slot).collect();
        let last_id = found.iter().map(|disk| disk.record.id).max().unwrap_or(0);
        let table = Arc::new(DiskTable::new(Arc::clone(&pool), &used, last_id));
        let mut disks = HashMap::new();
        for disk in found {
            let key = disk.record.key.clone();
            let holding = Holding {
                slot: disk.slot,
                account: disk.account,
                placed: Placed {
                    block: disk.block,
                    settings: disk.settings,
                },
            };
            let mapped = Mapped::new(disk.mapped_sectors);
            let disk = DiskInner::new(Arc::clone(&table), holding, disk.record, mapped);
            disk.cut_to_size()?;
            disks.insert(key, Arc::new(disk));
        }
        Ok(Self {
            disks: RwLock::new(disks),
            table,
            _reclaimer: Reclaimer::start(pool)?,
        })
    }

    /// Create an empty disk and connect to it.
    ///
    /// # Errors
    /// [`Error::Exists`] if a disk has this key; [`Error::InvalidKey`],
    /// [`Error::InvalidSize`]; [`Error::TooManyDisks`]; [`Error::is_out_of_memory`].
    pub fn create(&self, key: &str, spec: &DiskSpec) -> Result<Disk, Error> {
        self.create_with(key, spec, &[])
    }

    /// The same as [`Store::create`], with settings that the disk has from the start.
    ///
    /// # Errors
    /// The same as [`Store::create`]; [`Error::SettingsTooLong`].
    pub fn create_with(&self, key: &str, spec: &DiskSpec, settings: &[u8]) -> Result<Disk, Error> {
        let mut slots = self.table.lock();
        self.create_locked(&mut slots, key, spec, settings)
    }

    fn create_locked(
        &self,
        slots: &mut super::table::Slots,
        key: &str,
        spec: &DiskSpec,
        settings: &[u8],
    ) -> Result<Disk, Error> {
        self.check_new_key(key)?;
        check_settings(settings)?;
        Capacity::new(spec.size_bytes, spec.sector_size)?;
        let record = Record {
            id: slots.next_id(),
            key: key.to_owned(),
            spec: *spec,
            snapshot: false,
            parent: 0,
            made_at_ms: 0,
            settings: settings.to_owned(),
        };
        self.add(slots, record, Entry::NONE, Mapped::default())
            .map(Disk::open)
    }

    /// Publish a new disk with the tree of `root`, which is a reference for this disk.
    fn add(
        &self,
        slots: &mut super::table::Slots,
        record: Record,
        root: Entry,
        mapped: Mapped,
    ) -> Result<Arc<DiskInner>, Error> {
        let holding = self.table.hold(slots, &record, root)?;
        self.table.publish(holding.slot, Some(holding.placed));
        let key = record.key.clone();
        let table = Arc::clone(&self.table);
        let disk = DiskInner::new(table, holding, record, mapped);
        let disk = Arc::new(disk);
        self.disks.write().insert(key, Arc::clone(&disk));
        Ok(disk)
    }

    /// Connect to an existing disk.
    ///
    /// # Errors
    /// [`Error::Unknown`].
    pub fn open(&self, key: &str) -> Result<Disk, Error> {
        self.find(key).map(Disk::open)
    }

    pub(crate) fn find(&self, key: &str) -> Result<Arc<DiskInner>, Error> {
        let disk = self.disks.read().get(key).cloned();
        disk.ok_or_else(|| Error::Unknown {
            key: key.to_owned(),
        })
    }

    /// Connect to a disk, or create it with 32768 sectors of 512 bytes.
    ///
    /// # Errors
    /// The same as [`Store::create`], except [`Error::Exists`].
    pub fn connect(&self, key: &str) -> Result<Disk, Error> {
        let spec = DiskSpec::default();
        let mut slots = self.table.lock();
        match self.find(key) {
            Ok(disk) => Ok(Disk::open(disk)),
            Err(_) => self.create_locked(&mut slots, key, &spec, &[]),
        }
    }

    /// Create a writable disk with the content of `source` at one moment, even while that is
    /// written to. It takes one block, however much is mapped: both disks share what neither has
    /// changed.
    ///
    /// # Errors
    /// [`Error::Unknown`], [`Error::Exists`], [`Error::InvalidKey`], [`Error::TooManyDisks`],
    /// [`Error::is_out_of_memory`].
    pub fn fork(&self, source: &str, key: &str) -> Result<Disk, Error> {
        self.branch(source, key, false, |_| Ok(()))
    }

    /// The same as [`Store::fork`], with `change` applied to the new disk's record from the start.
    ///
    /// # Errors
    /// The same as [`Store::fork`]; [`Error::SettingsTooLong`].
    pub fn fork_with(&self, source: &str, key: &str, change: &Change<'_>) -> Result<Disk, Error> {
        change.check()?;
        self.branch(source, key, false, |record| {
            change.apply(record);
            Ok(())
        })
    }

    /// The same as [`Store::fork`], with this spec and these settings. The new disk may be larger
    /// than `source`; what lies beyond that is unmapped. It may have another sector size. A sector
    /// of 4096 bytes is mapped if any of the 512-byte ones in it is.
    ///
    /// # Errors
    /// The same as [`Store::fork`]; [`Error::SettingsTooLong`], [`Error::InvalidSize`],
    /// [`Error::WouldShrink`].
    pub fn fork_as(
        &self,
        source: &str,
        key: &str,
        spec: &DiskSpec,
        settings: &[u8],
    ) -> Result<Disk, Error> {
        check_settings(settings)?;
        Capacity::new(spec.size_bytes, spec.sector_size)?;
        self.branch(source, key, false, |record| {
            spec.check_holds(&record.spec)?;
            record.spec = *spec;
            settings.clone_into(&mut record.settings);
            Ok(())
        })
    }

    /// The same as [`Store::fork`], but the new disk is a snapshot, which never changes.
    ///
    /// # Errors
    /// The same as [`Store::fork`].
    pub fn snapshot(&self, source: &str, key: &str) -> Result<Disk, Error> {
        self.branch(source, key, true, |_| Ok(()))
    }

    /// The same as [`Store::snapshot`], with `change` applied to the snapshot's record from the
    /// start.
    ///
    /// # Errors
    /// The same as [`Store::fork_with`].
    pub fn snapshot_with(
        &self,
        source: &str,
        key: &str,
        change: &Change<'_>,
    ) -> Result<Disk, Error> {
        change.check()?;
        self.branch(source, key, true, |record| {
            change.apply(record);
            Ok(())
        })
    }

    pub(super) fn branch(
        &self,
        source: &str,
        key: &str,
        snapshot: bool,
        edit: impl FnOnce(&mut Record) -> Result<(), Error>,
    ) -> Result<Disk, Error> {
        let mut slots = self.table.lock();
        let source = self.find(source)?;
        self.check_new_key(key)?;
        let moment = source.share();
        let mut record = source.record();
        record.parent = record.id;
        record.made_at_ms = 0;
        record.id = slots.next_id();
        key.clone_into(&mut record.key);
        record.spec.size_bytes = moment.capacity.bytes();
        record.spec.read_only = snapshot;
        record.snapshot = snapshot;
        let root = self.table.arrived(moment.root);
        let added =
            edit(&mut record).and_then(|()| self.add(&mut slots, record, root, moment.mapped));
        added
            .map(Disk::open)
            .inspect_err(|_| source.unshare(moment.root))
    }

    /// Replace a disk's content and size by those of another disk, most often a snapshot of it. All
    /// connections see the change at one instant. The memory of the old content is freed when you
    /// drop the result. The disk keeps its sector size: if the other one has smaller sectors, the
    /// size is rounded up to whole ones.
    ///
    /// # Errors
    /// [`Error::Unknown`], [`Error::IsReadOnly`], [`Error::is_out_of_memory`].
    pub fn reset(&self, key: &str, to: &str) -> Result<Leftover, Error> {
        self.reset_with(key, to, None, 0)
    }

    /// The same as [`Store::reset`]. At the same instant also replace the settings, unless they are
    /// `None`. The disk gets at least `least_bytes`, a multiple of its sector size or 0; what lies
    /// beyond the other disk's content is unmapped.
    ///
    /// # Errors
    /// The same as [`Store::reset`]; [`Error::SettingsTooLong`], [`Error::InvalidSize`].
    pub fn reset_with(
        &self,
        key: &str,
        to: &str,
        settings: Option<&[u8]>,
        least_bytes: u64,
    ) -> Result<Leftover, Error> {
        settings.map_or(Ok(()), check_settings)?;
        let _slots = self.table.lock();
        let (disk, to) = (self.find(key)?, self.find(to)?);
        if Arc::ptr_eq(&disk, &to) {
            return Ok(Leftover::new(&self.table, Detached::default()));
        }
        disk.reset(&to, settings, least_bytes)
    }

    /// Replace a disk's content, size and charge by those of the disk `from`, and its settings by
    /// `settings`; and destroy `from`, to which no connection may write any more. All connections,
    /// and a process that opens the store after a crash, see all of this or nothing. The memory of
    /// the old content is freed when you drop the result, which takes longer the more is mapped.
    /// Snapshots keep what they share with it, which then counts only against the store's limit.
    ///
    /// # Errors
    /// The same as [`Store::reset`]; [`Error::SettingsTooLong`]; [`Error::OverQuota`] if `from` is
    /// charged for more than this disk's quota; [`Error::Exists`] if both are the same disk.
    pub fn take_over(&self, key: &str, from: &str, settings: &[u8]) -> Result<Leftover, Error> {
        let _slots = self.table.lock();
        let (disk, other) = (self.find(key)?, self.find(from)?);
        if Arc::ptr_eq(&disk, &other) {
            return Err(Error::Exists {
                key: from.to_owned(),
            });
        }
        let root = disk.take_over(&other, settings)?;
        points::reach("content-taken-over");
        self.disks.write().remove(from);
        // This disk has the tree of the other one now, so that stays.
        let mut left = other.end();
        left.detached.entries.push((root, TOP));
        Ok(left)
    }

    /// Destroy a disk, at one instant: its connections fail with [`Error::Disconnected`], and its
    /// key is free. The memory that only this disk had is freed when you drop the result.
    ///
    /// # Errors
    /// [`Error::Unknown`].
    pub fn destroy(&self, key: &str) -> Result<Leftover, Error> {
        let _slots = self.table.lock();
        let disk = self.find(key)?;
        self.disks.write().remove(key);
        Ok(disk.end())
    }

    /// Return the memory of all free blocks to the host now, instead of within a second.
    pub fn reclaim(&self) {
        self.table
            .pool()
            .reclaim_once(Duration::ZERO, Duration::ZERO);
    }

    /// Make huge pages now of all memory that is used up, rather than when the machine has time for
    /// it. Without [`huge_pages`](super::arena_file::StoreOptions) it does nothing.
    pub fn make_huge_pages(&self) {
        while self.table.pool().make_huge_page(Duration::ZERO) {}
    }

    /// The keys of all disks and snapshots, sorted.
    pub fn keys(&self) -> Vec<String> {
        let mut keys: Vec<String> = self.disks.read().keys().cloned().collect();
        keys.sort_unstable();
        keys
    }

    /// How many disks and snapshots there are.
    pub(super) fn disk_count(&self) -> usize {
        self.disks.read().len()
    }

    /// A word that the store keeps for its owner.
    pub(crate) fn owner_word(&self, index: usize) -> &AtomicU64 {
        superblock::owner_word(self.table.pool().arena(), index)
    }

    /// The memory limit, in bytes.
    pub fn limit_bytes(&self) -> u64 {
        self.table.pool().budget().limit_bytes()
    }

    /// Bytes of memory that all disks take: pages, nodes and records.
    pub fn charged_bytes(&self) -> u64 {
        self.table.pool().budget().charged_bytes()
    }

    /// The pressure signal, which is raised when a charge passes a mark or is refused.
    pub fn pressure(&self) -> &Arc<PressureSignal> {
        self.table.pool().budget().pressure()
    }

    /// Raise [`Store::pressure`] when the charge of all disks reaches `above_bytes`, or falls below
    /// `below_bytes`.
    pub fn set_marks(&self, above_bytes: u64, below_bytes: u64) {
        let budget = self.table.pool().budget();
        budget.marks().set(above_bytes, below_bytes);
    }

    /// The arena's id, which no other arena has.
    pub fn id(&self) -> u128 {
        let [low, high] = superblock::id(self.table.pool().arena());
        u128::from(high) << 64 | u128::from(low)
    }

    pub(super) fn check_new_key(&self, key: &str) -> Result<(), Error> {
        if key.is_empty() || key.len() > MAX_KEY_BYTES {
            return Err(Error::InvalidKey {
                len_bytes: key.len(),
            });
        }
        if self.disks.read().contains_key(key) {
            return Err(Error::Exists {
                key: key.to_owned(),
            });
        }
        Ok(())
    }
}
