//! A request that crashes the daemon every time: after two crashes the daemon stays up, its disk
//! has failed until it is repaired, and another disk under load has lost nothing.

use std::sync::Arc;

use crate::daemon::Daemon;
use crate::driver::client::Client;
use crate::driver::data::seed;
use crate::driver::disk::request_header;
use crate::driver::inflight::Inflight;
use crate::driver::kind::OUT;
use crate::driver::memory::Memory;
use crate::driver::ring::{Ring, readable_at, writable_at};
use crate::driver::status::{IOERR, OK, UNTOUCHED};
use crate::front::{Base, Front, come_at_last, new_region};
use crate::harness::eventually;

const PAGE: usize = 4096;
const RING: u16 = 64;
/// Requests of the guest, and which of them is poison.
const REQUESTS: usize = 7;
const POISON: usize = 3;

struct Guest {
    mem: Arc<Memory>,
    ring: Ring,
    region: Option<Inflight>,
    client: Option<Client>,
}

impl Guest {
    fn new(daemon: &Daemon, tracked: bool) -> Self {
        let mem = Arc::new(Memory::standard());
        Self {
            ring: Ring::new(&mem, 0, RING, false),
            mem,
            region: tracked.then(|| new_region(&daemon.socket("bad"), 1, RING)),
            client: None,
        }
    }

    fn come(&mut self, daemon: &Daemon) {
        let (rings, region) = ([&self.ring], self.region.as_ref());
        let socket = daemon.socket("bad");
        let client = come_at_last(&socket, &self.mem, &rings, region, Base::Used);
        self.client = Some(client);
    }

    /// Submit writes, with their data in `pieces` pieces.
    fn submit(&mut self, pieces: u32) {
        for request in 0..REQUESTS {
            let at = request as u64;
            let (header, status) = (self.ring.area(64 * at), self.status_at(request));
            let data = self.ring.area(0x1_0000 + at * PAGE as u64);
            self.mem.write(header, &request_header(OUT, at * 8));
            self.mem.fill(data, PAGE, 0x40 + request as u8);
            if request == POISON {
                self.mem.write(data, b"poison for tests");
            }
            self.mem.fill(status, 1, UNTOUCHED);
            let each = PAGE as u32 / pieces;
            let mut chain = vec![readable_at(header, 16)];
            chain.extend((0..pieces).map(|i| readable_at(data + u64::from(i * each), each)));
            chain.push(writable_at(status, 1));
            let head = self.ring.direct(request as u16 * 6, &chain);
            self.ring.put(head);
        }
        self.ring.publish();
        self.ring.kick();
    }

    fn status_at(&self, request: usize) -> u64 {
        self.ring.area(0x8000 + request as u64)
    }

    /// All complete in order: those before the poison successfully, the rest with an error.
    fn gets_all(&mut self) {
        for request in 0..REQUESTS {
            assert_eq!(self.ring.wait().id, request as u32 * 6);
            let status = self.mem.read(self.status_at(request), 1)[0];
            let expected = if request < POISON { OK } else { IOERR };
            assert_eq!(status, expected, "request {request}");
        }
        assert_eq!(self.ring.used_idx(), self.ring.next_avail);
    }
}

fn a_poisoned_guest_costs_its_own_disk_only(tracked: bool, pieces: u32) {
    let mut daemon = Daemon::start();
    daemon.say(&["create", "bad", "--size", "16M"]);
    daemon.say(&["create", "good", "--size", "16M"]);
    daemon.kill();
    daemon.set_environment(&[("RAMBLK_TEST_POISON", "1".into())]);
    daemon.start_again();
    daemon.answers();
    let mut guest = Guest::new(&daemon, tracked);
    let mut front = Front::new(&daemon, "good", tracked, seed());
    front.work(&mut daemon, Base::Used, |_, front| front.done() > 1000);
    guest.come(&daemon);
    guest.submit(pieces);
    for _ in 0..2 {
        front.work(&mut daemon, Base::Used, |daemon, _| {
            daemon.ended().is_some()
        });
        daemon.crashes();
        daemon.start_again();
        guest.come(&daemon);
    }
    guest.gets_all();
    let done = front.done();
    let enough = |_: &mut Daemon, front: &Front| front.done() > done + 5000;
    front.work(&mut daemon, Base::Avail, enough);
    is_failed(&mut daemon);
    // This lasts, whichever front end connects, and however the daemon ends.
    daemon.kill();
    daemon.start_again();
    daemon.answers();
    is_failed(&mut daemon);
    daemon.stop();
    // A failed disk is not damage.
    daemon.say(&["fsck", daemon.state().to_str().unwrap()]);
    daemon.start_again();
    daemon.answers();
    is_failed(&mut daemon);
    let mut events = daemon.events("events");
    // A watcher hears of it when a front end connects.
    eventually("an event", || {
        guest.come(&daemon);
        daemon.told("events").contains("fault")
    });
    events.kill().unwrap();
    events.wait().unwrap();
    assert!(daemon.told("events").contains("crashed twice"));
    assert_eq!(guest.ring.write(0, &[1; PAGE]), Err(IOERR));
    daemon.say(&["repair", "bad"]);
    assert_eq!(daemon.field("bad", "state"), "ok");
    guest.ring.write(0, &[1; PAGE]).unwrap();
    let found = guest.ring.read(0, PAGE).unwrap();
    assert!(found == [1; PAGE]);
    let enough = |_: &mut Daemon, front: &Front| front.done() > done + 10_000;
    front.work(&mut daemon, Base::Used, enough);
    front.finish();
}

fn is_failed(daemon: &mut Daemon) {
    assert!(daemon.ended().is_none(), "{}", daemon.log());
    assert_eq!(daemon.field("bad", "state"), "failed");
    let failure = daemon.field("bad", "failure").to_string();
    let head = format!("descriptor {}", POISON * 6);
    assert!(failure.contains("crashed twice") && failure.contains(&head));
    assert_eq!(daemon.field("good", "state"), "ok");
}

#[test]
#[cfg_attr(not(ramblk_hooks), ignore = "there are no hooks in this build")]
fn poison_costs_one_disk_with_an_in_flight_region() {
    a_poisoned_guest_costs_its_own_disk_only(true, 1);
}

#[test]
#[cfg_attr(not(ramblk_hooks), ignore = "there are no hooks in this build")]
fn poison_costs_one_disk_without_one() {
    a_poisoned_guest_costs_its_own_disk_only(false, 1);
}

#[test]
#[cfg_attr(not(ramblk_hooks), ignore = "there are no hooks in this build")]
fn poison_of_another_shape_costs_one_disk() {
    a_poisoned_guest_costs_its_own_disk_only(true, 2);
    a_poisoned_guest_costs_its_own_disk_only(false, 4);
}
