//! Volatile write caches and power cuts: a driver writes and flushes, the power is cut, and the
//! bytes that are left are compared with what virtio says may be left.
//!
//! `rule` has what is volatile, `cuts` the policies and forms of a cut, `random` histories beside a
//! model, `beside` the cache with everything else that changes a disk, and `replaced` with what
//! replaces its content or settings.

mod beside;
mod cuts;
mod random;
mod replaced;
mod rule;

use ramblk::daemon::disks::{create, describe, power};
use ramblk::model::{DiskSettings, Keep, PowerCut, PowerCutRequest, Problem, Volatile, WriteCache};

use super::World;
use crate::driver::disk::{Disk as Guest, request_header};
use crate::driver::kind;
use crate::driver::ring::{Ring, readable_at, writable_at};
use crate::driver::status::OK;

fn settings() -> DiskSettings {
    DiskSettings {
        write_cache: WriteCache::Volatile,
        ..DiskSettings::new(16 << 20)
    }
}

/// A disk with a volatile write cache, and a guest.
fn attach(world: &World, name: &str) -> Guest {
    Guest::attach(&world.create_with(name, settings()))
}

fn request(name: &str, keep: Keep) -> PowerCutRequest {
    PowerCutRequest {
        disks: vec![name.into()],
        keep,
        ..PowerCutRequest::default()
    }
}

fn cut_with(world: &World, request: &PowerCutRequest) -> Result<PowerCut, Problem> {
    power::cut(&world.disks, request)
}

fn cut(world: &World, name: &str, keep: Keep) -> PowerCut {
    cut_with(world, &request(name, keep)).unwrap()
}

fn volatile(world: &World, name: &str) -> Volatile {
    describe::get(&world.disks, name).unwrap().volatile.unwrap()
}

/// The first byte of each of the first `sectors` sectors, as a guest that attaches now reads them.
fn bytes(world: &World, name: &str, sectors: usize) -> Vec<u8> {
    let (disk, _) = create::put(&world.disks, name, settings()).unwrap();
    let mut guest = Guest::attach(disk.socket.as_ref());
    let data = guest.q().read(0, sectors * 512).unwrap();
    data.chunks(512).map(|sector| sector[0]).collect()
}

/// Put a request of slot `slot` into the ring, without publishing it.
fn put(ring: &mut Ring, slot: u16, kind: u32, sector: u64, data: &[u8]) {
    let base = 0x1_0000 * u64::from(slot + 1);
    let (header, status, at) = (
        ring.area(base),
        ring.area(base + 16),
        ring.area(base + 4096),
    );
    ring.mem.write(header, &request_header(kind, sector));
    ring.mem.write(at, data);
    let mut pieces = vec![readable_at(header, 16)];
    if !data.is_empty() {
        pieces.push(readable_at(at, data.len() as u32));
    }
    pieces.push(writable_at(status, 1));
    let head = ring.direct(slot * 4, &pieces);
    ring.put(head);
}

/// Submit what was put, and wait for it all.
fn complete(ring: &mut Ring, count: usize) {
    ring.publish();
    ring.kick();
    for _ in 0..count {
        let used = ring.wait();
        let slot = used.id as u64 / 4;
        let status = ring.area(0x1_0000 * (slot + 1) + 16);
        assert_eq!(ring.mem.read(status, 1), [OK]);
    }
}

fn put_write(ring: &mut Ring, slot: u16, sector: u64, byte: u8) {
    put(ring, slot, kind::OUT, sector, &[byte; 512]);
}

fn put_flush(ring: &mut Ring, slot: u16) {
    put(ring, slot, kind::FLUSH, 0, &[]);
}
