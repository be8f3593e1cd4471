//! A split virtqueue in guest memory (virtio 1.3 §2.7): its layout and its notifications.
//!
//! The pointers are resolved once, and are valid as long as the queue holds its [`MemoryMap`].
//! Every field that the guest can write is copied once. [`super::ring`] decides which request comes
//! next.
#![allow(unsafe_code)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering, fence};

use virtio_bindings::virtio_ring as vring;

use super::fault::RingError;
use crate::store::{self, points};
use crate::vhost_user::memory::map::MemoryMap;

pub(super) const DESC_BYTES: u64 = 16;

pub(super) const F_NEXT: u16 = 1;
pub(super) const F_WRITE: u16 = 2;
pub(super) const F_INDIRECT: u16 = 4;
const _: () = assert!(
    F_NEXT as u32 == vring::VRING_DESC_F_NEXT
        && F_WRITE as u32 == vring::VRING_DESC_F_WRITE
        && F_INDIRECT as u32 == vring::VRING_DESC_F_INDIRECT
);
const AVAIL_F_NO_INTERRUPT: u16 = 1;
const USED_F_NO_NOTIFY: u16 = 1;

/// A descriptor, copied out of guest memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Descriptor {
    pub(super) addr: u64,
    pub(super) len: u32,
    pub(super) flags: u16,
    pub(super) next: u16,
}

impl Descriptor {
    /// Decode its bytes, which are little-endian (§2.7.5).
    #[inline]
    pub(super) fn from_le(bytes: [u8; 16]) -> Self {
        let word = |at: usize| u64::from_ne_bytes(std::array::from_fn(|i| bytes[at + i]));
        Self::from_words(word(0), word(8))
    }

    #[inline]
    fn from_words(addr: u64, rest: u64) -> Self {
        let [l0, l1, l2, l3, f0, f1, n0, n1] = rest.to_ne_bytes();
        Self {
            addr: u64::from_le(addr),
            len: u32::from_le_bytes([l0, l1, l2, l3]),
            flags: u16::from_le_bytes([f0, f1]),
            next: u16::from_le_bytes([n0, n1]),
        }
    }

    #[inline]
    pub(super) fn has(self, flag: u16) -> bool {
        self.flags & flag != 0
    }
}

/// The addresses of a ring's three parts, in the front end's own address space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RingAddress {
    pub(crate) desc: u64,
    pub(crate) avail: u64,
    pub(crate) used: u64,
}

impl RingAddress {
    /// Places, as address and bytes, that are not all zero once the ring was used. Of the used ring
    /// it is the index: the device may write the flags before it at any time.
    pub(crate) fn places(self) -> [(u64, usize); 3] {
        let used_idx = self.used.saturating_add(2);
        [(self.desc, 16), (self.avail, 6), (used_idx, 2)]
    }
}

/// The descriptor table, the avail ring and the used ring, with our place in the used ring.
#[derive(Debug)]
pub(super) struct SplitQueue {
    memory: Arc<MemoryMap>,
    desc: *const u8,
    avail: *const u8,
    used: *mut u8,
    size: u16,
    event_idx: bool,
    /// The next entry of the used ring to fill.
    next_used: u16,
    /// The used index that was published.
    published_used: u16,
    /// Whether the driver was asked to kick.
    notifies: bool,
}

// SAFETY: the pointers point into mappings that `memory` keeps alive, whichever thread uses them.
unsafe impl Send for SplitQueue {}

/// Reads the avail index of a queue, whichever thread serves that.
struct Peek {
    /// Keeps the index mapped.
    _memory: Arc<MemoryMap>,
    avail_idx: *const u8,
}

// SAFETY: as for `SplitQueue`; and it only reads.
unsafe impl Send for Peek {}
// SAFETY: all that it does is one atomic load.
unsafe impl Sync for Peek {}

impl Peek {
    fn avail_idx(&self) -> u16 {
        // SAFETY: `SplitQueue::new` has checked that the index is mapped and aligned to 2, and
        // `_memory` keeps it mapped. The guest's own accesses are not Rust's.
        let index = unsafe { AtomicU16::from_ptr(self.avail_idx.cast_mut().cast()) };
        u16::from_le(index.load(Ordering::Acquire))
    }
}

