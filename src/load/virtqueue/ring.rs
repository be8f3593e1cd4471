//! The driver's side of a split virtqueue: what is published, what comes back, and who wants to be
//! woken for it. Knows no requests. What the back end writes is not believed: whoever takes an
//! entry checks it.

use std::io;
use std::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering, fence};

use virtio_bindings::virtio_ring as vring;

use crate::load::virtqueue::memory::Memory;

/// A driver that polls moves its used event on after so many entries, so that it stays far away.
const SILENT_FOR: u16 = 1 << 13;

const NO_INTERRUPT: u16 = low16(vring::VRING_AVAIL_F_NO_INTERRUPT as u64);
const NO_NOTIFY: u16 = low16(vring::VRING_USED_F_NO_NOTIFY as u64);

/// The low 16 bits.
pub(in crate::load) const fn low16(value: u64) -> u16 {
    let bytes = value.to_le_bytes();
    u16::from_le_bytes([bytes[0], bytes[1]])
}

/// Where the three parts of a ring lie in the memory, in bytes from its start.
#[derive(Clone, Copy, Debug)]
pub(in crate::load) struct Place {
    /// Descriptors in the table.
    pub(in crate::load) size: u16,
    /// The table.
    pub(in crate::load) desc_bytes: usize,
    /// What is offered.
    pub(in crate::load) avail_bytes: usize,
    /// What has been used.
    pub(in crate::load) used_bytes: usize,
}

impl Place {
    /// A ring of `size` that begins at `at_bytes`, and where it ends. The parts share no page.
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
    /// Index after the last head that was pushed, and the one that the back end knows.
    pushed: u16,
    published: u16,
    /// Entries that were taken, and how many of them there were when the used event was written.
    taken: u16,
    silenced: u16,
}

impl<'m> Ring<'m> {
    /// An empty ring in zeroed memory.
    ///
    /// # Errors
    /// It does not fit there.
    pub(in crate::load) fn new(
        memory: &'m Memory,
        place: Place,
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

    /// Offer a chain, which the back end does not see before [`Ring::publish`].
    #[inline]
    pub(in crate::load) fn push(&mut self, head: u16) {
        let at = usize::from(self.pushed & (self.size - 1));
        self.avail[2 + at].store(head, Ordering::Relaxed);
        self.pushed = self.pushed.wrapping_add(1);
    }

    /// Show the back end what was pushed; whether it wants to be kicked for that.
    #[inline]
    pub(in crate::load) fn publish(&mut self) -> bool {
        let before = self.published;
        self.published = self.pushed;
        self.avail[1].store(self.pushed, Ordering::Release);
        // The back end asks for a kick and then looks at the index: one of both sees the other.
        fence(Ordering::SeqCst);
        if self.event_idx {
            let event = self.used[2 + 4 * usize::from(self.size)].load(Ordering::Relaxed);
            let since = self.pushed.wrapping_sub(event).wrapping_sub(1);
            since < self.pushed.wrapping_sub(before)
        } else {
            self.used[0].load(Ordering::Relaxed) & NO_NOTIFY == 0
        }
    }

    /// How many entries wait to be taken, if the back end is to be believed.
    #[inline]
    pub(in crate::load) fn ready(&self) -> u16 {
        let index = self.used[1].load(Ordering::Acquire);
        index.wrapping_sub(self.taken)
    }

    /// The next entry's head; [`Ring::ready`] has said that there is one.
    #[inline]
    pub(in crate::load) fn take(&mut self) -> u32 {
        let at = usize::from(self.taken & (self.size - 1));
        self.taken = self.taken.wrapping_add(1);
        self.entries[2 * at].load(Ordering::Relaxed)
    }

    /// Ask for no calls.
    #[inline]
    pub(in crate::load) fn silence(&mut self) {
        if !self.event_idx {
            self.avail[0].store(NO_INTERRUPT, Ordering::Relaxed);
        }
    }

    /// Keep the used event far away, for a driver that never wants a call.
    #[inline]
    pub(in crate::load) fn stay_silent(&mut self) {
        if self.event_idx && self.taken.wrapping_sub(self.silenced) >= SILENT_FOR {
            self.silenced = self.taken;
            self.set_used_event(self.taken.wrapping_sub(1));
        }
    }

    /// Ask for a call at the next entry; whether there is none yet, so that sleeping is safe.
    pub(in crate::load) fn arm(&mut self) -> bool {
        if self.event_idx {
            self.set_used_event(self.taken);
        } else {
            self.avail[0].store(0, Ordering::Relaxed);
        }
        fence(Ordering::SeqCst);
        self.ready() == 0
    }

    /// Before anything is published: no calls to come, for a driver that polls.
    pub(in crate::load) fn begin_silent(&mut self) {
        self.silence();
        if self.event_idx {
            self.set_used_event(self.taken.wrapping_sub(1));
        }
    }

    fn set_used_event(&self, index: u16) {
        self.avail[2 + usize::from(self.size)].store(index, Ordering::Relaxed);
    }
}
