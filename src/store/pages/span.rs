//! A byte range cut along leaves and pages.
#![allow(
    clippy::cast_possible_truncation,
    reason = "only numbers below a leaf's size are cast"
)]

use crate::store::base::range::{ByteRange, SECTOR_BYTES};
use crate::store::layout::entry::FULL;
use crate::store::layout::levels::LEAF_BYTES;
use crate::store::memory::arena::BLOCK_BYTES;

/// Bytes of a sector, the unit of an entry's mask.
pub(crate) const SECTOR: usize = SECTOR_BYTES as usize;

/// The part of a request that lies in one leaf.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Segment {
    /// The leaf's number.
    pub(crate) leaf: u64,
    /// First byte in the leaf.
    first: usize,
    /// Bytes, at least 1.
    pub(crate) len: usize,
}

/// The part of a request that lies in one page.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    /// The page's entry in its leaf, below 512.
    pub(crate) index: usize,
    /// First byte in the page, a multiple of 512.
    pub(crate) offset: usize,
    /// Bytes, a multiple of 512, at least 512.
    pub(crate) len: usize,
}

impl Segment {
    /// The first `bytes` bytes of a leaf.
    pub(crate) fn head(leaf: u64, bytes: u64) -> Self {
        debug_assert!(bytes <= LEAF_BYTES);
        Self {
            leaf,
            first: 0,
            len: bytes as usize,
        }
    }

    /// The leaf without its first `bytes` bytes.
    pub(crate) fn tail(leaf: u64, bytes: u64) -> Self {
        debug_assert!(bytes < LEAF_BYTES);
        Self {
            leaf,
            first: bytes as usize,
            len: (LEAF_BYTES - bytes) as usize,
        }
    }

    /// First byte of the disk after it.
    #[inline]
    pub(crate) fn end_bytes(self) -> u64 {
        self.leaf * LEAF_BYTES + (self.first + self.len) as u64
    }

    /// Its pages, in order.
    #[inline]
    pub(crate) fn spans(self) -> impl Iterator<Item = Span> {
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

/// The leaves of a range, in order.
#[inline]
pub(crate) fn segments(range: ByteRange) -> impl Iterator<Item = Segment> {
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

impl Span {
    /// The bits of the sectors that it covers.
    #[inline]
    pub(crate) fn mask(self) -> u8 {
        debug_assert!(self.len > 0 && self.offset + self.len <= BLOCK_BYTES);
        let sectors = self.len / SECTOR;
        let ones = if sectors >= 8 {
            FULL
        } else {
            (1 << sectors) - 1
        };
        ones << (self.offset / SECTOR)
    }

    /// Whether it covers its page.
    #[inline]
    pub(crate) fn is_whole(self) -> bool {
        self.len == BLOCK_BYTES
    }
}
