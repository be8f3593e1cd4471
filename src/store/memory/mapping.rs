//! Mapping a file so that huge pages are possible.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::ptr::{NonNull, null_mut};

use rustix::mm::{Advice, MapFlags, ProtFlags};

/// Bytes of a huge page.
const HUGE: usize = 2 << 20;

const PROTECTION: ProtFlags = ProtFlags::READ.union(ProtFlags::WRITE);
const FLAGS: MapFlags = MapFlags::SHARED.union(MapFlags::NORESERVE);

/// Map `len_bytes` of `file` from `offset_bytes` on, shared, readable and writable. The mapping is
/// left out of core dumps, which must not contain guests' data. The caller must unmap it.
///
/// # Errors
/// The system's.
pub fn map_shared(file: &File, offset_bytes: u64, len_bytes: usize) -> io::Result<NonNull<u8>> {
    let aligned = if len_bytes < HUGE {
        None
    } else {
        // Files with another page size may need another alignment, which the kernel chooses.
        map_aligned(file, offset_bytes, len_bytes).ok()
    };
    let start = match aligned {
        Some(start) => start,
        // SAFETY: a fresh mapping at an address of the kernel's choice aliases nothing.
        None => unsafe {
            rustix::mm::mmap(null_mut(), len_bytes, PROTECTION, FLAGS, file, offset_bytes)
        }?,
    };
    // If this is refused, nothing else changes.
    // SAFETY: the range is exactly the mapping made above.
    let _ = unsafe { rustix::mm::madvise(start, len_bytes, Advice::LinuxDontDump) };
    NonNull::new(start.cast()).ok_or_else(|| io::ErrorKind::OutOfMemory.into())
}

/// Map at an address that agrees with the offset in the file modulo 2 MiB, as huge pages require.
/// Only since 6.7 does the kernel do this itself for memory files.
fn map_aligned(
    file: &File,
    offset_bytes: u64,
    len_bytes: usize,
) -> io::Result<*mut std::ffi::c_void> {
    let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
    let none = ProtFlags::empty();
    let room_bytes = len_bytes
        .checked_add(HUGE)
        .ok_or(io::ErrorKind::OutOfMemory)?;
    // SAFETY: a fresh mapping at an address of the kernel's choice aliases nothing.
    let room = unsafe { rustix::mm::mmap_anonymous(null_mut(), room_bytes, none, flags) }?;
    let within = usize::try_from(offset_bytes % HUGE as u64).unwrap_or(0);
    let before = (HUGE + within - room.addr() % HUGE) % HUGE;
    let start = room.wrapping_byte_add(before);
    let fixed = FLAGS | MapFlags::FIXED;
    // SAFETY: the range lies in the room that was reserved above, which only this function knows.
    let mapped =
        unsafe { rustix::mm::mmap(start, len_bytes, PROTECTION, fixed, file, offset_bytes) };
    let left = match mapped {
        Ok(_) => [
            (room, before),
            (start.wrapping_byte_add(len_bytes), HUGE - before),
        ],
        Err(_) => [(room, room_bytes), (start, 0)],
    };
    for (at, len) in left {
        if len > 0 {
            // SAFETY: the range lies in the room, and outside of what was mapped into it.
            let _ = unsafe { rustix::mm::munmap(at, len) };
        }
    }
    Ok(mapped?)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn address_and_offset_agree_where_a_huge_page_would_fit() {
        let file = super::super::arena::memory_file().unwrap();
        file.set_len(16 << 20).unwrap();
        for offset_bytes in [0, 4096, (2 << 20) - 4096, 5 << 20] {
            for len_bytes in [2 << 20, 3 << 20, 8 << 20] {
                let start = map_shared(&file, offset_bytes, len_bytes).unwrap();
                let offset = usize::try_from(offset_bytes).unwrap();
                assert_eq!(start.addr().get() % HUGE, offset % HUGE);
                // SAFETY: the mapping was made above, and nothing else uses it.
                unsafe { rustix::mm::munmap(start.as_ptr().cast(), len_bytes) }.unwrap();
            }
        }
    }
}
