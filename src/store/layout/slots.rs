//! The disk table: 65536 words, each the number of a record's block, or 0.

use super::{superblock, words};
use crate::store::base::error::Error;
use crate::store::memory::arena::{Arena, Block, GROUP_BLOCKS};

/// How many slots of the table have memory.
pub(crate) fn count(arena: &Arena) -> Result<u32, Error> {
    Ok(superblock::table_blocks(arena)? * GROUP_BLOCKS)
}

fn place(slot: u32) -> (Block, usize) {
    (
        Block(1 + slot / GROUP_BLOCKS),
        (slot % GROUP_BLOCKS) as usize,
    )
}

/// Back a slot of the table with memory.
pub(crate) fn back(arena: &Arena, slot: u32) -> Result<(), Error> {
    let (block, _) = place(slot);
    if block.0 > superblock::table_blocks(arena)? {
        arena
            .back(block, 1)
            .map_err(|source| Error::HostFull { source })?;
        superblock::set_table_blocks(arena, block.0);
    }
    Ok(())
}

/// The record that a slot names.
pub(crate) fn get(arena: &Arena, slot: u32) -> u64 {
    let (block, index) = place(slot);
    words::get(arena, block, index)
}

/// Let a slot name a record or none: the instant at which a change of a disk takes effect.
pub(crate) fn set(arena: &Arena, slot: u32, record: Option<Block>) {
    let (block, index) = place(slot);
    words::put(
        arena,
        block,
        index,
        record.map_or(0, |record| u64::from(record.0)),
    );
}
