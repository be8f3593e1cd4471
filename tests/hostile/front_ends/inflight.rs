//! Regions for requests in flight that are invalid, too short, full of garbage, or change.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::driver::client::{PATIENCE, code, state};
use crate::driver::data::pattern;
use crate::driver::disk::{ALL, Disk};
use crate::driver::inflight::{ENTRY, HEADER, Inflight, description};
use crate::driver::memory::Memory;
use crate::driver::ring::{Ring, new_eventfd};
use crate::driver::wire::Answer;
use crate::victim::{MINE, Victim};

/// Impossible claims about a region: what is wrong, and SET_INFLIGHT_FD's payload.
fn impossible() -> Vec<(&'static str, Vec<u8>)> {
    let stride = (HEADER + ENTRY * 256).next_multiple_of(64);
    vec![
        ("no queues", description(stride, 0, 0, 256)),
        ("no entries", description(stride, 0, 1, 0)),
        ("more queues than fit", description(stride, 0, 2, 256)),
        ("more entries than fit", description(stride, 0, 1, 512)),
        ("the most of both", description(u64::MAX, 0, 65535, 65535)),
        ("nothing", description(0, 0, 1, 256)),
        ("a byte too few", description(stride - 1, 0, 1, 256)),
        ("behind its file", description(stride, 1 << 40, 1, 256)),
        (
            "across the file's end",
            description(stride, 65536 - 64, 1, 256),
        ),
        (
            "an end that wraps",
            description(stride, u64::MAX - 4095, 1, 256),
        ),
        ("300 entries", description(1 << 16, 0, 1, 300)),
    ]
}

#[test]
fn regions_that_can_not_be_are_refused() {
    let victim = Victim::new();
    for (what, payload) in impossible() {
        let region = Inflight::new(1, 256);
        region.file.set_len(65536).unwrap();
        let fds = [region.file.as_fd()];
        let client = victim.client();
        let refused = client.refused(code::SET_INFLIGHT_FD, &payload, &fds);
        assert!(refused, "{what}");
    }
    for (queues, entries) in [(0, 256), (1, 0), (65535, 32768), (1, 300), (1, 65535)] {
        let request = description(0, 0, queues, entries);
        let client = victim.client();
        client.send(code::GET_INFLIGHT_FD, 0, &request, &[]);
        // A refusal has no descriptor, nor has the end of the connection.
        let answer = client.wire.receive(PATIENCE);
        if let Answer::Message(reply) = answer {
            assert!(reply.fds.is_empty(), "{queues} queues of {entries}");
        }
    }
    victim.is_unharmed("regions that can't be");
}

#[test]
fn a_region_without_a_descriptor_or_in_no_file_is_refused() {
    let victim = Victim::new();
    let region = Inflight::new(1, 256);
    let (payload, event) = (region.description(), new_eventfd());
    let two = [region.file.as_fd(), region.file.as_fd()];
    for fds in [&[][..], &two[..], &[event.as_fd()]] {
        let refused = victim
            .client()
            .refused(code::SET_INFLIGHT_FD, &payload, fds);
        assert!(refused, "{} descriptors", fds.len());
    }
    victim.is_unharmed("regions without a file");
}

/// Content that a ring of 256 entries can't continue from.
fn wrong(what: &str) -> Inflight {
    let region = Inflight::new(1, 256);
    let track = region.queue(0);
    track.set_version(if what == "another version" { 2 } else { 1 });
    track.set_desc_num(256);
    match what {
        "a list out of the table" => {
            track.set_used_idx(0u16.wrapping_sub(3));
            track.set_last_batch_head(256);
        }
        "a list that leaves the table" => {
            track.set_used_idx(0u16.wrapping_sub(3));
            track.set_last_batch_head(7);
            track.set_next(7, 65535);
        }
        _ => {}
    }
    region
}

