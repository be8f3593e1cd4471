//! The uses of each block, by everything that names it. If two things use a block, it is unknown
//! whose it is, and neither is trusted, unless one is proven by more than a number, as a record by
//! its sum.

use crate::store::layout::levels::{LEAF, PAGE, TOP};

/// What a block can be used as, one bit each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Use(u16);

impl Use {
    pub(super) const RECORD: Self = Self(1 << 5);
    pub(super) const SETTINGS: Self = Self(1 << 6);

    /// A page, or a node of this level.
    pub(super) fn at(level: u32) -> Self {
        Self(1 << level.min(TOP))
    }
}

const PAGES: u16 = 1 << PAGE;
const NODES: u16 = ((1 << (TOP + 1)) - 1) & !PAGES;
const PROVEN: u16 = Use::RECORD.0 | Use::SETTINGS.0;
/// The block is named more than once, and by an entry that claims to be the only one.
const AGAIN: u16 = 1 << 7;
const OWN: u16 = 1 << 8;

/// The use of each block with memory, by rank. Claim records before nodes, and nodes before pages:
/// a better proven use is not affected by later ones.
#[derive(Debug)]
pub(super) struct Claims(Vec<u16>);

impl Claims {
    pub(super) fn new(count: usize) -> Self {
        Self(vec![0; count])
    }

    /// Note a use of this block. Returns whether it is the first.
    pub(super) fn claim(&mut self, rank: usize, used: Use, shared: bool) -> bool {
        let Some(claims) = self.0.get_mut(rank) else {
            return false;
        };
        let had = *claims;
        *claims |= used.0;
        if class(had) > class(used.0) {
            return false;
        }
        if had != 0 {
            *claims |= AGAIN;
        }
        if !shared {
            *claims |= OWN;
        }
        had == 0
    }

    /// Whether the block has this use, and no other one contradicts it.
    pub(super) fn holds(&self, rank: usize, used: Use) -> bool {
        let claims = self.0.get(rank).copied().unwrap_or(0);
        let of_class = [PAGES, NODES, PROVEN].map(|class| claims & class);
        let strongest = of_class.into_iter().rfind(|&uses| uses != 0);
        let twice = AGAIN | OWN;
        strongest == Some(used.0) && (claims & twice != twice || used.0 & PROVEN != 0)
    }

    /// Whether it is a leaf that can be trusted.
    pub(super) fn is_leaf(&self, rank: usize) -> bool {
        self.holds(rank, Use::at(LEAF))
    }

    /// The number of unused blocks.
    pub(super) fn unused(&self) -> usize {
        self.0.iter().filter(|&&claims| claims == 0).count()
    }
}

fn class(claims: u16) -> usize {
    let classes = [PAGES, NODES, PROVEN];
    classes
        .iter()
        .rposition(|class| claims & class != 0)
        .map_or(0, |at| at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_blocks_may_be_named_by_many_and_others_once() {
        let mut claims = Claims::new(3);
        for _ in 0..3 {
            claims.claim(0, Use::at(PAGE), true);
        }
        claims.claim(1, Use::at(PAGE), true);
        claims.claim(1, Use::at(PAGE), false);
        assert!(claims.claim(2, Use::at(TOP), false));
        assert!(claims.holds(0, Use::at(PAGE)) && !claims.holds(1, Use::at(PAGE)));
        assert!(claims.holds(2, Use::at(TOP)) && !claims.holds(2, Use::at(LEAF)));
        assert_eq!(claims.unused(), 0);
    }

    #[test]
    fn what_is_better_proven_is_not_hurt() {
        let mut claims = Claims::new(2);
        claims.claim(0, Use::RECORD, false);
        claims.claim(0, Use::at(LEAF), false);
        claims.claim(0, Use::at(PAGE), false);
        assert!(claims.holds(0, Use::RECORD) && !claims.is_leaf(0));
        claims.claim(1, Use::at(LEAF), false);
        claims.claim(1, Use::at(PAGE), false);
        assert!(claims.is_leaf(1) && !claims.holds(1, Use::at(PAGE)));
    }

    #[test]
    fn a_node_of_two_levels_is_none() {
        let mut claims = Claims::new(1);
        claims.claim(0, Use::at(LEAF), true);
        claims.claim(0, Use::at(LEAF + 1), true);
        assert!(!claims.is_leaf(0) && !claims.holds(0, Use::at(LEAF + 1)));
    }
}
