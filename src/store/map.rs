//! Which sector of a disk is mapped, and to which page.
//!
//! A disk is a sparse row of 2 MiB leaves, spread over shards by number. An access holds the lock
//! of one shard at a time: shared to read and to overwrite, exclusive to change the structure. So
//! queues that work on different blocks, or overwrite the same one, do not wait for each other, and
//! a page is never freed under a reader. Whatever its length, a discard costs what is mapped there.
//!
//! The size of the disk is kept here and checked under each shard's lock: a shrink publishes it
//! first and then passes through every shard, after which nothing can be mapped beyond it.
#![allow(
    clippy::cast_possible_truncation,
    reason = "only numbers below a leaf's size are cast"
)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;

use super::Error;
use super::buf::{Cursor, Sink, Source};
use super::leaf::{LEAF_BYTES, LEAF_PAGES, Leaf, Span, Table};
use super::pool::{PAGE_BYTES, PagePool};
use super::range::{ByteRange, Capacity, SECTOR_BYTES, SectorSize};

const SHARDS: usize = 64;
const LEAF_SECTORS: u64 = (LEAF_PAGES * 8) as u64;

/// The map of one disk.
#[derive(Debug)]
pub(super) struct PageMap {
    shards: Box<[Shard]>,
    pool: Arc<PagePool>,
    sector_size: SectorSize,
    size_bytes: AtomicU64,
}

#[derive(Debug, Default)]
struct Shard {
    leaves: RwLock<BTreeMap<u64, Leaf>>,
    mapped_sectors: AtomicU64,
}

/// The part of a request that lies in one leaf.
#[derive(Clone, Copy, Debug)]
struct Segment {
    leaf: u64,
    first: usize,
    len: usize,
}

impl Segment {
    fn end_bytes(self) -> u64 {
        self.leaf * LEAF_BYTES + (self.first + self.len) as u64
    }

    fn is_whole(self) -> bool {
        self.len as u64 == LEAF_BYTES
    }

    fn spans(self) -> impl Iterator<Item = Span> {
        let end = self.first + self.len;
        let mut at = self.first;
        std::iter::from_fn(move || {
            (at < end).then(|| {
                let offset = at % PAGE_BYTES;
                let span = Span {
                    index: at / PAGE_BYTES,
                    offset,
                    len: (PAGE_BYTES - offset).min(end - at),
                };
                at += span.len;
                span
            })
        })
    }
}

fn segments(range: ByteRange) -> impl Iterator<Item = Segment> {
    let end = range.end_bytes();
    let mut at = range.start_bytes();
    std::iter::from_fn(move || {
        (at < end).then(|| {
            let within = at % LEAF_BYTES;
            let len = (LEAF_BYTES - within).min(end - at);
            let segment = Segment {
                leaf: at / LEAF_BYTES,
                first: within as usize,
                len: len as usize,
            };
            at += len;
            segment
        })
    })
}

