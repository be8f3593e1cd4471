//! Reading the content and map of a disk without a front end.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::daemon::disks::actions::branch::snapshots::check_exists;
use crate::daemon::disks::actions::ids;
use crate::daemon::disks::registry::Disks;
use crate::daemon::disks::settings::names::{READER_PREFIX, Target};
use crate::daemon::disks::settings::problems::invalid;
use crate::model::{ContentId, Map, MapExtent, Problem};
use crate::store::{Bytes, Disk, Error, Store};

/// The content of a disk at one moment. You can read it from any thread, in any order.
#[derive(Debug)]
pub struct Reader {
    disk: Disk,
    /// The store's key of the snapshot that has the content.
    key: String,
    content_id: Option<ContentId>,
    /// The snapshot that was taken for this, which is destroyed when this is dropped.
    own: Option<(Arc<Store>, String)>,
}

impl Drop for Reader {
    fn drop(&mut self) {
        if let Some((store, key)) = self.own.take() {
            let _ = store.destroy(&key);
        }
    }
}

/// The mapped extent that contains or follows a byte: its start and length in bytes.
fn next_mapped(disk: &Disk, from_bytes: u64) -> Result<Option<(u64, u64)>, Problem> {
    let sector_bytes = disk.sector_size().bytes();
    for extent in disk.extents_from(from_bytes / sector_bytes)? {
        let extent = extent?;
        if extent.mapped {
            let start_bytes = (extent.start_sector * sector_bytes).max(from_bytes);
            let end_bytes = (extent.start_sector + extent.sectors) * sector_bytes;
            return Ok(Some((start_bytes, end_bytes - start_bytes)));
        }
    }
    Ok(None)
}

impl Reader {
    /// The store's key of the snapshot that has the content.
    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    /// The present content of what the store has as `source`.
    ///
    /// # Errors
    /// `not-found`; `over-budget`.
    pub(crate) fn of_key(store: &Arc<Store>, source: &str) -> Result<Self, Problem> {
        let key = reader_key();
        let disk = store.snapshot(source, &key)?;
        Ok(Self {
            disk,
            content_id: None,
            key: key.clone(),
            own: Some((Arc::clone(store), key)),
        })
    }

    /// The identifier of the content, if it has one.
    pub fn content_id(&self) -> Option<ContentId> {
        self.content_id
    }

    /// The snapshot that has the content.
    pub(crate) fn disk(&self) -> &Disk {
        &self.disk
    }

    /// Logical block size in bytes.
    pub fn block_bytes(&self) -> u64 {
        self.disk.sector_size().bytes()
    }

    /// Size in bytes.
    pub fn size_bytes(&self) -> u64 {
        self.disk.capacity().bytes()
    }

    /// The mapped extent that contains or follows `from_bytes`: its start and length in bytes.
    ///
    /// # Errors
    /// The disk is gone.
    pub fn next_mapped(&self, from_bytes: u64) -> Result<Option<(u64, u64)>, Problem> {
        next_mapped(&self.disk, from_bytes)
    }

    /// Fill `into` with the bytes from `start_bytes` on, which need not be aligned. Unmapped bytes
    /// are zero.
    ///
    /// # Errors
    /// The range is not inside the disk, or the disk is gone.
    pub fn read(&self, start_bytes: u64, into: &mut [u8]) -> Result<(), Problem> {
        Ok(self.read_bytes(start_bytes, into)?)
    }

    /// The same as [`Reader::read`], with the store's error.
    pub(crate) fn read_bytes(&self, start_bytes: u64, into: &mut [u8]) -> Result<(), Error> {
        let sector_bytes = self.disk.sector_size().bytes();
        let first = start_bytes / sector_bytes;
        let skipped = usize::try_from(start_bytes % sector_bytes).unwrap_or(0);
        let aligned = usize::try_from(sector_bytes).is_ok_and(|n| into.len().is_multiple_of(n));
        if skipped == 0 && aligned {
            return self.disk.read(first, &mut [into]);
        }
        // Read whole sectors that cover the range, and copy the middle.
        let sector = usize::try_from(sector_bytes).unwrap_or(usize::MAX);
        let mut whole = vec![0; (skipped + into.len()).next_multiple_of(sector)];
        self.disk.read(first, &mut [&mut whole])?;
        into.copy_from_slice(&whole[skipped..skipped + into.len()]);
        Ok(())
    }
}

fn reader_key() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    format!("{READER_PREFIX}{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Open the disk or snapshot that `target` names.
fn open(disks: &Disks, target: &Target) -> Result<Disk, Problem> {
    let served = disks.find(&target.disk)?;
    served.check_whole("read it")?;
    let Some(snapshot) = &target.snapshot else {
        return Ok(disks.store().open(&served.name)?);
    };
    check_exists(&served, snapshot)?;
    Ok(disks.store().open(&target.key()?)?)
}

/// At most `most` extents of a disk or snapshot, from `start_bytes` on.
///
/// # Errors
/// `not-found`; `invalid` if `start_bytes` is not a multiple of the block size, or is beyond the
/// disk.
pub fn map(disks: &Disks, target: &Target, start_bytes: u64, most: usize) -> Result<Map, Problem> {
    let disk = open(disks, target)?;
    let size_bytes = disk.capacity().bytes();
    let sector_bytes = disk.sector_size().bytes();
    if !start_bytes.is_multiple_of(sector_bytes) || start_bytes > size_bytes {
        return Err(invalid(
            "start_bytes",
            format!(
                "{start_bytes} is not an offset in a disk of {}: give a multiple of {sector_bytes} \
                 below that",
                Bytes(size_bytes)
            ),
        ));
    }
    let mut extents = Vec::new();
    let mut at = start_bytes;
    let mut add = |from: u64, to: u64, mapped: bool| {
        if from < to {
            extents.push(MapExtent {
                start_bytes: from,
                length_bytes: to - from,
                mapped,
            });
        }
        extents.len()
    };
    let mut next_bytes = None;
    while at < size_bytes {
        let (start, length) = next_mapped(&disk, at)?.unwrap_or((size_bytes, 0));
        let count = add(at, start, false);
        at = start;
        if count < most.max(1) {
            let count = add(start, start + length, true);
            at = start + length;
            if count < most.max(1) {
                continue;
            }
        }
        next_bytes = Some(at).filter(|&at| at < size_bytes);
        break;
    }
    Ok(Map {
        extents,
        next_bytes,
    })
}

/// The present content of a disk or snapshot.
///
/// # Errors
/// `not-found`; `over-budget`.
pub fn reader(disks: &Disks, target: &Target) -> Result<Reader, Problem> {
    if target.snapshot.is_some() {
        let disk = open(disks, target)?;
        return Ok(Reader {
            content_id: ids::of_snapshot(&disk)?,
            key: target.key()?,
            own: None,
            disk,
        });
    }
    let served = disks.find(&target.disk)?;
    served.check_whole("read it")?;
    let store = Arc::clone(disks.store());
    let key = reader_key();
    let disk = store.snapshot(&served.name, &key)?;
    let known = ids::of_disk(disks, &served)?;
    // If nothing was written meanwhile, it is what the snapshot has.
    let is_same = served.disk.has_tree_of(&disk)?;
    Ok(Reader {
        disk,
        content_id: known.filter(|_| is_same),
        key: key.clone(),
        own: Some((store, key)),
    })
}
