//! Guests that break the rules. A request with an invalid chain fails alone. A ring with invalid
//! indexes or heads stops and signals its error descriptor. No other front end notices either.

use std::time::{Duration, Instant};

use crate::driver::data::pattern;
use crate::driver::disk::{ALL, HEADER, STATUS, TABLE};
use crate::driver::kind::{IN, OUT};
use crate::driver::memory::MIB;
use crate::driver::ring::{INDIRECT, NEXT, Ring, Used, WRITE, readable_at, writable_at};
use crate::driver::status::{IOERR, OK, UNTOUCHED};
use crate::victim::{EDGE, HOLE, KEPT, MINE, SIZE, Victim};

const SECONDS: Duration = Duration::from_secs(5);

/// Break queue 0 with `damage`, and check what stops.
fn stops_the_queue(victim: &Victim, what: &str, damage: impl FnOnce(&mut Ring)) {
    let mut disk = victim.guest(ALL);
    disk.q().write(MINE, &pattern(512, 1)).unwrap();
    let before = disk.q().used_idx();
    damage(disk.q());
    disk.q().kick();
    assert!(
        disk.q().broken_within(SECONDS),
        "{what}: the error descriptor is silent"
    );
    assert_eq!(disk.q().used_idx(), before, "{what}: something completed");
    // The queue has stopped for good: kicks change nothing.
    disk.q().kick();
    std::thread::sleep(Duration::from_millis(5));
    assert_eq!(
        disk.q().used_idx(),
        before,
        "{what}: something completed later"
    );
    // The other queue, the connection and the honest front end go on.
    assert_eq!(
        disk.queues[1].read(KEPT, 8192),
        Ok(pattern(8192, 42)),
        "{what}"
    );
    assert!(disk.client.answers(), "{what}: the connection is gone");
    victim.honest.gets_on(what);
    // After a reset by the driver this queue works again.
    disk.client.stop(0);
    disk.q().begin_at(0);
    disk.client.start(&disk.queues[0]);
    assert_eq!(
        disk.q().read(KEPT, 8192),
        Ok(pattern(8192, 42)),
        "{what}: no restart"
    );
}

/// Submit an invalid request on queue 0, and check that it fails with that status, if its byte can
/// be found, and that the queue goes on.
fn fails_by_itself(
    victim: &Victim,
    what: &str,
    status: Option<u8>,
    damage: impl FnOnce(&mut Ring),
) {
    let mut disk = victim.guest(ALL);
    let q = disk.q();
    q.mem.fill(q.area(STATUS), 1, UNTOUCHED);
    damage(q);
    q.kick();
    let used = q.wait_for(SECONDS);
    assert_eq!(used, Some(Used { id: 0, len: 0 }), "{what}");
    assert_eq!(q.status(), status.unwrap_or(UNTOUCHED), "{what}: status");
    assert!(!q.broken_within(Duration::ZERO), "{what}: queue is broken");
    assert_eq!(q.read(KEPT, 8192), Ok(pattern(8192, 42)), "{what}: next");
    assert!(disk.client.answers(), "{what}: the connection is gone");
    victim.honest.gets_on(what);
}

/// Publish a head whose chain was prepared.
fn offer(ring: &mut Ring, head: u16) {
    ring.put(head);
    ring.publish();
}

/// A whole read request in an indirect table; returns the size of the table in bytes.
fn table_for_a_read(ring: &Ring) -> u32 {
    let pieces = ring.lay_out(IN, 0, &[], 512);
    ring.indirect(0, &[], ring.area(TABLE), &pieces, 0);
    48
}

#[test]
fn a_loop_of_direct_descriptors_fails_by_itself() {
    let victim = Victim::new();
    for len in [1u16, 2, 3, 255, 256] {
        fails_by_itself(&victim, &format!("loop of {len}"), None, |ring| {
            let at = ring.area(HEADER);
            (0..len).for_each(|i| ring.set_desc(i, at, 1, NEXT, (i + 1) % len));
            offer(ring, 0);
        });
    }
    fails_by_itself(&victim, "loop with a status", Some(IOERR), |ring| {
        ring.set_desc(0, ring.area(HEADER), 16, NEXT, 1);
        ring.set_desc(1, ring.area(STATUS), 1, WRITE | NEXT, 0);
        offer(ring, 0);
    });
}

