//! A connection to a disk, with all its operations.

use std::sync::Arc;

use super::change::Change;
use super::connection::Connection;
use super::extents::{Extents, extent_at};
use super::inner::DiskInner;
use super::leftover::Leftover;
use crate::store::base::buf::{Sink, Source, total_bytes};
use crate::store::base::error::Error;
use crate::store::base::range::{ByteRange, Capacity, Extent, SectorSize};
use crate::store::layout::spec::{DiskInfo, DiskSpec, OnFull, Shrink};
use crate::store::pages::batch::Batch;

/// A connection to a disk. Connections to the same disk see each other's writes at once.
///
/// Sectors are the disk's own, of [`DiskInfo::sector_bytes`], unless a function takes a
/// [`ByteRange`].
#[derive(Debug)]
pub struct Disk {
    connection: Connection,
    read_only: bool,
    /// Whether a write without memory fails even on a disk that stalls.
    never_waits: bool,
}

impl Disk {
    pub(crate) fn open(inner: Arc<DiskInner>) -> Self {
        Self {
            read_only: inner.is_read_only(),
            connection: Connection::open(inner),
            never_waits: false,
        }
    }

    fn inner(&self) -> &DiskInner {
        self.connection.inner()
    }

    /// Make this connection read-only.
    pub fn into_read_only(self) -> Self {
        Self {
            read_only: true,
            ..self
        }
    }

    /// Make this the owner's connection, which may write even if the disk is read-only, unless it
    /// is a snapshot.
    pub fn into_owner(self) -> Self {
        Self {
            read_only: self.inner().is_snapshot(),
            ..self
        }
    }

    /// Make this connection never wait for memory: a write without memory fails at once, and the
    /// caller follows [`Disk::on_full`].
    pub fn into_never_waiting(self) -> Self {
        Self {
            never_waits: true,
            ..self
        }
    }

    /// What a write should do if there is no memory for it.
    pub fn on_full(&self) -> OnFull {
        if self.inner().stalls() {
            OnFull::Stall
        } else {
            OnFull::Error
        }
    }

    /// A number that changes whenever a write that found no memory may find some: memory was freed
    /// in the store, or a quota changed. It doesn't show when the host itself has memory again.
    pub fn room_changes(&self) -> u64 {
        self.inner().room_changes()
    }

    /// Whether this connection was closed or its disk destroyed. Then every operation fails.
    pub fn is_disconnected(&self) -> bool {
        self.connection.is_closed()
    }

    /// Close this connection. Later operations fail with [`Error::Disconnected`]. The disk stays.
    pub fn disconnect(&self) {
        self.connection.close();
    }

    fn alive(&self) -> Result<&DiskInner, Error> {
        self.connection.alive()
    }

    fn writable(&self) -> Result<&DiskInner, Error> {
        let inner = self.alive()?;
        if self.read_only {
            Err(Error::IsReadOnly { key: inner.key() })
        } else {
            Ok(inner)
        }
    }

    /// Replace an error by [`Error::Disconnected`] if the disk was destroyed meanwhile, since it
    /// then has size 0.
    fn settle<T>(&self, result: Result<T, Error>) -> Result<T, Error> {
        if result.is_err() {
            self.alive().and(result)
        } else {
            result
        }
    }

    /// The present state of the disk.
    ///
    /// # Errors
    /// [`Error::Disconnected`].
    pub fn get_info(&self) -> Result<DiskInfo, Error> {
        let inner = self.alive()?;
        let capacity = inner.map().capacity();
        let record = inner.record();
        Ok(DiskInfo {
            sector_bytes: capacity.sector_size().bytes(),
            size_sectors: capacity.sectors(),
            size_bytes: capacity.bytes(),
            read_only: self.read_only,
            snapshot: record.snapshot,
            mapped_bytes: inner.map().mapped_bytes(),
            charged_bytes: inner.charged_bytes(),
            spec: DiskSpec {
                size_bytes: capacity.bytes(),
                ..record.spec
            },
            id: record.id,
            parent_id: Some(record.parent).filter(|&id| id != 0),
            made_at_ms: Some(record.made_at_ms).filter(|&at| at != 0),
            key: record.key,
        })
    }

    /// Bytes of memory that destroying this disk would free. Takes longer the more of it isn't
    /// shared.
    ///
    /// # Errors
    /// [`Error::Disconnected`].
    pub fn unique_bytes(&self) -> Result<u64, Error> {
        Ok(self.alive()?.map().unique_bytes())
    }

