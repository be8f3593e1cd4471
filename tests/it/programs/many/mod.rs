//! Many disks in one process: the cost of each, and that they don't affect each other.

mod child;

use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use child::Many;

use crate::driver::client::Client;
use crate::driver::data::pattern;
use crate::driver::disk::{ALL, DATA, Disk, STATUS};
use crate::driver::kind::{IN, OUT};
use crate::driver::memory::{MIB, Memory, Region};
use crate::driver::ring::Ring;
use crate::driver::status;
use crate::harness::eventually;

/// The most that a disk may cost, and what the process may take besides.
const MOST_KIB_PER_DISK: u64 = 64;
const PAYLOAD: usize = 4096;

/// How long nobody uses the disks, and how often the threads of all of them may wake in that time:
/// the system may wake one once, for example because of its memory.
const QUIET: Duration = Duration::from_secs(10);
const MOST_WAKE_UPS: u64 = 1;

/// A disk with `queues` queues, for a front end with little memory.
fn attach(socket: &std::path::Path, queues: u32) -> Disk {
    let client = Client::negotiated(socket, ALL);
    let mem = Arc::new(Memory::new(vec![Region::new(
        0,
        u64::from(queues) * 4 * MIB,
        0,
    )]));
    client.set_memory(&mem);
    let rings = (0..queues).map(|index| Ring::new(&mem, index, 64, true));
    let queues: Vec<_> = rings.collect();
    queues.iter().for_each(|ring| client.start(ring));
    Disk {
        client,
        mem,
        queues,
    }
}

/// The data that a queue of a disk writes in a round.
fn payload(disk: usize, queue: u32, round: usize) -> Vec<u8> {
    let mut bytes = pattern(PAYLOAD, round as u8);
    bytes[..8].copy_from_slice(&(disk as u64).to_le_bytes());
    bytes[8..12].copy_from_slice(&queue.to_le_bytes());
    bytes[12..16].copy_from_slice(&(round as u32).to_le_bytes());
    bytes
}

/// The sector for it, apart from other queues.
fn sector(queue: u32, round: usize) -> u64 {
    u64::from(queue) * 1024 + (round as u64 % 16) * 8
}

/// Submit a request without waiting for it.
fn begin(ring: &mut Ring, kind: u32, sector: u64, out: &[u8], room: usize) {
    let pieces = ring.lay_out(kind, sector, out, room);
    let head = ring.direct(0, &pieces);
    ring.submit(head);
}

fn end(ring: &mut Ring) {
    assert_eq!(ring.wait().id, 0);
    let found = ring.mem.read(ring.area(STATUS), 1);
    assert_eq!(found, [status::OK]);
}

/// A write and a read of the same on each queue of each disk, all at the same time.
fn exchange(disks: &mut [Disk], round: usize) {
    for kind in [OUT, IN] {
        for (number, disk) in disks.iter_mut().enumerate() {
            for ring in &mut disk.queues {
                let (out, room) = if kind == OUT {
                    (payload(number, ring.index, round), 0)
                } else {
                    (Vec::new(), PAYLOAD)
                };
                begin(ring, kind, sector(ring.index, round), &out, room);
            }
        }
        disks
            .iter_mut()
            .flat_map(|disk| &mut disk.queues)
            .for_each(end);
    }
    for (number, disk) in disks.iter().enumerate() {
        for ring in &disk.queues {
            let found = ring.mem.read(ring.area(DATA), PAYLOAD);
            let expected = payload(number, ring.index, round);
            assert!(found == expected, "disk {number}, queue {}", ring.index);
        }
    }
}

