//! Rings that start, pause, stop and change their memory or descriptors while requests are
//! outstanding. No request may be lost or complete twice, and a stopped ring leaves the guest's
//! memory alone.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::OFlags;

use crate::driver::client::code;
use crate::driver::data::pattern;
use crate::driver::disk::{ALL, DATA, Disk};
use crate::driver::kind::{IN, OUT};
use crate::driver::load::{prepare_reads, publish_reads, take_reads};
use crate::driver::memory::{MIB, Memory};
use crate::driver::ring::{Ring, drain, new_eventfd};
use crate::driver::wire::readable;
use crate::harness::Ramblk;

const A_WHILE: Duration = Duration::from_millis(30);

fn attach() -> (Ramblk, Disk) {
    let ramblk = Ramblk::run(&[]);
    let disk = Disk::attach(ramblk.socket());
    (ramblk, disk)
}

#[test]
fn stopping_a_ring_tells_where_it_stood() {
    let (_ramblk, mut disk) = attach();
    for round in 1..=5 {
        for i in 0..7 {
            disk.q().write(i, &pattern(512, i as u8)).unwrap();
        }
        assert_eq!(disk.client.stop(0), 7 * round);
        disk.client.start(&disk.queues[0]);
    }
}

#[test]
fn the_base_of_a_ring_that_never_started_is_what_was_set() {
    let (_ramblk, disk) = attach();
    assert_eq!(disk.client.stop(5), 0);
    disk.client.vring(code::SET_VRING_BASE, 6, 77);
    assert_eq!(disk.client.stop(6), 77);
}

#[test]
fn a_stopped_ring_is_drained_and_leaves_memory_alone_and_a_restarted_one_goes_on() {
    let (_ramblk, mut disk) = attach();
    prepare_reads(disk.q(), 80);
    for round in 0..20 {
        publish_reads(disk.q(), 80);
        disk.q().kick();
        std::thread::sleep(Duration::from_micros(round * 37));
        let asked = Instant::now();
        let base = disk.client.stop(0) as u16;
        assert!(
            asked.elapsed() < Duration::from_secs(1),
            "{:?}",
            asked.elapsed()
        );
        let q = disk.q();
        // Requests that were taken have completed; the others are still there.
        assert_eq!(q.used_idx(), base);
        let taken = base.wrapping_sub(q.seen);
        assert!(taken <= 80);
        q.mem.fill(q.area(DATA), 65536, 0x77);
        let (rings, area) = (
            q.mem.read(q.desc, MIB as usize),
            q.mem.read(q.area(0), 0x4_0000),
        );
        q.kick();
        drain(&q.call);
        std::thread::sleep(Duration::from_millis(5));
        assert!(
            q.mem.read(q.desc, MIB as usize) == rings,
            "a stopped ring was written"
        );
        assert!(
            q.mem.read(q.area(0), 0x4_0000) == area,
            "a buffer of a stopped ring was written"
        );
        assert!(!readable(&q.call, Duration::ZERO), "a stopped ring called");
        disk.client.set_up(&disk.queues[0], base);
        disk.client.vring(code::SET_VRING_ENABLE, 0, 1);
        let q = disk.q();
        (0..80).for_each(|i| assert_eq!(q.wait().id, 3 * i));
        assert_eq!(q.used_idx(), q.next_avail);
    }
}

#[test]
fn a_disabled_ring_waits_and_an_enabled_one_has_lost_nothing() {
    let (_ramblk, mut disk) = attach();
    prepare_reads(disk.q(), 80);
    for _ in 0..5 {
        disk.client.vring(code::SET_VRING_ENABLE, 0, 0);
        publish_reads(disk.q(), 10);
        disk.q().kick();
        std::thread::sleep(A_WHILE);
        assert_eq!(
            disk.q().used_idx(),
            disk.q().seen,
            "a disabled ring was served"
        );
        // The kick was sent while the ring was disabled. There is no second one.
        disk.client.vring(code::SET_VRING_ENABLE, 0, 1);
        take_reads(disk.q(), 0..10);
    }
}

