//! Which sector of a disk is mapped, and to which page: the tree, its locks and its size.
//!
//! A disk is a row of 2 MiB leaves whose locks are 64 shards, by number. An access waits for one
//! shard at a time: shared to read and to overwrite, exclusive to change the leaf. So queues that
//! work on different blocks, or overwrite the same one, do not wait for each other, and a page is
//! never freed under a reader. What concerns the whole tree holds all shards: a fork, a shrink or
//! the removal of whole leaves is one point in time for all queues.
//!
//! The size is checked under the lock, so a stale [`ByteRange`] gives an error, never a byte
//! outside. Order of locks: shards by number, then the making of nodes, then the free list.
#![allow(
    clippy::cast_possible_truncation,
    reason = "only numbers below a leaf's size are cast"
)]

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use super::leaf::{Span, Stretch};
use super::subtree;
use super::tree::{Slot, Tree, Unique};
use crate::store::base::buf::{Cursor, Sink, Source};
use crate::store::base::error::Error;
use crate::store::base::range::{ByteRange, Capacity, SECTOR_BYTES, SectorSize};
use crate::store::base::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use crate::store::disks::leftover::Leftover;
use crate::store::layout::entry::Entry;
use crate::store::layout::levels::{LEAF, LEAF_BYTES, TOP};
use crate::store::memory::arena::BLOCK_BYTES;

const SHARDS: usize = 64;

/// A lock on a cache line of its own.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Shard(RwLock<()>);

/// The locks of one disk. Made at the first access: an untouched fork has none.
#[derive(Debug)]
pub(crate) struct ShardLocks([Shard; SHARDS]);

impl ShardLocks {
    fn new() -> Box<Self> {
        Box::new(Self(std::array::from_fn(|_| Shard::default())))
    }

    fn shard(&self, leaf: u64) -> &RwLock<()> {
        &self.0[(leaf % SHARDS as u64) as usize].0
    }

    /// Wait until no request is amid a leaf, and keep all out.
    pub(crate) fn lock_all(&self) -> [RwLockWriteGuard<'_, ()>; SHARDS] {
        self.0.each_ref().map(|shard| shard.0.write())
    }
}

/// The map of one disk.
#[derive(Debug)]
pub(crate) struct PageMap {
    pub(crate) tree: Tree,
    locks: OnceLock<Box<ShardLocks>>,
    sector_size: SectorSize,
    size_bytes: AtomicU64,
    detect_zeroes: bool,
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

