//! The buffers of one request, as pieces of host memory.
#![allow(unsafe_code)]

use super::split::{Descriptor, F_WRITE};
use crate::device::Buffers;
use crate::store::{self, Piece, Sink, Source};
use crate::vhost_user::memory::map::MemoryMap;

/// The cost of walking to a descriptor, in bytes, beside the bytes of its buffer.
const DESCRIPTOR_BYTES: u64 = 64;

/// The buffers of the request being served, emptied before the ring is used again. Their lifetime
/// is that of the ring's memory; what [`Pieces::lend`] returns has a shorter one.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    readable: Vec<Source<'static>>,
    writable: Vec<Sink<'static>>,
    /// How many descriptors were read to find the pieces.
    descriptors: u32,
    /// A buffer is outside of guest memory, or in the wrong order.
    damaged: bool,
    /// A writable buffer is outside of guest memory. What lies behind it can't be counted as
    /// written, since the used length counts from the first writable byte (§2.7.8.2).
    gap: bool,
    /// The last writable buffer is outside of guest memory, so there is no status byte.
    no_status: bool,
    /// Writable bytes, before any were used up.
    #[cfg(debug_assertions)]
    offered_bytes: u64,
}

// SAFETY: the pieces lie in mappings that the ring of this value keeps, whichever thread uses them.
unsafe impl Send for Pieces {}

impl Pieces {
    /// Allocate room for this many pieces of either kind. Nothing is allocated later; a request
    /// with more pieces is damaged.
    pub(super) fn with_room(most: usize) -> Self {
        Self {
            readable: Vec::with_capacity(most),
            writable: Vec::with_capacity(most),
            ..Self::default()
        }
    }

    pub(super) fn clear(&mut self) {
        self.readable.clear();
        self.writable.clear();
        self.damaged = false;
        self.gap = false;
        self.no_status = false;
    }

    /// The buffers. Serving the request consumes them.
    pub(super) fn lend(&mut self) -> Buffers<'_, '_> {
        let (reads, writes) = (self.readable.len(), self.writable.len());
        let (readable, writable) = (self.readable.as_mut_ptr(), self.writable.as_mut_ptr());
        // SAFETY: the same slice, borrowed from `self` for as long as what is returned lives. Only
        // the pieces' own lifetime is shorter, so none can be kept longer than the borrow. Whatever
        // is put in their place is cleared before the next request.
        let readable = unsafe { std::slice::from_raw_parts_mut(readable.cast(), reads) };
        // SAFETY: as above.
        let writable = unsafe { std::slice::from_raw_parts_mut(writable.cast(), writes) };
        Buffers {
            readable,
            writable,
            damaged: self.damaged,
        }
    }

    /// The cost of serving them, in bytes. Each descriptor counts once.
    pub(super) fn take_cost(&mut self) -> u64 {
        let descriptors = std::mem::take(&mut self.descriptors);
        let bytes = store::total_bytes(&self.readable) + store::total_bytes(&self.writable);
        bytes + u64::from(descriptors) * DESCRIPTOR_BYTES
    }

    /// The used length for the driver, if `written` bytes were written.
    pub(super) fn used_len(&self, written: u32) -> u32 {
        if self.gap { 0 } else { written }
    }

    /// All buffers were added; this many descriptors were read.
    pub(super) fn end(&mut self, descriptors: u32) {
        self.descriptors = descriptors;
        if self.no_status {
            self.writable.clear();
        }
        #[cfg(debug_assertions)]
        {
            self.offered_bytes = store::total_bytes(&self.writable);
        }
    }

    /// Whether the chain had room for this many bytes: for assertions.
    #[cfg(debug_assertions)]
    pub(super) fn offered(&self, written: u32) -> bool {
        u64::from(written) <= self.offered_bytes
    }

    #[cfg(not(debug_assertions))]
    pub(super) fn offered(&self, _: u32) -> bool {
        true
    }

    /// Add a buffer, cut where it crosses from one region into the next. Empty buffers are allowed
    /// and ignored.
    pub(super) fn add(&mut self, memory: &MemoryMap, descriptor: Descriptor) {
        let (address, len) = (descriptor.addr, descriptor.len);
        if len == 0 {
            return;
        }
        let writable = descriptor.has(F_WRITE);
        // §2.7.4.2: writable buffers come after readable ones.
        self.damaged |= !writable && !self.writable.is_empty();
        let mut at = address;
        let mut rest = u64::from(len);
        while rest > 0 {
            let found = memory.host(at, rest).filter(|_| self.has_room(writable));
            let Some(range) = found else {
                self.damaged = true;
                self.gap |= writable;
                self.no_status |= writable;
                return;
            };
            if writable {
                // SAFETY: mapped memory that no Rust reference points into, kept mapped by the map
                // that the ring holds; the piece is dropped before the ring's next request.
                self.writable
                    .push(unsafe { Sink::new(range.ptr, range.len) });
            } else {
                // SAFETY: as above.
                self.readable
                    .push(unsafe { Source::new(range.ptr, range.len) });
            }
            rest -= range.len as u64;
            at = at.saturating_add(range.len as u64);
        }
        self.no_status &= !writable;
    }

    /// The chain can't be followed to its end, so the request fails. The last writable byte that
    /// was found probably is the status byte; at worst it is a byte of the failed request's own
    /// data.
    pub(super) fn refuse(&mut self) {
        self.damaged = true;
        self.gap = true;
        self.readable.clear();
        if let Some(last) = self.writable.pop() {
            self.writable.clear();
            self.writable.push(last.split_at(last.len() - 1).1);
        }
    }

    /// Whether one more piece fits into the room that was allocated when the ring started.
    fn has_room(&self, writable: bool) -> bool {
        if writable {
            self.writable.len() < self.writable.capacity()
        } else {
            self.readable.len() < self.readable.capacity()
        }
    }
}
