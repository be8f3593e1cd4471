//! The other side of a ring for tests: a back end that may lie.

use std::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering};

use crate::load::Error;
use crate::load::control::Control;
use crate::load::options::{Disk, Op, Options, Plan};
use crate::load::queue::thread::{EventFds, QueueThread};
use crate::load::virtqueue::eventfd::EventFd;
use crate::load::virtqueue::memory::Memory;
use crate::load::virtqueue::slots::{GUEST_START, Layout};

/// A back end that completes what it sees with status 0.
struct Mock<'m> {
    memory: &'m Memory,
    size: usize,
    table: &'m [AtomicU64],
    avail: &'m [AtomicU16],
    used: &'m [AtomicU16],
    entries: &'m [AtomicU32],
    done: u16,
}

impl<'m> Mock<'m> {
    fn new(memory: &'m Memory, layout: &Layout) -> Self {
        let place = layout.ring;
        let size = usize::from(place.size);
        Self {
            memory,
            size,
            table: memory.words64(place.desc_bytes, 2 * size).unwrap(),
            avail: memory.words16(place.avail_bytes, 3 + size).unwrap(),
            used: memory.words16(place.used_bytes, 3 + 4 * size).unwrap(),
            entries: memory.words32(place.used_bytes + 4, 2 * size).unwrap(),
            done: 0,
        }
    }

    fn complete_all(&mut self) {
        let index = self.avail[1].load(Ordering::Acquire);
        while self.done != index {
            let at = usize::from(self.done) & (self.size - 1);
            let head = self.avail[2 + at].load(Ordering::Relaxed);
            // Three descriptors: header, data, status.
            let status = self.table[2 * usize::from(head) + 4].load(Ordering::Relaxed);
            let status = usize::try_from(status - GUEST_START).unwrap();
            self.memory.words64(status, 1).unwrap()[0].store(0, Ordering::Relaxed);
            self.entries[2 * at].store(head.into(), Ordering::Relaxed);
            self.done = self.done.wrapping_add(1);
        }
        // A look changes nothing, so that the line stays where it is.
        if self.used[1].load(Ordering::Relaxed) != self.done {
            self.used[1].store(self.done, Ordering::Release);
        }
    }

    /// Return any entry, and publish this many.
    fn lie(&self, head: u32, count: u16) {
        self.entries[0].store(head, Ordering::Relaxed);
        self.used[1].store(count, Ordering::Release);
    }
}

fn plan(depth: u16) -> Plan {
    let options = Options {
        depth,
        duration: None,
        ..Options::new("none", Op::Read)
    };
    let disk = Disk {
        capacity_bytes: 1 << 30,
        block_bytes: 512,
        seg_max: 126,
        event_idx: true,
        ..Disk::default()
    };
    Plan::new(options, &disk).unwrap()
}

/// Run a driver beside a mock.
fn with<T>(depth: u16, test: impl FnOnce(QueueThread<'_>, Mock<'_>, &Control) -> T) -> T {
    let plan = plan(depth);
    let (layout, bytes) = Layout::new(&plan.shape, plan.ring_size, 0);
    let memory = Memory::new(bytes).unwrap();
    let control = Control::new(1).unwrap();
    let eventfds = EventFds {
        kick: EventFd::new(false).unwrap(),
        call: EventFd::new(false).unwrap(),
    };
    let thread = QueueThread::new((&plan, &control), (&memory, layout), 0, eventfds).unwrap();
    test(thread, Mock::new(&memory, &layout), &control)
}

#[test]
fn requests_come_back_once_each() {
    with(8, |mut thread, mut mock, _| {
        assert!(thread.submit(8), "all at once");
        assert!(!thread.submit(1), "no slot is left");
        assert!(!thread.reap().unwrap(), "nothing is back");
        mock.complete_all();
        assert!(thread.reap().unwrap(), "all is back");
        assert!(thread.submit(3), "again");
    });
}

#[test]
fn a_used_ring_that_lies_is_an_error() {
    // Not a chain's first descriptor, beyond the ring, beyond everything, not in flight; and more
    // than was ever given.
    for (head, count) in [
        (1, 1),
        (4096, 1),
        (u32::MAX, 1),
        (21, 1),
        (0, 9),
        (0, 0xFFFF),
    ] {
        with(8, |mut thread, mock, _| {
            assert!(thread.submit(7));
            mock.lie(head, count);
            let error = thread.reap();
            let is_ring = matches!(error, Err(Error::Ring(_)));
            // Slots are taken from the first on, so the eighth one is idle.
            assert!(is_ring, "{head} {count}: {error:?}");
        });
    }
}

#[test]
fn a_request_that_comes_back_twice_is_an_error() {
    with(8, |mut thread, mut mock, _| {
        assert!(thread.submit(8));
        mock.complete_all();
        mock.entries[2].store(0, Ordering::Relaxed);
        mock.entries[0].store(0, Ordering::Relaxed);
        assert!(matches!(thread.reap(), Err(Error::Ring(_))));
    });
}
