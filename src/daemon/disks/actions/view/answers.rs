//! What the store says, as NBD has it.

use crate::nbd::{Errno, Run};
use crate::store::{self, Extent, SectorSize};

/// An error of the store as NBD has it.
pub(super) fn errno(error: &store::Error) -> Errno {
    match error {
        store::Error::IsReadOnly { .. } => Errno::Perm,
        store::Error::OutOfRange { .. } | store::Error::Misaligned { .. } => Errno::Inval,
        store::Error::Disconnected { .. } | store::Error::Unknown { .. } => Errno::Shutdown,
        error if error.is_out_of_memory() => Errno::NoSpace,
        _ => Errno::Io,
    }
}

/// The run of a disk from `at_bytes` on, not beyond `end_bytes`. `find` finds the extent that
/// begins at a sector, cut off before another one.
pub(super) fn run(
    sector_size: SectorSize,
    at_bytes: u64,
    end_bytes: u64,
    find: impl FnOnce(u64, u64) -> Result<Extent, store::Error>,
) -> Result<Run, Errno> {
    let sector_bytes = sector_size.bytes();
    let found = find(at_bytes / sector_bytes, end_bytes.div_ceil(sector_bytes));
    let extent = found.map_err(|error| errno(&error))?;
    let ends_at = (extent.start_sector + extent.sectors) * sector_bytes;
    Ok(Run {
        len_bytes: ends_at.min(end_bytes).saturating_sub(at_bytes).max(1),
        is_set: extent.mapped,
    })
}
