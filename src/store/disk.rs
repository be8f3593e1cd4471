//! A connection to one disk: everything that can be done to its bytes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use super::map::PageMap;
use super::pool::PagePool;
use super::range::SectorSize;
use super::{ByteRange, Capacity, Error, Extents, Sink, Source, total_bytes};

/// What a new disk is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskSpec {
    /// Its own sector size.
    pub sector_size: SectorSize,
    /// Its size in bytes, a multiple of the sector size.
    pub size_bytes: u64,
    /// Whether nobody may ever change it.
    pub read_only: bool,
}

impl DiskSpec {
    /// A writable disk.
    pub fn new(sector_size: SectorSize, size_bytes: u64) -> Self {
        Self {
            sector_size,
            size_bytes,
            read_only: false,
        }
    }
}

impl Default for DiskSpec {
    /// 32768 sectors of 512 bytes: what the ancestor of this store gave to whoever did not say.
    fn default() -> Self {
        Self::new(SectorSize::S512, 32768 * 512)
    }
}

/// What [`Disk::get_info`] tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskInfo {
    /// The disk's key.
    pub key: String,
    /// Its own sector size, in bytes.
    pub sector_bytes: u64,
    /// Its size in its own sectors.
    pub size_sectors: u64,
    /// Its size in bytes.
    pub size_bytes: u64,
    /// Whether this connection may not write.
    pub read_only: bool,
    /// Bytes of all mapped sectors.
    pub mapped_bytes: u64,
}

/// Whether a resize may lose what lies beyond the new size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shrink {
    /// A smaller size is an error.
    Refuse,
    /// A smaller size is what is wanted; the data beyond it is freed.
    Allow,
}

/// The disk itself, shared by its connections.
#[derive(Debug)]
pub(super) struct DiskCore {
    key: String,
    spec: DiskSpec,
    map: PageMap,
    destroyed: AtomicBool,
    /// Serialises resizes and destruction; the data path never takes it.
    resizing: Mutex<()>,
}

impl DiskCore {
    pub(super) fn new(key: &str, spec: DiskSpec, pool: Arc<PagePool>) -> Result<Self, Error> {
        let capacity = Capacity::new(spec.size_bytes, spec.sector_size)?;
        Ok(Self {
            key: key.to_owned(),
            spec,
            map: PageMap::new(pool, capacity),
            destroyed: AtomicBool::new(false),
            resizing: Mutex::new(()),
        })
    }

    /// End the disk for every connection and free its memory now.
    pub(super) fn destroy(&self) {
        let _resizing = self.resizing.lock();
        self.destroyed.store(true, Ordering::Release);
        self.map.resize(Capacity::nothing(self.spec.sector_size));
    }
}

/// A connection to a disk. Connections to the same disk see each other's writes at once.
///
/// Sectors are the disk's own, of [`DiskInfo::sector_bytes`], except where a [`ByteRange`] is
/// taken.
#[derive(Debug)]
pub struct Disk {
    core: Arc<DiskCore>,
    read_only: bool,
    disconnected: AtomicBool,
}

impl Disk {
    pub(super) fn open(core: Arc<DiskCore>) -> Self {
        let read_only = core.spec.read_only;
        Self {
            core,
            read_only,
            disconnected: AtomicBool::new(false),
        }
    }

    /// The same connection, but one that may not write.
    pub fn into_read_only(self) -> Self {
        Self {
            read_only: true,
            ..self
        }
    }

    /// Close this connection: everything asked of it later is [`Error::Disconnected`]. The disk
    /// stays.
    pub fn disconnect(&self) {
        self.disconnected.store(true, Ordering::Release);
    }

    fn alive(&self) -> Result<&DiskCore, Error> {
        let gone = self.disconnected.load(Ordering::Acquire)
            || self.core.destroyed.load(Ordering::Acquire);
        if gone {
            Err(Error::Disconnected {
                key: self.core.key.clone(),
            })
        } else {
            Ok(&self.core)
        }
    }

    fn writable(&self) -> Result<&DiskCore, Error> {
        let core = self.alive()?;
        if self.read_only {
            Err(Error::IsReadOnly {
                key: core.key.clone(),
            })
        } else {
            Ok(core)
        }
    }

    /// A disk that is destroyed while it is used has size 0; say what really happened.
    fn settle(&self, result: Result<(), Error>) -> Result<(), Error> {
        if result.is_err() {
            self.alive().map(|_| ()).and(result)
        } else {
            result
        }
    }

    /// What the disk is now.
    ///
    /// # Errors
    /// [`Error::Disconnected`].
    pub fn get_info(&self) -> Result<DiskInfo, Error> {
        let core = self.alive()?;
        let capacity = core.map.capacity();
        Ok(DiskInfo {
            key: core.key.clone(),
            sector_bytes: core.spec.sector_size.bytes(),
            size_sectors: capacity.sectors(),
            size_bytes: capacity.bytes(),
            read_only: self.read_only,
            mapped_bytes: core.map.mapped_bytes(),
        })
    }

    /// The size now: what makes [`ByteRange`]s. Nothing, once the disk is destroyed.
    pub fn capacity(&self) -> Capacity {
        self.core.map.capacity()
    }

