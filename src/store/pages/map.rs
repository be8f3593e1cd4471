//! The map of a disk, from sectors to pages: its tree, locks and size.
//!
//! A disk is a sequence of leaves of 2 MiB. Their locks are 64 shards, by number. An access waits
//! for one shard at a time: shared to read and to overwrite, exclusive to change the leaf. So
//! queues that use different leaves, or overwrite the same one, don't wait for each other, and a
//! page is never freed under a reader. Operations on the whole tree hold all shards: a fork, a
//! shrink or the removal of whole leaves is one instant for all queues.
//!
//! The size is checked under the lock, so a stale [`ByteRange`] is an error, never a byte outside.
//! Order of locks: shards by number, then the making of nodes, then the free list.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use super::leaf::{Leaf, Stretch};
use super::locks::{AllShards, ShardLocks};
use super::span::{Segment, segments};
use super::subtrees::detached::Detached;
use super::tree::Tree;
use super::unique::Unique;
use crate::store::base::buf::{Cursor, Sink, Source};
use crate::store::base::error::Error;
use crate::store::base::range::{ByteRange, Capacity, PAGE_BYTES, SECTOR_BYTES, SectorSize};
use crate::store::base::sync::RwLockReadGuard;
use crate::store::layout::entry::Entry;
use crate::store::layout::levels::LEAF_BYTES;

/// The map of one disk.
#[derive(Debug)]
pub(crate) struct PageMap {
    pub(crate) tree: Tree,
    /// Made at the first access, so an untouched fork has none.
    locks: OnceLock<Box<ShardLocks>>,
    sector_size: SectorSize,
    size_bytes: AtomicU64,
    detect_zeroes: bool,
}

impl PageMap {
    pub(crate) fn new(tree: Tree, capacity: Capacity, detect_zeroes: bool) -> Self {
        Self {
            tree,
            locks: OnceLock::new(),
            sector_size: capacity.sector_size(),
            size_bytes: AtomicU64::new(capacity.bytes()),
            detect_zeroes,
        }
    }

    #[inline]
    fn locks(&self) -> &ShardLocks {
        self.locks.get_or_init(ShardLocks::new)
    }