impl SplitQueue {
    /// A queue at `address` in `memory`. It goes on from the used index in memory.
    pub(super) fn new(
        memory: Arc<MemoryMap>,
        size: u32,
        address: RingAddress,
        event_idx: bool,
    ) -> Result<Self, RingError> {
        let entries = u16::try_from(size)
            .ok()
            .filter(|size| size.is_power_of_two());
        let entries = entries.ok_or(RingError::Size { size })?;
        let n = u64::from(entries);
        let event = if event_idx { 2 } else { 0 };
        let find = |what, address: u64, len, align: u64| {
            let aligned = address.is_multiple_of(align);
            memory
                .user(address, len)
                .filter(|ptr| aligned && (ptr.addr() as u64).is_multiple_of(align))
                .ok_or(RingError::Address { what, address })
        };
        let desc = find("descriptor table", address.desc, n * DESC_BYTES, 16)?;
        let avail = find("avail ring", address.avail, 4 + n * 2 + event, 2)?;
        let used = find("used ring", address.used, 4 + n * 8 + event, 4)?;
        let mut queue = Self {
            memory,
            desc,
            avail,
            used,
            size: entries,
            event_idx,
            next_used: 0,
            published_used: 0,
            notifies: true,
        };
        let used_idx = u16::from_le(queue.used_u16(2).load(Ordering::Acquire));
        queue.next_used = used_idx;
        queue.published_used = used_idx;
        Ok(queue)
    }

    /// The guest's memory.
    #[inline]
    pub(super) fn memory(&self) -> &MemoryMap {
        &self.memory
    }

    /// Entries of the descriptor table and of both rings.
    #[inline]
    pub(super) fn size(&self) -> u16 {
        self.size
    }

    /// The used index, including entries that aren't published yet.
    #[inline]
    pub(super) fn next_used(&self) -> u16 {
        self.next_used
    }

    /// The avail index: where the driver will put its next request. What it wrote before that is
    /// visible after this (Acquire).
    #[inline]
    pub(super) fn avail_idx(&self) -> u16 {
        u16::from_le(self.avail_u16(2).load(Ordering::Acquire))
    }

