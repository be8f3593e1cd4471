//! VMMs started without the option that shares their guest's memory, and messages that are not
//! served: what the front end is told, and what the log says.

use std::sync::Arc;
use std::time::Duration;

use crate::driver::client::{Client, PATIENCE, addresses, code, single, state};
use crate::driver::disk::{ALL, Disk};
use crate::driver::feature;
use crate::driver::memory::{MIB, Memory, Region};
use crate::driver::offer::works;
use crate::driver::ring::Ring;
use crate::harness::{Ramblk, eventually};

/// The option to set, for each VMM.
const MENDS: [&str; 2] = ["memory-backend-memfd", "shared=on"];
const SILENT: &str = "but its rings stay empty here";

fn says(ramblk: &Ramblk, what: &str) {
    eventually("the log says what is wrong", || {
        ramblk.stderr().contains(what)
    });
    let log = ramblk.stderr();
    assert!(MENDS.iter().all(|mend| log.contains(mend)), "{log}");
}

/// QEMU without a memory backend, or with one of ordinary memory: it has nothing to share.
#[test]
fn a_guest_without_a_memory_backend_does_not_hang_in_silence() {
    let ramblk = Ramblk::run(&[]);
    let client = Client::negotiated(ramblk.socket(), ALL);
    let mem = Arc::new(Memory::standard());
    let ring = Ring::new(&mem, 0, 128, true);
    client.vring(code::SET_VRING_NUM, 0, 128);
    client.vring(code::SET_VRING_BASE, 0, 0);
    assert!(client.refused(code::SET_VRING_ADDR, &ring.addresses(), &[]));
    assert!(client.closes_within(PATIENCE));
    says(&ramblk, "shared no guest memory");
}

/// QEMU with a backend of `share=off`, if its mappings can be inspected.
#[test]
fn guest_memory_of_share_off_is_refused_before_the_guest_hangs() {
    let ramblk = Ramblk::run(&[]);
    for one_by_one in [false, true] {
        let client = Client::negotiated(ramblk.socket(), ALL);
        let region = Region::private(0, 16 * MIB);
        let fds = [region.fd()];
        let refused = if one_by_one {
            client.tell(code::ADD_MEM_REG, &single(&region), &fds);
            let at = |offset| region.user + offset;
            let ring = addresses(0, at(0), at(2 * MIB), at(MIB));
            client.refused(code::SET_VRING_ADDR, &ring, &[])
        } else {
            let table = [state(1, 0), region.entry()].concat();
            client.refused(code::SET_MEM_TABLE, &table, &fds)
        };
        assert!(refused && client.closes_within(PATIENCE));
    }
    says(&ramblk, "mapped the guest memory at 0x0 privately");
}

/// QEMU with an NVDIMM of `share=off` beside shared memory, as with Kata.
#[test]
fn a_private_region_beside_shared_memory_costs_no_disk() {
    let ramblk = Ramblk::run(&[]);
    let nvdimm = Region::private(8192 * MIB, 16 * MIB);
    for one_by_one in [false, true] {
        let client = Client::negotiated(ramblk.socket(), ALL);
        let mem = Arc::new(Memory::standard());
        if one_by_one {
            client.set_memory(&mem);
            client.tell(code::ADD_MEM_REG, &single(&nvdimm), &[nvdimm.fd()]);
        } else {
            let all = || mem.regions().iter().chain([&nvdimm]);
            let mut payload = state(5, 0);
            all().for_each(|region| payload.extend(region.entry()));
            let fds: Vec<_> = all().map(Region::fd).collect();
            client.tell(code::SET_MEM_TABLE, &payload, &fds);
        }
        let mut ring = Ring::new(&mem, 0, 128, true);
        client.start(&ring);
        works(&mut ring, 0);
        client.tell(code::REM_MEM_REG, &single(&nvdimm), &[]);
        works(&mut ring, 0);
        // A region that was removed is gone.
        assert!(client.refused(code::REM_MEM_REG, &single(&nvdimm), &[]));
        assert!(client.closes_within(PATIENCE));
    }
}

