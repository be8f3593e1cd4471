//! The extents of a disk.

use super::connection::Connection;
use crate::store::base::error::Error;
use crate::store::base::range::Extent;

/// The extents of a disk in order, without gaps. Neighbours differ in `mapped`.
///
/// They are exact while no connection writes. Otherwise each extent is right at the moment at which
/// it is found. The iterator ends at the disk's end of that moment, and after the first error.
#[derive(Debug)]
pub struct Extents<'a> {
    connection: &'a Connection,
    at: u64,
    end: u64,
}

impl<'a> Extents<'a> {
    /// From sector `start` to the end of the disk.
    ///
    /// # Errors
    /// [`Error::Disconnected`].
    pub(crate) fn new(connection: &'a Connection, start: u64) -> Result<Self, Error> {
        let end = connection.alive()?.map().capacity().sectors();
        Ok(Self {
            connection,
            at: start,
            end,
        })
    }

    /// The extent that begins at `start_sector`, which lies before the end.
    fn extent(&self, start_sector: u64) -> Result<Extent, Error> {
        let next = self.connection.seek(start_sector, true)?;
        let mapped = next == start_sector;
        let end = if mapped {
            self.connection.seek(start_sector, false)?
        } else {
            next
        };
        // Another thread may have changed `start_sector` between the two calls.
        let end = end.clamp(start_sector + 1, self.end);
        Ok(Extent {
            start_sector,
            sectors: end - start_sector,
            mapped,
        })
    }
}

/// The extent of a disk that begins at sector `start`, cut off before sector `end`, which lies
/// behind it. Looks no further than that.
pub(crate) fn extent_at(connection: &Connection, start: u64, end: u64) -> Result<Extent, Error> {
    let mapped = connection.seek_before(start, start + 1, true)? == start;
    let sectors = connection.seek_before(start, end, !mapped)? - start;
    Ok(Extent {
        start_sector: start,
        // Another thread may have changed `start` between the two calls.
        sectors: sectors.max(1),
        mapped,
    })
}

impl Iterator for Extents<'_> {
    type Item = Result<Extent, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        // The disk may have shrunk meanwhile.
        let capacity = self.connection.inner().map().capacity();
        if self.at >= self.end.min(capacity.sectors()) {
            return None;
        }
        let extent = self.extent(self.at);
        self.at = match &extent {
            Ok(extent) => self.at + extent.sectors,
            Err(_) => self.end,
        };
        Some(extent)
    }
}
