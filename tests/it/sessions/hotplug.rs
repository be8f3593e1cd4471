//! Guest memory that changes while rings run: tables sent again, regions plugged in and unplugged.

use std::sync::Arc;

use crate::driver::client::{Client, code, single, state, table};
use crate::driver::data::pattern;
use crate::driver::disk::{ALL, Disk, HEADER, STATUS};
use crate::driver::kind::IN;
use crate::driver::memory::{MIB, Memory, Region};
use crate::driver::ring::{Ring, readable_at, writable_at};
use crate::driver::status::{IOERR, OK};
use crate::harness::{Ramblk, eventually};

fn attach() -> (Ramblk, Disk) {
    let ramblk = Ramblk::run(&[]);
    let disk = Disk::attach(ramblk.socket());
    (ramblk, disk)
}

#[test]
fn memory_tables_may_be_in_any_order() {
    let ramblk = Ramblk::run(&[]);
    let mut disk = Disk::prepare(ramblk.socket(), ALL);
    let regions = disk.mem.regions();
    let order = [3, 1, 0, 2];
    let mut payload = state(4, 0);
    order
        .iter()
        .for_each(|i: &usize| payload.extend(regions[*i].entry()));
    let fds: Vec<_> = order.iter().map(|i| regions[*i].fd()).collect();
    disk.client.tell(code::SET_MEM_TABLE, &payload, &fds);
    let ring = Ring::new(&disk.mem, 0, 256, true);
    disk.client.start(&ring);
    disk.queues.push(ring);
    disk.q().write(0, &pattern(4096, 1)).unwrap();
    assert_eq!(disk.q().read(0, 4096), Ok(pattern(4096, 1)));
}

/// A read of 512 bytes to `addr`. Returns status and used length.
fn read_to(ring: &mut Ring, addr: u64) -> (u8, u32) {
    ring.lay_out(IN, 0, &[], 0);
    let (header, status) = (ring.area(HEADER), ring.area(STATUS));
    ring.direct(
        0,
        &[
            readable_at(header, 16),
            writable_at(addr, 512),
            writable_at(status, 1),
        ],
    );
    let len = ring.complete(0);
    (ring.status(), len)
}

#[test]
fn memory_that_is_plugged_in_can_be_used_and_memory_that_is_pulled_out_can_not() {
    let (ramblk, mut disk) = attach();
    let (fds, mappings) = (ramblk.fds(), ramblk.mappings());
    for round in 0..30 {
        let extra = Region::new(1 << 40, MIB, 4096);
        assert_eq!(read_to(disk.q(), 1 << 40).0, IOERR);
        disk.client
            .tell(code::ADD_MEM_REG, &single(&extra), &[extra.fd()]);
        assert_eq!(read_to(disk.q(), 1 << 40), (OK, 513));
        // A front end may send a descriptor too, which must be closed.
        let along = [extra.fd()];
        let fds = if round % 2 == 0 { &along[..] } else { &[] };
        disk.client.tell(code::REM_MEM_REG, &single(&extra), fds);
    }
    assert_eq!((ramblk.fds(), ramblk.mappings()), (fds, mappings));
}

#[test]
fn memory_can_come_region_by_region_without_a_table() {
    let ramblk = Ramblk::run(&[]);
    let client = Client::negotiated(ramblk.socket(), ALL);
    let mem = Arc::new(Memory::standard());
    for region in mem.regions() {
        client.tell(code::ADD_MEM_REG, &single(region), &[region.fd()]);
    }
    let mut ring = Ring::new(&mem, 0, 256, true);
    client.start(&ring);
    ring.write(0, &pattern(4096, 1)).unwrap();
    assert_eq!(read_to(&mut ring, 4096 * MIB), (OK, 513));
}

#[test]
fn exactly_509_regions_can_be_had() {
    let ramblk = Ramblk::run(&[]);
    let mut disk = Disk::attach(ramblk.socket());
    let extra: Vec<_> = (0..506)
        .map(|i| {
            let mut region = Region::new((8192 + 2 * i) * MIB, 4096, 0);
            region.user = 0x6000_0000_0000 + i * MIB;
            region
        })
        .collect();
    for region in &extra[..505] {
        disk.client
            .tell(code::ADD_MEM_REG, &single(region), &[region.fd()]);
    }
    for i in [0, 100, 504] {
        assert_eq!(read_to(disk.q(), (8192 + 2 * i) * MIB), (OK, 513));
    }
    let last = &extra[505];
    assert!(
        disk.client
            .refused(code::ADD_MEM_REG, &single(last), &[last.fd()])
    );
}

#[test]
fn pulling_out_the_memory_of_a_running_ring_harms_nobody_else() {
    let ramblk = Ramblk::run(&[]);
    let mut disk = Disk::attach_with(ramblk.socket(), ALL, 2, 256);
    disk.client.stop(0);
    // Queue 0 moves to the fourth region, queue 1 stays in the first.
    let (base, q) = (4096 * MIB, disk.q());
    (q.desc, q.avail, q.used) = (base, base + 0x8_0000, base + 0xa_0000);
    q.begin_at(0);
    disk.client.start(&disk.queues[0]);
    disk.q().write(0, &pattern(512, 1)).unwrap();
    let fourth = &disk.mem.regions()[3];
    disk.client.acked(code::REM_MEM_REG, &single(fourth), &[]);
    disk.q().put(0);
    disk.q().publish();
    disk.q().kick();
    if disk.client.answers() {
        assert_eq!(disk.queues[1].read(0, 512), Ok(pattern(512, 1)));
    }
    drop(disk);
    let mut disk = Disk::attach(ramblk.socket());
    assert_eq!(disk.q().read(0, 512), Ok(pattern(512, 1)));
}

#[test]
fn a_new_table_replaces_the_old_one() {
    let (ramblk, mut disk) = attach();
    let before = ramblk.mappings();
    assert_eq!(read_to(disk.q(), 4096 * MIB), (OK, 513));
    let first = &disk.mem.regions()[..1];
    disk.client
        .tell(code::SET_MEM_TABLE, &table(first), &[first[0].fd()]);
    assert_eq!(read_to(disk.q(), 4096 * MIB).0, IOERR);
    assert_eq!(read_to(disk.q(), 8 * MIB), (OK, 513));
    eventually("the old mappings are gone", || {
        ramblk.mappings() <= before - 3
    });
}