    /// Lock all shards, which waits for all requests that use a leaf.
    pub(crate) fn lock_all(&self) -> AllShards<'_> {
        self.locks().lock_all()
    }

    /// The present size.
    pub(crate) fn capacity(&self) -> Capacity {
        Capacity::known(self.size_bytes.load(Ordering::Acquire), self.sector_size)
    }

    /// Make `capacity` the size.
    pub(crate) fn set_capacity(&self, _all: &AllShards<'_>, capacity: Capacity) {
        debug_assert_eq!(capacity.sector_size(), self.sector_size);
        self.size_bytes.store(capacity.bytes(), Ordering::Release);
    }

    /// Mapped bytes. The number is exact while nothing changes.
    pub(crate) fn mapped_bytes(&self) -> u64 {
        self.tree.mapped.sectors() * SECTOR_BYTES
    }

    /// Bytes that destroying this disk would free. The number is exact while nothing changes. They
    /// are counted leaf by leaf, so that no write waits for all of it.
    pub(crate) fn unique_bytes(&self) -> u64 {
        let mut unique = Unique::default();
        let mut next = Some(0);
        while let Some(leaf) = next {
            let _lock = self.locks().of_leaf(leaf).read();
            next = unique.add_leaf(&self.tree, leaf);
        }
        let record = self.tree.record().map_or(0, |_| PAGE_BYTES);
        record + unique.bytes()
    }

    /// Whether a page is one sector.
    fn whole_pages(&self) -> bool {
        self.sector_size == SectorSize::S4096
    }

    /// Check that the size still covers `end_bytes`. The caller holds a lock that keeps the size.
    fn check_end(&self, range: ByteRange, end_bytes: u64) -> Result<(), Error> {
        let size_bytes = self.size_bytes.load(Ordering::Acquire);
        if end_bytes <= size_bytes {
            return Ok(());
        }
        Err(Error::OutOfRange {
            start_bytes: range.start_bytes(),
            len_bytes: range.len_bytes(),
            size_bytes,
        })
    }

    /// Fill `to`, which hold as many bytes as the range.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] if the disk shrank.
    pub(crate) fn read(&self, range: ByteRange, to: &[Sink<'_>]) -> Result<(), Error> {
        let mut to = Cursor::new(to);
        for segment in segments(range) {
            let lock = self.locks().of_leaf(segment.leaf).read();
            self.check_end(range, segment.end_bytes())?;
            if let Some(leaf) = self.tree.leaf_now(segment.leaf) {
                Leaf::new(&self.tree, leaf).read(segment.spans(), &mut to);
            } else {
                drop(lock);
                to.fill_zero(segment.len);
            }
        }
        Ok(())
    }

    /// Where a range lies, if it can be read, or overwritten, at once, and no thread is changing
    /// its leaf. It stays there while the returned lock is held. This never waits, so the caller
    /// may hold other shards.
    #[inline]
    pub(crate) fn locate(
        &self,
        range: ByteRange,
        write: bool,
    ) -> Option<(RwLockReadGuard<'_, ()>, Stretch)> {
        let segment = segments(range).next()?;
        let lock = self.locks().of_leaf(segment.leaf).try_read()?;
        self.check_end(range, range.end_bytes()).ok()?;
        if segment.end_bytes() != range.end_bytes() || write && self.detect_zeroes {
            return None;
        }
        let leaf = if write {
            Some(self.tree.own_leaf_now(segment.leaf)?)
        } else {
            self.tree.leaf_now(segment.leaf)
        };
        let stretch = match leaf {
            Some(leaf) => Leaf::new(&self.tree, leaf).stretch(segment.spans(), write)?,
            None => Stretch::Zeros,
        };
        Some((lock, stretch))
    }

    /// Write the bytes of `from`, as many as the range has.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] if the disk shrank, [`Error::is_out_of_memory`], after which part of
    /// the range may be written.
    pub(crate) fn write(&self, range: ByteRange, from: &[Source<'_>]) -> Result<(), Error> {
        let mut from = Cursor::new(from);
        let (detect, whole) = (self.detect_zeroes, self.whole_pages());
        for segment in segments(range) {
            let mut spans = segment.spans().peekable();
            if !detect {
                let _lock = self.locks().of_leaf(segment.leaf).read();
                self.check_end(range, segment.end_bytes())?;
                if let Some(leaf) = self.tree.own_leaf_now(segment.leaf) {
                    Leaf::new(&self.tree, leaf).overwrite(&mut spans, &mut from);
                }
            }
            if spans.peek().is_none() {
                continue;
            }
            self.change(range, segment, false, |leaf| {
                for span in spans.by_ref() {
                    if detect && from.skip_zeros(span.len) {
                        leaf.zero_span(span, whole)?;
                    } else {
                        leaf.write_span(span, whole, Some(&mut from))?;
                    }
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Change a leaf, which is created or copied first if necessary.
    fn change(
        &self,
        range: ByteRange,
        segment: Segment,
        unmaps: bool,
        change: impl FnOnce(Leaf<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        loop {
            let lock = self.locks().of_leaf(segment.leaf).write();
            self.check_end(range, segment.end_bytes())?;
            if let Some(leaf) = self.tree.own_leaf(segment.leaf)? {
                let leaf = Leaf::new(&self.tree, leaf);
                let result = change(leaf);
                // A write that found no memory may have made a leaf for nothing.
                let prune = (unmaps || result.is_err())
                    && leaf.is_empty()
                    && self.tree.remove_leaf(segment.leaf);
                drop(lock);
                if prune {
                    self.tree.prune(&self.lock_all(), segment.leaf);
                }
                return result;
            }
            drop(lock);
            self.tree.own_path(&self.lock_all(), segment.leaf, false)?;
        }
    }

    /// Map the range as zeros: it reads as zeros and counts as mapped, without pages if possible.
    ///
    /// # Errors
    /// The same as [`PageMap::write`].
    pub(crate) fn map_zero(&self, range: ByteRange) -> Result<(), Error> {
        let whole = self.whole_pages();
        self.fill(range, Entry::ALL_ZERO, |segment| {
            self.change(range, segment, false, |leaf| {
                let mut spans = segment.spans();
                spans.try_for_each(|span| leaf.zero_span(span, whole))
            })
        })
    }

    /// Unmap the range. Parts of sectors, which can't be unmapped, are zeroed if `must_be_zero`.
    /// Otherwise they are left alone. So is a part of an area that is shared, or mapped and zero as
    /// a whole, if there is no memory to cut it out.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] if the disk shrank; [`Error::is_out_of_memory`] if `must_be_zero`.
    pub(crate) fn unmap(&self, range: ByteRange, must_be_zero: bool) -> Result<(), Error> {
        match self.try_unmap(range, must_be_zero) {
            Err(error) if error.is_out_of_memory() && !must_be_zero => Ok(()),
            other => other,
        }
    }

    /// The same as [`PageMap::unmap`], for a caller that has to know whether all of it was done.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] if the disk shrank; [`Error::is_out_of_memory`].
    pub(crate) fn try_unmap(&self, range: ByteRange, must_be_zero: bool) -> Result<(), Error> {
        // All or nothing: check for a shrink since the range was made before the first change.
        self.check_end(range, range.end_bytes())?;
        self.fill(range, Entry::NONE, |segment| {
            self.unmap_segment(range, segment, must_be_zero)
        })
    }

    /// Set whole leaves of the range to `fill`, at one instant, and call `part` for parts of
    /// leaves.
    fn fill(
        &self,
        range: ByteRange,
        fill: Entry,
        part: impl Fn(Segment) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let first = range.start_bytes().div_ceil(LEAF_BYTES);
        let end = range.end_bytes() / LEAF_BYTES;
        if first >= end {
            return segments(range).try_for_each(part);
        }
        let before = range.start_bytes() % LEAF_BYTES;
        if before > 0 {
            part(Segment::tail(first - 1, before))?;
        }
        let mut detached = Detached::default();
        let result = {
            let all = self.lock_all();
            self.check_end(range, end * LEAF_BYTES)
                .and_then(|()| self.tree.set(&all, (first, end), fill, &mut detached))
        };
        detached.free(self.tree.nodes.pool());
        result?;
        match range.end_bytes() % LEAF_BYTES {
            0 => Ok(()),
            rest => part(Segment::head(end, rest)),
        }
    }

    fn unmap_segment(
        &self,
        range: ByteRange,
        segment: Segment,
        must_be_zero: bool,
    ) -> Result<(), Error> {
        {
            // If nothing is mapped, there is nothing to unmap, and no leaf must be created.
            let _lock = self.locks().of_leaf(segment.leaf).read();
            self.check_end(range, segment.end_bytes())?;
            if self.tree.link(segment.leaf).entry().is_none() {
                return Ok(());
            }
        }
        let whole = self.whole_pages();
        self.change(range, segment, true, |leaf| {
            let mut freed = Vec::new();
            let result = segment
                .spans()
                .try_for_each(|span| leaf.unmap_span(span, whole, must_be_zero, &mut freed));
            self.tree.nodes.pool().give_back(&mut freed);
            result
        })
    }

    /// Take the memory that is needed to cut the disk off at `size_bytes`.
    ///
    /// # Errors
    /// [`Error::is_out_of_memory`].
    pub(crate) fn prepare_cut(&self, all: &AllShards<'_>, size_bytes: u64) -> Result<(), Error> {
        let within = !size_bytes.is_multiple_of(LEAF_BYTES);
        self.tree.own_path(all, size_bytes / LEAF_BYTES, within)
    }

    /// Unmap everything beyond `size_bytes`, after [`PageMap::prepare_cut`] and under the same
    /// lock. Adds to `out` what the caller must free.
    ///
    /// # Errors
    /// None, if that was prepared.
    pub(crate) fn cut(
        &self,
        all: &AllShards<'_>,
        size_bytes: u64,
        out: &mut Detached,
    ) -> Result<(), Error> {
        let first = size_bytes.div_ceil(LEAF_BYTES);
        self.tree.set(all, (first, u64::MAX), Entry::NONE, out)?;
        let within = size_bytes % LEAF_BYTES;
        let number = size_bytes / LEAF_BYTES;
        if within > 0
            && let Some(leaf) = self.tree.own_leaf_now(number)
        {
            let leaf = Leaf::new(&self.tree, leaf);
            let before = leaf.sectors();
            let mut freed = Vec::new();
            for span in Segment::tail(number, within).spans() {
                leaf.unmap_span(span, false, false, &mut freed)?;
            }
            out.lost_sectors += before - leaf.sectors();
            self.tree.nodes.pool().give_back(&mut freed);
            if leaf.is_empty() {
                self.tree.remove_leaf(number);
            }
        }
        self.tree.prune(all, number);
        Ok(())
    }

    /// The first byte at or after `at` (a multiple of 512) that is mapped (or isn't), unless that
    /// lies in a leaf that begins at `end` or later. It may lie behind `end` in the same leaf.
    pub(crate) fn find(&self, at: u64, end: u64, mapped: bool) -> Option<u64> {
        let skip = if mapped { Entry::NONE } else { Entry::ALL_ZERO };
        let mut at = at;
        while at < end.min(self.size_bytes.load(Ordering::Acquire)) {
            let number = at / LEAF_BYTES;
            let _lock = self.locks().of_leaf(number).read();
            let found = self.find_in_leaf(number, at % LEAF_BYTES, mapped);
            if found.is_some() {
                return found;
            }
            at = self.tree.next_leaf(number + 1, skip)? * LEAF_BYTES;
        }
        None
    }

    /// The first byte of the disk that is mapped (or isn't) in one leaf, from byte `within` of it.
    fn find_in_leaf(&self, number: u64, within: u64, mapped: bool) -> Option<u64> {
        let entry = self.tree.link(number).entry();
        let within = match entry.block() {
            None => (entry.is_none() != mapped).then_some(within)?,
            Some(leaf) => {
                let leaf = Leaf::new(&self.tree, leaf);
                leaf.find(within / SECTOR_BYTES, mapped, self.whole_pages())? * SECTOR_BYTES
            }
        };
        Some(number * LEAF_BYTES + within)
    }

    /// Detach the tree, so that nothing can be looked up any more. Returns its root.
    pub(crate) fn detach(&self, all: &AllShards<'_>) -> Entry {
        let root = self.tree.root_entry();
        self.tree.set_record(all, None);
        self.set_capacity(all, Capacity::nothing(self.sector_size));
        root
    }

    /// Whether nothing is mapped beyond the size. A killed process may have left something there.
    pub(crate) fn is_cut(&self) -> bool {
        let size_bytes = self.capacity().bytes();
        let (number, within) = (size_bytes / LEAF_BYTES, size_bytes % LEAF_BYTES);
        self.find_in_leaf(number, within, true).is_none()
            && self.tree.next_leaf(number + 1, Entry::NONE).is_none()
    }
}
