//! Compares a disk with its expected content: sector by sector, bit by bit.

use ramblk::store::{Disk, SECTOR_BYTES, Sink};

use super::content::{Content, Fill, Sector, holds};
use super::noise;

/// The most bytes that are read at once.
const CHUNK_BYTES: u64 = 1 << 18;
/// How many sectors of an unmapped stretch are read at each of its ends.
const GAP_SECTORS: u64 = 64;

/// An unfinished operation, which may have been done for some sectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Begun {
    pub(crate) start: u64,
    pub(crate) sectors: u64,
    pub(crate) fill: Sector,
}

fn read(disk: &Disk, start: u64, count: u64, unit_bytes: u64) -> Vec<u8> {
    let mut bytes = vec![0xee; (count * unit_bytes) as usize];
    let first = start * unit_bytes / SECTOR_BYTES;
    let range = disk.capacity().range_512(first, bytes.len() as u64);
    disk.read_into(range.unwrap(), &[Sink::from(bytes.as_mut_slice())])
        .unwrap();
    bytes
}

/// The ranges that a disk reports as mapped, start and end.
pub(crate) fn mapped_ranges(disk: &Disk) -> Vec<(u64, u64)> {
    let all = disk.extents().unwrap().map(Result::unwrap);
    all.filter(|extent| extent.mapped)
        .map(|extent| (extent.start_sector, extent.start_sector + extent.sectors))
        .collect()
}

/// Whether the bytes of a range are as expected, including gaps. Range and content are in units of
/// `unit_bytes`.
pub(crate) fn bytes_of(
    disk: &Disk,
    content: &Content,
    range: (u64, u64),
    unit_bytes: u64,
) -> Result<(), String> {
    let mut at = range.0;
    while at < range.1 {
        let count = (range.1 - at).min(CHUNK_BYTES / unit_bytes);
        let bytes = read(disk, at, count, unit_bytes);
        let mut numbered = (at..).zip(bytes.chunks_exact(unit_bytes as usize));
        let stretches = content.within(at, at + count);
        let mut done = at;
        let end = (at + count, at + count, Fill::Zero);
        for (from, till, fill) in stretches.chain([end]) {
            let gap = numbered.by_ref().take((from - done) as usize);
            for (number, sector) in gap {
                if !noise::is_zero(sector) {
                    return Err(unlike(number, None, sector));
                }
            }
            for (number, sector) in numbered.by_ref().take((till - from) as usize) {
                if !holds(Some(fill), number, sector) {
                    return Err(unlike(number, Some(fill), sector));
                }
            }
            done = till;
        }
        at += count;
    }
    Ok(())
}

fn unlike(number: u64, wanted: Sector, found: &[u8]) -> String {
    let tag = u64::from_le_bytes(found[..8].try_into().unwrap());
    let what = match (noise::is_zero(found), noise::is(tag, number, found)) {
        (true, _) => "zeros".to_owned(),
        (_, true) => format!("all that tag {tag:#x} wrote there"),
        _ => format!("bytes of no write, beginning {:02x?}", &found[..16]),
    };
    format!("sector {number} should hold {wanted:x?} and has {what}")
}

/// Whether a disk is as expected: its size in its own sectors, its map, its counts, its bytes. The
/// content is in units of `unit_bytes`, of which a sector may have several.
pub(crate) fn exact(
    disk: &Disk,
    content: &Content,
    size: u64,
    unit_bytes: u64,
) -> Result<(), String> {
    let info = disk.get_info().unwrap();
    if info.size_sectors != size {
        return Err(format!("{} sectors instead of {size}", info.size_sectors));
    }
    let per_sector = info.sector_bytes / unit_bytes;
    let (found, wanted) = (mapped_ranges(disk), content.ranges(per_sector));
    if found != wanted {
        let at = found.iter().zip(&wanted).position(|(one, two)| one != two);
        let at = at.unwrap_or(found.len().min(wanted.len()));
        return Err(format!(
            "mapped range {at} is {:?} and should be {:?}",
            found.get(at),
            wanted.get(at)
        ));
    }
    let mapped = content.mapped() * unit_bytes;
    if info.mapped_bytes != mapped {
        return Err(format!("{} mapped bytes, not {mapped}", info.mapped_bytes));
    }
    let mut done = 0;
    for (start, end) in wanted.iter().copied().chain([(size, size)]) {
        let (start, end) = (start * per_sector, end * per_sector);
        let gap = (start - done).min(GAP_SECTORS);
        bytes_of(disk, content, (done, done + gap), unit_bytes)?;
        bytes_of(disk, content, (start - gap, start), unit_bytes)?;
        // Don't read terabytes of zeros.
        let end_read = end.min(start + (64 << 20) / unit_bytes);
        bytes_of(disk, content, (start, end_read), unit_bytes)?;
        done = end;
    }
    Ok(())
}

/// Check that each sector of an unfinished operation is as before or as after, and take it over
/// into `content`. An overwrite happens in place, so a sector that was mapped before may have bytes
/// of both. Such a sector is written again with `tag`, so that its content is known. Returns how
/// many there were.
pub(crate) fn settle(
    disk: &Disk,
    content: &mut Content,
    begun: &Begun,
    tag: u64,
) -> Result<u64, String> {
    let sector_bytes = disk.get_info().unwrap().sector_bytes;
    let bytes = read(disk, begun.start, begun.sectors, sector_bytes);
    let mut torn = 0;
    for (number, bytes) in (begun.start..).zip(bytes.chunks_exact(sector_bytes as usize)) {
        let mapped = disk.seek_mapped(number).unwrap() == number;
        let old = content.get(number);
        let fits = |state: &Sector| state.is_some() == mapped && holds(*state, number, bytes);
        if let Some(state) = [begun.fill, old].into_iter().find(fits) {
            content.set(number, 1, state);
        } else if mapped && is_mix(old, begun.fill, number, bytes) {
            let fresh = noise::run(tag, number, 1, sector_bytes);
            disk.write(number, &[&fresh]).unwrap();
            content.set(number, 1, Some(Fill::Tag(tag)));
            torn += 1;
        } else {
            let what = unlike(number, old, bytes);
            return Err(format!("{what} (mapped: {mapped}); in flight: {begun:x?}"));
        }
    }
    Ok(torn)
}

/// Whether every byte is that of the old or the new sector, both of which are mapped.
fn is_mix(old: Sector, new: Sector, number: u64, bytes: &[u8]) -> bool {
    let make = |state: Sector| {
        let mut bytes = vec![0; bytes.len()];
        if let Fill::Tag(tag) = state? {
            noise::fill(tag, number, &mut bytes);
        }
        Some(bytes)
    };
    let (Some(old), Some(new)) = (make(old), make(new)) else {
        return false;
    };
    let pairs = old.iter().zip(&new);
    pairs
        .zip(bytes)
        .all(|((old, new), byte)| byte == old || byte == new)
}

/// Whether a disk holds only zeros and bytes of whole writes.
pub(crate) fn without_garbage(disk: &Disk) -> Result<(), String> {
    let sector_bytes = disk.get_info().unwrap().sector_bytes;
    for (start, end) in mapped_ranges(disk) {
        let mut at = start;
        while at < end {
            let count = (end - at).min(CHUNK_BYTES / sector_bytes);
            let bytes = read(disk, at, count, sector_bytes);
            for (number, sector) in (at..).zip(bytes.chunks_exact(sector_bytes as usize)) {
                if !noise::is_anyones(number, sector) {
                    return Err(unlike(number, None, sector));
                }
            }
            at += count;
        }
    }
    Ok(())
}