    /// The disk's own sector size.
    pub fn sector_size(&self) -> SectorSize {
        self.core.spec.sector_size
    }

    /// Whether this connection may not write.
    pub fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// Fill `bufs`, one after the other, from sector `start` on. What was never written reads zero.
    ///
    /// # Errors
    /// [`Error::Misaligned`] if a buffer is no multiple of the sector size, [`Error::OutOfRange`]
    /// if start or end lie outside the disk: nothing is read then. [`Error::Disconnected`].
    pub fn read(&self, start: u64, bufs: &mut [&mut [u8]]) -> Result<(), Error> {
        self.alive()?;
        let range = self.range_of(start, bufs.iter().map(|buf| buf.len()))?;
        let sinks: Vec<Sink<'_>> = bufs.iter_mut().map(|buf| Sink::from(&mut **buf)).collect();
        self.read_into(range, &sinks)
    }

    /// Write `bufs`, one after the other, from sector `start` on. The bytes are copied; the
    /// caller's buffers are its own again when this returns.
    ///
    /// # Errors
    /// As [`Disk::read`], [`Error::IsReadOnly`], and [`Error::Full`], after which part of the range
    /// may have been written.
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
        self.settle(self.alive()?.map.read(range, sinks))
    }

    /// Write the bytes of `sources`, which must hold as many as `range`.
    ///
    /// # Errors
    /// As [`Disk::read_into`], [`Error::IsReadOnly`], and [`Error::Full`], after which part of the
    /// range may have been written.
    pub fn write_from(&self, range: ByteRange, sources: &[Source<'_>]) -> Result<(), Error> {
        self.same_length(range, total_bytes(sources))?;
        self.settle(self.writable()?.map.write(range, sources))
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

    /// Make `sectors` sectors from `start` on read zero. With `unmap` they are given back, without
    /// they stay mapped.
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
    /// As there.
    pub fn write_zeroes_range(&self, range: ByteRange, unmap: bool) -> Result<(), Error> {
        let map = &self.writable()?.map;
        self.settle(if unmap {
            map.unmap(range, true)
        } else {
            map.map_zero(range)
        })
    }

    /// Give `sectors` sectors from `start` on back: they are unmapped and read zero. Costs what is
    /// mapped there.
    ///
    /// # Errors
    /// [`Error::OutOfRange`], [`Error::IsReadOnly`], [`Error::Disconnected`].
    pub fn discard(&self, start: u64, sectors: u64) -> Result<(), Error> {
        self.writable()?;
        self.discard_range(self.sectors_range(start, sectors)?)
    }

    /// [`Disk::discard`] on a range; of the disk's own sectors only whole ones are unmapped.
    ///
    /// # Errors
    /// As there.
    pub fn discard_range(&self, range: ByteRange) -> Result<(), Error> {
        self.settle(self.writable()?.map.unmap(range, false))
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

    /// Returns when every write that was answered before is as safe as this store makes it: it is
    /// in memory, and was before its answer.
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
        self.seek(start, true)
    }

    /// The first unmapped sector at or after `start`; the disk's size in sectors if there is none.
    ///
    /// # Errors
    /// As [`Disk::seek_mapped`].
    pub fn seek_unmapped(&self, start: u64) -> Result<u64, Error> {
        self.seek(start, false)
    }

    fn seek(&self, start: u64, mapped: bool) -> Result<u64, Error> {
        let core = self.alive()?;
        let capacity = core.map.capacity();
        let at = capacity.range_own(start, 0)?.start_bytes();
        let found = core.map.find(at, mapped).unwrap_or(u64::MAX);
        Ok(found.min(capacity.bytes()) / self.sector_size().bytes())
    }

    /// The whole disk as mapped and unmapped stretches.
    ///
    /// # Errors
    /// [`Error::Disconnected`].
    pub fn extents(&self) -> Result<Extents<'_>, Error> {
        self.alive()?;
        let capacity = self.capacity();
        let whole = capacity.range_own(0, capacity.bytes())?;
        Ok(Extents::new(self, whole, self.sector_size().bytes()))
    }

    /// Change the size to `sectors` of the disk's own. New sectors are unmapped.
    ///
    /// # Errors
    /// [`Error::InvalidSize`], [`Error::WouldShrink`] unless `shrink` allows it,
    /// [`Error::IsReadOnly`], [`Error::Disconnected`]. Nothing changes then.
    pub fn resize(&self, sectors: u64, shrink: Shrink) -> Result<(), Error> {
        let size_bytes = sectors.saturating_mul(self.sector_size().bytes());
        self.resize_bytes(size_bytes, shrink)
    }

    /// [`Disk::resize`] to a size in bytes.
    ///
    /// # Errors
    /// As there.
    pub fn resize_bytes(&self, size_bytes: u64, shrink: Shrink) -> Result<(), Error> {
        let core = self.writable()?;
        let capacity = Capacity::new(size_bytes, core.spec.sector_size)?;
        let _resizing = core.resizing.lock();
        self.alive()?;
        let from_bytes = core.map.capacity().bytes();
        if size_bytes < from_bytes && shrink == Shrink::Refuse {
            return Err(Error::WouldShrink {
                from_bytes,
                to_bytes: size_bytes,
            });
        }
        core.map.resize(capacity);
        Ok(())
    }
}