/// All parts of the rings must be in shared memory.
#[test]
fn a_ring_in_a_private_region_is_refused_by_name() {
    let ramblk = Ramblk::run(&[]);
    for part in 0..3 {
        let client = Client::negotiated(ramblk.socket(), ALL);
        let mem = Arc::new(Memory::standard());
        client.set_memory(&mem);
        let region = Region::private(8192 * MIB, 16 * MIB);
        client.tell(code::ADD_MEM_REG, &single(&region), &[region.fd()]);
        client.vring(code::SET_VRING_NUM, 0, 128);
        let mut at = [0, MIB, 2 * MIB].map(|guest| mem.user(guest));
        at[part] = region.user + 15 * MIB;
        let ring = addresses(0, at[0], at[1], at[2]);
        assert!(client.refused(code::SET_VRING_ADDR, &ring, &[]));
        assert!(client.closes_within(PATIENCE));
    }
    says(&ramblk, "mapped the guest memory at 0x200000000 privately");
}

/// `share=off` where the mappings can't be inspected: a kick comes, and the rings stay empty for
/// ever. But a driver may also kick for nothing (virtio 1.3 §2.7.10.2).
#[test]
fn a_kick_for_rings_that_stay_empty_is_said_and_ends_nothing() {
    let ramblk = Ramblk::run(&[]);
    let features = ALL & !feature::EVENT_IDX;
    let mut disk = Disk::attach_with(ramblk.socket(), features, 2, 128);
    disk.queues[0].kick();
    // The line comes after five seconds.
    assert!(!disk.client.closes_within(Duration::from_secs(4)));
    says(&ramblk, SILENT);
    assert!(!disk.client.closes_within(Duration::from_secs(3)));
    assert_eq!(ramblk.stderr().matches(SILENT).count(), 1);
    disk.queues.iter_mut().for_each(|queue| works(queue, 0));
}

/// QEMU's kick descriptors arrive with a count of one, which stays.
#[test]
fn a_guest_that_has_not_used_its_disk_yet_is_left_alone() {
    let ramblk = Ramblk::run(&[]);
    let mut disk = Disk::prepare(ramblk.socket(), ALL);
    for index in 0..2 {
        let ring = Ring::new(&disk.mem, index, 128, true);
        ring.kick();
        disk.client.start(&ring);
        disk.queues.push(ring);
    }
    assert!(!disk.client.closes_within(Duration::from_secs(9)));
    assert!(!ramblk.stderr().contains(SILENT), "{}", ramblk.stderr());
    disk.queues.iter_mut().for_each(|queue| works(queue, 0));
}

#[test]
fn a_guest_that_kicks_one_queue_and_uses_another_is_left_alone() {
    let ramblk = Ramblk::run(&[]);
    let mut disk = Disk::attach_with(ramblk.socket(), ALL, 2, 128);
    works(&mut disk.queues[1], 0);
    disk.queues[0].kick();
    assert!(!disk.client.closes_within(Duration::from_secs(8)));
    works(&mut disk.queues[0], 0);
}

/// `reconnect=1`: once a second for as long as the machine runs.
#[test]
fn a_vmm_that_connects_again_and_again_in_vain_fills_no_log() {
    let ramblk = Ramblk::run(&[]);
    let mem = Arc::new(Memory::standard());
    let ring = Ring::new(&mem, 0, 128, true);
    for _ in 0..50 {
        let client = Client::negotiated(ramblk.socket(), ALL);
        assert!(client.refused(code::SET_VRING_ADDR, &ring.addresses(), &[]));
        assert!(client.closes_within(PATIENCE));
    }
    says(&ramblk, "shared no guest memory");
    let lines = ramblk.stderr().lines().count();
    assert!(lines < 10, "{lines} lines: {}", ramblk.stderr());
}
