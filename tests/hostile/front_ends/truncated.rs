//! Guest memory whose file the front end truncates while it is mapped. Touching it raises SIGBUS,
//! which must end that front end's session and affect no other.

use std::sync::Arc;
use std::time::Duration;

use rustix::fs::ftruncate;

use crate::driver::client::code;
use crate::driver::data::pattern;
use crate::driver::disk::{ALL, Disk, HEADER, STATUS, TABLE, encode, request_header, segment};
use crate::driver::kind::{DISCARD, GET_ID, IN, OUT, WRITE_ZEROES};
use crate::driver::memory::{MIB, Memory};
use crate::driver::ring::{INDIRECT, Piece, Ring, readable_at, writable_at};
use crate::victim::{KEPT, MINE, PARTS, Victim};

const SECONDS: Duration = Duration::from_secs(5);
/// The fourth region of memory, 16 MiB, which is truncated; the driver itself never touches it.
const FAR: u64 = 4096 * MIB;

fn cut_short(mem: &Memory, len: u64) {
    ftruncate(mem.regions()[3].fd(), len).unwrap();
}

/// Prepare a request in slot 0 that touches memory behind the new end of the file.
fn costs_the_session(victim: &Victim, what: &str, prepare: impl FnOnce(&mut Ring)) {
    let mut disk = victim.guest(ALL);
    prepare(disk.q());
    cut_short(&disk.mem, 0);
    disk.q().put(0);
    disk.q().publish();
    disk.q().kick();
    assert!(
        disk.client.closes_within(SECONDS),
        "{what}: the session goes on without its memory"
    );
    victim.is_unharmed(what);
}

#[test]
fn data_in_memory_that_was_cut_off_cost_the_session_and_nobody_else() {
    let victim = Victim::new();
    let ranges = encode(&[segment(MINE, 8, 0)]);
    for (kind, len) in [
        (IN, 8192),
        (OUT, 8192),
        (GET_ID, 20),
        (DISCARD, 16),
        (WRITE_ZEROES, 16),
    ] {
        for at in [FAR, FAR + 4096 - 8, FAR + 8 * MIB] {
            costs_the_session(&victim, &format!("data of kind {kind}"), |ring| {
                ring.mem.write(at, &ranges);
                let mut pieces = ring.lay_out(kind, MINE, &[], 0);
                let writable = matches!(kind, IN | GET_ID);
                pieces.insert(
                    1,
                    Piece {
                        addr: at,
                        len,
                        writable,
                    },
                );
                ring.direct(0, &pieces);
            });
        }
    }
}

#[test]
fn headers_tables_and_status_bytes_in_memory_that_was_cut_off_cost_the_session() {
    let victim = Victim::new();
    costs_the_session(&victim, "header", |ring| {
        ring.mem.write(FAR, &request_header(IN, KEPT));
        let pieces = [readable_at(FAR, 16), writable_at(ring.area(STATUS), 1)];
        ring.direct(0, &pieces);
    });
    costs_the_session(&victim, "status", |ring| {
        ring.mem.write(ring.area(HEADER), &request_header(IN, KEPT));
        let pieces = [readable_at(ring.area(HEADER), 16), writable_at(FAR, 1)];
        ring.direct(0, &pieces);
    });
    costs_the_session(&victim, "indirect table", |ring| {
        let pieces = ring.lay_out(IN, KEPT, &[], 512);
        ring.indirect(0, &[], ring.area(TABLE), &pieces, 0);
        let table = ring.mem.read(ring.area(TABLE), 48);
        ring.mem.write(FAR + MIB, &table);
        ring.set_desc(0, FAR + MIB, 48, INDIRECT, 0);
    });
    // The remaining half of a buffer is served in part, or not at all.
    costs_the_session(&victim, "second half of the data", |ring| {
        let mut pieces = ring.lay_out(OUT, MINE, &[7; 4096], 0);
        pieces.insert(2, readable_at(FAR, 4096));
        ring.direct(0, &pieces);
    });
}

/// A ring with one part in the memory that will be truncated.
fn ring_with_a_far_part(mem: &Arc<Memory>, part: usize) -> Ring {
    let mut ring = Ring::new(mem, 0, 256, true);
    let far = FAR + 64 * 1024 * part as u64;
    match part {
        0 => ring.desc = far,
        1 => ring.avail = far,
        _ => ring.used = far,
    }
    ring
}