#[test]
fn a_ring_does_not_go_on_from_a_region_that_is_not_its_own_and_nobody_else_is_harmed() {
    let victim = Victim::new();
    for what in [
        "another version",
        "a list out of the table",
        "a list that leaves the table",
    ] {
        let (client, memory) = victim.with_memory();
        let mut ring = Ring::new(&Arc::new(Memory::standard()), 0, 256, true);
        client.set_memory(&ring.mem);
        drop(memory);
        let region = wrong(what);
        let fds = [region.file.as_fd()];
        let refused = client.refused(code::SET_INFLIGHT_FD, &region.description(), &fds);
        if !refused {
            client.send(code::SET_VRING_NUM, 0, &state(0, 256), &[]);
            client.send(code::SET_VRING_ADDR, 0, &ring.addresses(), &[]);
            let index = 0u64.to_le_bytes();
            client.send(code::SET_VRING_CALL, 0, &index, &[ring.call.as_fd()]);
            client.send(code::SET_VRING_ERR, 0, &index, &[ring.err.as_fd()]);
            client.send(code::SET_VRING_KICK, 0, &index, &[ring.kick.as_fd()]);
            let enable = state(0, 1);
            client.send(code::SET_VRING_ENABLE, 0, &enable, &[]);
            let patience = Duration::from_secs(2);
            let broken = !client.answers() || ring.broken_within(patience);
            assert!(broken, "{what}: the ring goes on");
        }
        assert_eq!((ring.used_idx(), ring.pop()), (0, None), "{what}");
    }
    victim.is_unharmed("regions of others");
}

#[test]
fn a_region_that_owes_more_than_the_driver_ever_asked_for_harms_nobody_else() {
    let victim = Victim::new();
    let (client, memory) = victim.with_memory();
    let ring = Ring::new(&Arc::new(memory), 0, 256, true);
    client.set_memory(&ring.mem);
    let region = Inflight::new(1, 256);
    region.queue(0).set_version(1);
    region.queue(0).set_desc_num(256);
    (0..256).for_each(|head| region.queue(0).set_inflight(head, true));
    region.give(&client);
    client.set_up(&ring, 0);
    // It may be refused.
    client.acked(code::SET_VRING_ENABLE, &state(0, 1), &[]);
    drop(client);
    victim.is_unharmed("a region of requests that there are not");
}

/// A working queue of 256, with a region that the front end can damage.
fn tracked(victim: &Victim) -> (Disk, Inflight) {
    let disk = Disk::prepare(victim.ramblk.socket(), ALL);
    let region = Inflight::new(1, 256);
    region.give(&disk.client);
    let ring = Ring::new(&disk.mem, 0, 256, true);
    disk.client.start(&ring);
    let mut disk = disk;
    disk.queues.push(ring);
    (disk, region)
}

#[test]
fn a_region_that_is_rewritten_while_it_is_used_harms_nobody_else() {
    let victim = Victim::new();
    let (mut disk, region) = tracked(&victim);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let track = region.queue(0);
            for n in (0..=u16::MAX).cycle() {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                track.set_last_batch_head(n.wrapping_mul(40_503));
                track.set_used_idx(n.wrapping_mul(30_011));
                track.set_desc_num(n);
                track.set_inflight(n % 256, n % 3 == 0);
                track.set_next(n % 256, n.wrapping_mul(7919));
            }
        });
        // A region is read when a ring starts; while the ring runs it is only written.
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(1) {
            for i in 0..100u64 {
                let data = pattern(512, i as u8);
                disk.q().write(MINE + i, &data).unwrap();
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    let ring = &disk.queues[0];
    disk.client.acked(code::GET_VRING_BASE, &state(0, 0), &[]);
    let _ = disk
        .client
        .refused(code::SET_VRING_KICK, &[0; 8], &[ring.kick.as_fd()]);
    drop(disk);
    victim.is_unharmed("a region that is rewritten");
}

#[test]
fn a_region_that_is_cut_off_costs_its_session_and_no_other() {
    let victim = Victim::new();
    let (mut disk, region) = tracked(&victim);
    disk.q().write(MINE, &pattern(512, 1)).unwrap();
    region.file.set_len(0).unwrap();
    let pieces = disk.q().lay_out(crate::driver::kind::FLUSH, 0, &[], 0);
    disk.q().direct(0, &pieces);
    disk.q().put(0);
    disk.q().publish();
    disk.q().kick();
    assert!(disk.client.closes_within(PATIENCE), "the session goes on");
    drop(disk);
    victim.is_unharmed("a region that is cut off");
}