    /// What returns the avail index, on any thread.
    pub(super) fn peek(&self) -> impl Fn() -> u16 + Send + Sync + 'static {
        let peek = Peek {
            _memory: Arc::clone(&self.memory),
            avail_idx: self.avail.wrapping_add(2),
        };
        move || peek.avail_idx()
    }

    /// The head in the avail ring at `position`. The driver can write any number there.
    #[inline]
    pub(super) fn head_at(&self, position: u16) -> u16 {
        let slot = usize::from(position & (self.size - 1));
        u16::from_le(self.avail_u16(4 + slot * 2).load(Ordering::Relaxed))
    }

    /// Descriptor `index`, if the table has one.
    #[inline]
    pub(super) fn descriptor(&self, index: u16) -> Option<Descriptor> {
        if index >= self.size {
            return None;
        }
        let at = self
            .desc
            .wrapping_add(usize::from(index) * 16)
            .cast::<u64>();
        // SAFETY: the table was checked to be mapped for `size` descriptors and aligned to 16, and
        // `index` is below `size`. The guest may write meanwhile: volatile.
        let addr = unsafe { at.read_volatile() };
        // SAFETY: as above; the second half of the same descriptor.
        let rest = unsafe { at.wrapping_add(1).read_volatile() };
        Some(Descriptor::from_words(addr, rest))
    }

    /// Fill an entry of the used ring. The driver sees it after [`SplitQueue::publish_used`].
    #[inline]
    pub(super) fn add_used(&mut self, head: u16, len: u32) {
        let slot = usize::from(self.next_used & (self.size - 1));
        let at = self.used.wrapping_add(4 + slot * 8).cast::<u32>();
        // SAFETY: the used ring was checked to be mapped for `size` entries and aligned to 4, and
        // `slot` is below `size`.
        unsafe { at.write_volatile(u32::from(head).to_le()) };
        points::reach("used-head-put");
        // SAFETY: as above; the second field of the same entry.
        unsafe { at.wrapping_add(1).write_volatile(len.to_le()) };
        points::reach("used-entry-put");
        self.next_used = self.next_used.wrapping_add(1);
    }

    /// Whether there are entries that were added and not published.
    #[inline]
    pub(super) fn has_unpublished(&self) -> bool {
        self.published_used != self.next_used
    }

    /// Publish the entries that were added. Returns the used index that was published before.
    pub(super) fn publish_used(&mut self) -> u16 {
        let (old, new) = (self.published_used, self.next_used);
        // Release: entries and status bytes are visible before the index is.
        self.used_u16(2).store(new.to_le(), Ordering::Release);
        points::reach("used-index-shown");
        self.published_used = new;
        old
    }

    /// Whether the driver wants a call for the entries that were published since used index `old`.
    pub(super) fn needs_notification(&self, old: u16) -> bool {
        let new = self.published_used;
        // The index must be visible before the driver's flags or `used_event` are read, or both
        // sides may wait.
        fence(Ordering::SeqCst);
        if self.event_idx {
            let event = self.used_event();
            // §2.7.10: call if `event` lies in [old, new).
            new.wrapping_sub(event).wrapping_sub(1) < new.wrapping_sub(old)
        } else {
            self.wants_interrupts()
        }
    }

    /// Whether the driver may wait for a call for what is published, which is not known of the
    /// process that published it. A driver that wants no calls doesn't, nor does one that asked for
    /// one at the next request: it has seen all.
    pub(super) fn may_owe_notification(&self) -> bool {
        if self.event_idx {
            self.used_event() != self.published_used
        } else {
            self.wants_interrupts()
        }
    }

    /// Where the driver asked for a call (`used_event`).
    #[inline]
    fn used_event(&self) -> u16 {
        let at = 4 + usize::from(self.size) * 2;
        u16::from_le(self.avail_u16(at).load(Ordering::Relaxed))
    }

    /// Whether the driver wants calls at all.
    #[inline]
    fn wants_interrupts(&self) -> bool {
        u16::from_le(self.avail_u16(0).load(Ordering::Relaxed)) & AVAIL_F_NO_INTERRUPT == 0
    }

    /// Ask the driver not to kick while the ring is polled. With EVENT_IDX nothing needs to be
    /// written: the event index stays behind, and the driver kicks only when it passes that.
    #[inline]
    pub(super) fn disable_notification(&mut self) {
        if self.notifies && !self.event_idx {
            self.used_u16(0)
                .store(USED_F_NO_NOTIFY.to_le(), Ordering::Relaxed);
        }
        self.notifies = false;
    }

    /// Ask the driver to kick when it puts a request at `next_avail`. Read the avail index again
    /// after this, since a request may have come in between.
    pub(super) fn enable_notification(&mut self, next_avail: u16) {
        if self.event_idx {
            let at = 4 + usize::from(self.size) * 8;
            self.used_u16(at)
                .store(next_avail.to_le(), Ordering::Relaxed);
        } else {
            self.used_u16(0).store(0, Ordering::Relaxed);
        }
        self.notifies = true;
        // The flags or `avail_event` must be visible before the index is read again (§2.7.10.1).
        fence(Ordering::SeqCst);
    }

    /// Prefetch the entry of the avail ring at `position`.
    pub(super) fn prefetch_avail(&self, position: u16) {
        let slot = usize::from(position & (self.size - 1));
        store::prefetch(self.avail.wrapping_add(4 + slot * 2), 1);
    }

    /// Prefetch the next entry of the used ring, to be written.
    pub(super) fn prefetch_used(&self) {
        let slot = usize::from(self.next_used & (self.size - 1));
        store::prefetch_write(self.used.wrapping_add(4 + slot * 8));
    }

    #[inline]
    fn avail_u16(&self, offset: usize) -> &AtomicU16 {
        // SAFETY: the avail ring was checked to be mapped up to its event field and aligned to 2;
        // every `offset` used here is even and within. The guest's own accesses are not Rust's.
        unsafe { AtomicU16::from_ptr(self.avail.wrapping_add(offset).cast_mut().cast()) }
    }

    #[inline]
    fn used_u16(&self, offset: usize) -> &AtomicU16 {
        // SAFETY: as in `avail_u16`, for the used ring.
        unsafe { AtomicU16::from_ptr(self.used.wrapping_add(offset).cast()) }
    }
}
