//! VMMs that were started without the option that shares their guest's memory, and messages that
//! nobody serves: what the front end is told, and what the log says.

use std::sync::Arc;
use std::time::Duration;

use crate::driver::client::{Client, PATIENCE, code, single, state};
use crate::driver::disk::{ALL, Disk};
use crate::driver::memory::{MIB, Memory, Region};
use crate::driver::offer::works;
use crate::driver::ring::Ring;
use crate::harness::{Ramblk, eventually};

/// What is to be done, for each VMM.
const MENDS: [&str; 2] = ["memory-backend-memfd", "shared=on"];

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

/// QEMU with a backend of `share=off`, as far as its mappings may be looked at.
#[test]
fn guest_memory_of_share_off_is_refused_before_the_guest_hangs() {
    let ramblk = Ramblk::run(&[]);
    for one_by_one in [false, true] {
        let client = Client::negotiated(ramblk.socket(), ALL);
        let region = Region::private(0, 16 * MIB);
        let fds = [region.fd()];
        let refused = if one_by_one {
            client.refused(code::ADD_MEM_REG, &single(&region), &fds)
        } else {
            let table = [state(1, 0), region.entry()].concat();
            client.refused(code::SET_MEM_TABLE, &table, &fds)
        };
        assert!(refused && client.closes_within(PATIENCE));
    }
    says(&ramblk, "guest memory at 0x0 mapped for itself alone");
}

/// The same where they may not be: kicks come, and the rings stay empty for ever.
#[test]
fn kicks_for_rings_that_stay_empty_end_the_connection_and_say_why() {
    let ramblk = Ramblk::run(&[]);
    let disk = Disk::attach_with(ramblk.socket(), ALL, 2, 128);
    disk.queues[0].kick();
    assert!(disk.client.closes_within(2 * PATIENCE), "it hangs");
    says(&ramblk, "nothing of what it writes arrives");
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
