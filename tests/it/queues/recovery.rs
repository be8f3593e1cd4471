//! A back end died. Its successor finds the rings and the in-flight region exactly as they were
//! after any one of the predecessor's stores. It owes the guest each request that was not returned:
//! executed again in the order in which it was taken, and returned exactly once.

use std::sync::Arc;
use std::time::Duration;

use crate::driver::client::code;
use crate::driver::data::pattern;
use crate::driver::disk::{ALL, Disk, request_header};
use crate::driver::inflight::{Inflight, Track};
use crate::driver::kind::OUT;
use crate::driver::memory::Memory;
use crate::driver::offer::works;
use crate::driver::ring::{Ring, readable_at, writable_at};
use crate::driver::status::{OK, UNTOUCHED};
use crate::harness::Ramblk;

const RING: u16 = 16;

/// Heads of the requests of these tests, in the order in which they are made available. A mix-up of
/// order and index would change any of them.
const HEADS: [u16; 5] = [9, 3, 12, 0, 6];

/// Number of sectors that a request writes. Each request begins one sector behind the one before
/// it, so that the disk shows which were executed, and in which order.
const SECTORS: usize = 4;

fn bytes_of(request: usize) -> Vec<u8> {
    pattern(512 * SECTORS, 40 + request as u8)
}

/// A guest with requests in ring 0: the requests, and what the disk must hold.
struct Guest {
    mem: Arc<Memory>,
    ring: Ring,
    /// The first sector of their writes.
    base: u64,
}

impl Guest {
    /// Both indexes are at `at` before the first request.
    fn new(at: u16, base: u64) -> Self {
        let mem = Arc::new(Memory::standard());
        let mut ring = Ring::new(&mem, 0, RING, true);
        ring.begin_at(at);
        let mut guest = Self { mem, ring, base };
        (0..HEADS.len()).for_each(|request| guest.submit(request));
        guest
    }

    fn submit(&mut self, request: usize) {
        let ring = &mut self.ring;
        let (header, status) = (ring.area(64 * request as u64), ring.area(Self::at(request)));
        let data = ring.area(0x1_0000 + 0x1000 * request as u64);
        let sector = self.base + request as u64;
        ring.mem.write(header, &request_header(OUT, sector));
        ring.mem.write(data, &bytes_of(request));
        ring.mem.fill(status, 1, UNTOUCHED);
        let pieces = [
            readable_at(header, 16),
            readable_at(data, 512 * SECTORS as u32),
            writable_at(status, 1),
        ];
        let head = ring.direct(HEADS[request], &pieces);
        ring.put(head);
        ring.publish();
    }

    /// The address of a request's status.
    fn at(request: usize) -> u64 {
        0x8000 + request as u64
    }

    /// Pass everything to the next back end: memory, region, rings, and `base`.
    fn hand_over(&self, disk: &Disk, region: &Inflight, base: u16) {
        disk.client.set_memory(&self.mem);
        region.give(&disk.client);
        disk.client.set_up(&self.ring, base);
        disk.client.vring(code::SET_VRING_ENABLE, 0, 1);
    }

    /// Every request completes once, in `order`. Those from the `executed`-th on were executed by
    /// the back end that serves `disk`, in that order.
    fn gets(&mut self, order: &[usize], executed: usize, what: &str) {
        for request in order {
            let used = self.ring.wait();
            assert_eq!(used.id, u32::from(HEADS[*request]), "{what}: {order:?}");
        }
        for request in &order[executed..] {
            let status = self.ring.mem.read(self.ring.area(Self::at(*request)), 1)[0];
            assert_eq!(status, OK, "{what}: status of request {request}");
        }
        let mut expected = vec![0; 512 * (HEADS.len() + SECTORS)];
        for request in &order[executed..] {
            expected[512 * request..][..512 * SECTORS].copy_from_slice(&bytes_of(*request));
        }
        let end = self.ring.used_idx();
        let found = self.ring.read(self.base, expected.len()).unwrap();
        assert!(
            found == expected,
            "{what}: not what {:?} write, one after the other",
            &order[executed..]
        );
        let more = self.ring.used_idx().wrapping_sub(end);
        assert_eq!(more, 1, "{what}: more completions than requests");
    }
}

/// The back end that died, after a given number of stores.
struct Predecessor<'a> {
    guest: &'a Guest,
    track: Track<'a>,
    stores: usize,
}

