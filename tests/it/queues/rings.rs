//! Split rings (virtio 1.3 §2.7): every size, the wrap of the indexes, and notifications in both
//! directions, none of which may be missing.

use std::sync::Arc;
use std::time::Duration;

use crate::driver::data::{Random, pattern, seed};
use crate::driver::disk::{ALL, Disk, HEADER, STATUS, TABLE, request_header};
use crate::driver::feature;
use crate::driver::kind::{FLUSH, IN};
use crate::driver::memory::MIB;
use crate::driver::ring::{INDIRECT, NEXT, Ring, WRITE, drain, readable_at, writable_at};
use crate::driver::status::{OK, UNTOUCHED};
use crate::driver::wire::readable;
use crate::harness::Ramblk;

const SIZES: [u16; 8] = [1, 2, 4, 8, 128, 256, 1024, 32768];

fn attach(features: u64, queues: u32, size: u16) -> (Ramblk, Disk) {
    let ramblk = Ramblk::run(&[]);
    let disk = Disk::attach_with(ramblk.socket(), features, queues, size);
    (ramblk, disk)
}

/// Make every descriptor of the ring a whole flush request: all refer to one indirect table.
fn fill_with_flushes(ring: &Ring) {
    let table = ring.area(TABLE);
    ring.mem.write(ring.area(HEADER), &request_header(FLUSH, 0));
    ring.mem.fill(ring.area(STATUS), 1, UNTOUCHED);
    ring.write_desc(table, ring.area(HEADER), 16, NEXT, 1);
    ring.write_desc(table + 16, ring.area(STATUS), 1, WRITE, 0);
    for slot in 0..ring.size {
        ring.set_desc(slot, table, 32, INDIRECT, 0);
    }
}

/// Submit `count` of the flushes at once, and wait until each head has completed once.
fn batch(ring: &mut Ring, count: u16) {
    let heads = 0..count;
    heads.clone().for_each(|head| ring.put(head));
    ring.publish();
    ring.kick();
    let mut back: Vec<u32> = heads.clone().map(|_| ring.wait().id).collect();
    back.sort_unstable();
    assert!(
        back.into_iter().eq(heads.map(u32::from)),
        "heads of {count} requests at once"
    );
    assert_eq!(ring.status(), OK);
}

#[test]
fn every_ring_size_moves_data() {
    let ramblk = Ramblk::run(&[]);
    for size in SIZES {
        for features in [ALL, ALL & !feature::EVENT_IDX] {
            let mut disk = Disk::attach_with(ramblk.socket(), features, 1, size);
            for i in 0..10 {
                disk.q()
                    .write(i, &pattern(4096, size as u8 + i as u8))
                    .unwrap();
                let read = disk.q().read(i, 4096);
                assert_eq!(
                    read,
                    Ok(pattern(4096, size as u8 + i as u8)),
                    "ring of {size}"
                );
            }
        }
    }
}

#[test]
fn a_full_ring_completes_at_every_size() {
    let ramblk = Ramblk::run(&[]);
    for size in SIZES {
        for features in [ALL, ALL & !feature::EVENT_IDX] {
            let mut disk = Disk::attach_with(ramblk.socket(), features, 1, size);
            fill_with_flushes(disk.q());
            // More than one round, so that slots are reused.
            for _ in 0..3 {
                batch(disk.q(), size);
            }
        }
    }
}

#[test]
fn the_indices_wrap_at_65536() {
    let ramblk = Ramblk::run(&[]);
    for size in [1, 4, 256, 32768] {
        for features in [ALL, ALL & !feature::EVENT_IDX] {
            let mut disk = Disk::prepare(ramblk.socket(), features);
            let event_idx = features & feature::EVENT_IDX != 0;
            let mut ring = Ring::new(&disk.mem, 0, size, event_idx);
            ring.begin_at(0xfff0);
            disk.client.start(&ring);
            disk.queues.push(ring);
            for i in 0..32 {
                disk.q().write(i, &pattern(512, i as u8)).unwrap();
                assert_eq!(
                    disk.q().read(i, 512),
                    Ok(pattern(512, i as u8)),
                    "ring of {size}"
                );
            }
            assert_eq!(disk.q().used_idx(), 0x30);
            assert_eq!(disk.client.stop(0), 0x30);
        }
    }
}

