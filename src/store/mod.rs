//! Sparse disks in memory, found by an opaque key.
//!
//! This room knows pages, sectors and a memory limit. It knows nothing of virtio, sockets, or what
//! a key means. [`crate::device`], the data path of a virtual machine, uses it, and so can any
//! program that wants a RAM disk:
//!
//! ```
//! use ramblk::store::{DiskSpec, SectorSize, Store};
//!
//! # fn main() -> Result<(), ramblk::store::Error> {
//! let store = Store::new(64 << 20)?;
//! let disk = store.create("scratch", &DiskSpec::new(SectorSize::S512, 1 << 20))?;
//! disk.write(7, &[&[0xab; 512]])?;
//! assert_eq!(disk.seek_mapped(0)?, 7);
//! assert_eq!(disk.seek_unmapped(7)?, 8);
//! disk.discard(7, 1)?;
//! assert_eq!(disk.seek_mapped(0)?, disk.get_info()?.size_sectors);
//! # Ok(())
//! # }
//! ```
//!
//! Map of the room:
//!
//! | folder | what it knows |
//! |---|---|
//! | `base` | units, errors, pieces of memory, locks |
//! | `memory` | blocks of 4 KiB: the file that they lie in, which are free, which account pays |
//! | `layout` | what the words of an arena mean: records and entries |
//! | `pages` | the tree of a disk, and its locks |
//! | `disks` | disks by key, connections to them, and their recovery |
//! | `inspect` | an arena that no store has open: its content, and what can still be read |
//!
//! Each imports only from those above it; `inspect` needs none of `pages` and `disks`.
//!
//! `docs/internals/store.md` explains why it is built this way.

mod base;
mod disks;
mod inspect;
mod layout;
mod memory;
mod pages;

pub use base::buf::{Data, Piece, Sink, Source, is_zero, total_bytes};
pub use base::bytes::Bytes;
pub use base::copy::{prefetch, prefetch_write};
pub use base::error::Error;
pub use base::limits::{
    MAX_CAPACITY_BYTES, MAX_KEY_BYTES, MAX_SETTINGS_BYTES, MOST_DISKS, OWNER_WORDS,
};
pub use base::new_file::{NewFile, Temporary};
pub use base::range::{ByteRange, Capacity, Extent, PAGE_BYTES, SECTOR_BYTES, SectorSize};
pub(crate) use base::{points, sync};
pub use disks::arena_file::StoreOptions;
pub use disks::change::Change;
pub use disks::differences::Differences;
pub use disks::disk::Disk;
pub use disks::extents::Extents;
pub use disks::leftover::Leftover;
pub use disks::owner_words::OwnerWords;
pub use disks::store::Store;
pub use disks::transaction::step::{Done, Step};
pub use inspect::{Finding, FoundDisk, Inspection, Inventory, Part, Parts};
pub use layout::spec::{DiskInfo, DiskSpec, OnFull, Shrink};
pub use memory::arena::memory_file;
pub use memory::mapping::map_shared;
pub use memory::pressure::PressureSignal;
pub use pages::batch::{Batch, MOST_BATCHED};