#[test]
fn rings_in_memory_that_was_cut_off_before_they_start_cost_the_session() {
    let victim = Victim::new();
    for part in 0..3 {
        let disk = Disk::prepare(victim.ramblk.socket(), ALL);
        let mut ring = ring_with_a_far_part(&disk.mem, part);
        // A head is available, so that the worker reads each part.
        ring.put(0);
        ring.publish();
        disk.client.vring(code::SET_VRING_NUM, 0, 256);
        disk.client.vring_addr(&ring);
        disk.client.vring_fd(code::SET_VRING_CALL, 0, &ring.call);
        cut_short(&disk.mem, 0);
        let refused = [
            (code::SET_VRING_KICK, vec![0; 8], Some(&ring.kick)),
            (
                code::SET_VRING_ENABLE,
                crate::driver::client::state(0, 1),
                None,
            ),
        ]
        .into_iter()
        .any(|(code, payload, fd)| {
            let fds: Vec<_> = fd.into_iter().map(std::os::fd::AsFd::as_fd).collect();
            disk.client.refused(code, &payload, &fds)
        });
        if !refused {
            ring.kick();
        }
        assert!(
            refused || disk.client.closes_within(SECONDS),
            "part {part}: a ring without memory runs"
        );
        victim.is_unharmed("a ring that starts in memory that was cut off");
    }
}

/// Start a ring, cut its memory off to `len` bytes, and kick it. Returns whether that ended the
/// session.
fn ends_when_cut_off(victim: &Victim, part: usize, len: u64) -> bool {
    let mut disk = Disk::prepare(victim.ramblk.socket(), ALL);
    let mut ring = ring_with_a_far_part(&disk.mem, part);
    disk.client.start(&ring);
    ring.write(MINE, &pattern(4096, 9)).unwrap();
    let pieces = ring.lay_out(IN, KEPT, &[], 512);
    ring.direct(0, &pieces);
    ring.put(0);
    ring.publish();
    // Only the first page is left, and no part but the descriptors is in it.
    cut_short(&disk.mem, if part == 0 { 0 } else { len });
    ring.kick();
    let ends = disk.client.closes_within(SECONDS);
    disk.queues.clear();
    victim.is_unharmed("a ring in memory that was cut off");
    ends
}

#[test]
fn rings_in_memory_that_is_cut_off_while_they_run_cost_the_session() {
    // Without polling: a worker that still polls the ring would serve the request before the cut.
    let victim = Victim::sized("64M", &PARTS, &["--poll-us", "0"]);
    for part in 0..3 {
        for len in [0, 4096] {
            // So does one that is late to look at a ring that starts. Then nothing is left to read.
            let ends = (0..5).any(|_| ends_when_cut_off(&victim, part, len));
            assert!(ends, "part {part}: a ring without memory runs");
        }
    }
}

#[test]
fn memory_that_is_cut_off_and_grows_again_under_load_harms_nobody() {
    let victim = Victim::new();
    for round in 0..20 {
        let mut guests = [victim.guest(ALL), victim.guest(ALL)];
        for disk in &mut guests {
            for ring in &mut disk.queues {
                let mut pieces = ring.lay_out(OUT, MINE, &[], 0);
                pieces.insert(1, readable_at(FAR, 1 << 20));
                ring.direct(0, &pieces);
                (0..32).for_each(|_| ring.put(0));
                ring.publish();
                ring.kick();
            }
        }
        std::thread::sleep(Duration::from_micros(100 * (round % 5)));
        for disk in &guests {
            cut_short(&disk.mem, 4096 * (round % 3));
            cut_short(&disk.mem, 16 * MIB);
        }
        drop(guests);
    }
    victim.is_unharmed("memory that shrinks and grows");
}

#[test]
fn a_session_whose_memory_was_cut_off_can_connect_again() {
    let victim = Victim::new();
    for _ in 0..50 {
        let mut disk = victim.guest(ALL);
        let mut pieces = disk.q().lay_out(IN, MINE, &[], 0);
        pieces.insert(1, writable_at(FAR, 512));
        disk.q().direct(0, &pieces);
        cut_short(&disk.mem, 0);
        disk.q().put(0);
        disk.q().publish();
        disk.q().kick();
        assert!(disk.client.closes_within(SECONDS));
    }
    victim.is_unharmed("fifty sessions without memory");
}
