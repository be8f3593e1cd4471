//! A split virtqueue (virtio 1.3 §2.7) in which the test writes every descriptor itself.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, eventfd};
use rustix::io::{Errno, read, write};

use super::client::addresses;
use super::memory::{MIB, Memory};
use super::wire::readable;

/// Descriptor flags, virtio 1.3 §2.7.5.
pub(crate) const NEXT: u16 = 1;
pub(crate) const WRITE: u16 = 2;
pub(crate) const INDIRECT: u16 = 4;

/// One buffer of a chain: address, length, whether the device writes it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Piece {
    pub(crate) addr: u64,
    pub(crate) len: u32,
    pub(crate) writable: bool,
}

/// A buffer that the device reads.
pub(crate) fn readable_at(addr: u64, len: u32) -> Piece {
    Piece {
        addr,
        len,
        writable: false,
    }
}

/// A buffer that the device writes.
pub(crate) fn writable_at(addr: u64, len: u32) -> Piece {
    Piece {
        addr,
        len,
        writable: true,
    }
}

/// Consecutive pieces of these lengths, starting at `addr`.
pub(crate) fn cut(addr: u64, lens: &[u32], writable: bool) -> Vec<Piece> {
    let mut at = addr;
    let piece = |len: &u32| {
        at += u64::from(*len);
        Piece {
            addr: at - u64::from(*len),
            len: *len,
            writable,
        }
    };
    lens.iter().map(piece).collect()
}

/// A used element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Used {
    pub(crate) id: u32,
    pub(crate) len: u32,
}

pub(crate) fn new_eventfd() -> OwnedFd {
    eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).unwrap()
}

/// The count of an eventfd, which is reset.
pub(crate) fn drain(fd: impl AsFd) -> u64 {
    let mut count = [0; 8];
    match read(fd, &mut count) {
        Ok(_) => u64::from_le_bytes(count),
        Err(Errno::AGAIN) => 0,
        Err(e) => panic!("eventfd: {e}"),
    }
}

/// virtio 1.3 §2.7.10: whether the index passed `event` on its way from `old` to `new`.
pub(crate) fn passes(event: u16, new: u16, old: u16) -> bool {
    new.wrapping_sub(event).wrapping_sub(1) < new.wrapping_sub(old)
}

/// The driver's side of one queue. Its three parts lie in a slot of 4 MiB, buffers behind them.
pub(crate) struct Ring {
    pub(crate) mem: Arc<Memory>,
    pub(crate) index: u32,
    pub(crate) size: u16,
    pub(crate) desc: u64,
    pub(crate) avail: u64,
    pub(crate) used: u64,
    pub(crate) kick: OwnedFd,
    pub(crate) call: OwnedFd,
    pub(crate) err: OwnedFd,
    pub(crate) event_idx: bool,
    /// Where the next head goes. Ahead of the published index by what `put` has placed.
    pub(crate) next_avail: u16,
    /// The used index up to which completions were taken.
    pub(crate) seen: u16,
}

impl Ring {
    /// Queue `index` in the `index`-th slot, empty.
    pub(crate) fn new(mem: &Arc<Memory>, index: u32, size: u16, event_idx: bool) -> Self {
        let slot = u64::from(index) * 4 * MIB;
        let (desc, avail, used) = (slot, slot + 0x8_0000, slot + 0xa_0000);
        let mem = Arc::clone(mem);
        let (kick, call, err) = (new_eventfd(), new_eventfd(), new_eventfd());
        let (next_avail, seen) = (0, 0);
        Self {
            mem,
            index,
            size,
            desc,
            avail,
            used,
            kick,
            call,
            err,
            event_idx,
            next_avail,
            seen,
        }
    }

    /// An address in this queue's area for buffers (3 MiB).
    pub(crate) fn area(&self, offset: u64) -> u64 {
        assert!(offset < 3 * MIB);
        u64::from(self.index) * 4 * MIB + MIB + offset
    }

    pub(crate) fn addresses(&self) -> Vec<u8> {
        let [desc, used, avail] = [self.desc, self.used, self.avail].map(|a| self.mem.user(a));
        addresses(self.index, desc, used, avail)
    }

    /// Begin with both indexes at `at` instead of zero, as after long use.
    pub(crate) fn begin_at(&mut self, at: u16) {
        self.mem.store_u16(self.avail + 2, at);
        self.mem.store_u16(self.used + 2, at);
        (self.next_avail, self.seen) = (at, at);
    }

    pub(crate) fn set_desc(&self, slot: u16, addr: u64, len: u32, flags: u16, next: u16) {
        self.write_desc(self.desc + 16 * u64::from(slot), addr, len, flags, next);
    }

    pub(crate) fn write_desc(&self, at: u64, addr: u64, len: u32, flags: u16, next: u16) {
        let mut bytes = addr.to_le_bytes().to_vec();
        bytes.extend(len.to_le_bytes());
        bytes.extend(flags.to_le_bytes());
        bytes.extend(next.to_le_bytes());
        self.mem.write(at, &bytes);
    }

