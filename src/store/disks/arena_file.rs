//! The file of an arena: creating it, opening it with recovery, and locking out other processes.

use std::fs::File;

use rustix::fs::FlockOperation;

use super::recover::{self, Found};
use crate::store::base::error::{Error, LOCKING};
use crate::store::layout::superblock::{self, FIRST_GROUP};
use crate::store::memory::arena::{Arena, BLOCK_BYTES};
use crate::store::memory::pool::Pool;

/// How a store keeps its memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreOptions {
    /// The most bytes that all disks together may take, including nodes and records.
    pub limit_bytes: u64,
    /// Make huge pages of memory that is in use, 2 MiB at a time and in the background, even where
    /// the system's setting for shared memory is "never". This takes up to three seconds of
    /// processor time for a GiB, once; random access is up to a third faster afterwards.
    pub huge_pages: bool,
    /// Keep memory that is in use from being swapped out (mlock). It counts against the limit on
    /// locked memory of this process.
    pub lock_memory: bool,
}

impl StoreOptions {
    /// A limit, no huge pages, and memory that may be swapped out.
    pub fn new(limit_bytes: u64) -> Self {
        Self {
            limit_bytes,
            huge_pages: false,
            lock_memory: false,
        }
    }

    /// The length of an arena with this limit, and the address space that it takes.
    ///
    /// # Errors
    /// [`Error::LimitTooLarge`].
    pub fn arena_bytes(&self) -> Result<u64, Error> {
        superblock::blocks_for(self.limit_bytes).map(bytes_of)
    }
}

fn lock(file: &File) -> Result<(), Error> {
    rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive).map_err(|errno| {
        if errno == rustix::io::Errno::WOULDBLOCK {
            Error::Busy
        } else {
            Error::arena("lock")(errno.into())
        }
    })
}

fn bytes_of(blocks: u32) -> u64 {
    u64::from(blocks) * BLOCK_BYTES as u64
}

fn pool(file: File, blocks: u32, options: &StoreOptions) -> Result<Pool, Error> {
    let arena = Arena::map(file, blocks).map_err(|source| Error::Reserve {
        bytes: bytes_of(blocks),
        source,
    })?;
    if options.lock_memory {
        arena.lock().map_err(Error::arena(LOCKING))?;
    }
    let (limit_bytes, huge) = (options.limit_bytes, options.huge_pages);
    Ok(Pool::new(arena, limit_bytes, FIRST_GROUP, huge))
}

/// Make an arena in an empty file.
///
/// # Errors
/// The same as [`Store::create_in`](crate::store::Store::create_in).
pub(crate) fn create(file: File, options: &StoreOptions) -> Result<Pool, Error> {
    lock(&file)?;
    let blocks = superblock::blocks_for(options.limit_bytes)?;
    file.set_len(bytes_of(blocks))
        .map_err(Error::arena("size"))?;
    let pool = pool(file, blocks, options)?;
    let mut id = [0; 16];
    rustix::rand::getrandom(&mut id, rustix::rand::GetRandomFlags::empty())
        .map_err(|errno| Error::arena("name")(errno.into()))?;
    let id = u128::from_be_bytes(id);
    #[allow(clippy::cast_possible_truncation, reason = "its halves")]
    superblock::format(pool.arena(), [(id >> 64) as u64, id as u64])?;
    Ok(pool)
}

/// Open the arena in a file, and find its disks. If the limit is larger than before, the arena
/// grows.
///
/// # Errors
/// The same as [`Store::open_in`](crate::store::Store::open_in).
pub(crate) fn open(file: File, options: &StoreOptions) -> Result<(Pool, Vec<Found>), Error> {
    lock(&file)?;
    let had = recover::blocks(&file)?;
    let blocks = had.max(superblock::blocks_for(options.limit_bytes)?);
    let pool = pool(file, blocks, options)?;
    let found = recover::recover(&pool)?;
    if blocks > had {
        let file = pool.arena().file();
        file.set_len(bytes_of(blocks))
            .map_err(Error::arena("grow"))?;
        superblock::set_blocks(pool.arena());
    }
    Ok((pool, found))
}
