//! The unit in which writes are torn.

use std::ops::Range;

use crate::store::{ByteRange, PAGE_BYTES, SECTOR_BYTES};

/// What a device promises to write whole or not at all: an aligned block of this many bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TearUnit(u64);

/// Not a tear unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a tear unit of {0} bytes; use a power of two from 512 to 65536")]
pub struct TearUnitError(pub u64);

impl TearUnit {
    /// The largest.
    pub const MOST_BYTES: u64 = 65536;
    /// A sector: what every device promises.
    pub const SECTOR: Self = Self(SECTOR_BYTES);

    /// The physical block of our disks, which is what a report takes if it is told nothing else.
    pub const PHYSICAL_BLOCK: Self = Self(PAGE_BYTES);

    /// A unit of that many bytes.
    ///
    /// # Errors
    /// [`TearUnitError`] for anything but a power of two from 512 to 65536.
    pub fn new(bytes: u64) -> Result<Self, TearUnitError> {
        let fits = bytes.is_power_of_two() && (SECTOR_BYTES..=Self::MOST_BYTES).contains(&bytes);
        fits.then_some(Self(bytes)).ok_or(TearUnitError(bytes))
    }

    /// In bytes.
    pub fn bytes(self) -> u64 {
        self.0
    }

    /// How many units a range touches.
    pub fn count(self, range: ByteRange) -> u64 {
        if range.len_bytes() == 0 {
            return 0;
        }
        range.end_bytes().div_ceil(self.0) - range.start_bytes() / self.0
    }

    /// The part of `range` that is in these of the units which it touches, counted from 0.
    pub fn part(self, range: ByteRange, units: &Range<u64>) -> ByteRange {
        let first = range.start_bytes() / self.0;
        let place = |unit: u64| {
            let bytes = first.saturating_add(unit).saturating_mul(self.0);
            bytes.clamp(range.start_bytes(), range.end_bytes()) - range.start_bytes()
        };
        let (_, from_start) = range.split_at(place(units.start));
        let (part, _) = from_start.split_at(place(units.end).saturating_sub(place(units.start)));
        part
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use crate::store::{Capacity, SectorSize};

    fn range(start: u64, sectors: u64) -> ByteRange {
        let capacity = Capacity::new(8 << 9, SectorSize::S512).unwrap();
        capacity.range_512(start, sectors << 9).unwrap()
    }

    #[test]
    fn torn_units_are_aligned_blocks_of_the_disk() {
        let unit = TearUnit::new(1024).unwrap();
        let write = range(1, 4);
        assert_eq!(unit.count(write), 3);
        let parts = [(0..1, 1, 1), (1..2, 2, 2), (2..3, 4, 1), (0..3, 1, 4)];
        for (units, start, sectors) in parts {
            assert_eq!(unit.part(write, &units), range(start, sectors));
        }
        assert_eq!(unit.count(range(1, 0)), 0);
        for bytes in [0, 1, 256, 513, 3 << 9, 131_072] {
            assert!(TearUnit::new(bytes).is_err(), "{bytes}");
        }
    }
}