#[test]
fn enabling_and_disabling_under_load_loses_nothing() {
    let (_ramblk, mut disk) = attach();
    prepare_reads(disk.q(), 80);
    for round in 0..100 {
        publish_reads(disk.q(), 40);
        disk.q().kick();
        std::thread::sleep(Duration::from_micros(round * 7));
        disk.client.vring(code::SET_VRING_ENABLE, 0, 0);
        disk.client.vring(code::SET_VRING_ENABLE, 0, 1);
        take_reads(disk.q(), 0..40);
    }
}

#[test]
fn a_ring_that_was_started_before_it_was_enabled_serves_what_waits() {
    let ramblk = Ramblk::run(&[]);
    let mut disk = Disk::prepare(ramblk.socket(), ALL);
    let ring = Ring::new(&disk.mem, 0, 256, true);
    disk.client.set_up(&ring, 0);
    disk.queues.push(ring);
    prepare_reads(disk.q(), 5);
    publish_reads(disk.q(), 5);
    disk.q().kick();
    std::thread::sleep(A_WHILE);
    assert_eq!(disk.q().used_idx(), 0);
    disk.client.vring(code::SET_VRING_ENABLE, 0, 1);
    take_reads(disk.q(), 0..5);
}

#[test]
fn requests_that_waited_through_a_disconnect_are_served_without_a_kick() {
    let ramblk = Ramblk::run(&[]);
    let mem = Arc::new(Memory::standard());
    let mut ring = Ring::new(&mem, 0, 256, true);
    prepare_reads(&ring, 5);
    for named in [0, 5, 5] {
        // cloud-hypervisor names the available index on a reconnect, QEMU the used index.
        let mut disk = Disk::prepare(ramblk.socket(), ALL);
        disk.client.set_memory(&mem);
        publish_reads(&mut ring, 5);
        disk.client.set_up(&ring, ring.seen.wrapping_add(named));
        disk.client.vring(code::SET_VRING_ENABLE, 0, 1);
        disk.queues.push(ring);
        take_reads(disk.q(), 0..5);
        ring = disk.queues.pop().unwrap();
    }
}

#[test]
fn a_new_kick_descriptor_on_a_running_ring_is_the_one_that_counts() {
    let (_ramblk, mut disk) = attach();
    disk.q().write(0, &pattern(512, 3)).unwrap();
    for _ in 0..5 {
        let old = std::mem::replace(&mut disk.q().kick, new_eventfd());
        disk.client
            .vring_fd(code::SET_VRING_KICK, 0, &disk.queues[0].kick);
        rustix::io::write(&old, &1u64.to_le_bytes()).unwrap();
        assert_eq!(disk.q().read(0, 512), Ok(pattern(512, 3)));
        drop(old);
        assert_eq!(disk.q().read(0, 512), Ok(pattern(512, 3)));
    }
}

#[test]
fn a_kick_descriptor_that_is_replaced_under_load_loses_nothing() {
    let (_ramblk, mut disk) = attach();
    prepare_reads(disk.q(), 80);
    for _ in 0..50 {
        publish_reads(disk.q(), 20);
        disk.q().kick();
        disk.q().kick = new_eventfd();
        disk.client
            .vring_fd(code::SET_VRING_KICK, 0, &disk.queues[0].kick);
        take_reads(disk.q(), 0..20);
    }
}

#[test]
fn a_new_call_descriptor_is_the_one_that_is_signalled() {
    let (_ramblk, mut disk) = attach();
    for i in 0..20 {
        let old = std::mem::replace(&mut disk.q().call, new_eventfd());
        disk.client
            .vring_fd(code::SET_VRING_CALL, 0, &disk.queues[0].call);
        drain(&old);
        disk.q().write(i, &pattern(512, 3)).unwrap();
        assert!(
            !readable(&old, Duration::from_millis(2)),
            "the old one was signalled"
        );
    }
}

