//! Counting and freeing what lies below an entry, which nothing changes meanwhile.

use crate::store::layout::entry::Entry;
use crate::store::layout::levels::{PAGE, sectors_below};
use crate::store::memory::arena::{Arena, Block};
use crate::store::memory::pool::Pool;

/// How many blocks to collect before freeing them in the pool.
const BATCH: usize = 4096;

/// Mapped sectors below an entry.
pub(crate) fn sectors(arena: &Arena, entry: Entry, level: u32) -> u64 {
    if level == PAGE {
        return u64::from(entry.mask().count_ones());
    }
    match entry.block() {
        None if entry.is_none() => 0,
        None => sectors_below(level),
        Some(node) => {
            let below = arena.words(node).iter().map(Entry::load);
            below.map(|entry| sectors(arena, entry, level - 1)).sum()
        }
    }
}

/// Free what only these entries name. Needs no lock if nothing else can reach them any more.
pub(crate) fn free(pool: &Pool, entries: impl IntoIterator<Item = (Entry, u32)>) {
    let mut blocks = Vec::new();
    for (entry, level) in entries {
        collect(pool, entry, level, &mut blocks);
    }
    pool.give_back(&mut blocks);
}

fn collect(pool: &Pool, entry: Entry, level: u32, blocks: &mut Vec<Block>) {
    let Some(block) = entry.block() else { return };
    // Without SHARED the block belongs to this entry alone, and its count need not be read.
    if entry.is_shared() && !pool.release(block) {
        return;
    }
    if level > PAGE {
        for word in pool.arena().words(block) {
            collect(pool, Entry::load(word), level - 1, blocks);
        }
    }
    blocks.push(block);
    if blocks.len() >= BATCH {
        pool.give_back(blocks);
    }
}
