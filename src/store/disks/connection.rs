//! A connection to a disk, which ends when its user closes it or the disk is destroyed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::inner::DiskInner;
use crate::store::base::error::Error;

/// A connection to a disk.
#[derive(Debug)]
pub(crate) struct Connection {
    inner: Arc<DiskInner>,
    closed: AtomicBool,
}

impl Connection {
    pub(crate) fn open(inner: Arc<DiskInner>) -> Self {
        Self {
            inner,
            closed: AtomicBool::new(false),
        }
    }

    /// The disk, even if it was destroyed.
    #[inline]
    pub(crate) fn inner(&self) -> &DiskInner {
        &self.inner
    }

    #[inline]
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire) || self.inner.is_destroyed()
    }

    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    /// The disk.
    ///
    /// # Errors
    /// [`Error::Disconnected`] if it was destroyed or the connection closed.
    #[inline]
    pub(crate) fn alive(&self) -> Result<&DiskInner, Error> {
        if self.is_closed() {
            return Err(Error::Disconnected {
                key: self.inner.key(),
            });
        }
        Ok(&self.inner)
    }

    /// The first sector at or after `start` that is mapped (or isn't); the disk's size in sectors
    /// if there is none. In the disk's own sectors.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] if `start` is past the end, [`Error::Disconnected`].
    pub(crate) fn seek(&self, start: u64, mapped: bool) -> Result<u64, Error> {
        self.seek_before(start, u64::MAX, mapped)
    }

    /// The same as [`Connection::seek`], but looks no further than before sector `end`; `end` if
    /// there is none before it.
    ///
    /// # Errors
    /// The same as [`Connection::seek`].
    pub(crate) fn seek_before(&self, start: u64, end: u64, mapped: bool) -> Result<u64, Error> {
        let map = self.alive()?.map();
        let capacity = map.capacity();
        let sector_bytes = capacity.sector_size().bytes();
        let at = capacity.range_own(start, 0)?.start_bytes();
        let end = end.saturating_mul(sector_bytes).min(capacity.bytes());
        let found = map.find(at, end, mapped).unwrap_or(u64::MAX);
        Ok(found.min(end) / sector_bytes)
    }
}