#[test]
fn a_loop_in_an_indirect_table_fails_by_itself() {
    let victim = Victim::new();
    for len in [1u16, 2, 256] {
        fails_by_itself(&victim, &format!("loop of {len}"), None, |ring| {
            let (at, table) = (ring.area(HEADER), ring.area(TABLE));
            for i in 0..len {
                ring.write_desc(table + 16 * u64::from(i), at, 1, NEXT, (i + 1) % len);
            }
            ring.set_desc(0, table, 16 * u32::from(len), INDIRECT, 0);
            offer(ring, 0);
        });
    }
}

#[test]
fn a_next_outside_the_table_fails_by_itself() {
    let victim = Victim::new();
    for next in [SIZE, SIZE + 1, 0x8000, 0xffff] {
        fails_by_itself(&victim, &format!("next {next}"), None, |ring| {
            ring.set_desc(0, ring.area(HEADER), 16, NEXT, next);
            offer(ring, 0);
        });
        // As from a driver that leaves the flag set on its last descriptor.
        let what = format!("next {next} behind the status");
        fails_by_itself(&victim, &what, Some(IOERR), |ring| {
            ring.set_desc(0, ring.area(HEADER), 16, NEXT, 1);
            ring.set_desc(1, ring.area(STATUS), 1, WRITE | NEXT, next);
            offer(ring, 0);
        });
        let what = format!("next {next} in an indirect table");
        fails_by_itself(&victim, &what, None, |ring| {
            let table = ring.area(TABLE);
            ring.write_desc(table, ring.area(HEADER), 16, NEXT, next);
            ring.set_desc(0, table, 32, INDIRECT, 0);
            offer(ring, 0);
        });
    }
}

#[test]
fn a_head_outside_the_table_stops_the_queue() {
    let victim = Victim::new();
    for head in [SIZE, SIZE + 1, 0x8000, 0xffff] {
        stops_the_queue(&victim, &format!("head {head}"), |ring| offer(ring, head));
    }
}

#[test]
fn an_available_index_that_jumps_further_than_the_ring_is_long_stops_the_queue() {
    let victim = Victim::new();
    for jump in [SIZE + 1, 0x8000, 0xffff] {
        stops_the_queue(&victim, &format!("jump of {jump}"), |ring| {
            let pieces = ring.lay_out(IN, 0, &[], 512);
            ring.direct(0, &pieces);
            ring.next_avail = ring.next_avail.wrapping_add(jump);
            ring.publish();
        });
    }
}

#[test]
fn an_indirect_table_inside_another_fails_by_itself() {
    let victim = Victim::new();
    fails_by_itself(&victim, "nested table", None, |ring| {
        let len = table_for_a_read(ring);
        let outer = ring.area(TABLE) + 0x4000;
        ring.write_desc(outer, ring.area(TABLE), len, INDIRECT, 0);
        ring.set_desc(0, outer, 16, INDIRECT, 0);
        offer(ring, 0);
    });
    fails_by_itself(&victim, "nested table behind a header", None, |ring| {
        let len = table_for_a_read(ring);
        let outer = ring.area(TABLE) + 0x4000;
        ring.write_desc(outer, ring.area(HEADER), 16, NEXT, 1);
        ring.write_desc(outer + 16, ring.area(TABLE), len, INDIRECT, 0);
        ring.set_desc(0, outer, 32, INDIRECT, 0);
        offer(ring, 0);
    });
}

#[test]
fn an_indirect_table_of_impossible_length_fails_by_itself() {
    let victim = Victim::new();
    // Empty, less than one entry, no whole number of entries, absurd.
    for len in [0, 1, 8, 15, 17, 47, 49, 0xffff_fff1, u32::MAX] {
        let what = format!("table of {len} bytes");
        fails_by_itself(&victim, &what, None, |ring| {
            table_for_a_read(ring);
            ring.set_desc(0, ring.area(TABLE), len, INDIRECT, 0);
            offer(ring, 0);
        });
    }
}

#[test]
fn an_indirect_descriptor_with_a_successor_fails_by_itself() {
    let victim = Victim::new();
    fails_by_itself(&victim, "INDIRECT and NEXT", None, |ring| {
        let len = table_for_a_read(ring);
        ring.set_desc(0, ring.area(TABLE), len, INDIRECT | NEXT, 1);
        ring.set_desc(1, ring.area(STATUS), 1, WRITE, 0);
        offer(ring, 0);
    });
}

