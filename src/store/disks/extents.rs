//! The extents of a disk, and those in which two snapshots may differ.

use std::sync::Arc;

use super::connection::Connection;
use super::inner::DiskInner;
use crate::store::base::error::Error;
use crate::store::base::range::Extent;
use crate::store::layout::entry::Entry;
use crate::store::layout::levels::{LEAF_PAGES, PAGE_SECTORS};
use crate::store::memory::pool::Pool;
use crate::store::pages::diff;

/// The extents of a disk in order, without gaps. Neighbours differ in `mapped`.
///
/// They are exact while no connection writes. Otherwise each extent is right at the moment at which
/// it is found. The iterator ends at the disk's end of that moment, and after the first error.
#[derive(Debug)]
pub struct Extents<'a> {
    connection: &'a Connection,
    at: u64,
    end: u64,
}

impl<'a> Extents<'a> {
    /// From sector `start` to the end of the disk.
    ///
    /// # Errors
    /// [`Error::Disconnected`].
    pub(crate) fn new(connection: &'a Connection, start: u64) -> Result<Self, Error> {
        let end = connection.alive()?.map().capacity().sectors();
        Ok(Self {
            connection,
            at: start,
            end,
        })
    }

    /// The extent that begins at `start_sector`, which lies before the end.
    fn extent(&self, start_sector: u64) -> Result<Extent, Error> {
        let next = self.connection.seek(start_sector, true)?;
        let mapped = next == start_sector;
        let end = if mapped {
            self.connection.seek(start_sector, false)?
        } else {
            next
        };
        // Another thread may have changed `start_sector` between the two calls.
        let end = end.clamp(start_sector + 1, self.end);
        Ok(Extent {
            start_sector,
            sectors: end - start_sector,
            mapped,
        })
    }
}

/// The extent of a disk that begins at sector `start`, cut off before sector `end`, which lies
/// behind it. Looks no further than that.
pub(crate) fn extent_at(connection: &Connection, start: u64, end: u64) -> Result<Extent, Error> {
    let mapped = connection.seek_before(start, start + 1, true)? == start;
    let sectors = connection.seek_before(start, end, !mapped)? - start;
    Ok(Extent {
        start_sector: start,
        // Another thread may have changed `start` between the two calls.
        sectors: sectors.max(1),
        mapped,
    })
}

impl Iterator for Extents<'_> {
    type Item = Result<Extent, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        // The disk may have shrunk meanwhile.
        let capacity = self.connection.inner().map().capacity();
        if self.at >= self.end.min(capacity.sectors()) {
            return None;
        }
        let extent = self.extent(self.at);
        self.at = match &extent {
            Ok(extent) => self.at + extent.sectors,
            Err(_) => self.end,
        };
        Some(extent)
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