#[test]
fn a_disk_that_nobody_uses_costs_a_descriptor_and_little_memory() {
    const DISKS: usize = 1000;
    let few = Many::start(1).figures();
    let many = Many::start(DISKS);
    // The daemon opens a file or two for a moment, for example to see how busy the machine is.
    eventually("a disk costs one descriptor and no thread", || {
        let now = many.figures();
        now.threads == few.threads && now.fds < few.fds + DISKS
    });
    let before = many.figures();
    let kib = (before.rss_kib - few.rss_kib) / (DISKS as u64 - 1);
    assert!(kib <= MOST_KIB_PER_DISK, "{kib} KiB per disk");
    let each = many.made_within() / DISKS as u32;
    // Whatever made all disks anew for each one would take far longer.
    assert!(each < Duration::from_millis(20), "{each:?} to make a disk");
    // A busy machine delays the end of their creation, so the count begins after a second without a
    // wake-up.
    let mut before = many.figures();
    eventually("nothing wakes for a second", || {
        std::thread::sleep(Duration::from_secs(1));
        std::mem::replace(&mut before, many.figures()).wake_ups == before.wake_ups
    });
    std::thread::sleep(QUIET);
    let now = many.figures();
    let woken = now.wake_ups - before.wake_ups;
    assert!(woken <= MOST_WAKE_UPS, "{before:?} became {now:?}");
    // An interrupt may cost a tick.
    assert!(now.ticks <= before.ticks + 2, "{before:?} became {now:?}");
    for disk in [0, 1, 499, 998, 999] {
        let mut disks = [attach(&many.socket(disk), 1)];
        exchange(&mut disks, disk);
    }
}

#[test]
fn two_hundred_disks_are_used_at_once_by_four_queues_each() {
    const DISKS: usize = 200;
    let many = Many::start(DISKS);
    let before = many.figures();
    let mut disks: Vec<_> = (0..DISKS)
        .map(|disk| attach(&many.socket(disk), 4))
        .collect();
    (0..20).for_each(|round| exchange(&mut disks, round));
    let used = many.figures();
    assert!(used.threads <= before.threads + DISKS, "{used:?}");
    drop(disks);
    eventually("threads and descriptors are given back", || {
        let now = many.figures();
        (now.threads, now.fds) == (before.threads, before.fds)
    });
}

#[test]
fn who_can_not_be_accepted_waits_and_nobody_else_does() {
    let mut many = Many::start(3);
    let mut used = [attach(&many.socket(0), 1)];
    many.starve();
    // The kernel makes a connection whether or not it is accepted.
    let waiting: Vec<_> = (0..3)
        .map(|disk| UnixStream::connect(many.socket(disk)).unwrap())
        .collect();
    let before = many.figures();
    let end = Instant::now() + Duration::from_secs(1);
    let mut rounds = 0;
    while Instant::now() < end {
        exchange(&mut used, rounds);
        rounds += 1;
        std::thread::sleep(Duration::from_millis(20));
    }
    let now = many.figures();
    assert_eq!(now.threads, before.threads, "accepted without a descriptor");
    assert!(now.ticks <= before.ticks + 10, "{before:?} became {now:?}");
    assert!(many.stderr().is_empty(), "{}", many.stderr());
    many.feed();
    let threads = before.threads + waiting.len();
    eventually("all are accepted", || many.figures().threads == threads);
    drop(waiting);
    drop(used);
    assert_eq!(many.end(), 0);
}

#[test]
fn a_disk_is_used_while_others_come_and_go() {
    let mut many = Many::start(2);
    let mut disks: Vec<_> = (0..2).map(|disk| attach(&many.socket(disk), 2)).collect();
    let socket = many.churn();
    let stop = AtomicBool::new(false);
    let mut visits = 0;
    std::thread::scope(|scope| {
        // A front end connects to the disk that is destroyed, too, and may lose its connection at
        // any moment.
        let visitor = scope.spawn(|| {
            let mut visits = 0;
            while !stop.load(Ordering::Relaxed) {
                visits += u32::from(UnixStream::connect(&socket).is_ok());
            }
            visits
        });
        let end = Instant::now() + Duration::from_secs(3);
        let mut round = 0;
        while Instant::now() < end {
            exchange(&mut disks, round);
            round += 1;
        }
        stop.store(true, Ordering::Relaxed);
        visits = visitor.join().unwrap();
        assert!(round > 100, "{round} rounds");
    });
    let stderr = many.stderr();
    assert!(!stderr.contains("panicked"), "{stderr}");
    many.drop_disks();
    for disk in &disks {
        assert!(disk.client.closes_within(Duration::from_secs(1)));
    }
    let churned = many.end();
    assert!(
        churned > 100 && visits > 0,
        "{churned} disks, {visits} visits"
    );
}
