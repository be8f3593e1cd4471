//! The daemon dies while one of several requests waits for memory.

use std::sync::Arc;
use std::time::Duration;

use crate::daemon::Daemon;
use crate::driver::client::Client;
use crate::driver::disk::request_header;
use crate::driver::inflight::Inflight;
use crate::driver::kind::OUT;
use crate::driver::memory::Memory;
use crate::driver::ring::{Ring, readable_at, writable_at};
use crate::driver::status::{OK, UNTOUCHED};
use crate::front::{Base, come_at_last, new_region};

const PAGE: usize = 4096;
const RING: u16 = 64;
/// Pages that are written before memory runs out, so that overwriting them needs none.
const WRITTEN: u64 = 16;
/// A page that was never written.
const FRESH: u64 = 100;
/// The pages of the five requests. The middle one finds no memory.
const PAGES: [u64; 5] = [0, 1, FRESH, 2, 3];
/// Long enough to see that something does not happen.
const A_WHILE: Duration = Duration::from_millis(80);

struct Guest {
    daemon: Daemon,
    mem: Arc<Memory>,
    ring: Ring,
    region: Option<Inflight>,
    client: Option<Client>,
}

impl Guest {
    /// A daemon whose disk has memory only for what is already written.
    fn new(tracked: bool) -> Self {
        let daemon = Daemon::start();
        daemon.say(&["create", "disk", "--size", "16M", "--on-full", "stall"]);
        let mem = Arc::new(Memory::standard());
        let mut guest = Self {
            ring: Ring::new(&mem, 0, RING, false),
            mem,
            region: tracked.then(|| new_region(&daemon.socket("disk"), 1, RING)),
            client: None,
            daemon,
        };
        guest.come(Base::Used);
        for page in 0..WRITTEN {
            guest.ring.write(page * 8, &[0x11; PAGE]).unwrap();
        }
        let charged = guest.daemon.field("disk", "charged_bytes").to_string();
        guest.daemon.say(&["set", "disk", "--quota", &charged]);
        guest
    }

    fn come(&mut self, base: Base) {
        let socket = self.daemon.socket("disk");
        let (rings, region) = ([&self.ring], self.region.as_ref());
        self.client = Some(come_at_last(&socket, &self.mem, &rings, region, base));
    }

    fn status_at(&self, request: usize) -> u64 {
        self.ring.area(0x8000 + request as u64)
    }

    fn submit(&mut self) {
        for (request, page) in PAGES.iter().enumerate() {
            let at = request as u64;
            let (header, status) = (self.ring.area(64 * at), self.status_at(request));
            let data = self.ring.area(0x1_0000 + at * PAGE as u64);
            self.mem.write(header, &request_header(OUT, page * 8));
            self.mem.fill(data, PAGE, 0xa0 + request as u8);
            self.mem.fill(status, 1, UNTOUCHED);
            let pieces = [
                readable_at(header, 16),
                readable_at(data, PAGE as u32),
                writable_at(status, 1),
            ];
            let head = self.ring.direct(request as u16 * 3, &pieces);
            self.ring.put(head);
        }
        self.ring.publish();
        self.ring.kick();
    }

    /// These complete successfully, in this order.
    fn gets(&mut self, requests: &[usize]) {
        for &request in requests {
            assert_eq!(self.ring.wait().id, request as u32 * 3, "{requests:?}");
            let status = self.mem.read(self.status_at(request), 1);
            assert_eq!(status, [OK], "request {request}");
        }
    }

    fn gets_nothing(&mut self) {
        assert_eq!(self.ring.wait_for(A_WHILE), None);
    }

    fn dies_and_comes_again(&mut self, base: Base) {
        self.daemon.kill();
        self.client = None;
        self.daemon.start_again();
        self.come(base);
        self.daemon.answers();
    }

    /// Provide memory, and check that everything ends well.
    fn ends(mut self, left: &[usize]) {
        self.daemon.say(&["set", "disk", "--quota", "none"]);
        self.gets(left);
        for (request, page) in PAGES.iter().enumerate() {
            let found = self.ring.read(page * 8, PAGE).unwrap();
            assert!(found == [0xa0 + request as u8; PAGE], "request {request}");
        }
        assert_eq!(self.ring.used_idx(), self.ring.next_avail);
    }
}

#[test]
fn with_an_in_flight_region_only_the_one_that_waits_is_left_and_done_once() {
    for base in [Base::Used, Base::Avail, Base::Nonsense] {
        let mut guest = Guest::new(true);
        guest.submit();
        guest.gets(&[0, 1, 3, 4]);
        guest.gets_nothing();
        for _ in 0..3 {
            let region = guest.region.as_ref().unwrap();
            assert_eq!(region.queue(0).marked(), [6], "{base:?}");
            guest.dies_and_comes_again(base);
            guest.gets_nothing();
        }
        guest.ends(&[2]);
    }
}

#[test]
fn without_one_the_queue_waits_and_its_used_index_is_the_base() {
    for base in [Base::Used, Base::Avail, Base::Nonsense] {
        let mut guest = Guest::new(false);
        guest.submit();
        guest.gets(&[0, 1]);
        guest.gets_nothing();
        for _ in 0..3 {
            let used = WRITTEN as u16 + 2;
            assert_eq!(guest.ring.used_idx(), used, "{base:?}");
            guest.dies_and_comes_again(base);
            guest.gets_nothing();
        }
        guest.ends(&[2, 3, 4]);
    }
}

/// The first two are done, the others stay in the avail ring: the daemon dies once it has taken
/// the mark off this many of these.
fn dies_while_it_gives_requests_back(count: usize) {
    let mut guest = Guest::new(true);
    let at = ("RAMBLK_KILL_AT", format!("mark-given-back:{count}"));
    guest.daemon.set_environment(&[at]);
    guest.dies_and_comes_again(Base::Used);
    guest.submit();
    guest.daemon.is_killed();
    guest.daemon.set_environment(&[]);
    guest.client = None;
    guest.daemon.start_again();
    guest.come(Base::Used);
    guest.gets(&[0, 1, 3, 4]);
    guest.gets_nothing();
    guest.ends(&[2]);
}

#[test]
#[cfg_attr(not(ramblk_hooks), ignore = "there are no hooks in this build")]
fn with_an_in_flight_region_those_behind_one_that_waits_are_done_once_wherever_the_daemon_dies() {
    for count in 1..=3 {
        dies_while_it_gives_requests_back(count);
    }
}
