//! A mapped file of a front end: guest memory, or the region that tracks requests in flight.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;

use rustix::mm::Advice;
use vm_memory::MmapRegion;

use super::guard::Guard;
use crate::store::{Source, map_shared};
use crate::vhost_user::wire::descriptor::check_mapping;

/// A shared, writable mapping. The file itself isn't kept open: a guest may have hundreds of
/// regions, and descriptors are few.
#[derive(Debug)]
pub(crate) struct Mapping {
    /// `None` only while it is being dropped: the guard goes before the mapping does.
    guard: Option<Guard>,
    region: MmapRegion<()>,
}

impl Mapping {
    /// Map `len_bytes` of `file` from `offset_bytes` on, both multiples of the file's page size.
    /// The caller has checked that the file is that long. If it is truncated later, zeros take its
    /// place. `many` says whether the front end has many mappings already.
    ///
    /// # Errors
    /// The system's error, a file system that may hang, or too many mappings.
    pub(crate) fn new(
        file: &File,
        offset_bytes: u64,
        len_bytes: usize,
        many: bool,
    ) -> io::Result<Self> {
        check_mapping(file).map_err(io::Error::other)?;
        let start = map_shared(file, offset_bytes, len_bytes)?.as_ptr();
        let unmap = || {
            // SAFETY: the range is exactly the mapping made above, and unused.
            let _ = unsafe { rustix::mm::munmap(start.cast(), len_bytes) };
        };
        // Guest memory is accessed at random. If the kernel refuses, small pages remain.
        // SAFETY: the range is exactly the mapping made above; the advice changes no byte.
        let _ = unsafe { rustix::mm::madvise(start.cast(), len_bytes, Advice::LinuxHugepage) };
        // SAFETY: the range is exactly the mapping made above. Only `Self` knows it, and unmaps it
        // after the guard is gone.
        let guard = unsafe { Guard::new(start.expose_provenance(), len_bytes, many) };
        let region = guard.and_then(|guard| {
            let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED);
            // SAFETY: as above; `region` neither maps nor unmaps.
            let region = unsafe { MmapRegion::build_raw(start, len_bytes, protection, flags) };
            let region = region.map_err(io::Error::other)?;
            Ok(Self {
                guard: Some(guard),
                region,
            })
        });
        if region.is_err() {
            unmap();
        }
        region
    }

    /// Its first byte.
    pub(crate) fn as_ptr(&self) -> *mut u8 {
        self.region.as_ptr()
    }

    /// Copy the bytes from `offset` on. Returns `false` if they don't lie in the mapping.
    pub(super) fn copy_to(&self, offset: usize, to: &mut [u8]) -> bool {
        let end = offset.checked_add(to.len());
        let fits = end.is_some_and(|end| end <= self.region.size());
        if fits {
            // SAFETY: mapped memory, as was just checked, for as long as `self` lives, and no Rust
            // reference points into it.
            let from = unsafe { Source::new(self.as_ptr().wrapping_add(offset), to.len()) };
            from.copy_to(to);
        }
        fits
    }

    /// Whether the front end truncated the file, so that zeros have taken its place.
    pub(crate) fn is_lost(&self) -> bool {
        self.guard.as_ref().is_some_and(Guard::is_lost)
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        self.guard = None;
        // SAFETY: made by `new` with this size; every user of a pointer into it holds a reference.
        let _ = unsafe { rustix::mm::munmap(self.region.as_ptr().cast(), self.region.size()) };
    }
}
