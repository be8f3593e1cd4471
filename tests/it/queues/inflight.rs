//! The in-flight region itself: its layout, its content while rings work and after they stopped,
//! and regions that don't fit.

use std::os::unix::fs::{FileExt, MetadataExt};
use std::time::Duration;

use rustix::fs::{SealFlags, fcntl_get_seals};

use crate::driver::client::{Client, code, state};
use crate::driver::disk::{ALL, DATA, Disk};
use crate::driver::inflight::{ENTRY, HEADER, Inflight};
use crate::driver::kind::IN;
use crate::driver::load::{prepare_reads, publish_reads, take_reads};
use crate::driver::offer::works;
use crate::driver::ring::{Ring, writable_at};
use crate::harness::{Ramblk, eventually};

#[test]
fn the_region_is_laid_out_as_the_specification_says() {
    let ramblk = Ramblk::run(&["--queues", "64"]);
    let client = Client::negotiated(ramblk.socket(), ALL);
    for queues in [1, 2, 3, 16, 64] {
        for entries in [1, 2, 4, 64, 128, 256, 1024, 32768] {
            let region = Inflight::ask(&client, queues, entries);
            let what = format!("{queues} queues of {entries}: {region:?}");
            // Back ends of all makes rely on these strides, and find the queues by them.
            let stride = (HEADER + ENTRY * u64::from(entries)).next_multiple_of(64);
            assert_eq!(region.stride(), stride, "{what}");
            let room = if entries < 1024 { 16_448 } else { 0 };
            let size = (stride + room) * u64::from(queues);
            assert_eq!(region.size, size, "{what}");
            assert_eq!(region.offset % 4096, 0, "{what}");
            let file = region.file.metadata().unwrap().len();
            assert!(file >= region.offset + region.size, "{what} in {file}");
            let mut bytes = vec![0xee; region.size as usize];
            region
                .file
                .read_exact_at(&mut bytes, region.offset)
                .unwrap();
            assert!(bytes.iter().all(|byte| *byte == 0), "{what} is not new");
            let seals = fcntl_get_seals(&region.file).unwrap();
            assert!(seals.contains(SealFlags::SHRINK), "{what}: {seals:?}");
            assert!(region.file.set_len(region.size - 1).is_err(), "{what}");
        }
    }
    assert!(client.answers());
}

/// QEMU's microvm and Arm's virt: virtio-mmio drivers choose the size of their rings, and QEMU
/// requests a region for its own `queue-size`.
#[test]
fn a_ring_of_1024_where_qemu_asked_for_128_is_served_and_survives_the_back_end() {
    let (old, new) = (Ramblk::run(&[]), Ramblk::run(&[]));
    let disk = Disk::prepare(old.socket(), ALL);
    let region = Inflight::ask(&disk.client, 2, 128);
    region.give(&disk.client);
    let mut rings: Vec<_> = (0..2)
        .map(|i| Ring::new(&disk.mem, i, 1024, true))
        .collect();
    for ring in &mut rings {
        disk.client.start(ring);
        works(ring, 0);
        works(ring, 1);
    }
    let track = region.long_queue(1);
    let header = (track.version(), track.desc_num(), track.used_idx());
    assert_eq!(header, (1, 1024, rings[1].used_idx()));
    assert!(region.queue(0).version() == 0 && region.queue(1).version() == 0);
    // As if the back end had died with two requests, the first of which it had taken.
    disk.client.stop(1);
    drop(old);
    let ring = &mut rings[1];
    let pieces = ring.lay_out(IN, 0, &[], 512);
    for head in [500, 900] {
        ring.direct(head, &pieces);
        ring.put(head);
    }
    ring.publish();
    track.set_inflight(500, true);
    track.set_counter(500, 7);
    let next = Client::negotiated(new.socket(), ALL);
    next.set_memory(&disk.mem);
    region.give(&next);
    next.start(ring);
    ring.kick();
    let back = [ring.wait().id, ring.wait().id];
    assert_eq!(back, [500, 900]);
    assert!(track.marked().is_empty(), "{:?}", track.marked());
}

