//! The arena: one memory file, mapped once, in which every byte of every disk lies in a numbered
//! block.
//!
//! A block is 4 KiB of the file. Some blocks are payload, which only [`copy`] touches. All others
//! (superblock, disk table, records, nodes) are 512 words, touched only as atomics. Blocks refer to
//! each other by number, so the file means the same wherever it is mapped.
//!
//! Touching a hole of a shared mapping takes memory, and kills the process if none is left. So
//! every block is backed before it is used ([`Arena::back`]), where lack of memory is an error.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::ptr::NonNull;
use std::sync::atomic::AtomicU64;

use rustix::fs::{FallocateFlags, MemfdFlags};
use rustix::mm::Advice;

use super::mapping::map_shared;
use crate::store::base::buf::{Piece, Sink, Source};
use crate::store::base::copy;
use crate::store::base::range::PAGE_BYTES;

/// Bytes in a block.
#[allow(clippy::cast_possible_truncation, reason = "4096")]
pub(crate) const BLOCK_BYTES: usize = PAGE_BYTES as usize;
/// Words in a block.
pub(crate) const BLOCK_WORDS: usize = BLOCK_BYTES / 8;
/// Blocks of a huge page.
pub(crate) const GROUP_BLOCKS: u32 = 512;

/// The longest copy that [`Arena::copy_in_near`] takes to be in the caches, and that
/// [`Arena::copy_out`] takes to be short.
pub(crate) const NEAR_BYTES: usize = 8 << 10;

/// A block by its number in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Block(pub(crate) u32);

/// The file and its mapping.
#[derive(Debug)]
pub(crate) struct Arena {
    base: NonNull<u8>,
    blocks: u32,
    file: File,
}

// SAFETY: `base` is only an address; words are atomics, and payload is touched only through
// `copy::copy` and `copy::zero`, which allow races.
unsafe impl Send for Arena {}
// SAFETY: as above.
unsafe impl Sync for Arena {}

/// A memory file for [`crate::store::Store::create_in`], which exists until its last descriptor is
/// closed.
///
/// # Errors
/// The system's.
pub fn memory_file() -> io::Result<File> {
    let fd: OwnedFd = rustix::fs::memfd_create("ramblk", MemfdFlags::CLOEXEC)?;
    Ok(fd.into())
}

impl Arena {
    /// Map `blocks` blocks of `file`, which must be as long as that.
    pub(crate) fn map(file: File, blocks: u32) -> io::Result<Self> {
        let bytes = blocks as usize * BLOCK_BYTES;
        let base = map_shared(&file, 0, bytes)?;
        Ok(Self { base, blocks, file })
    }

    /// Keep all memory of the mapping, now and later, from being swapped out.
    ///
    /// # Errors
    /// The system's, most likely for the limit on locked memory.
    pub(crate) fn lock(&self) -> io::Result<()> {
        let bytes = self.blocks as usize * BLOCK_BYTES;
        let flags = rustix::mm::MlockFlags::ONFAULT;
        // SAFETY: the range is our mapping, as a whole; locking changes no byte of it.
        unsafe { rustix::mm::mlock_with(self.base.as_ptr().cast(), bytes, flags) }?;
        Ok(())
    }

    /// How many blocks there are.
    pub(crate) fn blocks(&self) -> u32 {
        self.blocks
    }

    /// The file itself.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Byte `offset` after the start of a block. A number outside of the arena is a broken
    /// invariant, and ends the process, since it would be other memory or none.
    fn at(&self, block: Block, offset: usize, len: usize) -> *mut u8 {
        let start = block.0 as usize * BLOCK_BYTES + offset;
        if start + len > self.blocks as usize * BLOCK_BYTES {
            std::process::abort();
        }
        self.base.as_ptr().wrapping_add(start)
    }

    /// Word `index` (below 512) of a block that isn't payload. A block outside ends the process, as
    /// in `at`.
    #[inline]
    pub(crate) fn word(&self, block: Block, index: usize) -> &AtomicU64 {
        debug_assert!(index < BLOCK_WORDS);
        if block.0 >= self.blocks {
            std::process::abort();
        }
        let start = block.0 as usize * BLOCK_BYTES;
        let at = self.base.as_ptr().wrapping_add(start).cast::<u64>();
        let at = at.wrapping_add(index % BLOCK_WORDS);
        // SAFETY: inside the mapping, since the block is and the word lies in the block; the
        // mapping lives as long as `self`. Aligned, since a block is. Words are only ever accessed
        // as atomics.
        unsafe { AtomicU64::from_ptr(at) }
    }

    /// All words of a block that isn't payload.
    pub(crate) fn words(&self, block: Block) -> &[AtomicU64; BLOCK_WORDS] {
        let at = self
            .at(block, 0, BLOCK_BYTES)
            .cast::<[AtomicU64; BLOCK_WORDS]>();
        // SAFETY: as in `word`, for the whole block; an atomic has the layout of its integer.
        unsafe { &*at }
    }

    /// Copy `from` to `offset` bytes after the start of `block`, and on into the blocks behind it.
    pub(crate) fn copy_in(&self, block: Block, offset: usize, from: Source<'_>) {
        let to = self.at(block, offset, from.len());
        if cfg!(ramblk_null) {
            return;
        }
        // SAFETY: `at` vouches for the target, the contract of `Source` for the rest.
        unsafe { copy::copy_past_caches(to, from.as_ptr(), from.len()) };
    }