    /// Whether nothing was written, discarded or zeroed since the content came here as a whole: by
    /// a fork, a snapshot, a reset or a take-over. A process that opens the store later still
    /// knows. It says nothing of the size, and is false for a disk that [is blank](Disk::is_blank).
    ///
    /// # Errors
    /// [`Error::Disconnected`].
    pub fn is_untouched(&self) -> Result<bool, Error> {
        Ok(self.alive()?.root().is_untouched())
    }

    /// Whether all of it reads as zeros because it has no pages at all. It may be false for other
    /// disks of zeros.
    ///
    /// # Errors
    /// [`Error::Disconnected`].
    pub fn is_blank(&self) -> Result<bool, Error> {
        Ok(self.alive()?.root().block().is_none())
    }

    /// Whether both disks have the same size and the very same pages, as a disk and its snapshot do
    /// until the disk is written to. It is false for other disks that happen to be equal.
    ///
    /// # Errors
    /// [`Error::Disconnected`].
    pub fn has_tree_of(&self, other: &Self) -> Result<bool, Error> {
        let (one, two) = (self.alive()?, other.alive()?);
        let same_size = one.map().capacity().bytes() == two.map().capacity().bytes();
        Ok(same_size && one.root().bare() == two.root().bare())
    }

    /// The owner's settings. A fork starts with the same ones.
    ///
    /// # Errors
    /// [`Error::Disconnected`].
    pub fn settings(&self) -> Result<Vec<u8>, Error> {
        Ok(self.alive()?.with_record(|record| record.settings.clone()))
    }

    /// Replace the settings, at most [`MAX_SETTINGS_BYTES`](crate::store::MAX_SETTINGS_BYTES), at
    /// one instant.
    ///
    /// # Errors
    /// [`Error::SettingsTooLong`], [`Error::is_out_of_memory`], [`Error::Disconnected`].
    pub fn set_settings(&self, settings: &[u8]) -> Result<(), Error> {
        let settings = Some(settings);
        self.change(
            &Change {
                settings,
                ..Change::default()
            },
            None,
        )
        .map(drop)
    }

    /// Change fields of the disk's record and its size, all at one instant or none. The memory
    /// beyond a smaller size is freed when you drop the result.
    ///
    /// # Errors
    /// The same as [`Disk::set_settings`] and [`Disk::resize`]; [`Error::QuotaBelowCharge`].
    pub fn change(
        &self,
        change: &Change<'_>,
        size: Option<(u64, Shrink)>,
    ) -> Result<Leftover, Error> {
        let inner = match size {
            Some(_) => self.writable()?,
            None => self.alive()?,
        };
        self.settle(inner.change(change, size))
    }

    /// Bound the memory that may be charged to the disk from now on; `None` for no bound but the
    /// store's. If the disk has more, it keeps that.
    ///
    /// # Errors
    /// [`Error::is_out_of_memory`], [`Error::Disconnected`].
    pub fn set_quota(&self, quota_bytes: Option<u64>) -> Result<(), Error> {
        let change = Change {
            quota_bytes: Some(quota_bytes),
            even_below_charge: true,
            ..Change::default()
        };
        self.change(&change, None).map(drop)
    }

    /// Check that [`Disk::change`] would accept this quota now.
    ///
    /// # Errors
    /// [`Error::QuotaBelowCharge`], [`Error::Disconnected`].
    pub fn may_have_quota(&self, quota_bytes: u64) -> Result<(), Error> {
        self.alive()?.check_quota(quota_bytes, false)
    }

    /// Raise [`Store::pressure`](crate::store::Store::pressure) when the disk's charge reaches
    /// `above_bytes`, or falls below `below_bytes`.
    pub fn set_marks(&self, above_bytes: u64, below_bytes: u64) {
        if !self.inner().is_destroyed() {
            self.inner().set_marks(above_bytes, below_bytes);
        }
    }

    /// The present size, which makes [`ByteRange`]s. It is 0 once the disk is destroyed.
    pub fn capacity(&self) -> Capacity {
        self.inner().map().capacity()
    }

    /// The disk's own sector size.
    pub fn sector_size(&self) -> SectorSize {
        self.inner().sector_size()
    }

