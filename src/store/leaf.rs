//! The table of one 2 MiB block of a disk: 512 pages, each with the mask of its mapped sectors.
//!
//! Called by [`super::map`] only, under the lock of the leaf's shard. Invariants: an entry with a
//! page has a mask that isn't empty; an entry with a mask and no page is *mapped and zero*; `live`
//! counts the entries whose mask isn't empty. On a disk with sectors of 4096 bytes a mask is 0 or
//! [`FULL`].
//!
//! Masks are atomic because a write to a page that is there sets bits under the shard's *read*
//! lock; everything else that changes a leaf holds the write lock.
#![allow(
    clippy::cast_possible_truncation,
    reason = "only numbers below a leaf's size are cast"
)]

use std::sync::atomic::{AtomicU8, Ordering};

use super::Error;
use super::buf::{Cursor, Piece, Sink, Source};
use super::pool::{PAGE_BYTES, Page, PagePool};
use super::range::SECTOR_BYTES;

/// Entries of a leaf.
pub(super) const LEAF_PAGES: usize = 512;
/// What a leaf covers.
pub(super) const LEAF_BYTES: u64 = (LEAF_PAGES * PAGE_BYTES) as u64;
/// A page with all eight sectors mapped.
pub(super) const FULL: u8 = 0xff;

const SECTOR: usize = SECTOR_BYTES as usize;

/// A 2 MiB block of which something is mapped.
#[derive(Debug)]
pub(super) enum Leaf {
    /// All of it is mapped and zero, and no table is needed to say so.
    Zero,
    /// Page by page.
    Table(Box<Table>),
}

impl Leaf {
    /// What a leaf without a table is charged at: about its share of a node of the tree.
    pub(super) const ZERO_CHARGE_BYTES: usize = 64;
}

/// The pages of one block.
#[derive(Debug)]
pub(super) struct Table {
    entries: [Entry; LEAF_PAGES],
    live: u16,
}

#[derive(Debug)]
struct Entry {
    page: Option<Page>,
    mask: AtomicU8,
}

/// Part of one page: what a request does to entry `index`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    /// Entry in the leaf.
    pub(super) index: usize,
    /// First byte in the page, a multiple of 512.
    pub(super) offset: usize,
    /// Bytes, a multiple of 512, at least 512.
    pub(super) len: usize,
}

impl Span {
    /// The bits of the sectors it covers.
    fn mask(self) -> u8 {
        let sectors = self.len / SECTOR;
        let ones = if sectors >= 8 {
            FULL
        } else {
            (1 << sectors) - 1
        };
        ones << (self.offset / SECTOR)
    }
}

impl Table {
    /// All unmapped, or all mapped and zero.
    pub(super) fn new(zero: bool) -> Box<Self> {
        let mask = if zero { FULL } else { 0 };
        Box::new(Self {
            entries: std::array::from_fn(|_| Entry {
                page: None,
                mask: AtomicU8::new(mask),
            }),
            live: if zero { LEAF_PAGES as u16 } else { 0 },
        })
    }

    /// What a table is charged at.
    pub(super) const CHARGE_BYTES: usize = size_of::<Self>();

    /// Whether nothing of it is mapped.
    pub(super) fn is_empty(&self) -> bool {
        self.live == 0
    }

    /// Mapped sectors of 512 bytes.
    pub(super) fn mapped_sectors(&self) -> u64 {
        self.entries
            .iter()
            .map(|entry| u64::from(entry.get().count_ones()))
            .sum()
    }

    /// All pages, to be freed.
    pub(super) fn into_pages(self: Box<Self>) -> impl Iterator<Item = Page> {
        self.entries.into_iter().filter_map(|entry| entry.page)
    }

    /// Copy out what is mapped, zeros for the rest.
    pub(super) fn read(&self, pool: &PagePool, span: Span, to: &mut Cursor<'_, Sink<'_>>) {
        let entry = &self.entries[span.index];
        let Some(page) = &entry.page else {
            return to.fill_zero(span.len);
        };
        let (wanted, mask) = (span.mask(), entry.get());
        let end = span.offset + span.len;
        let mut at = span.offset;
        while at < end {
            // The longest run from `at` that is all mapped or all unmapped.
            let mapped = mask & wanted & (1 << (at / SECTOR)) != 0;
            let mut stop = at + SECTOR;
            if mask & wanted == wanted {
                stop = end;
            }
            while stop < end && (mask & (1 << (stop / SECTOR)) != 0) == mapped {
                stop += SECTOR;
            }
            while at < stop {
                if !mapped {
                    to.fill_zero(stop - at);
                    break;
                }
                let Some(piece) = to.next(stop - at) else {
                    return;
                };
                pool.copy_out(page, at, piece);
                at += piece.len();
            }
            at = stop;
        }
    }