#[test]
fn a_call_descriptor_that_is_replaced_under_load_loses_no_interrupt() {
    let (_ramblk, mut disk) = attach();
    prepare_reads(disk.q(), 80);
    for _ in 0..50 {
        publish_reads(disk.q(), 20);
        disk.q().kick();
        disk.q().call = new_eventfd();
        disk.client
            .vring_fd(code::SET_VRING_CALL, 0, &disk.queues[0].call);
        take_reads(disk.q(), 0..20);
    }
}

#[test]
fn a_ring_without_a_call_descriptor_works_silently() {
    let (_ramblk, mut disk) = attach();
    let no_descriptor = 0x100u64.to_le_bytes();
    disk.client.tell(code::SET_VRING_CALL, &no_descriptor, &[]);
    prepare_reads(disk.q(), 10);
    publish_reads(disk.q(), 10);
    disk.q().kick();
    (0..10).for_each(|i| assert_eq!(disk.q().spin().id, 3 * i));
}

#[test]
fn ring_addresses_that_are_sent_again_on_a_live_ring_change_nothing() {
    let (_ramblk, mut disk) = attach();
    prepare_reads(disk.q(), 80);
    for _ in 0..100 {
        publish_reads(disk.q(), 40);
        disk.q().kick();
        disk.client.vring_addr(&disk.queues[0]);
        take_reads(disk.q(), 0..40);
    }
}

#[test]
fn the_memory_table_may_be_sent_again_while_rings_run() {
    let (_ramblk, mut disk) = attach();
    prepare_reads(disk.q(), 80);
    for _ in 0..50 {
        publish_reads(disk.q(), 40);
        disk.q().kick();
        disk.client.set_memory(&disk.mem);
        take_reads(disk.q(), 0..40);
    }
}

#[test]
fn a_reset_device_can_be_set_up_again() {
    let (_ramblk, mut disk) = attach();
    disk.q().write(0, &pattern(512, 1)).unwrap();
    for _ in 0..3 {
        disk.client.tell(code::RESET_DEVICE, &[], &[]);
        // The rings are disabled now.
        let used = disk.q().used_idx();
        let pieces = disk.q().lay_out(IN, 0, &[], 512);
        disk.q().direct(0, &pieces);
        disk.q().submit(0);
        std::thread::sleep(A_WHILE);
        assert_eq!(disk.q().used_idx(), used, "a reset device went on");
        disk.client.set_features(disk.client.features());
        disk.client.set_memory(&disk.mem);
        disk.q().begin_at(0);
        disk.client.start(&disk.queues[0]);
        assert_eq!(disk.q().read(0, 512), Ok(pattern(512, 1)));
    }
}

/// All orders of `0..n`.
fn orders(n: usize) -> Vec<Vec<usize>> {
    if n == 0 {
        return vec![vec![]];
    }
    let shorter = orders(n - 1);
    let insert = |o: &Vec<usize>, at: usize| [&o[..at], &[n - 1], &o[at..]].concat();
    shorter
        .iter()
        .flat_map(|o| (0..n).map(move |at| insert(o, at)))
        .collect()
}

#[test]
fn a_ring_may_be_set_up_in_any_order_of_messages() {
    let (_ramblk, mut disk) = attach();
    disk.q().write(0, &pattern(512, 1)).unwrap();
    for order in orders(5) {
        disk.client.stop(0);
        disk.client.vring(code::SET_VRING_ENABLE, 0, 0);
        disk.q().begin_at(0);
        let (ring, client) = (&disk.queues[0], &disk.client);
        for message in &order {
            match message {
                0 => client.vring(code::SET_VRING_NUM, 0, 256),
                1 => client.vring_addr(ring),
                2 => client.vring_fd(code::SET_VRING_CALL, 0, &ring.call),
                3 => client.vring_fd(code::SET_VRING_KICK, 0, &ring.kick),
                _ => client.vring(code::SET_VRING_ENABLE, 0, 1),
            }
        }
        // A call descriptor that arrives after the kick must not miss anything either.
        assert_eq!(
            disk.q().read(0, 512),
            Ok(pattern(512, 1)),
            "order {order:?}"
        );
    }
}

