//! Endless attacks on neighbours: guests that keep queues busy, and front ends that keep the
//! process busy. Each goes on until it is stopped.
//!
//! The tests run each for a moment and look for harm. `scripts/bench hostile` runs each for seconds
//! and measures what the honest front end notices.

use std::os::fd::AsFd;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::fs::OFlags;

use crate::driver::client::{Client, code, config_request, single};
use crate::driver::data::{Random, seed};
use crate::driver::disk::{
    ALL, DATA, Disk, HEADER, STATUS, Segment, TABLE, encode, request_header, segment,
};
use crate::driver::kind::{DISCARD, FLUSH, GET_ID, IN, OUT, WRITE_ZEROES};
use crate::driver::memory::{MIB, Region};
use crate::driver::ring::{INDIRECT, Piece, Ring, new_eventfd, readable_at, writable_at};
use crate::driver::wire::{VERSION, message};
use crate::honest::Part;
use crate::victim::{EDGE, HOLE, MINE, PARTS};

/// One attack.
pub(crate) struct Attack {
    pub(crate) name: &'static str,
    /// The honest front end's parts of a disk of 1 TiB; everything else may be overwritten.
    pub(crate) parts: &'static [Part],
    pub(crate) run: fn(&Path, &AtomicBool),
}

const fn attack(name: &'static str, run: fn(&Path, &AtomicBool)) -> Attack {
    let parts = PARTS.split_at(1).0;
    Attack { name, parts, run }
}

/// Sectors that no mixture of bytes from [`rewriting`] can name.
const UNNAMED: [Part; 1] = [Part {
    first: 0x1_a500,
    sectors: 0x100,
}];

pub(crate) const ATTACKS: [Attack; 20] = [
    Attack {
        name: "requests rewritten while they are served",
        parts: &UNNAMED,
        run: rewriting,
    },
    attack("kicks without end", kicks),
    attack("two queues full of flushes", flushes),
    attack("a ring of 8192 reads of 32 MiB each", giant_reads),
    attack("64 rings of reads of 32 MiB each", crowds_of_giant_reads),
    attack("a ring of 8192 writes of 32 MiB each", giant_writes),
    attack("discards of 256 ranges of 4 GiB", huge_discards),
    attack("zeroing 256 ranges of 4 GiB, unmapped", huge_unmaps),
    attack("zeroing 256 ranges of 4 GiB, mapped", huge_zeroes),
    attack("32 MiB discarded 256 times over", overlapping_discards),
    attack("a sector in every 2 MiB", scattered_writes),
    attack("a ring broken again and again", broken_rings),
    attack("connections made and dropped", connections),
    attack("connections that stop in a message", half_messages),
    attack("messages that can't be right", wrong_messages),
    attack("memory tables without end", memory_tables),
    attack("regions added and removed", regions),
    attack("rings started and stopped", restarts),
    attack("questions whose answers nobody reads", deaf),
    attack("a full, blocking call descriptor", full_call),
];

/// The attack with that name.
pub(crate) fn named(name: &str) -> &'static Attack {
    let found = ATTACKS.iter().find(|attack| attack.name == name);
    found.unwrap_or_else(|| panic!("no attack is called {name:?}"))
}

fn until(stop: &AtomicBool, mut work: impl FnMut()) {
    while !stop.load(Ordering::Relaxed) {
        work();
    }
}

/// Keep `ring` full of the same request.
pub(crate) fn keep_full(ring: &mut Ring, pieces: &[Piece], stop: &AtomicBool) {
    let table = ring.area(TABLE);
    ring.indirect(0, &[], table, pieces, 0);
    let len = 16 * pieces.len() as u32;
    (0..ring.size).for_each(|slot| ring.set_desc(slot, table, len, INDIRECT, 0));
    (0..ring.size).for_each(|head| ring.put(head));
    ring.publish();
    ring.kick();
    until(stop, || {
        let old = ring.next_avail;
        while let Some(used) = ring.pop() {
            ring.put(used.id as u16);
        }
        ring.publish();
        if old == ring.next_avail {
            std::thread::sleep(Duration::from_micros(100));
        } else if ring.kick_wanted(old) {
            ring.kick();
        }
    });
}

