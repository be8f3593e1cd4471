//! Filling a hidden disk with content, in pieces of any length.

use crate::model::{Problem, ProblemKind};
use crate::store::{Disk, PAGE_BYTES, is_zero};

/// Write `bytes` at `start_bytes`. Pages of zeros stay unmapped. Only at the end of the content may
/// the bytes end within a block, whose rest is then zero. Returns where they end.
///
/// # Errors
/// `invalid` if the range is not inside the disk, or not aligned; `over-budget` if there is no
/// memory; `not-found` if the disk is gone.
pub(crate) fn fill(disk: &Disk, start_bytes: u64, bytes: &[u8]) -> Result<u64, Problem> {
    let sector_bytes = disk.sector_size().bytes();
    if !start_bytes.is_multiple_of(sector_bytes) {
        return Err(Problem::new(
            ProblemKind::Invalid,
            format!("{start_bytes} is not a multiple of the block size, {sector_bytes}"),
        ));
    }
    let mut at = start_bytes;
    let mut rest = bytes;
    while !rest.is_empty() {
        let to_page = PAGE_BYTES - at % PAGE_BYTES;
        let len = usize::try_from(to_page).unwrap_or(usize::MAX);
        let (now, later) = rest.split_at(len.min(rest.len()));
        if !is_zero(now) {
            fill_page(disk, at / sector_bytes, now)?;
        }
        at += now.len() as u64;
        rest = later;
    }
    Ok(at)
}

fn fill_page(disk: &Disk, sector: u64, bytes: &[u8]) -> Result<(), Problem> {
    let sector_bytes = usize::try_from(disk.sector_size().bytes()).unwrap_or(1);
    if bytes.len().is_multiple_of(sector_bytes) {
        return Ok(disk.write(sector, &[bytes])?);
    }
    let mut whole = bytes.to_vec();
    whole.resize(bytes.len().next_multiple_of(sector_bytes), 0);
    Ok(disk.write(sector, &[&whole])?)
}
