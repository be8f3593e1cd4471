//! Units: sectors, capacities, and byte ranges that can't lie outside a disk.
//!
//! [`ByteRange`] has no public constructor. Only a [`Capacity`] makes one, with checked arithmetic,
//! so code that holds a range does no bounds checks of its own, and nothing else multiplies by 512.

use super::error::Error;
use super::limits::MAX_CAPACITY_BYTES;

/// The unit of virtio-blk requests and of the map, in bytes, whatever a disk's own sector size
/// (virtio 1.3 §5.2.6: `sector` is in units of 512 bytes).
pub const SECTOR_BYTES: u64 = 512;

/// The unit in which a disk takes and frees memory, in bytes.
pub const PAGE_BYTES: u64 = 4096;

/// A disk's own sector (logical block) size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SectorSize {
    /// 512 bytes.
    S512,
    /// 4096 bytes.
    S4096,
}

impl SectorSize {
    /// From a number of bytes.
    ///
    /// # Errors
    /// [`Error::Unimplemented`] for anything but 512 and 4096.
    pub fn from_bytes(bytes: u64) -> Result<Self, Error> {
        match bytes {
            512 => Ok(Self::S512),
            4096 => Ok(Self::S4096),
            other => Err(Error::Unimplemented {
                what: format!("sectors of {other} bytes; use 512 or 4096"),
            }),
        }
    }

    /// In bytes: 512 or 4096.
    pub fn bytes(self) -> u64 {
        match self {
            Self::S512 => 512,
            Self::S4096 => 4096,
        }
    }
}

/// The size of a disk at one moment: the only source of [`ByteRange`]s.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    bytes: u64,
    sector_size: SectorSize,
}

impl Capacity {
    /// A capacity of `bytes`, for a disk with sectors of `sector_size`.
    ///
    /// # Errors
    /// [`Error::InvalidSize`] for 0, more than [`MAX_CAPACITY_BYTES`], or no whole number of
    /// sectors.
    pub fn new(bytes: u64, sector_size: SectorSize) -> Result<Self, Error> {
        let sector_bytes = sector_size.bytes();
        if bytes == 0 || bytes > MAX_CAPACITY_BYTES || !bytes.is_multiple_of(sector_bytes) {
            return Err(Error::InvalidSize {
                size_bytes: bytes,
                sector_bytes,
            });
        }
        Ok(Self { bytes, sector_size })
    }

    /// The capacity of a disk that is being destroyed: none.
    pub(crate) fn nothing(sector_size: SectorSize) -> Self {
        Self {
            bytes: 0,
            sector_size,
        }
    }

    /// The capacity of a size that [`Capacity::new`] has accepted before (or that is from
    /// `nothing`).
    pub(crate) fn known(bytes: u64, sector_size: SectorSize) -> Self {
        Self { bytes, sector_size }
    }

    /// In bytes.
    pub fn bytes(self) -> u64 {
        self.bytes
    }

    /// In units of 512 bytes, as virtio-blk counts on every disk (virtio 1.3 §5.2.4 `capacity`).
    pub fn sectors_512(self) -> u64 {
        self.bytes / SECTOR_BYTES
    }

    /// In the disk's own sectors.
    pub fn sectors(self) -> u64 {
        self.bytes / self.sector_size.bytes()
    }

    /// The disk's own sector size.
    pub fn sector_size(self) -> SectorSize {
        self.sector_size
    }

    /// `len_bytes` from 512-byte sector `sector`, as virtio-blk requests name them.
    ///
    /// # Errors
    /// [`Error::Misaligned`] if `len_bytes` is not a multiple of 512, [`Error::OutOfRange`] if the
    /// range does not lie inside the capacity; a `sector` whose byte number overflows 64 bits is
    /// out of range.
    pub fn range_512(self, sector: u64, len_bytes: u64) -> Result<ByteRange, Error> {
        self.range(sector, SECTOR_BYTES, len_bytes)
    }

