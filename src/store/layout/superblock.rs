//! The superblock: the first block, which describes the arena.

use std::sync::atomic::AtomicU64;

use super::words::{Words, get, put, sum};
use crate::store::base::error::Error;
use crate::store::base::limits::{LAYOUT, OLDEST_LAYOUT, OWNER_WORDS};
use crate::store::base::points;
use crate::store::memory::arena::{Arena, BLOCK_BYTES, Block, GROUP_BLOCKS};

/// The first group from which blocks are taken.
pub(crate) const FIRST_GROUP: u32 = 1;
/// Blocks of the disk table.
pub(crate) const TABLE_BLOCKS: u32 = 128;

const SUPERBLOCK: Block = Block(0);

const MAGIC: u64 = u64::from_le_bytes(*b"ramblk\x00A");

/// Words of the superblock.
mod at {
    pub(super) const MAGIC: usize = 0;
    pub(super) const LAYOUT: usize = 1;
    pub(super) const ID: usize = 2;
    /// The sum of the words before it, in layouts with odd numbers. Layouts with even numbers have
    /// theirs in another word. So the sum of the next layout can be written before the word of the
    /// layout changes, and that word alone decides.
    pub(super) const ODD_SUM: usize = 4;
    /// Not part of the sum, since it changes when the arena grows.
    pub(super) const BLOCKS: usize = 5;
    pub(super) const EVEN_SUM: usize = 6;
    pub(super) const TABLE_BLOCKS: usize = 8;
    /// The first block of a list of changes that take effect together, or 0.
    pub(super) const INTENT: usize = 9;
    /// The owner's words. They are zeros in arenas of versions that had none.
    pub(super) const OWNER_WORDS: usize = 16;
}

/// How many blocks an arena has for a limit.
pub(crate) fn blocks_for(limit_bytes: u64) -> Result<u32, Error> {
    let group_bytes = u64::from(GROUP_BLOCKS) * BLOCK_BYTES as u64;
    // One more group, since records can be replaced even if the limit is reached.
    let groups = limit_bytes.div_ceil(group_bytes) + u64::from(FIRST_GROUP) + 1;
    u32::try_from(groups)
        .ok()
        .and_then(|groups| groups.checked_mul(GROUP_BLOCKS))
        .ok_or(Error::LimitTooLarge { limit_bytes })
}

/// Where the sum of a layout is.
fn sum_at(layout: u64) -> usize {
    match layout % 2 {
        0 => at::EVEN_SUM,
        _ => at::ODD_SUM,
    }
}

/// The sum that a superblock has in a layout.
fn superblock_sum(layout: u64, id: [u64; 2]) -> u64 {
    sum([MAGIC, layout, id[0], id[1]].into_iter())
}

/// Make a new arena of a mapped file of zeros.
pub(crate) fn format(arena: &Arena, id: [u64; 2]) -> Result<(), Error> {
    arena
        .back(SUPERBLOCK, 2)
        .map_err(|source| Error::HostFull { source })?;
    put(arena, SUPERBLOCK, at::LAYOUT, LAYOUT);
    put(arena, SUPERBLOCK, at::ID, id[0]);
    put(arena, SUPERBLOCK, at::ID + 1, id[1]);
    put(arena, SUPERBLOCK, at::BLOCKS, u64::from(arena.blocks()));
    put(arena, SUPERBLOCK, at::TABLE_BLOCKS, 1);
    put(arena, SUPERBLOCK, at::MAGIC, MAGIC);
    put(
        arena,
        SUPERBLOCK,
        sum_at(LAYOUT),
        superblock_sum(LAYOUT, id),
    );
    Ok(())
}

/// Convert an arena of an older layout to this one, at the instant at which the layout's word
/// changes. Nothing else of the arena differs between the two.
pub(crate) fn carry_over(arena: &Arena) {
    let had = layout(arena);
    if had != LAYOUT {
        let sum = superblock_sum(LAYOUT, id(arena));
        put(arena, SUPERBLOCK, sum_at(LAYOUT), sum);
        points::reach("layout-summed");
        put(arena, SUPERBLOCK, at::LAYOUT, LAYOUT);
        points::reach("layout-changed");
    }
    // So that an older version finds another layout, and not a damaged one.
    put(arena, SUPERBLOCK, sum_at(LAYOUT + 1), 0);
}

/// The arena's layout.
pub(crate) fn layout(arena: &Arena) -> u64 {
    get(arena, SUPERBLOCK, at::LAYOUT)
}

/// How many words of a superblock [`read`] needs.
pub(crate) const WORDS: usize = 8;

/// Check the first words of a file. Returns how many blocks the arena has.
pub(crate) fn read(words: &[u64; WORDS]) -> Result<u32, Error> {
    if words[at::MAGIC] != MAGIC {
        return Err(Error::Foreign);
    }
    let layout = known_layout(words[at::LAYOUT])?;
    let id = [words[at::ID], words[at::ID + 1]];
    if superblock_sum(layout, id) != words[sum_at(layout)] {
        return Err(Error::damaged("its superblock's sum is wrong"));
    }
    possible_blocks(words[at::BLOCKS])
        .ok_or_else(|| Error::damaged("its superblock names an impossible size"))
}