/// A region from ramblk 0.1.0 or another back end: exactly as long as requested.
#[test]
fn a_ring_that_its_region_has_no_room_for_is_served_without_it() {
    let ramblk = Ramblk::run(&[]);
    let mut disk = Disk::prepare(ramblk.socket(), ALL);
    let region = Inflight::new(1, 128);
    region.give(&disk.client);
    for size in [1024, 128, 256, 128] {
        let mut ring = Ring::new(&disk.mem, 0, size, true);
        ring.mem.fill(ring.desc, 1 << 20, 0);
        disk.client.start(&ring);
        works(&mut ring, 0);
        let track = region.queue(0);
        assert_eq!(track.version(), u16::from(size == 128), "{size}");
        assert!(track.marked().is_empty(), "{size}: {:?}", track.marked());
        disk.client.stop(0);
        // Requests of a driver that is gone are dropped.
        track.set_inflight(5, size == 128);
    }
    let longer = "longer than the front end's in-flight region has room for";
    assert!(ramblk.stderr().contains(longer), "{}", ramblk.stderr());
    disk.queues.clear();
}

/// Firmware uses a short ring, its operating system a long one, and their VMM one region.
#[test]
fn a_ring_that_is_made_again_with_another_length_begins_anew() {
    let ramblk = Ramblk::run(&[]);
    let disk = Disk::prepare(ramblk.socket(), ALL);
    let region = Inflight::ask(&disk.client, 1, 256);
    region.give(&disk.client);
    for size in [128, 1024, 512, 64, 256, 1024] {
        let mut ring = Ring::new(&disk.mem, 0, size, true);
        ring.mem.fill(ring.desc, 1 << 20, 0);
        disk.client.start(&ring);
        works(&mut ring, 0);
        disk.client.stop(0);
        // Requests of a driver that is gone are dropped.
        let (track, other) = match size {
            512.. => (region.long_queue(0), region.queue(0)),
            _ => (region.queue(0), region.long_queue(0)),
        };
        assert_eq!((track.desc_num(), other.version()), (size, 0), "{size}");
        track.set_inflight(5, true);
    }
}

#[test]
fn each_region_that_is_asked_for_is_another_one_and_nothing_of_the_old_ones_is_left() {
    let ramblk = Ramblk::run(&[]);
    let mut disk = Disk::prepare(ramblk.socket(), ALL);
    let regions = [128, 128, 256].map(|entries| Inflight::ask(&disk.client, 1, entries));
    let inodes = regions.each_ref().map(|r| r.file.metadata().unwrap().ino());
    assert!(inodes[0] != inodes[1] && inodes[1] != inodes[2]);
    // The region that is passed back counts, though it isn't the latest.
    regions[1].give(&disk.client);
    let ring = Ring::new(&disk.mem, 0, 128, true);
    disk.client.start(&ring);
    disk.queues.push(ring);
    works(disk.q(), 0);
    disk.client.stop(0);
    let versions = regions.each_ref().map(|region| region.queue(0).version());
    assert_eq!(versions, [0, 1, 0]);
    let (fds, mappings) = (ramblk.fds(), ramblk.mappings());
    for _ in 0..50 {
        Inflight::ask(&disk.client, 4, 256).give(&disk.client);
        regions[1].give(&disk.client);
    }
    eventually("regions that were replaced are given back", || {
        ramblk.fds() <= fds && ramblk.mappings() <= mappings + 1
    });
}

