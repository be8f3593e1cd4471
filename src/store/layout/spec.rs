//! What a disk is made with, and what it is at some moment.

use crate::store::base::range::SectorSize;

/// What a write does when there is no memory left for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFull {
    /// It fails.
    Error,
    /// Its caller waits until memory is freed, the disk is destroyed, or the connection closed.
    Stall,
}

/// What a new disk is made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskSpec {
    /// Its own sector size.
    pub sector_size: SectorSize,
    /// Its size in bytes, a multiple of the sector size.
    pub size_bytes: u64,
    /// Whether only its owner may write to it ([`crate::store::Disk::into_owner`]).
    pub read_only: bool,
    /// Most bytes of memory that may be charged to it; `None` for no bound but the store's.
    pub quota_bytes: Option<u64>,
    /// What a write does when there is no memory left for it.
    pub on_full: OnFull,
    /// Whether a write of zeros maps them without taking memory, where whole pages or sectors
    /// without a page are written.
    pub detect_zeroes: bool,
}

impl DiskSpec {
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
    /// Whether this connection may not write.
    pub read_only: bool,
    /// Whether it is a snapshot, which can never be changed.
    pub snapshot: bool,
    /// Bytes of all mapped sectors.
    pub mapped_bytes: u64,
    /// Bytes of memory that it was charged for: what it took itself, also where others share it.
    pub charged_bytes: u64,
    /// What the disk was made with and what was changed since, its size too.
    pub spec: DiskSpec,
    /// A number that no other disk of the store ever has.
    pub id: u64,
    /// The `id` of the disk that it was forked from.
    pub parent_id: Option<u64>,
}

/// Whether a resize may lose what lies beyond the new size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shrink {
    /// A smaller size is an error.
    Refuse,
    /// A smaller size is what is wanted; the data beyond it is freed.
    Allow,
}