/// Keep two queues of `size` entries full of a request whose data is at `data`, writable or not.
fn two_full_queues(socket: &Path, size: u16, stop: &AtomicBool, kind: u32, data: Option<Piece>) {
    let mut disk = Disk::attach_with(socket, ALL, 2, size);
    std::thread::scope(|scope| {
        for ring in &mut disk.queues {
            let mut pieces = ring.lay_out(kind, MINE, &[], 0);
            pieces.splice(1..1, data);
            scope.spawn(move || keep_full(ring, &pieces, stop));
        }
    });
}

fn flushes(socket: &Path, stop: &AtomicBool) {
    two_full_queues(socket, 32768, stop, FLUSH, None);
}

/// Behind the slots of two rings.
pub(crate) const GIANT_AT: u64 = 16 * MIB;
pub(crate) const GIANT: u32 = 32 << 20;

fn giant_reads(socket: &Path, stop: &AtomicBool) {
    two_full_queues(socket, 8192, stop, IN, Some(writable_at(GIANT_AT, GIANT)));
}

/// Each ring gets its turn, and therefore many rings are worse than long ones.
fn crowds_of_giant_reads(socket: &Path, stop: &AtomicBool) {
    let mut disks: Vec<_> = (0..4)
        .map(|_| Disk::attach_with(socket, ALL, 16, 8))
        .collect();
    std::thread::scope(|scope| {
        for ring in disks.iter_mut().flat_map(|disk| &mut disk.queues) {
            let mut pieces = ring.lay_out(IN, MINE, &[], 0);
            // The slots of 16 queues take the first 64 MiB.
            pieces.insert(1, writable_at(64 * MIB, GIANT));
            scope.spawn(move || keep_full(ring, &pieces, stop));
        }
    });
}

fn giant_writes(socket: &Path, stop: &AtomicBool) {
    two_full_queues(socket, 8192, stop, OUT, Some(readable_at(GIANT_AT, GIANT)));
}

/// 256 ranges of nearly 4 GiB, behind the honest front end's part of a disk of 1 TiB.
pub(crate) fn most_of_the_disk(flags: u32) -> Vec<Segment> {
    (0..256)
        .map(|i| segment(MINE + i * 8_388_600, 8_388_600, flags))
        .collect()
}

/// Keep two rings full of a request with `segments`.
fn ranges(socket: &Path, stop: &AtomicBool, kind: u32, segments: &[Segment]) {
    let bytes = encode(segments);
    let mut disk = Disk::attach_with(socket, ALL, 2, 256);
    disk.mem.write(GIANT_AT, &bytes);
    std::thread::scope(|scope| {
        for ring in &mut disk.queues {
            let mut pieces = ring.lay_out(kind, 0, &[], 0);
            pieces.insert(1, readable_at(GIANT_AT, bytes.len() as u32));
            scope.spawn(move || keep_full(ring, &pieces, stop));
        }
    });
}

fn huge_discards(socket: &Path, stop: &AtomicBool) {
    ranges(socket, stop, DISCARD, &most_of_the_disk(0));
}

fn huge_unmaps(socket: &Path, stop: &AtomicBool) {
    ranges(socket, stop, WRITE_ZEROES, &most_of_the_disk(1));
}

fn huge_zeroes(socket: &Path, stop: &AtomicBool) {
    ranges(socket, stop, WRITE_ZEROES, &most_of_the_disk(0));
}

/// One queue writes what the other one discards.
fn overlapping_discards(socket: &Path, stop: &AtomicBool) {
    let mut disk = Disk::attach_with(socket, ALL, 2, 256);
    let bytes = encode(&vec![segment(MINE, 65536, 0); 256]);
    disk.mem.write(GIANT_AT + 32 * MIB, &bytes);
    let (writes, discards) = disk.queues.split_at_mut(1);
    let mut write = writes[0].lay_out(OUT, MINE, &[], 0);
    write.insert(1, readable_at(GIANT_AT, GIANT));
    let mut discard = discards[0].lay_out(DISCARD, 0, &[], 0);
    discard.insert(1, readable_at(GIANT_AT + 32 * MIB, bytes.len() as u32));
    std::thread::scope(|scope| {
        scope.spawn(|| keep_full(&mut writes[0], &write, stop));
        keep_full(&mut discards[0], &discard, stop);
    });
}