impl Predecessor<'_> {
    /// Make one store, if it lives that long.
    fn store(&mut self, store: impl FnOnce(&Self)) -> Option<()> {
        self.stores = self.stores.checked_sub(1)?;
        store(self);
        Some(())
    }

    /// Take a batch of requests from the ring and return them, store by store in the order that the
    /// specification demands. `None` if it died before the end.
    fn serve(&mut self, heads: &[u16], mut counter: u64) -> Option<()> {
        let ring = &self.guest.ring;
        for head in heads {
            self.store(|it| it.track.set_counter(*head, counter))?;
            self.store(|it| it.track.set_inflight(*head, true))?;
            counter += 1;
        }
        let used_idx = ring.used_idx();
        for (i, head) in (0..).zip(heads) {
            let slot = u64::from(used_idx.wrapping_add(i) % RING);
            let element = [u32::from(*head).to_le_bytes(), 1u32.to_le_bytes()].concat();
            self.store(|_| ring.mem.write(ring.used + 4 + 8 * slot, &element))?;
            self.store(|it| it.track.set_next(*head, it.track.last_batch_head()))?;
            self.store(|it| it.track.set_last_batch_head(*head))?;
        }
        let used_idx = used_idx.wrapping_add(heads.len() as u16);
        self.store(|_| ring.mem.store_u16(ring.used + 2, used_idx))?;
        for head in heads {
            self.store(|it| it.track.set_inflight(*head, false))?;
        }
        self.store(|it| it.track.set_used_idx(used_idx))
    }
}

/// A region after long use, up to used index `at`. Its list of returned heads continues beyond the
/// last batch, into heads that have been reused since.
fn aged(region: &Inflight, at: u16) -> Track<'_> {
    let track = region.queue(0);
    track.set_version(1);
    track.set_desc_num(region.entries);
    track.set_used_idx(at);
    for (i, head) in HEADS.iter().enumerate() {
        track.set_counter(*head, 1000 + i as u64);
        track.set_next(*head, track.last_batch_head());
        track.set_last_batch_head(*head);
    }
    track
}

/// Kill the predecessor after `stores` stores of a batch of `batch`. Returns false if it survived.
fn dies(disk: &mut Disk, batch: usize, stores: usize, at: u16, base: u16, sector: u64) -> bool {
    let mut guest = Guest::new(at, sector);
    let region = Inflight::new(1, RING);
    let track = aged(&region, at);
    let mut predecessor = Predecessor {
        guest: &guest,
        track,
        stores,
    };
    let died = predecessor.serve(&HEADS[..batch], 5000).is_none();
    let returned = usize::from(guest.ring.used_idx().wrapping_sub(at));
    guest.hand_over(disk, &region, base);
    let what = format!("batch of {batch} from {at}, {stores} stores, base {base}");
    guest.gets(&[0, 1, 2, 3, 4], returned, &what);
    // And the region agrees: once stopped, nothing is owed.
    assert_eq!(disk.client.stop(0), u32::from(guest.ring.next_avail));
    let track = region.queue(0);
    assert!(track.marked().is_empty(), "{what}: {:?}", track.marked());
    assert_eq!(track.used_idx(), guest.ring.used_idx(), "{what}");
    disk.client.vring(code::SET_VRING_ENABLE, 0, 0);
    died
}

/// Every point at which a back end can die in a batch of `batch` requests, with every base that the
/// front end may name.
fn dies_everywhere(batch: usize) {
    let ramblk = Ramblk::run(&[]);
    let mut disk = Disk::prepare(ramblk.socket(), ALL);
    let mut sector = 0;
    for at in [0, 7, 65534_u16] {
        // QEMU names the used index, cloud-hypervisor the available one; others may be wrong.
        for base in [0, at, at.wrapping_add(HEADS.len() as u16), 4711] {
            let mut stores = 0;
            while dies(&mut disk, batch, stores, at, base, sector) {
                stores += 1;
                sector += 16;
            }
            // Counter and mark, used element and two fields of its list, no mark; used index and
            // its copy.
            assert_eq!(stores, 6 * batch + 2, "stores of a batch of {batch}");
        }
    }
}

#[test]
fn a_back_end_that_died_at_any_store_of_one_request_is_succeeded_without_loss() {
    dies_everywhere(1);
}

#[test]
fn a_back_end_that_died_at_any_store_of_three_requests_is_succeeded_without_loss() {
    dies_everywhere(3);
}