/// Check that this code can read a layout.
fn known_layout(found: u64) -> Result<u64, Error> {
    if (OLDEST_LAYOUT..=LAYOUT).contains(&found) {
        return Ok(found);
    }
    Err(Error::OtherLayout { found })
}

/// What can be read of the superblock of a damaged arena.
pub(crate) struct Remains {
    pub(crate) id: [u64; 2],
    /// Its layout.
    pub(crate) layout: u64,
    /// How many blocks the arena has, if the number is possible.
    pub(crate) blocks: Option<u32>,
    /// How many blocks of the disk table are in use, or all if the number is impossible.
    pub(crate) table_blocks: u32,
    /// The first block of a list of changes that the table doesn't have yet, or 0.
    pub(crate) intent: u64,
    /// What is wrong with it.
    pub(crate) faults: Vec<String>,
}

/// Read a superblock that may be damaged. A file of another program is refused.
pub(crate) fn examine(words: &Words) -> Result<Remains, Error> {
    let mut faults = Vec::new();
    let id = [words[at::ID], words[at::ID + 1]];
    let says = words[at::LAYOUT];
    // The layout that it names, if possible; else the newest one whose sum is right.
    let layouts = (OLDEST_LAYOUT..=LAYOUT).rev();
    let mut layouts = known_layout(says).into_iter().chain(layouts);
    let summed = layouts.find(|&layout| superblock_sum(layout, id) == words[sum_at(layout)]);
    let layout = if let Some(layout) = summed {
        let ours = [
            (at::MAGIC, MAGIC, "first word"),
            (at::LAYOUT, layout, "layout"),
        ];
        for (index, is, name) in ours {
            if words[index] != is {
                faults.push(format!("the superblock's {name} is {:#x}", words[index]));
            }
        }
        layout
    } else {
        if words[at::MAGIC] != MAGIC {
            return Err(Error::Foreign);
        }
        faults.push("the superblock's sum is wrong: the arena's id may be another one".into());
        known_layout(says)?
    };
    let blocks = possible_blocks(words[at::BLOCKS]);
    if blocks.is_none() {
        faults.push(format!(
            "the superblock says that the arena has {} blocks",
            words[at::BLOCKS]
        ));
    }
    let table_blocks = possible_table_blocks(words[at::TABLE_BLOCKS]);
    if table_blocks.is_none() {
        faults.push(format!(
            "the superblock says that the disk table has {} blocks",
            words[at::TABLE_BLOCKS]
        ));
    }
    Ok(Remains {
        id,
        layout,
        blocks,
        table_blocks: table_blocks.unwrap_or(TABLE_BLOCKS),
        intent: words[at::INTENT],
        faults,
    })
}

fn possible_blocks(word: u64) -> Option<u32> {
    u32::try_from(word).ok().filter(|blocks| {
        *blocks > FIRST_GROUP * GROUP_BLOCKS && blocks.is_multiple_of(GROUP_BLOCKS)
    })
}

fn possible_table_blocks(word: u64) -> Option<u32> {
    let blocks = u32::try_from(word).ok();
    blocks.filter(|blocks| (1..=TABLE_BLOCKS).contains(blocks))
}

/// The arena grew.
pub(crate) fn set_blocks(arena: &Arena) {
    put(arena, SUPERBLOCK, at::BLOCKS, u64::from(arena.blocks()));
}

/// One of the words that the store keeps for its owner. `index`: below [`OWNER_WORDS`].
pub(crate) fn owner_word(arena: &Arena, index: usize) -> &AtomicU64 {
    debug_assert!(index < OWNER_WORDS);
    arena.word(SUPERBLOCK, at::OWNER_WORDS + index % OWNER_WORDS)
}

/// The first block of a list of changes that the disk table may not have yet, or 0.
pub(super) fn intent(arena: &Arena) -> u64 {
    get(arena, SUPERBLOCK, at::INTENT)
}

/// Name such a list, or none any more. The first is the instant at which all changes of the list
/// take effect.
pub(super) fn set_intent(arena: &Arena, first: Option<Block>) {
    let number = first.map_or(0, |block| u64::from(block.0));
    put(arena, SUPERBLOCK, at::INTENT, number);
}

/// The arena's id.
pub(crate) fn id(arena: &Arena) -> [u64; 2] {
    [
        get(arena, SUPERBLOCK, at::ID),
        get(arena, SUPERBLOCK, at::ID + 1),
    ]
}

/// How many blocks of the disk table have memory.
pub(super) fn table_blocks(arena: &Arena) -> Result<u32, Error> {
    possible_table_blocks(get(arena, SUPERBLOCK, at::TABLE_BLOCKS))
        .ok_or_else(|| Error::damaged("its superblock names an impossible disk table"))
}

/// The disk table grew.
pub(super) fn set_table_blocks(arena: &Arena, blocks: u32) {
    put(arena, SUPERBLOCK, at::TABLE_BLOCKS, u64::from(blocks));
}
