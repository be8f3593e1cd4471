//! Requests that are wrong in themselves fail alone: with a status if there is a byte for it, and
//! the queue goes on. Guests that change a request while it is served harm nobody but themselves.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::driver::data::{Random, pattern, seed};
use crate::driver::disk::{
    ALL, DATA, Disk, HEADER, STATUS, TABLE, encode, request_header, segment,
};
use crate::driver::kind::{DISCARD, GET_ID, IN, OUT};
use crate::driver::memory::MIB;
use crate::driver::ring::{Piece, Ring, readable_at, writable_at};
use crate::driver::status::{IOERR, OK, UNTOUCHED};
use crate::harness::Ramblk;
use crate::hostile::{EDGE, HOLE, KEPT, SIZE, attach_with};

/// Completes a chain on queue 0 that is wrong in itself: status and used length as given, and the
/// queue goes on. `None`: no status byte can be reached.
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

/// Addresses and lengths of which at least the last byte is outside memory.
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
    let (_ramblk, mut disk) = attach_with(ALL);
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
    let (_ramblk, mut disk) = attach_with(ALL);
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
    let (_ramblk, mut disk) = attach_with(ALL);
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
    let (_ramblk, mut disk) = attach_with(ALL);
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
    let (_ramblk, mut disk) = attach_with(ALL);
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
    let (_ramblk, mut disk) = attach_with(ALL);
    // §2.7.4.2: the driver MUST place readable ones before writable ones.
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
    let (_ramblk, mut disk) = attach_with(ALL);
    // 64 times 64 MiB and 512 bytes: 512 in 32 bits.
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
    let (_ramblk, mut disk) = attach_with(ALL);
    let q = disk.q();
    let (header, _, status) = pieces_of(q, OUT, 7);
    let data = pattern(254 * 512, 3);
    q.mem.write(q.area(DATA), &data);
    let mut pieces = vec![header];
    pieces.extend((0..254).map(|i| readable_at(q.area(DATA) + 512 * i, 512)));
    pieces.push(status);
    q.direct(0, &pieces);
    assert_eq!((q.complete(0), q.status()), (1, OK));
    assert_eq!(q.read(7, data.len()), Ok(data));
}

#[test]
fn thousands_of_bad_requests_do_not_flood_the_log() {
    let (ramblk, mut disk) = attach_with(ALL);
    let q = disk.q();
    let (header, _, status) = pieces_of(q, OUT, u64::MAX);
    q.direct(0, &[header, readable_at(HOLE, 512), status]);
    for _ in 0..4000 {
        q.complete(0);
    }
    assert_eq!(q.status(), IOERR);
    assert!(
        ramblk.stderr().len() < 64 << 10,
        "{} bytes of log",
        ramblk.stderr().len()
    );
}

#[test]
fn huge_discards_of_a_huge_disk_take_no_time() {
    let ramblk = Ramblk::sized("1T", &[]);
    let mut disk = Disk::attach(ramblk.socket());
    disk.q().write(1 << 30, &pattern(512, 1)).unwrap();
    let segments: Vec<_> = (0..256)
        .map(|i| segment(i * 8_388_600, 8_388_600, 0))
        .collect();
    let start = Instant::now();
    for _ in 0..20 {
        assert_eq!(
            disk.q().request(DISCARD, 0, &encode(&segments), 0).status,
            OK
        );
    }
    assert!(
        start.elapsed() < Duration::from_secs(4),
        "{:?}",
        start.elapsed()
    );
    assert_eq!(disk.q().read(1 << 30, 512), Ok(vec![0; 512]));
}

/// Writes nonsense over the descriptors, headers and indirect tables of a slot until told to stop.
/// Sectors it names are below 4096 or far outside the disk.
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
    while !stop.load(Ordering::Relaxed) {
        let addr = addresses[random.below(5) as usize];
        let len = [0, 1, 16, 512, 513, 4096, u32::MAX][random.below(7) as usize];
        let flags = random.below(8) as u16;
        let at = [ring.desc, ring.area(TABLE)][random.below(2) as usize] + 16 * random.below(4);
        ring.write_desc(at, addr, len, flags, random.below(5) as u16);
        let sector = [random.below(4096), 1 << 55, u64::MAX][random.below(3) as usize];
        let header = request_header(kinds[random.below(5) as usize], sector);
        ring.mem.write(ring.area(HEADER), &header);
    }
}

#[test]
fn a_guest_that_rewrites_its_requests_while_they_are_served_harms_nobody() {
    let seed = seed();
    let (_ramblk, mut disk) = attach_with(ALL);
    // A second view of queue 0's memory, to write into it from another thread.
    let view = Ring::new(&disk.mem, 0, SIZE, true);
    let stop = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stop);
    let flipper = std::thread::spawn(move || rewrite(&view, &flag, seed));
    let end = Instant::now() + Duration::from_millis(1500);
    let mut restarts = 0;
    while Instant::now() < end {
        for head in 0..64 {
            disk.q().put(head % 4);
        }
        disk.q().publish();
        disk.q().kick();
        while disk.q().wait_for(Duration::from_millis(2)).is_some() {}
        if disk.q().broken_within(Duration::ZERO) {
            disk.client.stop(0);
            disk.q().begin_at(0);
            disk.client.start(&disk.queues[0]);
            restarts += 1;
        }
        let kept = disk.queues[1].read(KEPT, 8192);
        assert!(kept == Ok(pattern(8192, 42)), "RAMBLK_SEED={seed}");
    }
    stop.store(true, Ordering::Relaxed);
    flipper.join().unwrap();
    assert!(
        restarts > 0,
        "nothing that was written broke the ring, RAMBLK_SEED={seed}"
    );
}