#[test]
fn an_indirect_table_outside_memory_fails_by_itself() {
    let victim = Victim::new();
    for at in [
        HOLE,
        EDGE,
        EDGE - 24,
        EDGE - 1,
        4112 * MIB - 8,
        u64::MAX - 15,
        u64::MAX,
        1 << 63,
    ] {
        fails_by_itself(&victim, &format!("table at {at:#x}"), None, |ring| {
            if at < EDGE {
                // As much of a valid table as there is room for.
                let pieces = ring.lay_out(IN, 0, &[], 512);
                ring.indirect(0, &[], ring.area(TABLE), &pieces, 0);
                let bytes = ring.mem.read(ring.area(TABLE), (EDGE - at) as usize);
                ring.mem.write(at, &bytes);
            }
            ring.set_desc(0, at, 48, INDIRECT, 0);
            offer(ring, 0);
        });
    }
}

#[test]
fn good_requests_before_a_broken_one_are_completed() {
    let victim = Victim::new();
    let mut disk = victim.guest(ALL);
    let q = disk.q();
    let pieces = q.lay_out(OUT, MINE + 5, &pattern(512, 9), 0);
    q.direct(10, &pieces);
    q.put(10);
    q.put(SIZE);
    q.publish();
    q.kick();
    assert_eq!(q.wait().id, 10);
    assert!(q.broken_within(SECONDS));
    assert_eq!(disk.queues[1].read(MINE + 5, 512), Ok(pattern(512, 9)));
}

#[test]
fn one_head_twice_at_once_harms_nobody() {
    let victim = Victim::new();
    let mut disk = victim.guest(ALL);
    let q = disk.q();
    let pieces = q.lay_out(IN, KEPT, &[], 8192);
    q.direct(0, &pieces);
    for _ in 0..8 {
        q.put(0);
    }
    q.publish();
    q.kick();
    // Both are right: eight completions, or a refusal as a broken ring. A ninth completion is
    // wrong.
    let deadline = Instant::now() + SECONDS;
    while q.used_idx() < 8 && !q.broken_within(Duration::ZERO) {
        assert!(Instant::now() < deadline, "neither completed nor refused");
        std::thread::sleep(Duration::from_millis(1));
    }
    std::thread::sleep(Duration::from_millis(10));
    assert!(q.used_idx() <= 8);
    assert_eq!(disk.queues[1].read(KEPT, 8192), Ok(pattern(8192, 42)));
    drop(disk);
    victim.is_unharmed("one head eight times");
}

#[test]
fn rings_and_buffers_on_top_of_each_other_harm_nobody() {
    let victim = Victim::new();
    let mut disk = victim.guest(ALL);
    // Reads into the ring's own parts: the guest destroys its own queue, and nothing else.
    let parts = [disk.q().used, disk.q().avail, disk.q().desc];
    for part in parts {
        let q = disk.q();
        let pieces = q.lay_out(IN, KEPT, &[], 0);
        q.direct(0, &[pieces[0], writable_at(part, 4096), pieces[1]]);
        q.put(0);
        q.publish();
        q.kick();
        std::thread::sleep(Duration::from_millis(20));
        assert_eq!(disk.queues[1].read(KEPT, 8192), Ok(pattern(8192, 42)));
        disk.client.stop(0);
        disk.q().begin_at(0);
        disk.client.start(&disk.queues[0]);
        assert_eq!(disk.q().read(KEPT, 8192), Ok(pattern(8192, 42)));
    }
    // All three parts in one place.
    disk.client.stop(0);
    disk.q().begin_at(0);
    let all = disk.q().desc;
    (disk.q().avail, disk.q().used) = (all, all);
    disk.client.start(&disk.queues[0]);
    for _ in 0..100 {
        disk.q().put(0);
        disk.q().publish();
        disk.q().kick();
    }
    assert_eq!(disk.queues[1].read(KEPT, 8192), Ok(pattern(8192, 42)));
    drop(disk);
    victim.is_unharmed("overlapping rings");
}