#[test]
fn a_batch_may_lie_across_the_wrap() {
    let ramblk = Ramblk::run(&[]);
    for start in [0xfff0, 0xff80, 0xffff] {
        let mut disk = Disk::prepare(ramblk.socket(), ALL);
        let mut ring = Ring::new(&disk.mem, 0, 256, true);
        ring.begin_at(start);
        fill_with_flushes(&ring);
        disk.client.start(&ring);
        disk.queues.push(ring);
        batch(disk.q(), 256);
        batch(disk.q(), 3);
        batch(disk.q(), 256);
    }
}

/// A ring of flushes whose calls are counted, and another one of the same worker.
struct Quiet<'d> {
    ring: &'d mut Ring,
    other: &'d mut Ring,
}

impl<'d> Quiet<'d> {
    /// Two rings of flushes. The call descriptor of a new ring may be signalled once; here that is
    /// over.
    fn new(disk: &'d mut Disk) -> Self {
        let [ring, other] = &mut disk.queues[..] else {
            unreachable!("two queues")
        };
        fill_with_flushes(ring);
        fill_with_flushes(other);
        ring.set_used_event(0x8000);
        let mut quiet = Self { ring, other };
        quiet.called_for(1);
        quiet
    }

    /// Complete `count` flushes by polling the used index, and return whether a call came.
    fn called_for(&mut self, count: u16) -> bool {
        (0..count).for_each(|head| self.ring.put(head));
        self.ring.publish();
        self.ring.kick();
        (0..count).for_each(|_| _ = self.ring.spin());
        // The worker serves one ring after the other: once it has served this one, a call for the
        // first has been made, or never will be.
        batch(self.other, 1);
        let called = readable(&self.ring.call, Duration::ZERO);
        drain(&self.ring.call);
        called
    }

    fn called_for_one(&mut self) -> bool {
        self.called_for(1)
    }

    /// Ask for a call when the used index goes beyond where it will be after `distance` requests.
    fn call_after(&mut self, distance: u16) {
        let used_event = self.ring.used_idx().wrapping_add(distance);
        self.ring.set_used_event(used_event);
    }
}

fn attach_two(features: u64) -> (Ramblk, Disk) {
    let ramblk = Ramblk::run(&["--workers", "1"]);
    let disk = Disk::attach_with(ramblk.socket(), features, 2, 256);
    (ramblk, disk)
}

#[test]
fn a_call_comes_exactly_when_the_used_index_passes_used_event() {
    let (_ramblk, mut disk) = attach_two(ALL);
    let mut q = Quiet::new(&mut disk);
    for distance in [0, 1, 3] {
        q.call_after(distance);
        // §2.7.7.2: due when the index goes from used_event to used_event + 1.
        let called: Vec<_> = (0..5).map(|_| q.called_for_one()).collect();
        let expected: Vec<_> = (0..5).map(|i| i == distance).collect();
        assert_eq!(called, expected, "used_event {distance} ahead");
    }
}

#[test]
fn a_used_event_that_was_passed_already_calls_no_more() {
    let (_ramblk, mut disk) = attach_two(ALL);
    let mut q = Quiet::new(&mut disk);
    q.call_after(1u16.wrapping_neg());
    assert!(!q.called_for_one());
    q.call_after(200u16.wrapping_neg());
    assert!(!q.called_for_one());
    q.call_after(0);
    assert!(q.called_for_one());
}

#[test]
fn a_batch_calls_if_used_event_is_anywhere_in_it_and_not_if_it_is_next_to_it() {
    let (_ramblk, mut disk) = attach_two(ALL);
    let mut q = Quiet::new(&mut disk);
    for (distance, due) in [
        (0, true),
        (7, true),
        (15, true),
        (16, false),
        (0xffff, false),
    ] {
        q.call_after(distance);
        let called = q.called_for(16);
        assert_eq!(called, due, "used_event {distance} ahead of 16 requests");
    }
}

#[test]
fn used_event_works_across_the_wrap() {
    let ramblk = Ramblk::run(&["--workers", "1"]);
    let mut disk = Disk::prepare(ramblk.socket(), ALL);
    for index in 0..2 {
        let mut ring = Ring::new(&disk.mem, index, 256, true);
        ring.begin_at(0xfffc);
        disk.client.start(&ring);
        disk.queues.push(ring);
    }
    let mut q = Quiet::new(&mut disk);
    q.ring.set_used_event(0);
    let called: Vec<_> = (0..5).map(|_| q.called_for_one()).collect();
    // The index goes fffd → fffe → ffff → 0 → 1 → 2.
    assert_eq!(called, [false, false, false, true, false]);
}