#[test]
fn a_successor_that_dies_too_is_succeeded_like_the_first() {
    let mut guest = Guest::new(0, 0);
    let region = Inflight::new(1, RING);
    let track = aged(&region, 0);
    for (batch, head) in HEADS[..3].iter().enumerate() {
        track.set_counter(*head, 5000 + batch as u64);
        track.set_inflight(*head, true);
    }
    for round in 0..10 {
        let ramblk = Ramblk::run(&[]);
        let disk = Disk::prepare(ramblk.socket(), ALL);
        guest.hand_over(&disk, &region, 0);
        std::thread::sleep(Duration::from_micros(round * 41));
    }
    let ramblk = Ramblk::run(&[]);
    let disk = Disk::prepare(ramblk.socket(), ALL);
    guest.hand_over(&disk, &region, 0);
    for head in HEADS {
        assert_eq!(guest.ring.wait().id, u32::from(head));
    }
    assert_eq!(guest.ring.used_idx(), 5, "more completions than requests");
    works(&mut guest.ring, 100);
}

#[test]
fn what_another_back_end_returned_out_of_order_is_not_executed_again() {
    // It took three requests and returned the second: the used ring names that one, the others are
    // owed in the order of their counters, and the ring continues behind all three.
    let ramblk = Ramblk::run(&[]);
    for base in [0, 1, 3, 5] {
        let disk = Disk::prepare(ramblk.socket(), ALL);
        let mut guest = Guest::new(0, 64 * (1 + u64::from(base)));
        let region = Inflight::new(1, RING);
        let track = aged(&region, 0);
        for (i, head) in HEADS[..3].iter().enumerate() {
            track.set_counter(*head, 7000 + i as u64);
            track.set_inflight(*head, i != 1);
        }
        track.set_used_idx(1);
        let ring = &guest.ring;
        let element = [u32::from(HEADS[1]).to_le_bytes(), 1u32.to_le_bytes()];
        ring.mem.write(ring.used + 4, &element.concat());
        ring.mem.store_u16(ring.used + 2, 1);
        guest.hand_over(&disk, &region, base);
        guest.gets(&[1, 0, 2, 3, 4], 1, &format!("base {base}"));
    }
}

#[test]
fn requests_are_owed_in_the_order_of_their_counters_and_of_nothing_else() {
    let ramblk = Ramblk::run(&[]);
    let disk = Disk::prepare(ramblk.socket(), ALL);
    let mut guest = Guest::new(0, 0);
    let region = Inflight::new(1, RING);
    let track = aged(&region, 0);
    // Beyond 32 bits, and different from both the order of the ring and that of the heads.
    for (request, counter) in [(0, 1 << 33), (1, 5 << 32), (2, (1 << 33) - 1), (3, 7)] {
        track.set_counter(HEADS[request], counter);
        track.set_inflight(HEADS[request], true);
    }
    guest.hand_over(&disk, &region, 4);
    guest.gets(&[3, 2, 0, 1, 4], 0, "by counter");
}

#[test]
fn each_ring_has_its_own_part_of_the_region() {
    let ramblk = Ramblk::run(&[]);
    let disk = Disk::prepare(ramblk.socket(), ALL);
    let mem = Arc::new(Memory::standard());
    disk.client.set_memory(&mem);
    let region = Inflight::new(3, RING);
    let mut rings: Vec<_> = (0..3).map(|i| Ring::new(&mem, i, RING, true)).collect();
    for (ring, track) in rings.iter_mut().zip((0..).map(|i| region.queue(i))) {
        let at = 10 + ring.index as u16;
        ring.begin_at(at);
        track.set_version(1);
        track.set_desc_num(RING);
        track.set_used_idx(at);
        let pieces = ring.lay_out(OUT, u64::from(ring.index), &pattern(512, at as u8), 0);
        // As many of them as the index of the ring says were taken.
        for i in 0..3 {
            let head = ring.direct(3 * i, &pieces);
            ring.put(head);
            track.set_counter(head, u64::from(3 - i));
            track.set_inflight(head, u32::from(i) < ring.index);
        }
        ring.publish();
    }
    region.give(&disk.client);
    rings.iter().for_each(|ring| disk.client.set_up(ring, 13));
    (0..3).for_each(|index| disk.client.vring(code::SET_VRING_ENABLE, index, 1));
    let expected = [[0, 3, 6], [0, 3, 6], [3, 0, 6]];
    for (ring, heads) in rings.iter_mut().zip(expected) {
        let found = heads.map(|_| ring.wait().id);
        assert_eq!(found, heads, "ring {}", ring.index);
        assert_eq!(ring.used_idx(), ring.next_avail);
        works(ring, 100);
    }
}