#[test]
fn a_stopped_ring_owes_nothing_and_its_region_says_where_it_stood() {
    let ramblk = Ramblk::run(&[]);
    let disk = Disk::prepare(ramblk.socket(), ALL);
    let region = Inflight::ask(&disk.client, 2, 256);
    region.give(&disk.client);
    let mut ring = Ring::new(&disk.mem, 1, 256, true);
    ring.begin_at(65500);
    disk.client.start(&ring);
    prepare_reads(&ring, 80);
    for round in 0..5 {
        publish_reads(&mut ring, 80);
        ring.kick();
        take_reads(&mut ring, 0..80);
        let base = disk.client.stop(1);
        let track = region.queue(1);
        let header = (track.features(), track.version(), track.desc_num());
        assert_eq!(header, (0, 1, 256), "round {round}");
        assert_eq!(u32::from(track.used_idx()), base, "round {round}");
        assert!(track.marked().is_empty(), "{:?}", track.marked());
        // The list of returned requests begins with the last one.
        let list = std::iter::successors(Some(track.last_batch_head()), |h| Some(track.next(*h)));
        let expected: Vec<u16> = (0..80).rev().map(|i| 3 * i).collect();
        assert_eq!(list.take(80).collect::<Vec<_>>(), expected, "round {round}");
        // Numbered in the order in which they were taken.
        let counters: Vec<_> = (0..80).map(|i| track.counter(3 * i)).collect();
        assert!(counters.is_sorted_by(|a, b| a < b), "{counters:?}");
        disk.client.start(&ring);
    }
    // The other queue's part is unwritten.
    let track = region.queue(0);
    assert!(track.marked().is_empty() && track.last_batch_head() == 0);
}

#[test]
fn a_killed_back_end_leaves_a_region_that_says_what_it_owes() {
    let mut amid = 0;
    for round in 0..60 {
        let ramblk = Ramblk::run(&[]);
        let disk = Disk::prepare(ramblk.socket(), ALL);
        let region = Inflight::ask(&disk.client, 1, 256);
        region.give(&disk.client);
        let mut ring = Ring::new(&disk.mem, 0, 256, true);
        disk.client.start(&ring);
        prepare_reads(&ring, 80);
        for _ in 0..3 {
            publish_reads(&mut ring, 80);
            ring.kick();
            // The driver waits for some batches, so that the region has a history.
            if ring.next_avail < 240 {
                take_reads(&mut ring, 0..80);
            }
        }
        std::thread::sleep(Duration::from_micros(round * 7));
        drop(ramblk);
        let used_idx = ring.used_idx();
        let track = region.queue(0);
        // Requests taken and not returned: the next ones in the order of the ring.
        let owed = track.owed(used_idx);
        let first = used_idx % 80;
        let expected = (0..owed.len() as u16).map(|i| 3 * ((first + i) % 80));
        let what = format!("round {round}, used index {used_idx}, {owed:?}");
        assert!(owed.iter().copied().eq(expected), "{what}");
        assert!(owed.len() <= usize::from(240 - used_idx), "{what}");
        amid += usize::from(used_idx < 240);
    }
    assert!(amid > 0, "it was never killed amid requests");
}

#[test]
fn a_back_end_that_is_killed_in_the_middle_of_a_request_owes_it() {
    let mut owed = 0;
    for _ in 0..20 {
        let ramblk = Ramblk::run(&[]);
        let disk = Disk::prepare(ramblk.socket(), ALL);
        let region = Inflight::ask(&disk.client, 1, 256);
        region.give(&disk.client);
        let mut ring = Ring::new(&disk.mem, 0, 256, true);
        disk.client.start(&ring);
        works(&mut ring, 0);
        // 32 MiB in one request: that takes a while.
        let mut pieces = ring.lay_out(IN, 0, &[], 0);
        let data = writable_at(ring.area(DATA), 256 << 10);
        pieces.splice(1..1, std::iter::repeat_n(data, 126));
        let head = ring.direct(100, &pieces);
        ring.submit(head);
        std::thread::sleep(Duration::from_micros(300));
        drop(ramblk);
        let track = region.queue(0);
        if ring.used_idx() == ring.seen {
            assert!(track.owed(ring.used_idx()).iter().all(|h| *h == head));
            owed += track.owed(ring.used_idx()).len();
        }
    }
    assert!(owed > 0, "it was killed amid requests, and owes none");
}