#[test]
fn with_event_idx_the_flag_no_interrupt_is_ignored() {
    let (_ramblk, mut disk) = attach_two(ALL);
    let mut q = Quiet::new(&mut disk);
    // §2.7.7.2: the device MUST ignore the lower bit of flags then.
    q.ring.set_avail_flags(1);
    q.call_after(0);
    assert!(q.called_for_one());
    // §2.7.10.1: and MUST set its own flags to 0.
    assert_eq!(q.ring.mem.load_u16(q.ring.used), 0);
}

#[test]
fn without_event_idx_the_flag_no_interrupt_is_honoured() {
    let (_ramblk, mut disk) = attach_two(ALL & !feature::EVENT_IDX);
    let mut q = Quiet::new(&mut disk);
    for _ in 0..3 {
        q.ring.set_avail_flags(1);
        assert!(!q.called_for_one());
        assert!(!q.called_for_one());
        q.ring.set_avail_flags(0);
        assert!(q.called_for_one());
    }
}

#[test]
fn without_event_idx_what_lies_in_used_event_means_nothing() {
    let (_ramblk, mut disk) = attach_two(ALL & !feature::EVENT_IDX);
    let mut q = Quiet::new(&mut disk);
    for distance in [0, 1, 0x8000] {
        q.call_after(distance);
        assert!(q.called_for_one(), "the field says {distance} ahead");
    }
}

#[test]
fn kicks_without_requests_are_harmless() {
    let (_ramblk, mut disk) = attach(ALL, 1, 256);
    for i in 0..50 {
        (0..40).for_each(|_| disk.q().kick());
        disk.q().write(i, &pattern(512, i as u8)).unwrap();
        assert_eq!(disk.q().used_idx(), i as u16 + 1);
    }
}

#[test]
fn one_kick_is_enough_for_everything_that_was_published_before_it() {
    let (_ramblk, mut disk) = attach(ALL, 1, 256);
    fill_with_flushes(disk.q());
    for round in 0..200 {
        batch(disk.q(), 1 + round % 256);
    }
}

#[test]
fn heads_come_back_whatever_order_they_were_put_in() {
    let (_ramblk, mut disk) = attach(ALL, 1, 64);
    fill_with_flushes(disk.q());
    let q = disk.q();
    for step in [63, 5, 17] {
        let heads: Vec<u16> = (0..64).map(|i| i * step % 64).collect();
        heads.iter().for_each(|head| q.put(*head));
        q.publish();
        q.kick();
        // Without INFLIGHT_SHMFD a queue completes in the order of submission.
        heads
            .iter()
            .for_each(|head| assert_eq!(q.wait().id, u32::from(*head)));
    }
}

#[test]
fn the_device_writes_neither_descriptors_nor_the_available_ring() {
    let (_ramblk, mut disk) = attach(ALL, 1, 256);
    let q = disk.q();
    // §2.7.5.1 MUST NOT. The bytes behind the used ring don't belong to the device either.
    q.mem.fill(q.desc, 256 * 16, 0x5a);
    q.mem.fill(q.used + 4 + 8 * 256 + 2, 512, 0x5a);
    for i in 0..600 {
        let pieces = q.lay_out(IN, i, &[], 512);
        q.direct(10, &pieces);
        let (desc, avail) = (q.mem.read(q.desc, 4096), q.mem.read(q.avail + 4, 512));
        q.put(10);
        let avail_then = q.mem.read(q.avail + 4, 512);
        assert!(avail == avail_then || i < 256);
        q.publish();
        q.kick();
        q.wait();
        assert_eq!(q.mem.read(q.desc, 4096), desc);
        assert_eq!(q.mem.read(q.avail + 4, 512), avail_then);
    }
    assert_eq!(q.mem.read(q.used + 4 + 8 * 256 + 2, 512), [0x5a; 512]);
}

#[test]
fn the_parts_of_a_ring_may_lie_in_different_regions_up_to_their_last_byte() {
    let ramblk = Ramblk::run(&[]);
    let mut disk = Disk::prepare(ramblk.socket(), ALL);
    let mut ring = Ring::new(&disk.mem, 0, 256, true);
    ring.desc = 64 * MIB - 16 * 256;
    ring.avail = 80 * MIB - (6 + 2 * 256);
    // The used ring must be aligned to 4, so two bytes behind it stay free.
    ring.used = 4112 * MIB - (8 + 8 * 256);
    disk.client.start(&ring);
    disk.queues.push(ring);
    for i in 0..600 {
        disk.q().write(i, &pattern(512, i as u8)).unwrap();
    }
    assert_eq!(disk.q().read(599, 512), Ok(pattern(512, 87)));
}