#[test]
fn queues_start_and_stop_while_others_work() {
    let ramblk = Ramblk::run(&[]);
    let mut disk = Disk::attach_with(ramblk.socket(), ALL, 2, 256);
    let mut busy = disk.queues.pop().unwrap();
    std::thread::scope(|scope| {
        let worker = scope.spawn(|| {
            for i in 0..3000 {
                busy.write(i % 64, &pattern(512, i as u8)).unwrap();
                assert_eq!(busy.read(i % 64, 512), Ok(pattern(512, i as u8)));
            }
        });
        while !worker.is_finished() {
            assert_eq!(disk.client.stop(0), u32::from(disk.queues[0].next_avail));
            disk.client.start(&disk.queues[0]);
            disk.q().write(1000, &pattern(512, 1)).unwrap();
        }
    });
}

#[test]
fn writes_that_were_completed_before_a_disconnect_are_there_after_it() {
    let ramblk = Ramblk::run(&[]);
    for round in 0..10u8 {
        let mut disk = Disk::attach(ramblk.socket());
        let q = disk.q();
        let data = pattern(4096, round);
        let pieces = q.lay_out(OUT, 8 * u64::from(round), &data, 0);
        q.direct(0, &pieces);
        q.submit(0);
        q.wait();
        // More requests are outstanding when the front end disconnects.
        (0..50).for_each(|_| q.put(0));
        q.publish();
        q.kick();
        assert!(disk.client.wire.send(&[7], &[disk.queues[0].kick.as_fd()]));
        drop(disk);
        let mut disk = Disk::attach(ramblk.socket());
        assert_eq!(disk.q().read(8 * u64::from(round), 4096), Ok(data));
    }
}

#[test]
fn queues_may_share_their_kick_and_call_descriptors() {
    let ramblk = Ramblk::run(&[]);
    let mut disk = Disk::prepare(ramblk.socket(), ALL);
    let (kick, call) = (new_eventfd(), new_eventfd());
    for index in 0..4 {
        let mut ring = Ring::new(&disk.mem, index, 64, true);
        ring.kick = kick.try_clone().unwrap();
        ring.call = call.try_clone().unwrap();
        disk.client.start(&ring);
        disk.queues.push(ring);
    }
    for i in 0..20 {
        for ring in &mut disk.queues {
            ring.write(i, &pattern(512, i as u8)).unwrap();
        }
    }
    // Also one kick for all of them.
    for ring in &mut disk.queues {
        prepare_reads(ring, 5);
        publish_reads(ring, 5);
    }
    disk.q().kick();
    for ring in &mut disk.queues {
        (0..5).for_each(|i| assert_eq!(ring.spin().id, 3 * i));
    }
}

#[test]
fn the_descriptors_of_a_front_end_stay_as_blocking_as_they_were() {
    // O_NONBLOCK belongs to the open file, which both sides share. A driver that waits for its call
    // in read(), as the eventfd of virtio-driver does, would get EAGAIN instead of waiting.
    let (_ramblk, mut disk) = attach();
    let blocking = || eventfd(0, EventfdFlags::CLOEXEC).unwrap();
    disk.client.stop(0);
    disk.q().begin_at(0);
    let q = disk.q();
    (q.kick, q.call, q.err) = (blocking(), blocking(), blocking());
    disk.client.start(&disk.queues[0]);
    let q = disk.q();
    q.write(0, &pattern(512, 1)).unwrap();
    for (what, fd) in [("kick", &q.kick), ("call", &q.call), ("err", &q.err)] {
        let flags = rustix::fs::fcntl_getfl(fd).unwrap();
        assert!(
            !flags.contains(OFlags::NONBLOCK),
            "{what} became non-blocking"
        );
    }
}
