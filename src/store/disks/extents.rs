//! Extents: a disk as a row of mapped and unmapped stretches.

use super::disk::Disk;
use crate::store::base::error::Error;
use crate::store::base::range::{ByteRange, Extent};

/// The extents of part of a disk in order, without gaps; neighbours differ in `mapped`.
///
/// Exact while nobody writes. Beside writers each extent is true at the moment it is found.
#[derive(Debug)]
pub struct Extents<'a> {
    disk: &'a Disk,
    at: u64,
    end: u64,
}

impl<'a> Extents<'a> {
    pub(crate) fn new(disk: &'a Disk, range: ByteRange, sector_bytes: u64) -> Self {
        Self {
            disk,
            at: range.start_bytes() / sector_bytes,
            end: range.end_bytes() / sector_bytes,
        }
    }
}

impl Iterator for Extents<'_> {
    type Item = Result<Extent, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        // The disk may have shrunk meanwhile.
        if self.at >= self.end.min(self.disk.capacity().sectors()) {
            return None;
        }
        let start_sector = self.at;
        let stretch = || -> Result<Extent, Error> {
            let mapped = self.disk.seek_mapped(start_sector)? == start_sector;
            let end = if mapped {
                self.disk.seek_unmapped(start_sector)?
            } else {
                self.disk.seek_mapped(start_sector)?
            };
            // Another thread may have changed `start_sector` between the two questions.
            let end = end.clamp(start_sector + 1, self.end);
            Ok(Extent {
                start_sector,
                sectors: end - start_sector,
                mapped,
            })
        };
        match stretch() {
            Ok(extent) => {
                self.at = start_sector + extent.sectors;
                Some(Ok(extent))
            }
            Err(error) => {
                self.at = self.end;
                Some(Err(error))
            }
        }
    }
}
