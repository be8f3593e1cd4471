//! What the machine can do: `memcpy` and `memset` of the C library, and two other ways to copy, on
//! shared memory files.
//!
//! Both sides of every comparison copy between the same buffer and a span of memory. The
//! yardstick's span is the simplest one: a memory file, mapped shared, in pages of 4 KiB.
#![allow(unsafe_code)]

use std::fs::File;
use std::ptr::NonNull;

use rustix::fs::MemfdFlags;
use rustix::mm::Advice;

use ramblk::store::map_shared;

use crate::measure::{Failure, Target};

/// The name of its files, which [`crate::measure::host_bytes`] leaves out.
pub(crate) const FILE_NAME: &str = "yardstick";

/// A way to copy.
#[allow(dead_code, reason = "the store is held against `memcpy` alone")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Routine {
    /// The C library's.
    Memcpy,
    /// One instruction of the processor; `memcpy` where it has none.
    RepMovsb,
    /// Stores that go past the caches; `memcpy` where there are none.
    NonTemporal,
}

/// A memory file, mapped shared.
pub(crate) struct Mapping {
    base: NonNull<u8>,
    len_bytes: usize,
    routine: Routine,
}

// SAFETY: `base` is only an address, and the mapping lasts as long as `self`.
unsafe impl Send for Mapping {}
// SAFETY: through `&Mapping` bytes are touched by `memcpy` alone, never by a reference; threads are
// given regions that don't overlap.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// `len_bytes` of zeros whose memory is already allocated.
    pub(crate) fn populated(len_bytes: u64) -> Result<Self, Failure> {
        let mapping = Self::untouched(len_bytes)?;
        let (base, len) = (mapping.base.as_ptr().cast(), mapping.len_bytes);
        // SAFETY: the mapping is ours; its bytes stay what they are.
        unsafe { rustix::mm::madvise(base, len, Advice::LinuxPopulateWrite) }?;
        Ok(mapping)
    }

    /// `len_bytes` of zeros whose memory is allocated on the first touch.
    pub(crate) fn untouched(len_bytes: u64) -> Result<Self, Failure> {
        let file = File::from(rustix::fs::memfd_create(FILE_NAME, MemfdFlags::CLOEXEC)?);
        file.set_len(len_bytes)?;
        let len_bytes = usize::try_from(len_bytes)?;
        Ok(Self {
            base: map_shared(&file, 0, len_bytes)?,
            len_bytes,
            routine: Routine::Memcpy,
        })
    }

    /// The same, to be copied with `routine`.
    #[allow(dead_code, reason = "the store is held against `memcpy` alone")]
    pub(crate) fn copied_with(mut self, routine: Routine) -> Self {
        self.routine = routine;
        self
    }

    /// Turn its pages, which must be allocated, into huge pages.
    #[allow(dead_code, reason = "the store is held against `memcpy` alone")]
    pub(crate) fn collapse(&self) -> Result<(), Failure> {
        let base = self.base.as_ptr().cast();
        // SAFETY: the mapping is ours; its bytes stay what they are.
        match unsafe { libc::madvise(base, self.len_bytes, libc::MADV_COLLAPSE) } {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error().into()),
        }
    }

    /// Its bytes, for a buffer.
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: the mapping is ours for this long, initialised (zeros), and nobody else has the
        // file.
        unsafe { std::slice::from_raw_parts_mut(self.base.as_ptr(), self.len_bytes) }
    }

    fn at(&self, at_bytes: u64, len_bytes: usize) -> *mut u8 {
        let at = at_bytes as usize;
        assert!(at + len_bytes <= self.len_bytes, "outside the yardstick");
        self.base.as_ptr().wrapping_add(at)
    }
}

impl Target for Mapping {
    fn read(&self, at_bytes: u64, into: &mut [u8]) -> Result<(), Failure> {
        let from = self.at(at_bytes, into.len());
        // SAFETY: `at` vouches for the source, and `into` is a buffer of its own.
        unsafe { copy(self.routine, into.as_mut_ptr(), from, into.len()) };
        Ok(())
    }

    fn write(&self, at_bytes: u64, from: &[u8]) -> Result<(), Failure> {
        let to = self.at(at_bytes, from.len());
        // SAFETY: `at` vouches for the target, and `from` is a buffer of its own.
        unsafe { copy(self.routine, to, from.as_ptr(), from.len()) };
        Ok(())
    }
}

/// Copies `len` bytes.
///
/// # Safety
/// `src` must be mapped readable and `dst` writable for `len` bytes, and they must not overlap.
unsafe fn copy(routine: Routine, dst: *mut u8, src: *const u8, len: usize) {
    match routine {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the caller vouches for both ranges; the direction flag is clear in the Rust ABI.
        Routine::RepMovsb => unsafe {
            std::arch::asm!(
                "rep movsb",
                inout("rcx") len => _,
                inout("rdi") dst => _,
                inout("rsi") src => _,
                options(nostack, preserves_flags)
            );
        },
        #[cfg(target_arch = "x86_64")]
        Routine::NonTemporal
            if len > 0 && len.is_multiple_of(64) && dst.addr().is_multiple_of(16) =>
        {
            // SAFETY: the loop touches exactly `len` bytes of both ranges, for which the caller
            // vouches; SSE2 is part of the architecture.
            unsafe {
                std::arch::asm!(
                    "2:",
                    "movdqu {a}, [{src}]",
                    "movdqu {b}, [{src} + 16]",
                    "movdqu {c}, [{src} + 32]",
                    "movdqu {d}, [{src} + 48]",
                    "movntdq [{dst}], {a}",
                    "movntdq [{dst} + 16], {b}",
                    "movntdq [{dst} + 32], {c}",
                    "movntdq [{dst} + 48], {d}",
                    "add {src}, 64",
                    "add {dst}, 64",
                    "sub {len}, 64",
                    "jnz 2b",
                    "sfence",
                    src = inout(reg) src => _,
                    dst = inout(reg) dst => _,
                    len = inout(reg) len => _,
                    a = out(xmm_reg) _,
                    b = out(xmm_reg) _,
                    c = out(xmm_reg) _,
                    d = out(xmm_reg) _,
                    options(nostack)
                );
            }
        }
        _ => {
            // SAFETY: the caller vouches for both ranges.
            unsafe { libc::memcpy(dst.cast(), src.cast(), len) };
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and no reference to its bytes outlives `self`. If it can't
        // be unmapped, the process's end does it.
        let _ = unsafe { rustix::mm::munmap(self.base.as_ptr().cast(), self.len_bytes) };
    }
}

/// A span of which every byte is zero: `memset`.
pub(crate) struct Zeros;

impl Target for Zeros {
    fn read(&self, _at_bytes: u64, into: &mut [u8]) -> Result<(), Failure> {
        // SAFETY: `into` is `into.len()` writable bytes.
        unsafe { libc::memset(into.as_mut_ptr().cast(), 0, into.len()) };
        // Or the compiler could drop all but the last of them.
        std::hint::black_box(into);
        Ok(())
    }

    fn write(&self, _at_bytes: u64, _from: &[u8]) -> Result<(), Failure> {
        Err("zeros can't be written".into())
    }
}