    /// Whether this connection is read-only.
    pub fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// Fill `bufs`, one after the other, from sector `start` on. Unmapped sectors read as zeros.
    ///
    /// # Errors
    /// [`Error::Misaligned`] if a buffer is not a multiple of the sector size,
    /// [`Error::OutOfRange`] if start or end lie outside the disk; then nothing is read.
    /// [`Error::Disconnected`].
    pub fn read(&self, start: u64, bufs: &mut [&mut [u8]]) -> Result<(), Error> {
        self.alive()?;
        let range = self.range_of(start, bufs.iter().map(|buf| buf.len()))?;
        let sinks: Vec<Sink<'_>> = bufs.iter_mut().map(|buf| Sink::from(&mut **buf)).collect();
        self.read_into(range, &sinks)
    }

    /// Write `bufs`, one after the other, from sector `start` on. The bytes are copied, so you can
    /// reuse the buffers when this returns.
    ///
    /// # Errors
    /// The same as [`Disk::read`]; [`Error::IsReadOnly`]; and [`Error::Full`], after which part of
    /// the range may have been written.
    pub fn write(&self, start: u64, bufs: &[&[u8]]) -> Result<(), Error> {
        self.writable()?;
        let range = self.range_of(start, bufs.iter().map(|buf| buf.len()))?;
        let sources: Vec<Source<'_>> = bufs.iter().map(|buf| Source::from(*buf)).collect();
        self.write_from(range, &sources)
    }

    fn range_of(&self, start: u64, lens: impl Iterator<Item = usize>) -> Result<ByteRange, Error> {
        let sector_bytes = self.sector_size().bytes();
        let mut total_bytes = 0;
        for len in lens {
            let len_bytes = len as u64;
            if !len_bytes.is_multiple_of(sector_bytes) {
                return Err(Error::Misaligned {
                    len_bytes,
                    sector_bytes,
                });
            }
            total_bytes += len_bytes;
        }
        self.capacity().range_own(start, total_bytes)
    }

