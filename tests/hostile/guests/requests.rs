//! Invalid requests fail alone, with a status if there is a byte for it, and the queue goes on.
//! Guests that change a request while it is served harm only themselves.

use std::time::{Duration, Instant};

use crate::attacks::most_of_the_disk;
use crate::driver::data::pattern;
use crate::driver::disk::{ALL, DATA, Disk, HEADER, STATUS, encode, request_header, segment};
use crate::driver::kind::{DISCARD, IN, OUT, WRITE_ZEROES};
use crate::driver::memory::MIB;
use crate::driver::ring::{Piece, Ring, cut, readable_at, writable_at};
use crate::driver::status::{IOERR, OK, UNTOUCHED};
use crate::victim::{A_WHILE, EDGE, HOLE, KEPT, MINE, PARTS, Victim, withstand};

/// Complete an invalid chain on queue 0 with the given status and used length, and check that the
/// queue goes on. `None`: no status byte can be found.
fn fails_alone(disk: &mut Disk, what: &str, pieces: &[Piece], status: Option<u8>, len: u32) {
    let q = disk.q();
    q.mem.fill(q.area(STATUS), 1, UNTOUCHED);
    q.direct(0, pieces);
    assert_eq!(q.complete(0), len, "{what}: used length");
    assert_eq!(q.status(), status.unwrap_or(UNTOUCHED), "{what}: status");
    assert!(
        !q.broken_within(Duration::ZERO),
        "{what}: the queue was reported broken"
    );
    assert_eq!(
        q.read(KEPT, 8192),
        Ok(pattern(8192, 42)),
        "{what}: the next request"
    );
}

fn pieces_of(q: &Ring, kind: u32, sector: u64) -> (Piece, Piece, Piece) {
    q.mem.write(q.area(HEADER), &request_header(kind, sector));
    let data = Piece {
        addr: q.area(DATA),
        len: 512,
        writable: kind == IN,
    };
    (
        readable_at(q.area(HEADER), 16),
        data,
        writable_at(q.area(STATUS), 1),
    )
}

/// Addresses and lengths whose last byte, at least, is outside memory.
const OUTSIDE: [(u64, u32); 9] = [
    (HOLE, 512),
    (EDGE, 512),
    (EDGE - 256, 512),
    (4112 * MIB - 511, 512),
    (u64::MAX, 512),
    (u64::MAX - 511, 512),
    (u64::MAX - 100, 512),
    (1 << 63, 512),
    (0, u32::MAX),
];

#[test]
fn data_outside_memory_fails_with_an_io_error() {
    let victim = Victim::new();
    let mut disk = victim.guest(ALL);
    for (addr, len) in OUTSIDE {
        let (header, _, status) = pieces_of(disk.q(), OUT, KEPT);
        let what = format!("write from {addr:#x}+{len:#x}");
        fails_alone(
            &mut disk,
            &what,
            &[header, readable_at(addr, len), status],
            Some(IOERR),
            1,
        );
        let (header, _, status) = pieces_of(disk.q(), IN, KEPT);
        let what = format!("read to {addr:#x}+{len:#x}");
        fails_alone(
            &mut disk,
            &what,
            &[header, writable_at(addr, len), status],
            Some(IOERR),
            0,
        );
    }
}

#[test]
fn a_header_outside_memory_fails_with_an_io_error() {
    let victim = Victim::new();
    let mut disk = victim.guest(ALL);
    for (addr, _) in OUTSIDE {
        let addr = if addr == EDGE - 256 { EDGE - 8 } else { addr };
        if addr != 0 && addr != 4112 * MIB - 511 {
            let (_, _, status) = pieces_of(disk.q(), OUT, KEPT);
            let what = format!("header at {addr:#x}");
            fails_alone(
                &mut disk,
                &what,
                &[readable_at(addr, 16), status],
                Some(IOERR),
                1,
            );
        }
    }
}

#[test]
fn a_status_outside_memory_is_not_written_and_the_length_is_zero() {
    let victim = Victim::new();
    let mut disk = victim.guest(ALL);
    for addr in [HOLE, EDGE, 4112 * MIB, u64::MAX, 1 << 63] {
        let (header, data, _) = pieces_of(disk.q(), OUT, KEPT);
        let what = format!("status at {addr:#x}");
        fails_alone(
            &mut disk,
            &what,
            &[header, data, writable_at(addr, 1)],
            None,
            0,
        );
    }
    // The last byte of a buffer that begins inside memory.
    let (header, _, _) = pieces_of(disk.q(), IN, KEPT);
    let edge = writable_at(EDGE - 512, 513);
    fails_alone(&mut disk, "status just outside", &[header, edge], None, 0);
}

#[test]
fn a_request_without_a_byte_for_the_status_comes_back_with_length_zero() {
    let victim = Victim::new();
    let mut disk = victim.guest(ALL);
    let (header, mut data, status) = pieces_of(disk.q(), OUT, KEPT);
    fails_alone(&mut disk, "header only", &[header], None, 0);
    fails_alone(&mut disk, "header and data", &[header, data], None, 0);
    let readable_status = Piece {
        writable: false,
        ..status
    };
    fails_alone(
        &mut disk,
        "readable status",
        &[header, data, readable_status],
        None,
        0,
    );
    let empty = Piece { len: 0, ..status };
    fails_alone(&mut disk, "empty status", &[header, data, empty], None, 0);
    data.len = 0;
    fails_alone(&mut disk, "nothing at all", &[data], None, 0);
}

