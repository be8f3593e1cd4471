//! Helpers of the store's tests: small disks, noise, and the content of a whole disk.

use ramblk::store::{Disk, DiskSpec, Error, Extent, SectorSize, Store};

pub(crate) const SECTOR: usize = 512;

/// The charge of a disk without data: its record.
pub(crate) const EMPTY_DISK: u64 = 4096;

pub(crate) fn store() -> Store {
    Store::new(256 << 20).unwrap()
}

pub(crate) fn spec(size_bytes: u64) -> DiskSpec {
    DiskSpec::new(SectorSize::S512, size_bytes)
}

/// Bytes in which all sectors differ.
pub(crate) fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

pub(crate) fn sectors(disk: &Disk) -> u64 {
    disk.get_info().unwrap().size_sectors
}

pub(crate) fn read(disk: &Disk, start: u64, count: usize) -> Vec<u8> {
    let mut bytes =
        vec![0xee; count * usize::try_from(disk.get_info().unwrap().sector_bytes).unwrap()];
    disk.read(start, &mut [&mut bytes]).unwrap();
    bytes
}

pub(crate) fn fill(disk: &Disk, seed: u64) {
    let info = disk.get_info().unwrap();
    let bytes = noise(seed, usize::try_from(info.size_bytes).unwrap());
    disk.write(0, &[&bytes]).unwrap();
}

pub(crate) fn equal(one: &Disk, two: &Disk) -> bool {
    let size = sectors(one);
    size == sectors(two)
        && (0..size).step_by(64).all(|at| {
            let count = usize::try_from((size - at).min(64)).unwrap();
            read(one, at, count) == read(two, at, count)
        })
}

pub(crate) fn extents(disk: &Disk) -> Vec<(u64, u64, bool)> {
    let list: Result<Vec<Extent>, Error> = disk.extents().unwrap().collect();
    list.unwrap()
        .iter()
        .map(|e| (e.start_sector, e.sectors, e.mapped))
        .collect()
}
