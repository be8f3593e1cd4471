//! Guest memory: memfds mapped here and passed to the back end.
//!
//! This is the only file of the driver with `unsafe`. Every access is checked against the bounds of
//! the regions and then goes through a raw pointer, never through a reference to shared bytes: the
//! back end may write them at any time.

#![allow(
    unsafe_code,
    reason = "shared memory with another process can't be had without it"
)]

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};

use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

pub(crate) const MIB: u64 = 1 << 20;

/// One piece of guest memory, as a front end describes it in a memory table.
pub(crate) struct Region {
    pub(crate) gpa: u64,
    len: u64,
    /// Where the front end claims to have mapped it. Deliberately not the guest address and not
    /// linear in it, so that a back end that confuses the two address spaces can't pass.
    pub(crate) user: u64,
    pub(crate) offset: u64,
    file: OwnedFd,
    map: NonNull<u8>,
    mapped: usize,
}

impl Region {
    /// `len` bytes at `gpa`, backed by the bytes at `offset` of a new memfd.
    pub(crate) fn new(gpa: u64, len: u64, offset: u64) -> Self {
        let mut region = Self::mapped(gpa, len, offset, MapFlags::SHARED);
        region.user = 0x7100_0000_0000 + (gpa / MIB) * 0x1000_0000;
        region
    }

    /// The same for a VMM whose memory is not shared, with its true address.
    pub(crate) fn private(gpa: u64, len: u64) -> Self {
        Self::mapped(gpa, len, 0, MapFlags::PRIVATE)
    }

    fn mapped(gpa: u64, len: u64, offset: u64, sharing: MapFlags) -> Self {
        let file = memfd_create("guest", MemfdFlags::CLOEXEC).unwrap();
        ftruncate(&file, offset + len).unwrap();
        // SAFETY: a fresh mapping at an address of the kernel's choice aliases nothing.
        let map = unsafe {
            let flags = ProtFlags::READ | ProtFlags::WRITE;
            mmap(
                std::ptr::null_mut(),
                len as usize,
                flags,
                sharing,
                &file,
                offset,
            )
        };
        let map: NonNull<u8> = NonNull::new(map.unwrap().cast()).unwrap();
        Self {
            gpa,
            len,
            user: map.as_ptr().expose_provenance() as u64,
            offset,
            file,
            map,
            mapped: len as usize,
        }
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// From now on claim that the region has this length. Only for regions that aren't used.
    pub(crate) fn claim(&mut self, len: u64) {
        self.len = len;
    }

    /// The 32 bytes of this region in SET_MEM_TABLE.
    pub(crate) fn entry(&self) -> Vec<u8> {
        [self.gpa, self.len, self.user, self.offset]
            .iter()
            .flat_map(|v| v.to_le_bytes())
            .collect()
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours and `Memory` hands out no pointer that outlives it.
        unsafe { munmap(self.map.as_ptr().cast(), self.mapped) }.unwrap();
    }
}

/// The whole guest memory.
pub(crate) struct Memory {
    regions: Vec<Region>,
}

// SAFETY: the regions are only reached by raw copies and atomics; two test threads that write the
// same bytes at once would be two guest CPUs doing so, which the tests never rely on.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

impl Memory {
    pub(crate) fn new(regions: Vec<Region>) -> Self {
        Self { regions }
    }

    /// The default memory of the tests: 64 MiB at 0 for rings and buffers, two regions of 16 MiB
    /// that follow without a gap, and one of 16 MiB above 4 GiB. The first and the third begin
    /// inside their files.
    pub(crate) fn standard() -> Self {
        Self::new(vec![
            Region::new(0, 64 * MIB, 2 * MIB),
            Region::new(64 * MIB, 16 * MIB, 0),
            Region::new(80 * MIB, 16 * MIB, 4096),
            Region::new(4096 * MIB, 16 * MIB, 0),
        ])
    }

    pub(crate) fn regions(&self) -> &[Region] {
        &self.regions
    }

    /// The front end's address of a guest address.
    pub(crate) fn user(&self, gpa: u64) -> u64 {
        let r = self.region(gpa);
        r.user + (gpa - r.gpa)
    }

    fn region(&self, gpa: u64) -> &Region {
        let found = self
            .regions
            .iter()
            .find(|r| gpa >= r.gpa && gpa - r.gpa < r.mapped as u64);
        found.unwrap_or_else(|| panic!("the test itself leaves guest memory at {gpa:#x}"))
    }

    /// Host pointer to `gpa` and the number of bytes up to the end of its region.
    fn at(&self, gpa: u64) -> (NonNull<u8>, usize) {
        let r = self.region(gpa);
        let within = gpa - r.gpa;
        // SAFETY: `within` is less than the length of the mapping.
        (
            unsafe { r.map.add(within as usize) },
            (r.mapped as u64 - within) as usize,
        )
    }

    pub(crate) fn write(&self, mut gpa: u64, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let (to, room) = self.at(gpa);
            let n = room.min(bytes.len());
            // SAFETY: `n` bytes at `to` are inside the mapping, and `bytes` is private memory.
            unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), to.as_ptr(), n) };
            bytes = &bytes[n..];
            gpa += n as u64;
        }
    }

    pub(crate) fn read(&self, mut gpa: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        let mut rest = &mut bytes[..];
        while !rest.is_empty() {
            let (from, room) = self.at(gpa);
            let n = room.min(rest.len());
            // SAFETY: `n` bytes at `from` are inside the mapping, and `rest` is private memory.
            unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), rest.as_mut_ptr(), n) };
            rest = &mut rest[n..];
            gpa += n as u64;
        }
        bytes
    }

    pub(crate) fn fill(&self, gpa: u64, len: usize, byte: u8) {
        self.write(gpa, &vec![byte; len]);
    }

    fn atomic(&self, gpa: u64) -> &AtomicU16 {
        assert!(gpa.is_multiple_of(2));
        let (at, room) = self.at(gpa);
        assert!(room >= 2);
        // SAFETY: aligned (checked, and mappings are page-aligned), inside the mapping, which lives
        // as long as `self`; the other side uses atomic accesses of the same size.
        unsafe { AtomicU16::from_ptr(at.as_ptr().cast()) }
    }

    pub(crate) fn load_u16(&self, gpa: u64) -> u16 {
        self.atomic(gpa).load(Ordering::SeqCst)
    }

    pub(crate) fn store_u16(&self, gpa: u64, value: u16) {
        self.atomic(gpa).store(value, Ordering::SeqCst);
    }

    /// A 32-bit load that the compiler can't tear, for the entries of the used ring.
    pub(crate) fn load_u32(&self, gpa: u64) -> u32 {
        assert!(gpa.is_multiple_of(4));
        let (at, room) = self.at(gpa);
        assert!(room >= 4);
        // SAFETY: as in `atomic`.
        unsafe { AtomicU32::from_ptr(at.as_ptr().cast()) }.load(Ordering::SeqCst)
    }
}