#[test]
fn a_short_header_fails_with_an_io_error() {
    let victim = Victim::new();
    let mut disk = victim.guest(ALL);
    for len in [0, 1, 8, 15] {
        let (header, _, status) = pieces_of(disk.q(), OUT, KEPT);
        let header = Piece { len, ..header };
        fails_alone(
            &mut disk,
            &format!("{len} bytes"),
            &[header, status],
            Some(IOERR),
            1,
        );
    }
    let (_, _, status) = pieces_of(disk.q(), OUT, KEPT);
    fails_alone(&mut disk, "no header", &[status], Some(IOERR), 1);
}

#[test]
fn buffers_in_the_wrong_order_fail_with_an_io_error() {
    let victim = Victim::new();
    let mut disk = victim.guest(ALL);
    // §2.7.4.2: the driver MUST place readable descriptors before writable ones.
    let (header, data, status) = pieces_of(disk.q(), OUT, KEPT);
    fails_alone(
        &mut disk,
        "data behind status",
        &[header, status, data],
        Some(IOERR),
        1,
    );
    fails_alone(
        &mut disk,
        "status first",
        &[status, header, data],
        Some(IOERR),
        1,
    );
    let (header, data, status) = pieces_of(disk.q(), IN, KEPT);
    let late = Piece {
        writable: false,
        ..header
    };
    fails_alone(
        &mut disk,
        "late header",
        &[data, late, status],
        Some(IOERR),
        0,
    );
}

#[test]
fn a_total_length_beyond_32_bits_is_not_taken_for_a_short_one() {
    let victim = Victim::new();
    let mut disk = victim.guest(ALL);
    // 64 times 64 MiB, and 512 bytes: 512 in 32 bits.
    for kind in [IN, OUT] {
        let (header, data, status) = pieces_of(disk.q(), kind, KEPT);
        let mut pieces = vec![header];
        pieces.extend(
            [Piece {
                addr: 0,
                len: 64 * MIB as u32,
                ..data
            }; 64],
        );
        pieces.extend([data, status]);
        let len = if kind == IN { 0 } else { 1 };
        fails_alone(&mut disk, "more than 4 GiB", &pieces, Some(IOERR), len);
    }
}

#[test]
fn a_chain_as_long_as_the_queue_is_served() {
    let victim = Victim::new();
    let mut disk = victim.guest(ALL);
    let q = disk.q();
    let (header, _, status) = pieces_of(q, OUT, MINE);
    let data = pattern(254 * 512, 3);
    q.mem.write(q.area(DATA), &data);
    let mut pieces = vec![header];
    pieces.extend((0..254).map(|i| readable_at(q.area(DATA) + 512 * i, 512)));
    pieces.push(status);
    q.direct(0, &pieces);
    assert_eq!((q.complete(0), q.status()), (1, OK));
    assert_eq!(q.read(MINE, data.len()), Ok(data));
}

#[test]
fn thousands_of_bad_requests_do_not_flood_the_log() {
    let victim = Victim::new();
    let mut disk = victim.guest(ALL);
    let q = disk.q();
    let (header, _, status) = pieces_of(q, OUT, u64::MAX);
    q.direct(0, &[header, readable_at(HOLE, 512), status]);
    for _ in 0..4000 {
        q.complete(0);
    }
    assert_eq!(q.status(), IOERR);
    assert!(
        victim.ramblk.stderr().len() < 64 << 10,
        "{} bytes of log",
        victim.ramblk.stderr().len()
    );
}

#[test]
fn huge_discards_of_a_huge_disk_take_no_time() {
    let victim = Victim::sized("1T", PARTS.split_at(1).0, &[]);
    let mut disk = victim.guest(ALL);
    disk.q().write(1 << 30, &pattern(512, 1)).unwrap();
    let bytes = encode(&most_of_the_disk(0));
    let start = Instant::now();
    for _ in 0..4 {
        assert_eq!(disk.q().request(DISCARD, 0, &bytes, 0).status, OK);
    }
    // 4 TiB are a thousand million pages: one by one they would take many minutes. Without
    // optimisation and beside other tests, a request takes two seconds.
    assert!(
        start.elapsed() < Duration::from_secs(60),
        "{:?}",
        start.elapsed()
    );
    assert_eq!(disk.q().read(1 << 30, 512), Ok(vec![0; 512]));
}

#[test]
fn a_guest_that_rewrites_its_requests_while_they_are_served_harms_nobody() {
    let record = withstand("requests rewritten while they are served", A_WHILE);
    assert!(record.latencies.len() > 100, "{}", record.latencies.len());
}

