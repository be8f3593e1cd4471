//! Where two snapshots differ, and what only one of them has.

use std::ops::Range;
use std::sync::Arc;

use super::disk::Disk;
use super::inner::DiskInner;
use super::store::Store;
use crate::store::base::error::Error;
use crate::store::base::limits::MOST_DISKS;
use crate::store::base::range::Extent;
use crate::store::layout::entry::Entry;
use crate::store::layout::levels::{LEAF_PAGES, PAGE_SECTORS};
use crate::store::memory::arena::BLOCK_BYTES;
use crate::store::memory::pool::Pool;
use crate::store::pages::diff;

impl Store {
    /// The differences between two snapshots of related disks, in order, in sectors of 512 bytes.
    /// Their granularity is that at which pages are shared; `mapped` says whether `to` maps them.
    /// They are whole sectors of `to`.
    /// Takes longer the more differs.
    ///
    /// # Errors
    /// [`Error::Unknown`], [`Error::Unimplemented`] for disks that aren't snapshots.
    pub fn changed(&self, from: &str, to: &str) -> Result<Vec<Extent>, Error> {
        self.changed_within(from, to, 0..u64::MAX, usize::MAX)
    }

    /// The same as [`Store::changed`], but only the first `most` differences among the sectors
    /// `within`, all of them whole. Takes longer the more differs there.
    ///
    /// # Errors
    /// The same as [`Store::changed`].
    pub fn changed_within(
        &self,
        from: &str,
        to: &str,
        within: Range<u64>,
        most: usize,
    ) -> Result<Vec<Extent>, Error> {
        let Differences { pool, from, to, .. } = self.differences(from, to)?;
        let (roots, range) = ((from.root, to.root), (within, most));
        let sector_size = to.disk.sector_size();
        Ok(diff::changed(pool.arena(), roots, range, sector_size))
    }

    /// The extents in which two snapshots may read differently. Unlike [`Store::changed`], this
    /// needs no memory for a list, and takes zeros without a page for the same as nothing.
    ///
    /// # Errors
    /// The same as [`Store::changed`].
    pub fn differences(&self, from: &str, to: &str) -> Result<Differences, Error> {
        let _slots = self.table.lock();
        let (one, two) = (self.find_snapshot(from)?, self.find_snapshot(to)?);
        Ok(Differences::new(self.table.pool(), one, two))
    }

    /// Keep the content of `source` at this moment as the snapshot `key`, with this time and
    /// without settings and quota, so that it takes one block.
    ///
    /// # Errors
    /// The same as [`Store::snapshot`]; [`Error::TooManyDisks`] already when half of the disks and
    /// snapshots are there that the store can have, so that points leave room for disks.
    pub fn point(&self, source: &str, key: &str, made_at_ms: u64) -> Result<Disk, Error> {
        if self.disk_count() >= MOST_DISKS / 2 {
            return Err(Error::TooManyDisks);
        }
        self.branch(source, key, true, |record| {
            record.settings.clear();
            record.spec.quota_bytes = None;
            record.made_at_ms = made_at_ms;
            Ok(())
        })
    }

    /// Bytes of memory that a snapshot has and another one of the same disk doesn't, including its
    /// record. Takes longer the more differs.
    ///
    /// # Errors
    /// The same as [`Store::changed`].
    pub fn only_in(&self, one: &str, other: &str) -> Result<u64, Error> {
        let Differences { pool, from, to, .. } = self.differences(one, other)?;
        let blocks = 1 + diff::only_in(pool.arena(), from.root, to.root);
        Ok(blocks * BLOCK_BYTES as u64)
    }

    fn find_snapshot(&self, key: &str) -> Result<Arc<DiskInner>, Error> {
        let disk = self.find(key)?;
        if disk.is_snapshot() {
            return Ok(disk);
        }
        Err(Error::Unimplemented {
            what: format!("changes of {key:?}, which is not a snapshot; take one of it"),
        })
    }
}

/// A snapshot's tree, which stays as it is even if the snapshot is destroyed.
#[derive(Debug)]
struct Held {
    disk: Arc<DiskInner>,
    root: Entry,
}

impl Held {
    fn new(disk: Arc<DiskInner>) -> Self {
        let root = disk.share().root;
        Self { disk, root }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.disk.unshare(self.root);
    }
}

/// The extents in which two snapshots may differ, in order, in sectors of 512 bytes: whole pages of
/// 4 KiB. What lies between them reads the same in both. `mapped` says whether the second one has
/// bytes there; if not, it reads as zeros. Parts that both share are skipped without reading, so
/// this takes longer the more differs.
#[derive(Debug)]
pub struct Differences {
    pool: Arc<Pool>,
    from: Held,
    to: Held,
    next_page: u64,
}

impl Differences {
    /// Between two disks of the pool, which are snapshots.
    pub(crate) fn new(pool: &Arc<Pool>, from: Arc<DiskInner>, to: Arc<DiskInner>) -> Self {
        debug_assert!(
            from.is_snapshot() && to.is_snapshot(),
            "both stay as they are"
        );
        Self {
            pool: Arc::clone(pool),
            from: Held::new(from),
            to: Held::new(to),
            next_page: 0,
        }
    }

    /// Begin again: the same extents follow.
    pub fn restart(&mut self) {
        self.next_page = 0;
    }

    fn find_page(&self, page: u64) -> Option<(u64, bool)> {
        diff::next(self.pool.arena(), self.from.root, self.to.root, page)
    }
}

impl Iterator for Differences {
    type Item = Extent;

    /// The next extent, of one leaf at most.
    fn next(&mut self) -> Option<Extent> {
        let (first, mapped) = self.find_page(self.next_page)?;
        let leaf_end = (first / LEAF_PAGES as u64 + 1) * LEAF_PAGES as u64;
        let mut end = first + 1;
        while end < leaf_end && self.find_page(end) == Some((end, mapped)) {
            end += 1;
        }
        self.next_page = end;
        Some(Extent {
            start_sector: first * PAGE_SECTORS,
            sectors: (end - first) * PAGE_SECTORS,
            mapped,
        })
    }
}