    fn spans(self) -> impl Iterator<Item = Span> {
        let end = self.first + self.len;
        let mut at = self.first;
        std::iter::from_fn(move || {
            (at < end).then(|| {
                let offset = at % BLOCK_BYTES;
                let span = Span {
                    index: at / BLOCK_BYTES,
                    offset,
                    len: (BLOCK_BYTES - offset).min(end - at),
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
    pub(crate) fn new(tree: Tree, capacity: Capacity, detect_zeroes: bool) -> Self {
        Self {
            tree,
            locks: OnceLock::new(),
            sector_size: capacity.sector_size(),
            size_bytes: AtomicU64::new(capacity.bytes()),
            detect_zeroes,
        }
    }

    pub(crate) fn locks(&self) -> &ShardLocks {
        self.locks.get_or_init(ShardLocks::new)
    }

    /// The size now.
    pub(crate) fn capacity(&self) -> Capacity {
        Capacity::known(self.size_bytes.load(Ordering::Acquire), self.sector_size)
    }

    /// Under all shards.
    pub(crate) fn set_capacity(&self, capacity: Capacity) {
        self.size_bytes.store(capacity.bytes(), Ordering::Release);
    }

    /// Mapped bytes: exact while nothing changes.
    pub(crate) fn mapped_bytes(&self) -> u64 {
        self.tree.mapped.sectors() * SECTOR_BYTES
    }

    /// Bytes that would be free if this disk were gone: exact while nothing changes. Leaf by leaf,
    /// so that nobody who writes waits for all of it.
    pub(crate) fn unique_bytes(&self) -> u64 {
        let mut unique = Unique::default();
        let mut next = Some(0);
        while let Some(leaf) = next {
            let _lock = self.locks().shard(leaf).read();
            next = self.tree.unique_at(leaf, &mut unique);
        }
        let record = self
            .tree
            .record()
            .map_or(0, |_| crate::store::base::range::PAGE_BYTES);
        record + unique.bytes()
    }

    /// Whether a page is one sector.
    fn whole_pages(&self) -> bool {
        self.sector_size == SectorSize::S4096
    }

    /// To be asked under the lock of the segment's shard.
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

    pub(crate) fn read(&self, range: ByteRange, to: &[Sink<'_>]) -> Result<(), Error> {
        let mut to = Cursor::new(to);
        for segment in segments(range) {
            let lock = self.locks().shard(segment.leaf).read();
            self.check_end(range, segment.end_bytes())?;
            if let Some(leaf) = self.tree.leaf_now(segment.leaf) {
                self.tree.read_leaf(leaf, segment.spans(), &mut to);
            } else {
                drop(lock);
                to.fill_zero(segment.len);
            }
        }
        Ok(())
    }

    /// Where a range lies, if it can be read, or overwritten, in one go and nobody changes its
    /// leaf. It stays there for as long as the lock is held. Never waits, so that who holds other
    /// shards may ask.
    #[inline]
    pub(crate) fn locate(
        &self,
        range: ByteRange,
        write: bool,
    ) -> Option<(RwLockReadGuard<'_, ()>, Stretch)> {
        let segment = segments(range).next()?;
        let lock = self.locks().shard(segment.leaf).try_read()?;
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
            Some(leaf) => self.tree.stretch(leaf, segment.spans(), write)?,
            None => Stretch::Zeros,
        };
        Some((lock, stretch))
    }

    pub(crate) fn write(&self, range: ByteRange, from: &[Source<'_>]) -> Result<(), Error> {
        let mut from = Cursor::new(from);
        let detect = self.detect_zeroes;
        for segment in segments(range) {
            let shard = self.locks().shard(segment.leaf);
            let mut spans = segment.spans().peekable();
            if !detect {
                let _lock = shard.read();
                self.check_end(range, segment.end_bytes())?;
                if let Some(leaf) = self.tree.own_leaf_now(segment.leaf) {
                    self.tree.overwrite(leaf, &mut spans, &mut from);
                }
            }
            if spans.peek().is_none() {
                continue;
            }
            self.change(range, segment, false, |map, leaf| {
                for span in spans.by_ref() {
                    if detect && from.skip_zeros(span.len) {
                        map.tree.zero_span(leaf, span, map.whole_pages())?;
                    } else {
                        let from = Some(&mut from);
                        map.tree.write_span(leaf, span, map.whole_pages(), from)?;
                    }
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Change a leaf that is made or copied first where need be.
    fn change(
        &self,
        range: ByteRange,
        segment: Segment,
        unmaps: bool,
        change: impl FnOnce(&Self, crate::store::memory::arena::Block) -> Result<(), Error>,
    ) -> Result<(), Error> {
        loop {
            let lock = self.locks().shard(segment.leaf).write();
            self.check_end(range, segment.end_bytes())?;
            if let Some(leaf) = self.tree.own_leaf(segment.leaf)? {
                let result = change(self, leaf);
                // A write that found no memory may have made a leaf for nothing.
                let prune = (unmaps || result.is_err()) && self.drop_if_empty(segment.leaf, leaf);
                drop(lock);
                self.prune(prune, segment.leaf);
                return result;
            }
            drop(lock);
            let _whole = self.locks().lock_all();
            self.tree.own_path(segment.leaf, false)?;
        }
    }

    /// Whether inner nodes may have to go too.
    fn drop_if_empty(&self, number: u64, leaf: crate::store::memory::arena::Block) -> bool {
        self.tree.is_empty(leaf) && self.tree.remove_leaf(number)
    }

    fn prune(&self, prune: bool, leaf: u64) {
        if prune {
            let _whole = self.locks().lock_all();
            self.tree.prune(leaf);
        }
    }

    /// Map the range as zeros: it reads zero and counts as mapped, without pages where it can.
    pub(crate) fn map_zero(&self, range: ByteRange) -> Result<(), Error> {
        self.on_parts(range, Entry::ALL_ZERO, |map, segment| {
            map.change(range, segment, false, |map, leaf| {
                for span in segment.spans() {
                    map.tree.zero_span(leaf, span, map.whole_pages())?;
                }
                Ok(())
            })
        })
    }

    /// Unmap the range. `must_be_zero`: parts that can't be unmapped, because a sector is larger,
    /// are zeroed; without it they are left alone, and so is what there is no memory to cut out of
    /// an area that is shared, or mapped and zero as a whole.
    pub(crate) fn unmap(&self, range: ByteRange, must_be_zero: bool) -> Result<(), Error> {
        // All or nothing: a shrink since the range was made is found before the first change.
        self.check_end(range, range.end_bytes())?;
        let result = self.on_parts(range, Entry::NONE, |map, segment| {
            map.unmap_part(range, segment, must_be_zero)
        });
        match result {
            Err(error) if error.is_want_of_memory() && !must_be_zero => Ok(()),
            other => other,
        }
    }

    /// Whole leaves of the range become `fill`, at one moment; parts of a leaf are for `part`.
    fn on_parts(
        &self,
        range: ByteRange,
        fill: Entry,
        part: impl Fn(&Self, Segment) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let first = range.start_bytes().div_ceil(LEAF_BYTES);
        let end = range.end_bytes() / LEAF_BYTES;
        if first >= end {
            return segments(range).try_for_each(|segment| part(self, segment));
        }
        let head = first * LEAF_BYTES - range.start_bytes();
        if head > 0 {
            part(
                self,
                Segment {
                    leaf: first - 1,
                    first: (LEAF_BYTES - head) as usize,
                    len: head as usize,
                },
            )?;
        }
        let mut out = Vec::new();
        let (result, cut_off) = {
            let _whole = self.locks().lock_all();
            let result = self
                .check_end(range, end * LEAF_BYTES)
                .and_then(|()| self.tree.set(first, end, fill, &mut out));
            let cut_off = (!out.is_empty()).then(|| self.tree.mapped.cut_off());
            (result, cut_off)
        };
        if let Some(cut_off) = cut_off {
            cut_off.counted(subtree::all_sectors(&self.tree.pool, &out));
            subtree::drop_entries(&self.tree.pool, out);
        }
        result?;
        let tail = (range.end_bytes() % LEAF_BYTES) as usize;
        if tail > 0 {
            part(
                self,
                Segment {
                    leaf: end,
                    first: 0,
                    len: tail,
                },
            )?;
        }
        Ok(())
    }

    fn unmap_part(
        &self,
        range: ByteRange,
        segment: Segment,
        must_be_zero: bool,
    ) -> Result<(), Error> {
        {
            // What isn't there has nothing to unmap, and no leaf is made to find that out.
            let _lock = self.locks().shard(segment.leaf).read();
            self.check_end(range, segment.end_bytes())?;
            match self.tree.slot(segment.leaf) {
                Slot::Nothing => return Ok(()),
                Slot::At(word, _) if Entry::load(word).is_none() => return Ok(()),
                _ => {}
            }
        }
        self.change(range, segment, true, |map, leaf| {
            let mut freed = Vec::new();
            let result = segment.spans().try_for_each(|span| {
                let whole = map.whole_pages();
                map.tree
                    .unmap_span(leaf, span, whole, must_be_zero, &mut freed)
            });
            map.tree.pool.give_back(&mut freed);
            result
        })
    }

    /// Have what is needed to cut the disk off at `size_bytes`. Under all shards.
    pub(crate) fn prepare_cut(&self, size_bytes: u64) -> Result<(), Error> {
        let within = !size_bytes.is_multiple_of(LEAF_BYTES);
        self.tree.own_path(size_bytes / LEAF_BYTES, within)
    }

    /// Unmap all beyond `size_bytes`, after [`PageMap::prepare_cut`], under the same all shards;
    /// adds what is to be freed to `out`.
    pub(crate) fn cut(&self, size_bytes: u64, out: &mut Leftover) -> Result<(), Error> {
        let first = size_bytes.div_ceil(LEAF_BYTES);
        out.part = Some(self.tree.mapped.cut_off());
        self.tree
            .set(first, u64::MAX, Entry::NONE, &mut out.entries)?;
        let within = (size_bytes % LEAF_BYTES) as usize;
        let number = size_bytes / LEAF_BYTES;
        if within > 0
            && let Some(leaf) = self.tree.own_leaf_now(number)
        {
            let rest = Segment {
                leaf: number,
                first: within,
                len: LEAF_BYTES as usize - within,
            };
            let mut freed = Vec::new();
            let mapped = || subtree::sectors(self.tree.pool.arena(), Entry::node(leaf), LEAF);
            let before = mapped();
            for span in rest.spans() {
                self.tree.unmap_span(leaf, span, false, false, &mut freed)?;
            }
            out.lost_sectors += before - mapped();
            self.tree.pool.give_back(&mut freed);
            self.drop_if_empty(number, leaf);
        }
        self.tree.prune(number);
        Ok(())
    }

    /// The first byte at or after `at` (a multiple of 512) that is mapped (or isn't).
    pub(crate) fn find(&self, at: u64, mapped: bool) -> Option<u64> {
        let skip = if mapped { Entry::NONE } else { Entry::ALL_ZERO };
        let mut at = at;
        while at < self.size_bytes.load(Ordering::Acquire) {
            let number = at / LEAF_BYTES;
            let _lock = self.locks().shard(number).read();
            let here = match self.tree.slot(number) {
                Slot::Nothing => Entry::NONE,
                Slot::Zero => Entry::ALL_ZERO,
                Slot::At(word, _) => Entry::load(word),
            };
            let found = match here.block() {
                None if here.is_none() != mapped => Some(at),
                None => None,
                Some(leaf) => self
                    .tree
                    .find_in_leaf(leaf, (at % LEAF_BYTES / SECTOR_BYTES) as usize, mapped)
                    .map(|sector| number * LEAF_BYTES + sector as u64 * SECTOR_BYTES),
            };
            if found.is_some() {
                return found;
            }
            at = self.tree.next_leaf(number + 1, skip)? * LEAF_BYTES;
        }
        None
    }

    /// Under all shards: the tree is let go, and nothing is left to look up.
    pub(crate) fn detach(&self) -> (Entry, u32) {
        let root = self.tree.root_entry();
        self.tree.set_record(None);
        self.set_capacity(Capacity::nothing(self.sector_size));
        (root, TOP)
    }

    /// Whether nothing is mapped beyond the size; recovery asks.
    pub(crate) fn is_cut(&self) -> bool {
        let size_bytes = self.capacity().bytes();
        let number = size_bytes / LEAF_BYTES;
        let within = size_bytes % LEAF_BYTES / SECTOR_BYTES;
        let beyond = match self.tree.slot(number) {
            Slot::Nothing => false,
            Slot::Zero => true,
            Slot::At(word, _) => match Entry::load(word).block() {
                None => !Entry::load(word).is_none(),
                Some(leaf) => self
                    .tree
                    .find_in_leaf(leaf, within as usize, true)
                    .is_some(),
            },
        };
        !beyond && self.tree.next_leaf(number + 1, Entry::NONE).is_none()
    }
}