#[test]
fn a_ring_that_stops_amid_requests_owes_none_of_those_it_took() {
    let ramblk = Ramblk::run(&[]);
    let disk = Disk::prepare(ramblk.socket(), ALL);
    let region = Inflight::ask(&disk.client, 1, 256);
    region.give(&disk.client);
    let mut ring = Ring::new(&disk.mem, 0, 256, true);
    prepare_reads(&ring, 80);
    for round in 0..20 {
        disk.client.start(&ring);
        publish_reads(&mut ring, 80);
        ring.kick();
        std::thread::sleep(Duration::from_micros(round * 37));
        let base = disk.client.stop(0) as u16;
        let track = region.queue(0);
        assert_eq!((track.used_idx(), ring.used_idx()), (base, base));
        assert!(track.marked().is_empty(), "{:?}", track.marked());
        disk.client.set_up(&ring, base);
        disk.client.vring(code::SET_VRING_ENABLE, 0, 1);
        take_reads(&mut ring, 0..80);
        disk.client.stop(0);
    }
}

#[test]
fn a_region_that_a_reset_ring_left_behind_owes_nothing() {
    // The used index of the ring is 0: no lost batch can have begun at 5000 or at 3. So the ring is
    // another driver's, and requests in flight at that time are dropped.
    let ramblk = Ramblk::run(&[]);
    for noted in [5000, 3] {
        let disk = Disk::prepare(ramblk.socket(), ALL);
        let region = Inflight::new(1, 256);
        let track = region.queue(0);
        track.set_version(1);
        track.set_desc_num(256);
        track.set_used_idx(noted);
        for head in [1, 7, 90] {
            track.set_inflight(head, true);
        }
        region.give(&disk.client);
        let mut ring = Ring::new(&disk.mem, 0, 256, true);
        disk.client.start(&ring);
        works(&mut ring, 0);
        assert_eq!(ring.used_idx(), ring.next_avail, "noted {noted}");
        assert_eq!(track.used_idx(), ring.used_idx(), "noted {noted}");
    }
}

#[test]
fn a_region_of_fewer_queues_than_there_are_rings_is_no_region_for_the_others() {
    let ramblk = Ramblk::run(&[]);
    let mut disk = Disk::prepare(ramblk.socket(), ALL);
    let region = Inflight::ask(&disk.client, 1, 64);
    region.give(&disk.client);
    let mut rings: Vec<_> = (0..2).map(|i| Ring::new(&disk.mem, i, 64, true)).collect();
    disk.client.start(&rings[0]);
    works(&mut rings[0], 0);
    // Refused or served without a region, but never with a write behind the region's end.
    disk.client.set_up(&rings[1], 0);
    let enable = state(1, 1);
    if disk.client.acked(code::SET_VRING_ENABLE, &enable, &[]) == Some(0) {
        works(&mut rings[1], 0);
        works(&mut rings[0], 1);
    }
    let length = region.file.metadata().unwrap().len();
    let end = region.offset + region.size;
    let mut rest = vec![0; (length - end) as usize];
    region.file.read_exact_at(&mut rest, end).unwrap();
    assert!(rest.iter().all(|byte| *byte == 0), "written behind its end");
    disk.queues.clear();
}

#[test]
fn a_device_that_is_reset_in_the_middle_of_a_request_owes_nothing() {
    let ramblk = Ramblk::run(&[]);
    for _ in 0..20 {
        let mut disk = Disk::prepare(ramblk.socket(), ALL);
        let region = Inflight::ask(&disk.client, 1, 256);
        region.give(&disk.client);
        let mut ring = Ring::new(&disk.mem, 0, 256, true);
        disk.client.start(&ring);
        let mut pieces = ring.lay_out(IN, 0, &[], 0);
        let data = writable_at(ring.area(DATA), 256 << 10);
        pieces.splice(1..1, std::iter::repeat_n(data, 126));
        let head = ring.direct(100, &pieces);
        ring.submit(head);
        std::thread::sleep(Duration::from_micros(300));
        disk.client.tell(code::RESET_DEVICE, &[], &[]);
        // Another driver with its own requests.
        ring.mem.fill(ring.desc, 4096, 0);
        ring.begin_at(0);
        disk.client.set_features(disk.client.features());
        disk.client.start(&ring);
        works(&mut ring, 0);
        disk.queues.clear();
    }
}
