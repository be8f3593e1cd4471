//! Memory that the load generator shares with the back end: rings, request headers and data, in
//! one memfd that is mapped once, as slices of atomics, because the other side writes to it too.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::null_mut;
use std::slice;
use std::sync::atomic::{AtomicU16, AtomicU32, AtomicU64};

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap, mmap_anonymous, munmap};

/// Size and alignment of a huge page.
const HUGE_BYTES: usize = 2 << 20;

/// A shared mapping of a file that can't shrink.
#[derive(Debug)]
pub(in crate::load) struct Memory {
    file: OwnedFd,
    /// The reserved range, in which the mapping is aligned.
    reserved: *mut u8,
    reserved_bytes: usize,
    start: *mut u8,
    len_bytes: usize,
}

// SAFETY: the mapping belongs to the value, and all access to it is through atomics.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

impl Memory {
    /// At least `least_bytes` of zeros, populated at once.
    ///
    /// # Errors
    /// The system refuses the memory.
    pub(in crate::load) fn new(least_bytes: usize) -> io::Result<Self> {
        let len_bytes = least_bytes.next_multiple_of(HUGE_BYTES);
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let file = memfd_create("ramblk-bench", flags)?;
        ftruncate(&file, len_bytes as u64)?;
        // If a back end could shrink the file, the next access here would raise SIGBUS.
        fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
        let reserved_bytes = len_bytes + HUGE_BYTES;
        // SAFETY: a fresh mapping at an address of the kernel's choice aliases nothing.
        let reserved = unsafe {
            mmap_anonymous(
                null_mut(),
                reserved_bytes,
                ProtFlags::empty(),
                MapFlags::PRIVATE | MapFlags::NORESERVE,
            )
        }?;
        let reserved = reserved.cast::<u8>();
        let start = reserved.wrapping_add(reserved.align_offset(HUGE_BYTES));
        let memory = Self {
            file,
            reserved,
            reserved_bytes,
            start,
            len_bytes,
        };
        memory.fill_in()?;
        Ok(memory)
    }

    /// Map the file into the reserved range, and populate it.
    fn fill_in(&self) -> io::Result<()> {
        let (start, len) = (self.start.cast(), self.len_bytes);
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        let flags = MapFlags::SHARED | MapFlags::FIXED;
        // SAFETY: the range lies inside the range reserved above, which no other mapping uses.
        let _ = unsafe { mmap(start, len, protection, flags, &self.file, 0) }?;
        // Huge pages are optional, so a refusal doesn't matter.
        // SAFETY: the range is exactly the mapping made above.
        let _ = unsafe { madvise(start, len, Advice::LinuxHugepage) };
        // SAFETY: as above; without this, page faults would be measured.
        unsafe { madvise(start, len, Advice::LinuxPopulateWrite) }?;
        Ok(())
    }

    /// Its address in this process, for the vhost-user protocol.
    pub(in crate::load) fn address(&self) -> u64 {
        self.start.expose_provenance() as u64
    }

    /// Its size in bytes.
    pub(in crate::load) fn len_bytes(&self) -> usize {
        self.len_bytes
    }

    /// Words of 16 bits from `at_bytes` on.
    ///
    /// # Errors
    /// The range is not inside or not aligned.
    pub(in crate::load) fn words16(
        &self,
        at_bytes: usize,
        count: usize,
    ) -> io::Result<&[AtomicU16]> {
        let at = self.place(at_bytes, count, 2)?;
        // SAFETY: `place` returns an aligned range inside the mapping, which lives as long as
        // `self`; the other side writes there too, which atomics allow.
        Ok(unsafe { slice::from_raw_parts(at.cast(), count) })
    }

    /// Words of 32 bits, like [`Memory::words16`].
    ///
    /// # Errors
    /// The same as [`Memory::words16`].
    pub(in crate::load) fn words32(
        &self,
        at_bytes: usize,
        count: usize,
    ) -> io::Result<&[AtomicU32]> {
        let at = self.place(at_bytes, count, 4)?;
        // SAFETY: as in `words16`.
        Ok(unsafe { slice::from_raw_parts(at.cast(), count) })
    }

    /// Words of 64 bits, like [`Memory::words16`].
    ///
    /// # Errors
    /// The same as [`Memory::words16`].
    pub(in crate::load) fn words64(
        &self,
        at_bytes: usize,
        count: usize,
    ) -> io::Result<&[AtomicU64]> {
        let at = self.place(at_bytes, count, 8)?;
        // SAFETY: as in `words16`.
        Ok(unsafe { slice::from_raw_parts(at.cast(), count) })
    }

    fn place(&self, at_bytes: usize, count: usize, word_bytes: usize) -> io::Result<*mut u8> {
        let end = count
            .checked_mul(word_bytes)
            .and_then(|len| len.checked_add(at_bytes));
        if !at_bytes.is_multiple_of(word_bytes) || end.is_none_or(|end| end > self.len_bytes) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        Ok(self.start.wrapping_add(at_bytes))
    }
}

impl AsFd for Memory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: reserved by `new` with this size; every slice borrows `self`, so none is left.
        let _ = unsafe { munmap(self.reserved.cast(), self.reserved_bytes) };
    }
}