/// Write 512 bytes into a page and a table of their own each time, until the memory limit.
fn scattered_writes(socket: &Path, stop: &AtomicBool) {
    let mut disk = Disk::attach_with(socket, ALL, 1, 256);
    let mut at = 0;
    until(stop, || {
        for slot in 0..64u16 {
            let header = disk.q().area(HEADER) + 16 * u64::from(slot);
            at = (at + 1) % (1 << 18);
            let sector = 8192 + at * 4096;
            disk.mem.write(header, &request_header(OUT, sector));
            let q = disk.q();
            let pieces = [
                readable_at(header, 16),
                readable_at(q.area(DATA), 512),
                writable_at(q.area(STATUS), 1),
            ];
            q.direct(3 * slot, &pieces);
            q.put(3 * slot);
        }
        disk.q().publish();
        disk.q().kick();
        (0..64).for_each(|_| _ = disk.q().wait());
    });
}

fn kicks(socket: &Path, stop: &AtomicBool) {
    let disk = Disk::attach_with(socket, ALL, 4, 256);
    // Two are served, one is disabled, and one is stopped.
    disk.client.vring(code::SET_VRING_ENABLE, 2, 0);
    disk.client.stop(3);
    until(stop, || disk.queues.iter().for_each(Ring::kick));
}

fn broken_rings(socket: &Path, stop: &AtomicBool) {
    let mut disk = Disk::attach(socket);
    until(stop, || {
        disk.mem.store_u16(disk.queues[0].avail + 2, 0x7777);
        disk.q().kick();
        assert!(disk.q().broken_within(Duration::from_secs(5)));
        disk.client.stop(0);
        disk.q().begin_at(0);
        disk.client.start(&disk.queues[0]);
    });
}

fn connections(socket: &Path, stop: &AtomicBool) {
    until(stop, || {
        let crowd: Vec<_> = (0..20).map(|_| Client::connect(socket)).collect();
        crowd.iter().for_each(|client| _ = client.features());
    });
}

fn half_messages(socket: &Path, stop: &AtomicBool) {
    let fd = new_eventfd();
    let bytes = message(code::SET_VRING_KICK, VERSION, &[0; 8]);
    let mut crowd: Vec<Client> = Vec::new();
    until(stop, || {
        if crowd.len() == 400 {
            crowd.drain(..200);
        }
        let client = Client::connect(socket);
        client.wire.send(&bytes[..13], &[fd.as_fd()]);
        crowd.push(client);
    });
}

fn wrong_messages(socket: &Path, stop: &AtomicBool) {
    let fd = new_eventfd();
    until(stop, || {
        let client = Client::connect(socket);
        client.send(code::SET_VRING_KICK, 0, &[0xff; 8], &[fd.as_fd(); 3]);
        client.closes_within(Duration::from_secs(5));
    });
}

fn memory_tables(socket: &Path, stop: &AtomicBool) {
    let disk = Disk::attach_with(socket, ALL, 16, 256);
    until(stop, || disk.client.set_memory(&disk.mem));
}

fn regions(socket: &Path, stop: &AtomicBool) {
    let disk = Disk::attach(socket);
    let extra: Vec<_> = (0..64)
        .map(|i| Region::new((1 << 40) + i * MIB, MIB, 0))
        .collect();
    until(stop, || {
        for region in &extra {
            disk.client
                .tell(code::ADD_MEM_REG, &single(region), &[region.fd()]);
        }
        for region in &extra {
            disk.client.tell(code::REM_MEM_REG, &single(region), &[]);
        }
    });
}

fn restarts(socket: &Path, stop: &AtomicBool) {
    let disk = Disk::attach_with(socket, ALL, 2, 256);
    until(stop, || {
        for ring in &disk.queues {
            disk.client.stop(ring.index);
            disk.client.start(ring);
        }
    });
}