impl PageMap {
    pub(super) fn new(pool: Arc<PagePool>, capacity: Capacity) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Shard::default()).collect(),
            pool,
            sector_size: capacity.sector_size(),
            size_bytes: AtomicU64::new(capacity.bytes()),
        }
    }

    /// The size now.
    pub(super) fn capacity(&self) -> Capacity {
        Capacity::known(self.size_bytes.load(Ordering::Acquire), self.sector_size)
    }

    /// Mapped bytes: exact while nothing changes.
    pub(super) fn mapped_bytes(&self) -> u64 {
        let sectors = |shard: &Shard| shard.mapped_sectors.load(Ordering::Relaxed);
        self.shards.iter().map(sectors).sum::<u64>() * SECTOR_BYTES
    }

    fn shard(&self, leaf: u64) -> &Shard {
        &self.shards[(leaf % SHARDS as u64) as usize]
    }

    /// Whether a page is one sector.
    fn whole(&self) -> bool {
        self.sector_size == SectorSize::S4096
    }

    /// To be asked under the lock of the segment's shard.
    fn check(&self, range: ByteRange, segment: Segment) -> Result<(), Error> {
        self.check_end(range, segment.end_bytes())
    }

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

    pub(super) fn read(&self, range: ByteRange, to: &[Sink<'_>]) -> Result<(), Error> {
        let mut to = Cursor::new(to);
        for segment in segments(range) {
            let leaves = self.shard(segment.leaf).leaves.read();
            self.check(range, segment)?;
            match leaves.get(&segment.leaf) {
                None | Some(Leaf::Zero) => {
                    drop(leaves);
                    to.fill_zero(segment.len);
                }
                Some(Leaf::Table(table)) => {
                    for span in segment.spans() {
                        table.read(&self.pool, span, &mut to);
                    }
                }
            }
        }
        Ok(())
    }

    pub(super) fn write(&self, range: ByteRange, from: &[Source<'_>]) -> Result<(), Error> {
        let mut from = Cursor::new(from);
        for segment in segments(range) {
            let shard = self.shard(segment.leaf);
            let mut spans = segment.spans().peekable();
            {
                let leaves = shard.leaves.read();
                self.check(range, segment)?;
                if let Some(Leaf::Table(table)) = leaves.get(&segment.leaf) {
                    while let Some(&span) = spans.peek() {
                        let Some(newly) = table.write_in_place(&self.pool, span, &mut from) else {
                            break;
                        };
                        shard.add(newly);
                        spans.next();
                    }
                }
            }
            if spans.peek().is_some() {
                let mut leaves = shard.leaves.write();
                self.check(range, segment)?;
                let result = self.table(&mut leaves, segment.leaf).and_then(|table| {
                    for span in spans {
                        shard.add(table.write(&self.pool, span, self.whole(), &mut from)?);
                    }
                    Ok(())
                });
                // A write that found no memory may have made a table for nothing.
                self.drop_if_empty(&mut leaves, segment.leaf);
                result?;
            }
        }
        Ok(())
    }

    /// Map the range as zeros: it reads zero and counts as mapped, without pages where it can.
    pub(super) fn map_zero(&self, range: ByteRange) -> Result<(), Error> {
        for segment in segments(range) {
            let shard = self.shard(segment.leaf);
            let mut leaves = shard.leaves.write();
            self.check(range, segment)?;
            if matches!(leaves.get(&segment.leaf), Some(Leaf::Zero)) {
                continue;
            }
            if segment.is_whole() {
                self.pool.charge(Leaf::ZERO_CHARGE_BYTES)?;
                let old = leaves.insert(segment.leaf, Leaf::Zero);
                shard
                    .mapped_sectors
                    .fetch_add(LEAF_SECTORS, Ordering::Relaxed);
                self.free(shard, old);
            } else {
                let table = self.table(&mut leaves, segment.leaf)?;
                self.pool.give_back(segment.spans().filter_map(|span| {
                    let (newly, page) = table.map_zero(&self.pool, span, self.whole());
                    shard.add(newly);
                    page
                }));
            }
        }
        Ok(())
    }

    /// Unmap the range. `must_be_zero`: parts that can't be unmapped, because a sector is larger,
    /// are zeroed; without it they are left alone. Where no memory is left to describe a hole in an
    /// area that is mapped and zero as a whole, it stays mapped: it reads zero either way.
    pub(super) fn unmap(&self, range: ByteRange, must_be_zero: bool) -> Result<(), Error> {
        // All or nothing: a shrink since the range was made is found before the first change.
        self.check_end(range, range.end_bytes())?;
        let start = range.start_bytes();
        let first_whole = start.div_ceil(LEAF_BYTES);
        let end_whole = range.end_bytes() / LEAF_BYTES;
        if first_whole >= end_whole {
            segments(range).for_each(|segment| self.unmap_part(segment, must_be_zero, false));
            return Ok(());
        }
        let head = (first_whole * LEAF_BYTES - start) as usize;
        if head > 0 {
            let first = (start % LEAF_BYTES) as usize;
            self.unmap_part(
                Segment {
                    leaf: first_whole - 1,
                    first,
                    len: head,
                },
                must_be_zero,
                false,
            );
        }
        self.unmap_leaves(first_whole, end_whole);
        let tail = (range.end_bytes() % LEAF_BYTES) as usize;
        if tail > 0 {
            self.unmap_part(
                Segment {
                    leaf: end_whole,
                    first: 0,
                    len: tail,
                },
                must_be_zero,
                false,
            );
        }
        Ok(())
    }

    /// Change the size; what lies beyond a smaller one is freed, at once for all queues.
    pub(super) fn resize(&self, capacity: Capacity) {
        let old_bytes = self.size_bytes.swap(capacity.bytes(), Ordering::AcqRel);
        if capacity.bytes() >= old_bytes {
            return;
        }
        let part = (capacity.bytes() % LEAF_BYTES) as usize;
        if part > 0 {
            let len = LEAF_BYTES as usize - part;
            let leaf = capacity.bytes() / LEAF_BYTES;
            self.unmap_part(
                Segment {
                    leaf,
                    first: part,
                    len,
                },
                false,
                true,
            );
        }
        self.unmap_leaves(capacity.bytes().div_ceil(LEAF_BYTES), u64::MAX);
    }

    /// Free every leaf numbered from `first` up to `end`. Visits what is there, not what could be.
    fn unmap_leaves(&self, first: u64, end: u64) {
        if end - first < SHARDS as u64 {
            for leaf in first..end {
                let shard = self.shard(leaf);
                let old = shard.leaves.write().remove(&leaf);
                self.free(shard, old);
            }
            return;
        }
        for shard in &self.shards {
            let mut leaves = shard.leaves.write();
            for (_, leaf) in leaves.extract_if(first..end, |_, _| true) {
                self.free(shard, Some(leaf));
            }
        }
    }

    fn unmap_part(&self, segment: Segment, must_be_zero: bool, must_unmap: bool) {
        let shard = self.shard(segment.leaf);
        let mut leaves = shard.leaves.write();
        match leaves.get(&segment.leaf) {
            None => return,
            Some(Leaf::Zero) if must_unmap => self.pool.charge_beyond(Table::CHARGE_BYTES),
            Some(Leaf::Zero) if self.pool.charge(Table::CHARGE_BYTES).is_err() => return,
            Some(_) => {}
        }
        let Some(leaf) = leaves.get_mut(&segment.leaf) else {
            return;
        };
        if let Leaf::Zero = leaf {
            *leaf = Leaf::Table(Table::new(true));
            self.pool.uncharge(Leaf::ZERO_CHARGE_BYTES);
        }
        if let Leaf::Table(table) = leaf {
            self.pool.give_back(segment.spans().filter_map(|span| {
                let (sectors, page) = table.unmap(&self.pool, span, self.whole(), must_be_zero);
                shard.sub(sectors);
                page
            }));
        }
        self.drop_if_empty(&mut leaves, segment.leaf);
    }

    /// The table of a leaf, made if it isn't there.
    fn table<'a>(
        &self,
        leaves: &'a mut BTreeMap<u64, Leaf>,
        leaf: u64,
    ) -> Result<&'a mut Table, Error> {
        let zero = match leaves.get(&leaf) {
            Some(Leaf::Table(_)) => None,
            Some(Leaf::Zero) => Some(true),
            None => Some(false),
        };
        if let Some(zero) = zero {
            self.pool.charge(Table::CHARGE_BYTES)?;
            leaves.insert(leaf, Leaf::Table(Table::new(zero)));
            if zero {
                self.pool.uncharge(Leaf::ZERO_CHARGE_BYTES);
            }
        }
        match leaves.get_mut(&leaf) {
            Some(Leaf::Table(table)) => Ok(table),
            _ => unreachable!("the table was looked up or made above, under one lock"),
        }
    }

    fn drop_if_empty(&self, leaves: &mut BTreeMap<u64, Leaf>, leaf: u64) {
        if matches!(leaves.get(&leaf), Some(Leaf::Table(table)) if table.is_empty()) {
            leaves.remove(&leaf);
            self.pool.uncharge(Table::CHARGE_BYTES);
        }
    }

    /// Free a leaf that was taken out of the tree.
    fn free(&self, shard: &Shard, leaf: Option<Leaf>) {
        match leaf {
            None => {}
            Some(Leaf::Zero) => {
                self.pool.uncharge(Leaf::ZERO_CHARGE_BYTES);
                shard
                    .mapped_sectors
                    .fetch_sub(LEAF_SECTORS, Ordering::Relaxed);
            }
            Some(Leaf::Table(table)) => {
                shard
                    .mapped_sectors
                    .fetch_sub(table.mapped_sectors(), Ordering::Relaxed);
                self.pool.give_back(table.into_pages());
                self.pool.uncharge(Table::CHARGE_BYTES);
            }
        }
    }

    /// The first byte at or after `at` (a multiple of 512) that is mapped (or isn't).
    pub(super) fn find(&self, at: u64, mapped: bool) -> Option<u64> {
        let mut at = at;
        loop {
            let leaf = at / LEAF_BYTES;
            let found = match self.shard(leaf).leaves.read().get(&leaf) {
                None => (!mapped).then_some(at),
                Some(Leaf::Zero) => mapped.then_some(at),
                Some(Leaf::Table(table)) => table
                    .find((at % LEAF_BYTES / SECTOR_BYTES) as usize, mapped)
                    .map(|sector| leaf * LEAF_BYTES + sector as u64 * SECTOR_BYTES),
            };
            if found.is_some() {
                return found;
            }
            // Nothing here. What isn't there is unmapped; what is mapped is in a leaf that is
            // there.
            let next = if mapped {
                self.next_leaf(leaf + 1)?
            } else {
                leaf + 1
            };
            at = next * LEAF_BYTES;
        }
    }

    /// The lowest leaf at or after `leaf` that is there: one look into each shard.
    fn next_leaf(&self, leaf: u64) -> Option<u64> {
        let first = |shard: &Shard| {
            shard
                .leaves
                .read()
                .range(leaf..)
                .next()
                .map(|(&leaf, _)| leaf)
        };
        self.shards.iter().filter_map(first).min()
    }
}

impl Shard {
    fn add(&self, sectors: u32) {
        if sectors > 0 {
            self.mapped_sectors
                .fetch_add(u64::from(sectors), Ordering::Relaxed);
        }
    }

    fn sub(&self, sectors: u32) {
        self.mapped_sectors
            .fetch_sub(u64::from(sectors), Ordering::Relaxed);
    }
}

impl Drop for PageMap {
    fn drop(&mut self) {
        self.unmap_leaves(0, u64::MAX);
    }
}