#[test]
fn one_head_again_and_again_across_batches_harms_nobody() {
    let victim = Victim::new();
    let mut disk = victim.guest(ALL);
    let q = disk.q();
    let pieces = q.lay_out(IN, KEPT, &[], 8192);
    q.direct(0, &pieces);
    // Never more than the ring holds, and always at least one of that head outstanding.
    let mut offered = 0u16;
    let deadline = Instant::now() + SECONDS;
    while offered < 5000 && !q.broken_within(Duration::ZERO) {
        assert!(
            Instant::now() < deadline,
            "neither completed nor refused: {offered}"
        );
        while offered.wrapping_sub(q.used_idx()) < SIZE {
            q.put(0);
            q.publish();
            q.kick();
            offered += 1;
        }
    }
    std::thread::sleep(Duration::from_millis(10));
    assert!(
        q.used_idx() <= offered,
        "more completions than heads: {} of {offered}",
        q.used_idx()
    );
    assert_eq!(disk.queues[1].read(KEPT, 8192), Ok(pattern(8192, 42)));
    drop(disk);
    victim.is_unharmed("one head thousands of times");
}

#[test]
fn a_loop_of_descriptors_without_a_byte_fails_by_itself() {
    let victim = Victim::new();
    for len in [1u16, 2, 256] {
        fails_by_itself(&victim, &format!("loop of {len}"), None, |ring| {
            (0..len).for_each(|i| ring.set_desc(i, HOLE, 0, NEXT, (i + 1) % len));
            offer(ring, 0);
        });
        let what = format!("loop of {len} in a table");
        fails_by_itself(&victim, &what, None, |ring| {
            let table = ring.area(TABLE);
            for i in 0..len {
                ring.write_desc(table + 16 * u64::from(i), HOLE, 0, NEXT, (i + 1) % len);
            }
            ring.set_desc(0, table, 16 * u32::from(len), INDIRECT, 0);
            offer(ring, 0);
        });
    }
}

#[test]
fn a_chain_longer_than_any_request_fails_by_itself_with_its_status() {
    let victim = Victim::new();
    // The longest chain that is served, one more, the longest in which the status is searched, and
    // longer.
    for (direct, rest, status) in [
        (0, 1025, Some(IOERR)),
        (255, 770, Some(IOERR)),
        (0, 4096, Some(IOERR)),
        (0, 4097, None),
        (0, 60_000, None),
    ] {
        let what = format!("{direct} descriptors and a table of {rest}");
        fails_by_itself(&victim, &what, status, |ring| {
            let direct = vec![readable_at(ring.area(HEADER), 1); direct];
            let mut table = vec![readable_at(ring.area(HEADER), 1); rest];
            table[rest - 1] = writable_at(ring.area(STATUS), 1);
            ring.indirect(0, &direct, ring.area(TABLE), &table, 0);
            offer(ring, 0);
        });
    }
    let mut disk = victim.guest(ALL);
    let q = disk.q();
    let pieces = q.lay_out(IN, KEPT, &[], 8192);
    let mut longest = vec![pieces[0]; 1024];
    longest[1..].fill(readable_at(q.area(HEADER), 0));
    longest[1022..].copy_from_slice(&pieces[1..]);
    q.indirect(0, &[], q.area(TABLE), &longest, 0);
    assert_eq!((q.complete(0), q.status()), (8193, OK));
}

#[test]
fn an_indirect_table_is_served_at_every_length_that_is_one_and_at_no_other() {
    let victim = Victim::new();
    let mut disk = victim.guest(ALL);
    let whole = (3..=300).map(|entries| 16 * entries);
    let near = [3u32, 64, 256, 1024, 4096].map(|entries| 16 * entries);
    let near = near.iter().flat_map(|len| len - 15..len + 16);
    let powers = (5..32).flat_map(|bit| [(1u32 << bit) - 1, 1 << bit, (1 << bit) + 1]);
    for len in (0..48).chain(whole).chain(near).chain(powers) {
        let served = len.is_multiple_of(16) && len >= 48;
        let q = disk.q();
        table_for_a_read(q);
        q.set_desc(0, q.area(TABLE), len, INDIRECT, 0);
        // 16 and 32 bytes would end in the middle of the chain.
        if served {
            assert_eq!(q.complete(0), 513, "a table of {len} bytes");
            continue;
        }
        assert_eq!((q.complete(0), q.status()), (0, UNTOUCHED), "{len} bytes");
    }
    drop(disk);
    victim.is_unharmed("tables of all lengths");
}