    /// Write `pieces` as a chain into the table at `table`, in slots `first`, `first + 1`, …
    fn write_chain(&self, table: u64, first: u16, pieces: &[Piece], last_next: Option<u16>) {
        for (i, piece) in pieces.iter().enumerate() {
            let slot = first + i as u16;
            let link = if i + 1 < pieces.len() {
                Some(slot + 1)
            } else {
                last_next
            };
            let flags = if piece.writable { WRITE } else { 0 } | link.map_or(0, |_| NEXT);
            let at = table + 16 * u64::from(slot);
            self.write_desc(at, piece.addr, piece.len, flags, link.unwrap_or(0));
        }
    }

    /// A chain of direct descriptors starting at slot `first`; its head is `first`.
    pub(crate) fn direct(&self, first: u16, pieces: &[Piece]) -> u16 {
        self.write_chain(self.desc, first, pieces, None);
        first
    }

    /// Direct descriptors starting at slot `first`, then one that refers to an indirect table at
    /// `table` with the rest (virtio 1.3 §2.7.5.3.1 allows this). The referring one has `extra`
    /// flags.
    pub(crate) fn indirect(
        &self,
        first: u16,
        direct: &[Piece],
        table: u64,
        rest: &[Piece],
        extra: u16,
    ) -> u16 {
        let last = first + direct.len() as u16;
        self.write_chain(self.desc, first, direct, Some(last));
        self.write_chain(table, 0, rest, None);
        self.set_desc(last, table, 16 * rest.len() as u32, INDIRECT | extra, 0);
        first
    }

    /// Put a head into the available ring without publishing it.
    pub(crate) fn put(&mut self, head: u16) {
        let slot = u64::from(self.next_avail % self.size);
        self.mem.store_u16(self.avail + 4 + 2 * slot, head);
        self.next_avail = self.next_avail.wrapping_add(1);
    }

    /// Publish all heads that were put.
    pub(crate) fn publish(&self) {
        self.mem.store_u16(self.avail + 2, self.next_avail);
        fence(Ordering::SeqCst);
    }

    pub(crate) fn kick(&self) {
        write(&self.kick, &1u64.to_le_bytes()).unwrap();
    }

    /// `put`, `publish` and `kick`.
    pub(crate) fn submit(&mut self, head: u16) {
        self.put(head);
        self.publish();
        self.kick();
    }

    /// Whether the device wants a kick, since the index moved from `old` to the published one.
    pub(crate) fn kick_wanted(&self, old: u16) -> bool {
        if self.event_idx {
            let event = self.mem.load_u16(self.used + 4 + 8 * u64::from(self.size));
            passes(event, self.next_avail, old)
        } else {
            self.mem.load_u16(self.used) & 1 == 0
        }
    }

    pub(crate) fn set_used_event(&self, event: u16) {
        self.mem
            .store_u16(self.avail + 4 + 2 * u64::from(self.size), event);
        fence(Ordering::SeqCst);
    }

    pub(crate) fn set_avail_flags(&self, flags: u16) {
        self.mem.store_u16(self.avail, flags);
        fence(Ordering::SeqCst);
    }

    pub(crate) fn used_idx(&self) -> u16 {
        self.mem.load_u16(self.used + 2)
    }

    /// The next completion, if there is one.
    pub(crate) fn pop(&mut self) -> Option<Used> {
        if self.used_idx() == self.seen {
            return None;
        }
        let at = self.used + 4 + 8 * u64::from(self.seen % self.size);
        self.seen = self.seen.wrapping_add(1);
        Some(Used {
            id: self.mem.load_u32(at),
            len: self.mem.load_u32(at + 4),
        })
    }

    /// The next completion, announced by a call as virtio demands; `None` if nothing came in time.
    /// A completion without a call is a lost interrupt and fails the test.
    pub(crate) fn wait_for(&mut self, limit: Duration) -> Option<Used> {
        let deadline = Instant::now() + limit;
        loop {
            if self.event_idx {
                self.set_used_event(self.seen);
            }
            if let Some(used) = self.pop() {
                return Some(used);
            }
            if !readable(
                &self.call,
                deadline.saturating_duration_since(Instant::now()),
            ) {
                // What came at the last moment has its call a moment later.
                let announced =
                    self.used_idx() == self.seen || readable(&self.call, Duration::from_secs(5));
                assert!(announced, "a completion without its call");
                return self.pop();
            }
            drain(&self.call);
        }
    }

    pub(crate) fn wait(&mut self) -> Used {
        self.wait_for(Duration::from_secs(10))
            .expect("the request never completed")
    }

    /// Wait for a completion by polling the used index only: for tests about calls.
    pub(crate) fn spin(&mut self) -> Used {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            if let Some(used) = self.pop() {
                return used;
            }
            assert!(Instant::now() < deadline, "the request never completed");
            std::thread::sleep(Duration::from_micros(50));
        }
    }

    /// Submit one head, wait, and return its used length.
    pub(crate) fn complete(&mut self, head: u16) -> u32 {
        self.submit(head);
        let used = self.wait();
        assert_eq!(used.id, u32::from(head), "another head came back");
        used.len
    }

    /// Returns true if the back end signals the error descriptor within `limit`.
    pub(crate) fn broken_within(&self, limit: Duration) -> bool {
        readable(&self.err, limit) && drain(&self.err) > 0
    }
}