/// Keep up to 16 reads in flight, and kick only if the device wants it.
fn economical_driver(ring: &mut Ring, requests: usize, seed: u64) {
    let mut random = Random::new(seed);
    for head in 0..16u16 {
        let at = ring.area(0x2000 * u64::from(head));
        ring.mem.write(at, &request_header(IN, u64::from(head)));
        let data = writable_at(at + 0x1000, 512);
        ring.direct(
            3 * head,
            &[readable_at(at, 16), data, writable_at(at + 0x100, 1)],
        );
    }
    let mut free: Vec<u16> = (0..16).map(|i| 3 * i).collect();
    let (mut asked, mut done) = (0, 0);
    while done < requests {
        let count = random
            .below(free.len() as u64 + 1)
            .min((requests - asked) as u64);
        let old = ring.next_avail;
        for head in free.drain(..count as usize) {
            ring.put(head);
        }
        ring.publish();
        if count > 0 && ring.kick_wanted(old) {
            ring.kick();
        }
        asked += count as usize;
        if random.below(300) == 0 {
            // Long enough for the worker to go to sleep.
            std::thread::sleep(Duration::from_micros(random.below(3000)));
        }
        if free.len() < 16 {
            let first = ring.wait_for(Duration::from_secs(10));
            assert!(
                first.is_some(),
                "lost after {done} requests, RAMBLK_SEED={seed}"
            );
            let rest = std::iter::from_fn(|| ring.pop());
            free.extend(first.into_iter().chain(rest).map(|used| used.id as u16));
            done = asked - (16 - free.len());
        }
    }
}

/// Run `driver` on every queue at once.
fn on_all(disk: &mut Disk, driver: impl Fn(&mut Ring) + Sync) {
    std::thread::scope(|scope| {
        for ring in &mut disk.queues {
            scope.spawn(|| driver(ring));
        }
    });
}

#[test]
fn a_driver_that_kicks_only_when_avail_event_asks_loses_no_request() {
    let seed = seed();
    let (_ramblk, mut disk) = attach(ALL, 4, 64);
    on_all(&mut disk, |ring| {
        economical_driver(ring, 25_000, seed ^ u64::from(ring.index) << 8)
    });
}

#[test]
fn a_driver_that_does_not_kick_when_no_notify_is_set_loses_no_request() {
    let seed = seed();
    let (_ramblk, mut disk) = attach(ALL & !feature::EVENT_IDX, 4, 64);
    on_all(&mut disk, |ring| {
        economical_driver(ring, 25_000, seed ^ u64::from(ring.index) << 8)
    });
}

#[test]
fn sixteen_queues_work_at_once_and_see_one_disk() {
    let (_ramblk, mut disk) = attach(ALL, 16, 128);
    on_all(&mut disk, |ring| {
        let stripe = u64::from(ring.index) * 1000;
        for i in 0..60 {
            let data = pattern(8192, (i + 4 * stripe) as u8);
            ring.write(stripe + 16 * i, &data).unwrap();
            assert_eq!(ring.read(stripe + 16 * i, 8192), Ok(data));
        }
    });
    // Any queue reads what another one wrote.
    for index in 0..16 {
        let data = disk.queues[15 - index].read(index as u64 * 1000 + 16, 8192);
        assert_eq!(data, Ok(pattern(8192, (1 + 4000 * index) as u8)));
    }
}

#[test]
fn a_queue_that_nobody_started_does_not_disturb_the_others() {
    let ramblk = Ramblk::run(&[]);
    let mut disk = Disk::prepare(ramblk.socket(), ALL);
    // Queue 3 alone, of four whose size was set.
    for index in 0..3 {
        disk.client
            .vring(crate::driver::client::code::SET_VRING_NUM, index, 128);
    }
    let ring = Ring::new(&disk.mem, 3, 128, true);
    disk.client.start(&ring);
    disk.queues.push(ring);
    disk.q().write(0, &pattern(512, 1)).unwrap();
    assert_eq!(disk.q().read(0, 512), Ok(pattern(512, 1)));
    assert_eq!(Arc::strong_count(&disk.mem), 2);
}
