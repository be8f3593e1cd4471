//! The buffers of one request, as stretches of host memory.
#![allow(unsafe_code)]

use virtio_bindings::virtio_ring::VRING_DESC_F_WRITE;
use virtio_queue::desc::split::Descriptor;

use crate::store::{Piece, Sink, Source};
use crate::vhost_user::memory::map::MemoryMap;

pub(super) const F_WRITE: u16 = 2;
const _: () = assert!(F_WRITE as u32 == VRING_DESC_F_WRITE);

/// The buffers of the request being served. Emptied before the ring is used again; the lifetimes
/// are those of the ring's memory, and only ever shown to a closure that must work for any
/// lifetime.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    pub(super) readable: Vec<Source<'static>>,
    pub(super) writable: Vec<Sink<'static>>,
    /// Some buffer could not be found, or came in the wrong order.
    pub(super) damaged: bool,
    /// Some writable buffer could not be found: what lies after it can't be counted as written,
    /// since the length counts from the first writable byte (§2.7.8.2).
    pub(super) gap: bool,
    /// The last writable buffer is one that could not be found, so there is no status byte.
    pub(super) no_status: bool,
}

impl Pieces {
    pub(super) fn clear(&mut self) {
        self.readable.clear();
        self.writable.clear();
        self.damaged = false;
        self.gap = false;
        self.no_status = false;
    }

    /// Add a buffer, cut where it crosses from one region into the next. Buffers of no bytes are
    /// allowed and say nothing.
    pub(super) fn add(&mut self, memory: &MemoryMap, descriptor: Descriptor) {
        let (address, len) = (descriptor.addr().0, descriptor.len());
        if len == 0 {
            return;
        }
        let writable = descriptor.flags() & F_WRITE != 0;
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

    /// The request fails, since its chain can't be followed to its end. The last writable byte that
    /// was found is the best guess at its status, and at worst a byte of the failed request's own
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

    /// Whether one more piece fits into what was reserved when the ring started.
    fn has_room(&self, writable: bool) -> bool {
        if writable {
            self.writable.len() < self.writable.capacity()
        } else {
            self.readable.len() < self.readable.capacity()
        }
    }
}