fn deaf(socket: &Path, stop: &AtomicBool) {
    let client = Client::negotiated(socket, ALL);
    let question = message(code::GET_CONFIG, VERSION, &config_request(0, 4084, 0));
    until(stop, || {
        if client.wire.send_now(&question) < question.len() {
            std::thread::sleep(Duration::from_millis(1));
        }
    });
}

fn full_call(socket: &Path, stop: &AtomicBool) {
    let mut disk = Disk::attach_with(socket, ALL, 2, 256);
    for ring in &mut disk.queues {
        let pieces = ring.lay_out(FLUSH, 0, &[], 0);
        ring.direct(0, &pieces);
        // The flags belong to the file, which both sides share: from now on it blocks.
        rustix::fs::fcntl_setfl(&ring.call, OFlags::empty()).unwrap();
    }
    until(stop, || {
        for ring in &mut disk.queues {
            // As full as possible without blocking ourselves.
            rustix::fs::fcntl_setfl(&ring.call, OFlags::NONBLOCK).unwrap();
            let _ = rustix::io::write(&ring.call, &(u64::MAX - 2).to_le_bytes());
            let _ = rustix::io::write(&ring.call, &1u64.to_le_bytes());
            rustix::fs::fcntl_setfl(&ring.call, OFlags::empty()).unwrap();
            ring.set_used_event(ring.next_avail);
            ring.put(0);
            ring.publish();
            ring.kick();
        }
        std::thread::sleep(Duration::from_micros(200));
    });
}

/// Write nonsense over the descriptors, headers and indirect tables of a slot until told to stop.
/// The sectors in it are below 128 or far outside the disk. Even a torn or shifted header contains
/// no byte that [`UNNAMED`] begins with.
fn rewrite(ring: &Ring, stop: &AtomicBool, seed: u64) {
    let mut random = Random::new(seed);
    let addresses = [
        ring.area(HEADER),
        ring.area(DATA),
        HOLE,
        EDGE - 8,
        64 * MIB - 8,
    ];
    let kinds = [IN, OUT, DISCARD, GET_ID, 77];
    until(stop, || {
        let addr = addresses[random.below(5) as usize];
        let len = [0, 1, 16, 512, 513, 4096, u32::MAX][random.below(7) as usize];
        let flags = random.below(8) as u16;
        let at = [ring.desc, ring.area(TABLE)][random.below(2) as usize] + 16 * random.below(4);
        ring.write_desc(at, addr, len, flags, random.below(5) as u16);
        let sector = [random.below(128), 1 << 55, u64::MAX][random.below(3) as usize];
        let header = request_header(kinds[random.below(5) as usize], sector);
        ring.mem.write(ring.area(HEADER), &header);
        let event = random.below(0x1_0000) as u16;
        ring.set_used_event(event);
    });
}

fn rewriting(socket: &Path, stop: &AtomicBool) {
    assert!(rewritten(socket, stop) > 0, "nothing came back");
}

/// Offer heads as fast as they complete, while another thread rewrites their descriptors, which
/// must never break the ring. Returns the number of completions.
fn rewritten(socket: &Path, stop: &AtomicBool) -> u32 {
    let seed = seed();
    let mut disk = Disk::attach_with(socket, ALL, 2, 256);
    // A second view of queue 0's memory, for another thread to write into.
    let view = Ring::new(&disk.mem, 0, 256, true);
    let mut back = 0;
    std::thread::scope(|scope| {
        scope.spawn(|| rewrite(&view, stop, seed));
        until(stop, || {
            let q = disk.q();
            if q.next_avail.wrapping_sub(q.used_idx()) <= 192 {
                (0..64).for_each(|head| q.put(head % 4));
            }
            disk.q().publish();
            disk.q().kick();
            std::thread::sleep(Duration::from_millis(1));
            while disk.q().pop().is_some() {
                back += 1;
            }
            assert!(!disk.q().broken_within(Duration::ZERO), "the ring broke");
        });
    });
    back
}