    /// Write to a page that is there: the common case, under the read lock. `false`: no page.
    /// Gives the number of sectors that became mapped.
    pub(super) fn write_in_place(
        &self,
        pool: &PagePool,
        span: Span,
        from: &mut Cursor<'_, Source<'_>>,
    ) -> Option<u32> {
        let entry = &self.entries[span.index];
        let page = entry.page.as_ref()?;
        copy_in(pool, page, span, from);
        Some(entry.map(span.mask()))
    }

    /// Write, taking a page if there is none. `whole`: the page counts as one sector.
    pub(super) fn write(
        &mut self,
        pool: &PagePool,
        span: Span,
        whole: bool,
        from: &mut Cursor<'_, Source<'_>>,
    ) -> Result<u32, Error> {
        let entry = &mut self.entries[span.index];
        let page = match &mut entry.page {
            Some(page) => page,
            none => {
                let page = pool.take()?;
                // Sectors that are mapped and zero, and the old bytes of the page's last user.
                pool.zero(&page, 0, span.offset);
                let end = span.offset + span.len;
                pool.zero(&page, end, PAGE_BYTES - end);
                none.insert(page)
            }
        };
        copy_in(pool, page, span, from);
        let newly = entry.map(if whole { FULL } else { span.mask() });
        self.live += u16::from(newly > 0 && entry.get().count_ones() == newly);
        Ok(newly)
    }

    /// Map the span as zeros, freeing the page if all of it is.
    pub(super) fn map_zero(
        &mut self,
        pool: &PagePool,
        span: Span,
        whole: bool,
    ) -> (u32, Option<Page>) {
        let entry = &mut self.entries[span.index];
        let mut freed = None;
        if span.len == PAGE_BYTES {
            freed = entry.page.take();
        } else if let Some(page) = &entry.page {
            pool.zero(page, span.offset, span.len);
        }
        let newly = entry.map(if whole { FULL } else { span.mask() });
        self.live += u16::from(newly > 0 && entry.get().count_ones() == newly);
        (newly, freed)
    }

    /// Unmap the span. `whole`: the page counts as one sector, and part of it can't be unmapped;
    /// such a part is zeroed if `must_be_zero`, else left as it is. Gives the sectors unmapped.
    pub(super) fn unmap(
        &mut self,
        pool: &PagePool,
        span: Span,
        whole: bool,
        must_be_zero: bool,
    ) -> (u32, Option<Page>) {
        let entry = &mut self.entries[span.index];
        if whole && span.len != PAGE_BYTES {
            if let (Some(page), true) = (&entry.page, must_be_zero) {
                pool.zero(page, span.offset, span.len);
            }
            return (0, None);
        }
        let before = *entry.mask.get_mut();
        let after = before & !span.mask();
        *entry.mask.get_mut() = after;
        let freed = if after == 0 { entry.page.take() } else { None };
        self.live -= u16::from(before != 0 && after == 0);
        ((before & !after).count_ones(), freed)
    }

    /// The first sector of the leaf at or after `sector` that is mapped, or that isn't.
    pub(super) fn find(&self, sector: usize, mapped: bool) -> Option<usize> {
        let skip = if mapped { 0 } else { FULL };
        let mut first = sector % 8;
        for index in sector / 8..LEAF_PAGES {
            let mask = self.entries[index].get();
            if mask != skip {
                let wanted = if mapped { mask } else { !mask } & (FULL << first);
                if wanted != 0 {
                    return Some(index * 8 + wanted.trailing_zeros() as usize);
                }
            }
            first = 0;
        }
        None
    }
}

impl Entry {
    fn get(&self) -> u8 {
        self.mask.load(Ordering::Acquire)
    }

    /// Set bits, after the bytes are in place; gives how many were not set.
    fn map(&self, bits: u8) -> u32 {
        if self.mask.load(Ordering::Relaxed) & bits == bits {
            return 0;
        }
        (bits & !self.mask.fetch_or(bits, Ordering::Release)).count_ones()
    }
}

fn copy_in(pool: &PagePool, page: &Page, span: Span, from: &mut Cursor<'_, Source<'_>>) {
    let mut at = span.offset;
    let end = span.offset + span.len;
    while at < end {
        let Some(piece) = from.next(end - at) else {
            return;
        };
        pool.copy_in(page, at, piece);
        at += piece.len();
    }
}
