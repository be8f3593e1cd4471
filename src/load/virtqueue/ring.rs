//! The driver's side of a split virtqueue: its memory layout, indexes and notifications (virtio
//! 1.3, 2.7). It does not trust the back end: the caller checks each used entry.

use std::io;
use std::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering, fence};

use virtio_bindings::virtio_ring as vring;

use crate::load::virtqueue::memory::Memory;

/// A polling driver moves its used event after this many entries, so that it stays far away.
const SILENT_FOR: u16 = 1 << 13;

const NO_INTERRUPT: u16 = low16(vring::VRING_AVAIL_F_NO_INTERRUPT as u64);
const NO_NOTIFY: u16 = low16(vring::VRING_USED_F_NO_NOTIFY as u64);

/// The low 16 bits.
pub(in crate::load) const fn low16(value: u64) -> u16 {
    let bytes = value.to_le_bytes();
    u16::from_le_bytes([bytes[0], bytes[1]])
}

/// The places of a ring's three parts in the memory, in bytes from its start.
#[derive(Clone, Copy, Debug)]
pub(in crate::load) struct RingLayout {
    /// Descriptors in the table.
    pub(in crate::load) size: u16,
    /// The descriptor table.
    pub(in crate::load) desc_bytes: usize,
    /// The avail ring.
    pub(in crate::load) avail_bytes: usize,
    /// The used ring.
    pub(in crate::load) used_bytes: usize,
}

impl RingLayout {
    /// A ring of `size` descriptors that begins at `at_bytes`, and its end. The parts share no
    /// page.
    pub(in crate::load) fn new(size: u16, at_bytes: usize) -> (Self, usize) {
        let entries = usize::from(size);
        let avail_bytes = (at_bytes + 16 * entries).next_multiple_of(4096);
        let used_bytes = (avail_bytes + 6 + 2 * entries).next_multiple_of(4096);
        let end = (used_bytes + 6 + 8 * entries).next_multiple_of(4096);
        let place = Self {
            size,
            desc_bytes: at_bytes,
            avail_bytes,
            used_bytes,
        };
        (place, end)
    }
}

/// One ring.
#[derive(Debug)]
pub(in crate::load) struct Ring<'m> {
    /// Address and the rest of each descriptor, in turn.
    pub(in crate::load) table: &'m [AtomicU64],
    /// Flags, index, heads, used event.
    avail: &'m [AtomicU16],
    /// Flags, index, (entries), avail event.
    used: &'m [AtomicU16],
    /// Head and length of each entry, in turn.
    entries: &'m [AtomicU32],
    size: u16,
    event_idx: bool,
    /// The avail index after the last pushed head, and the published one.
    pushed: u16,
    published: u16,
    /// Used entries that were taken, and that number when the used event was last written.
    taken: u16,
    silenced: u16,
}

impl<'m> Ring<'m> {
    /// An empty ring in zeroed memory.
    ///
    /// # Errors
    /// It does not fit into the memory.
    pub(in crate::load) fn new(
        memory: &'m Memory,
        place: RingLayout,
        event_idx: bool,
    ) -> io::Result<Self> {
        let size = usize::from(place.size);
        Ok(Self {
            table: memory.words64(place.desc_bytes, 2 * size)?,
            avail: memory.words16(place.avail_bytes, 3 + size)?,
            used: memory.words16(place.used_bytes, 3 + 4 * size)?,
            entries: memory.words32(place.used_bytes + 4, 2 * size)?,
            size: place.size,
            event_idx,
            pushed: 0,
            published: 0,
            taken: 0,
            silenced: 0,
        })
    }

    /// Add a chain to the avail ring. The back end sees it after [`Ring::publish`].
    #[inline]
    pub(in crate::load) fn push(&mut self, head: u16) {
        let at = usize::from(self.pushed & (self.size - 1));
        self.avail[2 + at].store(head, Ordering::Relaxed);
        self.pushed = self.pushed.wrapping_add(1);
    }

    /// Publish the pushed chains, and return whether the back end wants a kick.
    #[inline]
    pub(in crate::load) fn publish(&mut self) -> bool {
        let before = self.published;
        self.published = self.pushed;
        self.avail[1].store(self.pushed, Ordering::Release);
        // The back end enables kicks and then reads the index, so one of us sees the other's store.
        fence(Ordering::SeqCst);
        if self.event_idx {
            let event = self.used[2 + 4 * usize::from(self.size)].load(Ordering::Relaxed);
            let since = self.pushed.wrapping_sub(event).wrapping_sub(1);
            since < self.pushed.wrapping_sub(before)
        } else {
            self.used[0].load(Ordering::Relaxed) & NO_NOTIFY == 0
        }
    }

    /// The number of used entries to take, if the used index is right.
    #[inline]
    pub(in crate::load) fn ready(&self) -> u16 {
        let index = self.used[1].load(Ordering::Acquire);
        index.wrapping_sub(self.taken)
    }

    /// Take the head of the next used entry. [`Ring::ready`] has returned that there is one.
    #[inline]
    pub(in crate::load) fn take(&mut self) -> u32 {
        let at = usize::from(self.taken & (self.size - 1));
        self.taken = self.taken.wrapping_add(1);
        self.entries[2 * at].load(Ordering::Relaxed)
    }

    /// Ask the back end for no calls.
    #[inline]
    pub(in crate::load) fn disable_calls(&mut self) {
        if !self.event_idx {
            self.avail[0].store(NO_INTERRUPT, Ordering::Relaxed);
        }
    }

    /// Keep the used event far away, for a driver that polls.
    #[inline]
    pub(in crate::load) fn keep_calls_disabled(&mut self) {
        if self.event_idx && self.taken.wrapping_sub(self.silenced) >= SILENT_FOR {
            self.silenced = self.taken;
            self.set_used_event(self.taken.wrapping_sub(1));
        }
    }

    /// Ask for a call at the next used entry. Returns whether there is none yet, so that the driver
    /// may sleep.
    pub(in crate::load) fn enable_calls(&mut self) -> bool {
        if self.event_idx {
            self.set_used_event(self.taken);
        } else {
            self.avail[0].store(0, Ordering::Relaxed);
        }
        fence(Ordering::SeqCst);
        self.ready() == 0
    }

    /// Disable calls before anything is published, for a driver that polls.
    pub(in crate::load) fn start_without_calls(&mut self) {
        self.disable_calls();
        if self.event_idx {
            self.set_used_event(self.taken.wrapping_sub(1));
        }
    }

    fn set_used_event(&self, index: u16) {
        self.avail[2 + usize::from(self.size)].store(index, Ordering::Relaxed);
    }
}