    /// Fill `sinks`, which must hold as many bytes as `range`, with the disk's bytes.
    ///
    /// # Errors
    /// [`Error::Misaligned`] if the lengths differ, [`Error::OutOfRange`] if the disk shrank since
    /// the range was made, [`Error::Disconnected`].
    pub fn read_into(&self, range: ByteRange, sinks: &[Sink<'_>]) -> Result<(), Error> {
        self.same_length(range, total_bytes(sinks))?;
        self.settle(self.alive()?.map().read(range, sinks))
    }

    /// Write the bytes of `sources`, which must hold as many as `range`.
    ///
    /// # Errors
    /// The same as [`Disk::read_into`]; [`Error::IsReadOnly`]; and [`Error::Full`], after which
    /// part of the range may have been written.
    pub fn write_from(&self, range: ByteRange, sources: &[Source<'_>]) -> Result<(), Error> {
        self.same_length(range, total_bytes(sources))?;
        let inner = self.writable()?;
        self.settle(self.stalling(|| inner.map().write(range, sources)))
    }

    /// A batch of reads and writes of single pieces. `None` if the disk is gone; a read or write
    /// outside of a batch then returns the reason.
    pub fn batch(&self) -> Option<Batch<'_>> {
        let inner = self.alive().ok()?;
        Some(Batch::new(inner.map(), !self.read_only))
    }

    fn same_length(&self, range: ByteRange, len_bytes: u64) -> Result<(), Error> {
        if range.len_bytes() == len_bytes {
            return Ok(());
        }
        Err(Error::Misaligned {
            len_bytes,
            sector_bytes: self.sector_size().bytes(),
        })
    }

    /// Zero `sectors` sectors from `start` on. With `unmap` they are unmapped and their memory is
    /// freed; without it they count as mapped.
    ///
    /// # Errors
    /// [`Error::OutOfRange`], [`Error::IsReadOnly`], [`Error::Disconnected`], [`Error::Full`] if
    /// there is no memory to describe the zeros.
    pub fn write_zeroes(&self, start: u64, sectors: u64, unmap: bool) -> Result<(), Error> {
        self.writable()?;
        self.write_zeroes_range(self.sectors_range(start, sectors)?, unmap)
    }

    /// [`Disk::write_zeroes`] on a range.
    ///
    /// # Errors
    /// The same as [`Disk::write_zeroes`].
    pub fn write_zeroes_range(&self, range: ByteRange, unmap: bool) -> Result<(), Error> {
        let map = self.writable()?.map();
        self.settle(self.stalling(|| {
            if unmap {
                map.unmap(range, true)
            } else {
                map.map_zero(range)
            }
        }))
    }

    /// Retry until memory is found, if the disk is [`OnFull::Stall`].
    fn stalling(&self, act: impl Fn() -> Result<(), Error>) -> Result<(), Error> {
        loop {
            match act() {
                Err(error)
                    if error.is_out_of_memory() && self.inner().stalls() && !self.never_waits =>
                {
                    self.alive()?;
                    self.inner().wait_for_room();
                }
                other => return other,
            }
        }
    }

    /// Unmap `sectors` sectors from `start` on, which then read as zeros, and free their memory.
    /// The cost depends on how much is mapped there.
    ///
    /// # Errors
    /// [`Error::OutOfRange`], [`Error::IsReadOnly`], [`Error::Disconnected`].
    pub fn discard(&self, start: u64, sectors: u64) -> Result<(), Error> {
        self.writable()?;
        self.discard_range(self.sectors_range(start, sectors)?)
    }

    /// [`Disk::discard`] on a range. Only whole sectors of the disk's own size are unmapped.
    ///
    /// # Errors
    /// The same as [`Disk::discard`].
    pub fn discard_range(&self, range: ByteRange) -> Result<(), Error> {
        self.settle(self.writable()?.map().unmap(range, false))
    }

    /// [`Disk::discard_range`], for a caller that has to know whether all of it was done.
    ///
    /// # Errors
    /// The same as [`Disk::discard`]; [`Error::is_out_of_memory`] if a part was left as it was,
    /// since there is no memory to cut it out of what is shared.
    pub(crate) fn try_discard_range(&self, range: ByteRange) -> Result<(), Error> {
        self.settle(self.writable()?.map().try_unmap(range, false))
    }

    fn sectors_range(&self, start: u64, sectors: u64) -> Result<ByteRange, Error> {
        let len_bytes = sectors
            .checked_mul(self.sector_size().bytes())
            .ok_or_else(|| Error::OutOfRange {
                start_bytes: start.saturating_mul(self.sector_size().bytes()),
                len_bytes: u64::MAX,
                size_bytes: self.capacity().bytes(),
            })?;
        self.capacity().range_own(start, len_bytes)
    }

    /// Return when all completed writes are as stable as this store makes them. They are in memory
    /// when they complete, so this does nothing.
    ///
    /// # Errors
    /// [`Error::Disconnected`].
    pub fn flush(&self) -> Result<(), Error> {
        self.alive().map(|_| ())
    }

    /// The first mapped sector at or after `start`; the disk's size in sectors if there is none.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] if `start` is past the end, [`Error::Disconnected`].
    pub fn seek_mapped(&self, start: u64) -> Result<u64, Error> {
        self.connection.seek(start, true)
    }

    /// The first unmapped sector at or after `start`; the disk's size in sectors if there is none.
    ///
    /// # Errors
    /// The same as [`Disk::seek_mapped`].
    pub fn seek_unmapped(&self, start: u64) -> Result<u64, Error> {
        self.connection.seek(start, false)
    }

    /// The whole disk as mapped and unmapped extents.
    ///
    /// # Errors
    /// [`Error::Disconnected`].
    pub fn extents(&self) -> Result<Extents<'_>, Error> {
        self.extents_from(0)
    }

    /// [`Disk::extents`] from sector `start` on: none if that is past the end.
    ///
    /// # Errors
    /// [`Error::Disconnected`].
    pub fn extents_from(&self, start: u64) -> Result<Extents<'_>, Error> {
        Extents::new(&self.connection, start)
    }

    /// The extent that begins at sector `start`, cut off before sector `end`, which lies behind it.
    /// Looks no further than that.
    ///
    /// # Errors
    /// The same as [`Disk::seek_mapped`].
    pub fn extent_at(&self, start: u64, end: u64) -> Result<Extent, Error> {
        extent_at(&self.connection, start, end)
    }

    /// Change the size to `sectors` of the disk's own size, at one instant. New sectors are
    /// unmapped. The memory beyond a smaller size is freed when you drop the result.
    ///
    /// # Errors
    /// [`Error::InvalidSize`], [`Error::WouldShrink`] unless `shrink` allows it,
    /// [`Error::IsReadOnly`], [`Error::Disconnected`]. Then nothing changes.
    pub fn resize(&self, sectors: u64, shrink: Shrink) -> Result<Leftover, Error> {
        let size_bytes = sectors.saturating_mul(self.sector_size().bytes());
        self.resize_bytes(size_bytes, shrink)
    }

    /// [`Disk::resize`] to a size in bytes.
    ///
    /// # Errors
    /// The same as [`Disk::resize`].
    pub fn resize_bytes(&self, size_bytes: u64, shrink: Shrink) -> Result<Leftover, Error> {
        self.change(&Change::default(), Some((size_bytes, shrink)))
    }
}