    /// Fill `to` from `offset` bytes after the start of `block`, and on from the blocks behind it.
    #[inline]
    pub(crate) fn copy_out(&self, block: Block, offset: usize, to: Sink<'_>) {
        let from = self.at(block, offset, to.len());
        if cfg!(ramblk_null) {
            return;
        }
        if to.len() > NEAR_BYTES {
            // SAFETY: as in `copy_in`, the other way round.
            unsafe { copy::copy_ahead(to.as_ptr(), from, to.len()) };
        } else {
            // SAFETY: as above.
            unsafe { copy::copy(to.as_ptr(), from, to.len()) };
        }
    }

    /// The same as [`Arena::copy_in`], for a target that was [prefetched](Arena::prefetch): unless
    /// it is long, it is in the caches by now.
    pub(crate) fn copy_in_near(&self, block: Block, offset: usize, from: Source<'_>) {
        let to = self.at(block, offset, from.len());
        if cfg!(ramblk_null) {
            return;
        }
        let copy_near = if from.len() > NEAR_BYTES {
            copy::copy_past_caches
        } else {
            copy::copy
        };
        // SAFETY: as in `copy_in`.
        unsafe { copy_near(to, from.as_ptr(), from.len()) };
    }

    /// Prefetch part of a block.
    pub(crate) fn prefetch(&self, block: Block, offset: usize, len: usize) {
        if !cfg!(ramblk_null) {
            copy::prefetch(self.at(block, offset, len), len);
        }
    }

    /// Copy part of one block to the same place in another one.
    pub(crate) fn copy_between(&self, from: Block, to: Block, offset: usize, len: usize) {
        debug_assert!(from != to && offset + len <= BLOCK_BYTES);
        let (from, to) = (self.at(from, offset, len), self.at(to, offset, len));
        // SAFETY: `at` vouches for both; two blocks never overlap.
        unsafe { copy::copy(to, from, len) };
    }

    /// Zero part of a block.
    pub(crate) fn zero(&self, block: Block, offset: usize, len: usize) {
        debug_assert!(offset + len <= BLOCK_BYTES);
        let at = self.at(block, offset, len);
        // SAFETY: `at` vouches for the range.
        unsafe { copy::zero(at, len) };
    }

    /// Back `count` blocks with memory, which is zero where there was none.
    ///
    /// # Errors
    /// The system's, if it has no memory left.
    pub(crate) fn back(&self, first: Block, count: u32) -> io::Result<()> {
        self.advise(first, count, Advice::LinuxPopulateWrite)
    }

    /// Have a huge page behind a group that has no memory, for less than what small ones cost: they
    /// take 0.8 ms, and it takes 0.3.
    ///
    /// # Errors
    /// What the system says; memory may be behind the group's first block then.
    pub(crate) fn back_huge(&self, group: u32) -> io::Result<()> {
        // Of nothing at all the system makes none.
        self.back(Block(group * GROUP_BLOCKS), 1)?;
        self.collapse(group)
    }

    /// Make one huge page of a group's memory, some of which must be backed.
    pub(crate) fn collapse(&self, group: u32) -> io::Result<()> {
        let len = GROUP_BLOCKS as usize * BLOCK_BYTES;
        let start = self.at(Block(group * GROUP_BLOCKS), 0, len);
        // SAFETY: the range is part of the mapping; the advice moves bytes and changes none.
        match unsafe { libc::madvise(start.cast(), len, libc::MADV_COLLAPSE) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    fn advise(&self, first: Block, count: u32, advice: Advice) -> io::Result<()> {
        let len = count as usize * BLOCK_BYTES;
        let start = self.at(first, 0, len);
        // SAFETY: the range is part of the mapping; none of the advices used here changes what the
        // bytes of a backed block are: the mapping is shared, and what it shows is the file.
        unsafe { rustix::mm::madvise(start.cast(), len, advice) }?;
        Ok(())
    }

    /// Unmap a group and keep its memory; the next access maps it again. This interrupts the other
    /// processors once, instead of once for each punch that follows.
    pub(crate) fn unmap(&self, group: u32) -> io::Result<()> {
        let first = Block(group * GROUP_BLOCKS);
        self.advise(first, GROUP_BLOCKS, Advice::LinuxDontNeed)
    }

    /// Map backed blocks again, so that the next access doesn't have to.
    pub(crate) fn map_again(&self, first: Block, count: u32) -> io::Result<()> {
        self.advise(first, count, Advice::LinuxPopulateRead)
    }

    /// Return the memory of `count` blocks to the host. They are zero when they are backed again.
    pub(crate) fn punch(&self, first: Block, count: u32) -> io::Result<()> {
        let start = u64::from(first.0) * BLOCK_BYTES as u64;
        let len = u64::from(count) * BLOCK_BYTES as u64;
        let how = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        Ok(rustix::fs::fallocate(&self.file, how, start, len)?)
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        let bytes = self.blocks as usize * BLOCK_BYTES;
        // SAFETY: the mapping is ours, and no word of it can be borrowed beyond `self`.
        let _ = unsafe { rustix::mm::munmap(self.base.as_ptr().cast(), bytes) };
        // The lock ends with the last descriptor. A child that was just forked, and has not started
        // its program yet, has one too.
        let _ = rustix::fs::flock(&self.file, rustix::fs::FlockOperation::Unlock);
    }
}
