//! Entries: the 8 bytes of which trees are made.
//!
//! `segment : 8 | block : 44 | mask : 8 | flags : 4`, from the top. The segment is 0. In a leaf an
//! entry names a page of payload and the mask of its mapped sectors; in an inner node, and in a
//! disk record's root, it names a node, and the mask is 0.
//!
//! | value | in a leaf | above |
//! |---|---|---|
//! | 0 | nothing is mapped | nothing below is mapped |
//! | `ZERO`, no block | the mask's sectors are mapped and zero | all below is mapped and zero |
//! | block | the sectors of the mask lie in that page | a node |
//!
//! `SHARED` beside a block says that another entry may name it too. It is set before that can
//! become true, and cleared by any thread that finds a count of one. Without it the block belongs
//! to this entry alone, and no count needs to be looked up.
//!
//! `UNTOUCHED` in a root, always beside `SHARED`, says that nothing below was changed since the
//! content came there as a whole: by a fork, a snapshot, a reset or a take-over. Every change of a
//! tree first makes the root's node the disk's own, and with `SHARED` goes `UNTOUCHED`.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::store::memory::arena::Block;

/// A page with all eight sectors mapped.
pub(crate) const FULL: u8 = 0xff;

const ZERO: u64 = 1;
const SHARED: u64 = 2;
const UNTOUCHED: u64 = 4;
const KNOWN_FLAGS: u64 = ZERO | SHARED | UNTOUCHED;
const MASK_SHIFT: u32 = 4;
const BLOCK_SHIFT: u32 = 12;

/// One entry, as a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry(pub(crate) u64);

impl Entry {
    pub(crate) const NONE: Self = Self(0);
    /// In inner nodes and roots: everything below is mapped and zero.
    pub(crate) const ALL_ZERO: Self = Self(ZERO);
    /// The bit that is set in place.
    pub(crate) const SHARED_BIT: u64 = SHARED;
    /// The bits that are cleared in place, once an entry is the only one.
    pub(crate) const SHARING_BITS: u64 = SHARED | UNTOUCHED;

    /// The entry in a word.
    #[inline]
    pub(crate) fn load(word: &AtomicU64) -> Self {
        Self(word.load(Ordering::Acquire))
    }

    /// An entry that names a node, and is the only one.
    pub(crate) fn node(block: Block) -> Self {
        Self(u64::from(block.0) << BLOCK_SHIFT)
    }

    /// An entry that names a page of payload, and is the only one.
    pub(crate) fn page(block: Block, mask: u8) -> Self {
        Self(u64::from(block.0) << BLOCK_SHIFT | Self::mask_bits(mask))
    }

    /// Sectors that are mapped and zero, without a page. An empty mask is [`Entry::NONE`].
    pub(crate) fn zeros(mask: u8) -> Self {
        if mask == 0 {
            Self::NONE
        } else {
            Self(ZERO | Self::mask_bits(mask))
        }
    }

    /// A mask's bits in the word, to set them in place.
    pub(crate) fn mask_bits(mask: u8) -> u64 {
        u64::from(mask) << MASK_SHIFT
    }

    /// The block it names.
    #[allow(
        clippy::cast_possible_truncation,
        reason = "entries are made of 32-bit numbers, and recovery refuses others"
    )]
    pub(crate) fn block(self) -> Option<Block> {
        match (self.0 >> BLOCK_SHIFT) as u32 {
            0 => None,
            number => Some(Block(number)),
        }
    }

    /// Mapped sectors of the page, in leaves.
    #[allow(clippy::cast_possible_truncation, reason = "the mask is 8 bits wide")]
    pub(crate) fn mask(self) -> u8 {
        (self.0 >> MASK_SHIFT) as u8
    }

    /// The same page with another mask.
    pub(crate) fn with_mask(self, mask: u8) -> Self {
        Self(self.0 & !Self::mask_bits(FULL) | Self::mask_bits(mask))
    }

    pub(crate) fn is_none(self) -> bool {
        self.0 == 0
    }

    /// In inner nodes and roots: whether everything below is mapped and zero.
    pub(crate) fn is_all_zero(self) -> bool {
        self == Self::ALL_ZERO
    }

    pub(crate) fn is_shared(self) -> bool {
        self.0 & SHARED != 0
    }

    pub(crate) fn shared(self) -> Self {
        Self(self.0 | SHARED)
    }

    /// The same root, of a tree whose content has just come there as a whole. A root without a
    /// block can't say so.
    pub(crate) fn untouched(self) -> Self {
        match self.block() {
            Some(_) => Self(self.0 | SHARED | UNTOUCHED),
            None => self,
        }
    }

    pub(crate) fn is_untouched(self) -> bool {
        self.0 & UNTOUCHED != 0
    }

    /// What it names, without what is known of others that name it.
    pub(crate) fn bare(self) -> Self {
        Self(self.0 & !Self::SHARING_BITS)
    }

    /// Whether the word is valid in a leaf (`true`) or above (`false`) of an arena of `blocks`.
    pub(crate) fn is_sound(self, in_leaf: bool, blocks: u32) -> bool {
        let block = self.0 >> BLOCK_SHIFT;
        let flags = self.0 & 0xf;
        if self.is_none() {
            return true;
        }
        if flags & !KNOWN_FLAGS != 0 || (self.mask() != 0) != in_leaf {
            return false;
        }
        if block == 0 {
            return flags == ZERO;
        }
        let untouched = flags & UNTOUCHED == 0 || flags & SHARED != 0 && !in_leaf;
        untouched && flags & ZERO == 0 && block < u64::from(blocks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_stay_apart() {
        let entry = Entry::page(Block(0x00ab_cdef), 0x5a);
        assert_eq!(entry.block(), Some(Block(0x00ab_cdef)));
        assert_eq!(entry.mask(), 0x5a);
        assert!(!entry.is_shared() && entry.shared().is_shared());
        assert_eq!(entry.shared().with_mask(1).mask(), 1);
        assert_eq!(entry.shared().with_mask(1).block(), entry.block());
    }

    #[test]
    fn words_that_mean_nothing_are_found() {
        assert!(Entry::page(Block(9), 1).is_sound(true, 10));
        assert!(!Entry::page(Block(10), 1).is_sound(true, 10), "outside");
        assert!(
            !Entry::page(Block(9), 0).is_sound(true, 10),
            "page of nothing"
        );
        assert!(
            !Entry::page(Block(9), 1).is_sound(false, 10),
            "node with a mask"
        );
        assert!(
            !Entry(1 << 60 | 1 << 12 | 0x10).is_sound(true, 10),
            "segment"
        );
        assert!(
            !Entry(8 | 1 << 12 | 0x10).is_sound(true, 10),
            "unknown flag"
        );
        let root = Entry::node(Block(9)).untouched();
        assert!(root.is_sound(false, 10) && root.is_shared() && root.is_untouched());
        assert_eq!(root.bare(), Entry::node(Block(9)));
        assert!(
            !Entry(4 | 9 << 12).is_sound(false, 10),
            "its own and untouched"
        );
        assert!(
            !Entry(6 | 1 << 12 | 0x10).is_sound(true, 10),
            "an untouched page"
        );
        assert_eq!(Entry::ALL_ZERO.untouched(), Entry::ALL_ZERO);
        assert!(
            !Entry(ZERO | 1 << 12 | 0x10).is_sound(true, 10),
            "zero with a page"
        );
        assert!(Entry::zeros(3).is_sound(true, 10) && Entry::ALL_ZERO.is_sound(false, 10));
    }
}
