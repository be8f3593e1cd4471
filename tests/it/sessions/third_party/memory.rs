//! Memory that a third-party driver shares with ramblk, and the calls into both crates that trust
//! the caller's pointers.

#![allow(
    unsafe_code,
    reason = "both crates take buffers as pointers into memory that they did not map"
)]

use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::slice;
use std::time::Duration;

use blkio::{Blkioq, Completion, MemoryRegion};
use libc::iovec;
use rustix::fs::{MemfdFlags, memfd_create};
use virtio_driver::VirtioBlkQueue;
use vm_memory::{FileOffset, MmapRegion, VolatileMemory};

/// A mapping of a memfd, which a front end can pass on.
pub(super) struct Shared(MmapRegion);

impl Shared {
    /// `len` bytes that begin at `offset` in their file.
    pub(super) fn new(len: usize, offset: u64) -> Self {
        let file = File::from(memfd_create("buffers", MemfdFlags::CLOEXEC).unwrap());
        file.set_len(offset + len as u64).unwrap();
        Self(MmapRegion::from_file(FileOffset::new(file, offset), len).unwrap())
    }

    /// Memory for rings that is never unmapped, so that no ring outlives it.
    pub(super) fn leaked(len: usize) -> (&'static Self, &'static mut [u8]) {
        let shared: &'static Self = Box::leak(Box::new(Self::new(len, 0)));
        // SAFETY: the mapping has `len` bytes and stays for ever; it was made here, and in this
        // process only the caller gets at them. ramblk writes to them as any device would, and the
        // rings' code expects that.
        let bytes = unsafe { slice::from_raw_parts_mut(shared.0.as_ptr(), len) };
        (shared, bytes)
    }

    /// In the form of both crates.
    pub(super) fn region(&self) -> MemoryRegion {
        let file = self.0.file_offset().expect("a mapping of a file");
        MemoryRegion {
            addr: self.0.as_ptr() as usize,
            iova: 0,
            len: self.0.size(),
            fd: file.file().as_raw_fd(),
            fd_offset: file.start().try_into().unwrap(),
            flags: 0,
        }
    }

    /// Spread `bytes` over the pieces, in order.
    pub(super) fn scatter(&self, pieces: &[Range<usize>], mut bytes: &[u8]) {
        for piece in pieces {
            let (head, tail) = bytes.split_at(piece.len());
            self.0
                .get_slice(piece.start, piece.len())
                .unwrap()
                .copy_from(head);
            bytes = tail;
        }
        assert!(bytes.is_empty(), "more bytes than room");
    }

    /// The content of the pieces, one after the other.
    pub(super) fn gather(&self, pieces: &[Range<usize>]) -> Vec<u8> {
        let mut bytes = vec![0; pieces.iter().map(Range::len).sum()];
        let mut at = 0;
        for piece in pieces {
            let slice = self.0.get_slice(piece.start, piece.len()).unwrap();
            slice.copy_to(&mut bytes[at..at + piece.len()]);
            at += piece.len();
        }
        bytes
    }

    /// The pieces as a list of buffers; each lies inside the mapping.
    pub(super) fn iovecs(&self, pieces: &[Range<usize>]) -> Box<[iovec]> {
        let iovec = |piece: &Range<usize>| {
            let slice = self.0.get_slice(piece.start, piece.len()).unwrap();
            iovec {
                iov_base: slice.ptr_guard_mut().as_ptr().cast(),
                iov_len: slice.len(),
            }
        };
        pieces.iter().map(iovec).collect()
    }
}

/// Queue a read into the pieces.
pub(super) fn read(
    queue: &mut VirtioBlkQueue<'_, usize>,
    at: u64,
    (memory, pieces): (&Shared, &[Range<usize>]),
    tag: usize,
) -> io::Result<()> {
    let iovecs = memory.iovecs(pieces);
    // SAFETY: the list is alive during the call, which copies it into descriptors. The buffers lie
    // inside a mapping of ours, and through its own mapping of the file ramblk may write to them.
    unsafe { queue.readv(at, iovecs.as_ptr(), iovecs.len(), tag) }
}

/// Queue a write of the pieces.
pub(super) fn write(
    queue: &mut VirtioBlkQueue<'_, usize>,
    at: u64,
    (memory, pieces): (&Shared, &[Range<usize>]),
    tag: usize,
) -> io::Result<()> {
    let iovecs = memory.iovecs(pieces);
    // SAFETY: as in `read`, and ramblk only reads the buffers.
    unsafe { queue.writev(at, iovecs.as_ptr(), iovecs.len(), tag) }
}

/// Submit what is queued, and wait for at least `least` completions: user data and result of each.
pub(super) fn complete(
    queue: &mut Blkioq,
    least: usize,
    mut patience: Duration,
) -> blkio::Result<Vec<(usize, i32)>> {
    let mut room: Vec<MaybeUninit<Completion>> = Vec::new();
    room.resize_with(least.max(64), MaybeUninit::uninit);
    let filled = queue.do_io(&mut room, least, Some(&mut patience), None)?;
    let done = room.into_iter().take(filled).map(|completion| {
        // SAFETY: `do_io` has filled as many entries as it says, from the first one on.
        let completion = unsafe { completion.assume_init() };
        (completion.user_data, completion.ret)
    });
    Ok(done.collect())
}
