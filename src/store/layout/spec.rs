//! The settings of a new disk, and what a disk reports of itself.

use crate::store::base::error::Error;
use crate::store::base::range::SectorSize;

/// What a write does when there is no memory for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFull {
    /// It fails.
    Error,
    /// It waits until memory is freed, the disk is destroyed, or the connection is closed.
    Stall,
}

/// The settings of a new disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskSpec {
    /// Its own sector size.
    pub sector_size: SectorSize,
    /// Its size in bytes, a multiple of the sector size.
    pub size_bytes: u64,
    /// Whether only its owner may write to it ([`crate::store::Disk::into_owner`]).
    pub read_only: bool,
    /// The most bytes of memory that may be charged to it; `None` for no bound but the store's.
    pub quota_bytes: Option<u64>,
    /// What a write does when there is no memory for it.
    pub on_full: OnFull,
    /// Whether writing zeros takes no memory, if the write covers whole pages, or sectors that have
    /// no page.
    pub detect_zeroes: bool,
}

impl DiskSpec {
    /// Check that a disk with this spec can have the content of one with `other`.
    ///
    /// # Errors
    /// [`Error::WouldShrink`].
    pub(crate) fn check_holds(&self, other: &Self) -> Result<(), Error> {
        if self.size_bytes < other.size_bytes {
            return Err(Error::WouldShrink {
                from_bytes: other.size_bytes,
                to_bytes: self.size_bytes,
            });
        }
        Ok(())
    }

    /// A writable disk, without a quota.
    pub fn new(sector_size: SectorSize, size_bytes: u64) -> Self {
        Self {
            sector_size,
            size_bytes,
            read_only: false,
            quota_bytes: None,
            on_full: OnFull::Error,
            detect_zeroes: false,
        }
    }
}

impl Default for DiskSpec {
    /// 32768 sectors of 512 bytes, writable, without a quota.
    fn default() -> Self {
        Self::new(SectorSize::S512, 32768 * 512)
    }
}

/// A disk at one moment, as [`Disk::get_info`](crate::store::Disk::get_info) returns it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskInfo {
    /// The disk's key.
    pub key: String,
    /// Its own sector size, in bytes.
    pub sector_bytes: u64,
    /// Its size in its own sectors.
    pub size_sectors: u64,
    /// Its size in bytes.
    pub size_bytes: u64,
    /// Whether this connection is read-only.
    pub read_only: bool,
    /// Whether it is a snapshot, which never changes.
    pub snapshot: bool,
    /// Bytes of all mapped sectors. Of a sector that came from a disk with smaller ones, only those
    /// that are mapped count.
    pub mapped_bytes: u64,
    /// Bytes of memory that are charged to it: those that it took itself, even if others share
    /// them.
    pub charged_bytes: u64,
    /// Its present settings, including its size.
    pub spec: DiskSpec,
    /// A number that no other disk of the store ever has.
    pub id: u64,
    /// The `id` of the disk that it was forked from.
    pub parent_id: Option<u64>,
    /// When its content was kept, in milliseconds since 1970, if the owner said so.
    pub made_at_ms: Option<u64>,
}

/// Whether a resize may lose data beyond the new size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shrink {
    /// A smaller size is an error.
    Refuse,
    /// A smaller size is allowed, and the data beyond it is freed.
    Allow,
}
