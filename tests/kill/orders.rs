//! A guest that resets its device, a front end that dies with its guest, and a daemon that dies, in
//! every order, with requests outstanding: acknowledged writes stay, and the next guest is served.

use std::sync::Arc;

use crate::daemon::Daemon;
use crate::driver::client::Client;
use crate::driver::data::pattern;
use crate::driver::disk::request_header;
use crate::driver::inflight::Inflight;
use crate::driver::kind::OUT;
use crate::driver::memory::Memory;
use crate::driver::ring::{Ring, readable_at, writable_at};
use crate::front::{Base, come_at_last, new_region};

const PAGE: usize = 4096;
const RING: u16 = 64;
/// Requests that are outstanding at the event.
const OUT_AT_ONCE: u16 = 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    Daemon,
    FrontEnd,
    Guest,
}

const ORDERS: [[Event; 3]; 6] = {
    use Event::{Daemon, FrontEnd, Guest};
    [
        [Daemon, FrontEnd, Guest],
        [Daemon, Guest, FrontEnd],
        [FrontEnd, Daemon, Guest],
        [FrontEnd, Guest, Daemon],
        [Guest, Daemon, FrontEnd],
        [Guest, FrontEnd, Daemon],
    ]
};

struct World {
    daemon: Daemon,
    mem: Arc<Memory>,
    ring: Ring,
    region: Option<Inflight>,
    client: Option<Client>,
    tracked: bool,
    base: Base,
    /// Number of acknowledged pages, each with a pattern of its number.
    pages: u64,
    /// Whether requests are outstanding that must complete.
    is_busy: bool,
}

impl World {
    fn new(tracked: bool, base: Base) -> Self {
        let daemon = Daemon::start();
        daemon.say(&["create", "disk", "--size", "16M"]);
        let mem = Arc::new(Memory::standard());
        let mut world = Self {
            ring: Ring::new(&mem, 0, RING, false),
            mem,
            daemon,
            region: None,
            client: None,
            tracked,
            base,
            pages: 0,
            is_busy: false,
        };
        world.come();
        world
    }

    fn come(&mut self) {
        let socket = self.daemon.socket("disk");
        if self.tracked && self.region.is_none() {
            self.region = Some(new_region(&socket, 1, RING));
        }
        let (rings, region) = ([&self.ring], self.region.as_ref());
        self.client = Some(come_at_last(&socket, &self.mem, &rings, region, self.base));
    }

    /// Writes that nothing waits for, to pages whose content is unknown.
    fn is_busy(&mut self) {
        for number in 0..OUT_AT_ONCE {
            let at = u64::from(number);
            let (header, status) = (self.ring.area(64 * at), self.ring.area(0x8000 + at));
            let sector = 0x4000 + at * 8;
            self.mem.write(header, &request_header(OUT, sector));
            let pieces = [
                readable_at(header, 16),
                readable_at(self.ring.area(0x1_0000), PAGE as u32),
                writable_at(status, 1),
            ];
            let head = self.ring.direct(number * 3, &pieces);
            self.ring.put(head);
        }
        self.ring.publish();
        self.ring.kick();
        self.is_busy = true;
    }

    fn happens(&mut self, event: Event, recovers: bool) {
        match event {
            Event::Daemon => {
                self.daemon.kill();
                self.client = None;
                if recovers {
                    self.daemon.start_again();
                }
            }
            Event::FrontEnd => {
                self.client = None;
                self.mem = Arc::new(Memory::standard());
                self.new_ring();
            }
            Event::Guest => {
                if let Some(client) = &self.client {
                    client.stop(0);
                }
                self.client = None;
                self.new_ring();
            }
        }
        if self.daemon.ended().is_none() {
            self.come();
        }
    }

    /// A driver starts anew, and its front end with a new region.
    fn new_ring(&mut self) {
        self.ring = Ring::new(&self.mem, 0, RING, false);
        self.ring.begin_at(0);
        self.region = None;
        self.is_busy = false;
    }

    /// Every outstanding request completes once, and all acknowledged pages are intact.
    fn is_well(&mut self) {
        if self.is_busy {
            for number in 0..OUT_AT_ONCE {
                assert_eq!(self.ring.wait().id, u32::from(number) * 3);
            }
            self.is_busy = false;
        }
        let bytes = pattern(PAGE, self.pages as u8);
        self.ring.write(self.pages * 8, &bytes).unwrap();
        self.pages += 1;
        for page in 0..self.pages {
            let found = self.ring.read(page * 8, PAGE).unwrap();
            assert!(found == pattern(PAGE, page as u8), "page {page}");
        }
        assert_eq!(self.ring.used_idx(), self.ring.next_avail);
    }
}

/// One event after the other, each handled before the next.
fn in_every_order(tracked: bool, base: Base) {
    let mut world = World::new(tracked, base);
    for order in ORDERS {
        for event in order {
            eprintln!("{event:?} of {order:?}");
            world.is_busy();
            world.happens(event, true);
            world.is_well();
        }
    }
}

/// All events before the first one is handled.
fn all_at_once(tracked: bool, base: Base) {
    let mut world = World::new(tracked, base);
    for order in ORDERS {
        eprintln!("{order:?}");
        world.is_busy();
        for event in order {
            world.happens(event, false);
        }
        world.daemon.start_again();
        world.come();
        world.is_well();
    }
}

#[test]
fn a_reset_a_dead_front_end_and_a_dead_daemon_are_survived_in_every_order() {
    in_every_order(true, Base::Used);
    in_every_order(false, Base::Used);
    in_every_order(false, Base::Avail);
}

#[test]
fn a_reset_a_dead_front_end_and_a_dead_daemon_are_survived_all_at_once() {
    all_at_once(true, Base::Avail);
    all_at_once(false, Base::Avail);
    all_at_once(false, Base::Used);
}