#[test]
fn a_request_cut_into_single_bytes_is_served() {
    let victim = Victim::new();
    let mut disk = victim.guest(ALL);
    let q = disk.q();
    let (header, data) = (request_header(OUT, MINE), pattern(512, 5));
    q.mem.write(q.area(DATA), &[&header[..], &data].concat());
    // One descriptor holds the last byte of the header and the first bytes of the data.
    let mut pieces = cut(q.area(DATA), &[1; 15], false);
    pieces.push(readable_at(q.area(DATA) + 15, 300));
    pieces.extend(cut(q.area(DATA) + 315, &[1; 213], false));
    pieces.push(writable_at(q.area(STATUS), 1));
    q.direct(0, &pieces);
    assert_eq!((q.complete(0), q.status()), (1, OK));
    // Data and status in one descriptor.
    q.mem.write(q.area(HEADER), &request_header(IN, MINE));
    let mut pieces = cut(q.area(HEADER), &[1; 16], false);
    pieces.push(writable_at(q.area(DATA), 513));
    q.direct(0, &pieces);
    assert_eq!(q.complete(0), 513);
    assert_eq!(q.mem.read(q.area(DATA), 513), [&data[..], &[OK]].concat());
    drop(disk);
    victim.is_unharmed("a request of single bytes");
}

#[test]
fn a_read_with_room_for_a_status_only_and_a_write_with_room_for_more_succeed() {
    let victim = Victim::new();
    let mut disk = victim.guest(ALL);
    let (header, _, status) = pieces_of(disk.q(), IN, MINE);
    fails_alone(&mut disk, "status only", &[header, status], Some(OK), 1);
    let (header, data, status) = pieces_of(disk.q(), OUT, MINE);
    let q = disk.q();
    q.mem.fill(q.area(DATA), 512, 7);
    q.mem.fill(q.area(DATA) + 512, 1024, 0xdd);
    let more = writable_at(q.area(DATA) + 512, 1024);
    q.direct(0, &[header, data, more, status]);
    assert_eq!((q.complete(0), q.status()), (0, OK));
    let untouched = q.mem.read(q.area(DATA) + 512, 1024);
    assert_eq!(untouched, [0xdd; 1024], "a write wrote into the guest");
    assert_eq!(disk.q().read(MINE, 512), Ok(vec![7; 512]));
    drop(disk);
    victim.is_unharmed("odd but right requests");
}

#[test]
fn sectors_that_wrap_around_reach_none_of_the_first_ones() {
    let victim = Victim::new();
    let mut disk = victim.guest(ALL);
    let end = disk.capacity();
    let wraps = (54..64).flat_map(|bit| (0..4).map(move |low| (1u64 << bit) + low));
    let ends = [end, end + 1, 1 << 32, 1 << 40, u64::MAX, u64::MAX - 1];
    for sector in wraps.chain(ends) {
        let zeros = [0; 4096];
        let what = format!("sector {sector:#x}");
        assert_eq!(disk.q().write(sector, &zeros), Err(IOERR), "{what}");
        for (kind, flags) in [(DISCARD, 0), (WRITE_ZEROES, 0), (WRITE_ZEROES, 1)] {
            for sectors in [1, 8, 4096] {
                let one = encode(&[segment(sector, sectors, flags)]);
                let reply = disk.q().request(kind, 0, &one, 0);
                assert_eq!(reply.status, IOERR, "kind {kind}, {what}");
            }
        }
        assert_eq!(disk.q().read(sector, 512), Err(IOERR), "{what}");
    }
    // The last sector belongs to the honest front end, and so does what a wrapped length would
    // reach.
    for sectors in [2, 8_388_600] {
        let one = encode(&[segment(end - 1, sectors, 0)]);
        assert_eq!(disk.q().request(DISCARD, 0, &one, 0).status, IOERR);
    }
    assert_eq!(disk.q().write(end - 1, &[0; 1024]), Err(IOERR));
    drop(disk);
    victim.is_unharmed("sectors that wrap");
}

#[test]
fn a_buffer_may_cross_regions_but_neither_leave_them_nor_wrap_around() {
    let victim = Victim::new();
    let mut disk = victim.guest(ALL);
    let data = pattern(4096, 77);
    for border in [64 * MIB, 80 * MIB] {
        let (header, _, status) = pieces_of(disk.q(), OUT, MINE);
        let q = disk.q();
        q.mem.write(border - 1024, &data);
        q.direct(0, &[header, readable_at(border - 1024, 4096), status]);
        assert_eq!((q.complete(0), q.status()), (1, OK), "{border:#x}");
        assert_eq!(q.read(MINE, 4096), Ok(data.clone()));
    }
    // A length that would wrap around the end of the address space, back into memory.
    for addr in [EDGE - 512, HOLE, u64::MAX - 4095, u64::MAX] {
        for len in [4096, 0x8000_0000, u32::MAX] {
            let (header, _, status) = pieces_of(disk.q(), OUT, MINE);
            let pieces = [header, readable_at(addr, len), status];
            let what = format!("{addr:#x}+{len:#x}");
            fails_alone(&mut disk, &what, &pieces, Some(IOERR), 1);
        }
    }
    assert_eq!(disk.q().read(MINE, 4096), Ok(data));
}
