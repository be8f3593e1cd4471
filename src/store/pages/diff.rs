//! The differences between two snapshots. Parts that their trees share are skipped without reading.

use std::ops::Range;

use crate::store::base::range::{Extent, SectorSize};
use crate::store::layout::entry::{Entry, FULL};
use crate::store::layout::levels::{LEAF, PAGE, PAGE_SECTORS, TOP, sectors_below};
use crate::store::memory::arena::{Arena, BLOCK_WORDS};

/// Whether two entries name the same block, or the same zeros.
fn same(one: Entry, two: Entry) -> bool {
    one.bare() == two.bare()
}

/// An entry below another one.
fn child(arena: &Arena, entry: Entry, level: u32, at: usize) -> Entry {
    match entry.block() {
        Some(node) => Entry::load(arena.word(node, at)),
        None if entry.is_none() => Entry::NONE,
        None if level == LEAF => Entry::zeros(FULL),
        None => Entry::ALL_ZERO,
    }
}

struct Walk<'a> {
    arena: &'a Arena,
    /// The sectors that are looked at.
    within: Range<u64>,
    /// After how many extents to stop.
    most: usize,
    /// Whether a page is one sector.
    whole: bool,
    extents: Vec<Extent>,
}

impl Walk<'_> {
    fn compare(&mut self, from: Entry, to: Entry, level: u32, start: u64) {
        let end = start + sectors_below(level);
        let is_outside = start >= self.within.end || end <= self.within.start;
        // One more than wanted is looked for, so that the last one of these is whole.
        if same(from, to) || is_outside || self.extents.len() > self.most {
            return;
        }
        if level == PAGE {
            let differing = if from.block() == to.block() {
                from.mask() ^ to.mask()
            } else {
                from.mask() | to.mask()
            };
            let (differing, mapped) = (self.sectors(differing), self.sectors(to.mask()));
            for sector in 0..PAGE_SECTORS {
                let is_inside = self.within.contains(&(start + sector));
                if is_inside && differing >> sector & 1 == 1 {
                    self.push(start + sector, mapped >> sector & 1 == 1);
                }
            }
            return;
        }
        let step = sectors_below(level - 1);
        for at in 0..BLOCK_WORDS {
            let one = child(self.arena, from, level, at);
            let two = child(self.arena, to, level, at);
            self.compare(one, two, level - 1, start + at as u64 * step);
        }
    }

    /// A mask for whole sectors.
    fn sectors(&self, mask: u8) -> u8 {
        match mask {
            part if self.whole && part != 0 => FULL,
            mask => mask,
        }
    }

    fn push(&mut self, sector: u64, mapped: bool) {
        match self.extents.last_mut() {
            Some(last) if last.start_sector + last.sectors == sector && last.mapped == mapped => {
                last.sectors += 1;
            }
            _ => self.extents.push(Extent {
                start_sector: sector,
                sectors: 1,
                mapped,
            }),
        }
    }
}

/// Whether two entries read the same without a look at their bytes: they name the same block, or
/// none.
fn reads_same(one: Entry, two: Entry) -> bool {
    let (one, two) = (one.bare(), two.bare());
    one.block() == two.block() && (one.block().is_none() || one.mask() == two.mask())
}

/// The first page at or after page `from_page` that may read differently below two roots of one
/// arena, which nothing changes meanwhile; and whether there are bytes of `to` for it, which
/// otherwise reads as zeros.
pub(crate) fn next(arena: &Arena, from: Entry, to: Entry, from_page: u64) -> Option<(u64, bool)> {
    find(arena, (from, to), (TOP, 0), from_page)
}

/// The same, below two entries of a level that begin with the page `base`.
fn find(
    arena: &Arena,
    (from, to): (Entry, Entry),
    (level, base): (u32, u64),
    from_page: u64,
) -> Option<(u64, bool)> {
    let pages = sectors_below(level) / PAGE_SECTORS;
    if reads_same(from, to) || base + pages <= from_page {
        return None;
    }
    if level == PAGE {
        return Some((base, to.block().is_some()));
    }
    let step = pages / BLOCK_WORDS as u64;
    let first = usize::try_from(from_page.saturating_sub(base) / step).ok()?;
    (first..BLOCK_WORDS).find_map(|at| {
        let both = (child(arena, from, level, at), child(arena, to, level, at));
        find(arena, both, (level - 1, base + at as u64 * step), from_page)
    })
}

/// How many blocks the tree of `one` has that the tree of `other` doesn't. Nothing changes these
/// trees meanwhile.
pub(crate) fn only_in(arena: &Arena, one: Entry, other: Entry) -> u64 {
    count_only(arena, one, other, TOP)
}

fn count_only(arena: &Arena, one: Entry, other: Entry, level: u32) -> u64 {
    if one.block().is_none() || one.block() == other.block() {
        return 0;
    }
    if level == PAGE {
        return 1;
    }
    let below = (0..BLOCK_WORDS).map(|at| {
        let (one, other) = (child(arena, one, level, at), child(arena, other, level, at));
        count_only(arena, one, other, level - 1)
    });
    1 + below.sum::<u64>()
}

/// The first `most` differences below two roots of one arena, among the sectors `within`, for a
/// disk with sectors of `sector_size`. Nothing changes these trees meanwhile.
pub(crate) fn changed(
    arena: &Arena,
    (from, to): (Entry, Entry),
    (within, most): (Range<u64>, usize),
    sector_size: SectorSize,
) -> Vec<Extent> {
    let mut walk = Walk {
        arena,
        within,
        most,
        whole: sector_size == SectorSize::S4096,
        extents: Vec::new(),
    };
    walk.compare(from, to, TOP, 0);
    walk.extents.truncate(most);
    walk.extents
}