    /// `len_bytes` from the disk's own sector `sector`.
    ///
    /// # Errors
    /// The same as [`Capacity::range_512`], with the disk's own sector size.
    pub fn range_own(self, sector: u64, len_bytes: u64) -> Result<ByteRange, Error> {
        self.range(sector, self.sector_size.bytes(), len_bytes)
    }

    fn range(self, sector: u64, unit_bytes: u64, len_bytes: u64) -> Result<ByteRange, Error> {
        if !len_bytes.is_multiple_of(unit_bytes) {
            return Err(Error::Misaligned {
                len_bytes,
                sector_bytes: unit_bytes,
            });
        }
        let outside = |start_bytes| Error::OutOfRange {
            start_bytes,
            len_bytes,
            size_bytes: self.bytes,
        };
        let start_bytes = sector
            .checked_mul(unit_bytes)
            .ok_or_else(|| outside(u64::MAX))?;
        let end = start_bytes
            .checked_add(len_bytes)
            .ok_or_else(|| outside(start_bytes))?;
        if end > self.bytes {
            return Err(outside(start_bytes));
        }
        Ok(ByteRange {
            start_bytes,
            len_bytes,
        })
    }
}

/// A range of whole 512-byte sectors that was inside its disk when it was made.
///
/// If the disk has shrunk since, the check under its locks fails with [`Error::OutOfRange`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteRange {
    start_bytes: u64,
    len_bytes: u64,
}

impl ByteRange {
    /// First byte.
    pub fn start_bytes(self) -> u64 {
        self.start_bytes
    }

    /// Length in bytes; may be 0.
    pub fn len_bytes(self) -> u64 {
        self.len_bytes
    }

    /// First byte after the range.
    pub fn end_bytes(self) -> u64 {
        self.start_bytes + self.len_bytes
    }

    /// Cut it in two after `len_bytes`, a multiple of 512, or at its end if that is larger.
    pub(crate) fn split_at(self, len_bytes: u64) -> (Self, Self) {
        let len_bytes = len_bytes.min(self.len_bytes);
        let head = Self { len_bytes, ..self };
        let tail = Self {
            start_bytes: self.start_bytes + len_bytes,
            len_bytes: self.len_bytes - len_bytes,
        };
        (head, tail)
    }
}

/// A run of sectors that are all mapped, or all unmapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// First sector, in the disk's own sectors.
    pub start_sector: u64,
    /// Length in the disk's own sectors; at least 1.
    pub sectors: u64,
    /// Whether it is mapped: written, or zeroed without being unmapped.
    pub mapped: bool,
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn sector_that_wraps_a_shift_is_out_of_range() {
        let capacity = Capacity::new(1 << 20, SectorSize::S512).unwrap();
        for sector in [1 << 55, (1 << 55) + 1, u64::MAX, u64::MAX / 512 + 1] {
            assert!(matches!(
                capacity.range_512(sector, 512),
                Err(Error::OutOfRange { .. })
            ));
        }
    }

    #[test]
    fn the_last_sector_is_inside_and_the_one_after_is_not() {
        let capacity = Capacity::new(8192, SectorSize::S512).unwrap();
        assert_eq!(capacity.range_512(15, 512).unwrap().end_bytes(), 8192);
        assert!(capacity.range_512(16, 512).is_err());
        assert!(capacity.range_512(15, 1024).is_err());
        assert_eq!(capacity.range_512(16, 0).unwrap().len_bytes(), 0);
        assert!(capacity.range_512(17, 0).is_err());
    }

    #[test]
    fn sizes_that_no_disk_can_have_are_refused() {
        for (bytes, size) in [
            (0, SectorSize::S512),
            (511, SectorSize::S512),
            (512, SectorSize::S4096),
            (MAX_CAPACITY_BYTES + 512, SectorSize::S512),
            (u64::MAX, SectorSize::S512),
        ] {
            assert!(Capacity::new(bytes, size).is_err(), "{bytes}");
        }
    }

    #[test]
    fn other_sector_sizes_are_not_implemented() {
        assert!(matches!(
            SectorSize::from_bytes(1024),
            Err(Error::Unimplemented { .. })
        ));
    }
}
