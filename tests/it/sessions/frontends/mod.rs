//! The message orders of real front ends, one by one, and how they reconnect after their back end
//! is gone.

mod cloud_hypervisor;
mod crosvm;
mod firecracker;
mod guests;
mod initiators;
mod qemu;

use std::sync::Arc;

use crate::driver::client::Client;
use crate::driver::client::code;
use crate::driver::disk::Disk;
use crate::driver::feature;
use crate::driver::memory::Memory;
use crate::driver::offer::works;
use crate::driver::ring::Ring;
use crate::harness::Ramblk;

/// `count` rings of `size` entries in memory of the usual shape.
fn rings(count: u32, size: u16) -> (Arc<Memory>, Vec<Ring>) {
    let mem = Arc::new(Memory::standard());
    let ring = |index| Ring::new(&mem, index, size, true);
    let rings = (0..count).map(ring).collect();
    (mem, rings)
}

/// What a guest does with its rings when its device is reset: they are zeroed and begin anew.
fn clear(ring: &mut Ring) {
    ring.mem.fill(ring.desc, 16 * usize::from(ring.size), 0);
    ring.mem.fill(ring.avail, 6 + 2 * usize::from(ring.size), 0);
    ring.mem.fill(ring.used, 6 + 8 * usize::from(ring.size), 0);
    ring.begin_at(0);
}

#[test]
fn without_protocol_features_a_ring_needs_no_enabling() {
    let ramblk = Ramblk::run(&[]);
    let client = Client::connect(ramblk.socket());
    client.tell(code::SET_OWNER, &[], &[]);
    client.set_features(feature::VERSION_1 | feature::EVENT_IDX);
    let mem = Arc::new(Memory::standard());
    client.set_memory(&mem);
    let mut ring = Ring::new(&mem, 0, 256, true);
    client.set_up(&ring, 0);
    works(&mut ring, 0);
}

#[test]
fn owning_twice_is_once() {
    let ramblk = Ramblk::run(&[]);
    let mut disk = Disk::attach(ramblk.socket());
    disk.client.tell(code::SET_OWNER, &[], &[]);
    disk.client.tell(code::SET_OWNER, &[], &[]);
    works(disk.q(), 0);
}
