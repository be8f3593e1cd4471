//! Intents: several words of the disk table that change at one instant.
//!
//! A list of the changes is written into blocks that nothing names yet. Then one word of the
//! superblock names the list, and that is the instant at which all of them take effect. Only then
//! the words of the table are changed, one by one, and the superblock names no list any more. If
//! the process is killed in between, the next reader of the arena reads the table as if all of the
//! list had been done, and a store then does it.

use std::collections::HashMap;

use super::words::{Words, put, sum, words};
use super::{slots, superblock};
use crate::store::base::error::Error;
use crate::store::base::points;
use crate::store::memory::arena::{Arena, BLOCK_WORDS, Block};

const MAGIC: u64 = u64::from_le_bytes(*b"ramblk\x00I");

/// Words of a block of a list.
mod of {
    pub(super) const MAGIC: usize = 0;
    pub(super) const COUNT: usize = 1;
    pub(super) const NEXT: usize = 2;
    pub(super) const SUM: usize = 3;
    pub(super) const CHANGES: usize = 4;
}

/// How many changes a block holds.
const PER_BLOCK: usize = BLOCK_WORDS - of::CHANGES;

/// A word of the disk table, and the record that it names from then on, if any.
pub(crate) type SlotChange = (u32, Option<Block>);

/// How many blocks a list of `changes` takes.
pub(crate) fn blocks_for(changes: usize) -> usize {
    changes.div_ceil(PER_BLOCK)
}

fn list_sum(words: &Words) -> u64 {
    let summed = (0..BLOCK_WORDS).filter(|&at| at != of::SUM);
    sum(summed.map(|at| words[at]))
}

/// Write the list into `blocks`, of which there are as many as [`blocks_for`] says, and let it take
/// effect.
pub(crate) fn commit(arena: &Arena, blocks: &[Block], changes: &[SlotChange]) {
    for (at, (&block, part)) in blocks.iter().zip(changes.chunks(PER_BLOCK)).enumerate() {
        let mut list = [0; BLOCK_WORDS];
        list[of::MAGIC] = MAGIC;
        list[of::COUNT] = part.len() as u64;
        list[of::NEXT] = blocks.get(at + 1).map_or(0, |next| u64::from(next.0));
        for (word, &(slot, record)) in list[of::CHANGES..].iter_mut().zip(part) {
            *word = u64::from(slot) << 32 | record.map_or(0, |record| u64::from(record.0));
        }
        list[of::SUM] = list_sum(&list);
        for (index, &word) in list.iter().enumerate() {
            put(arena, block, index, word);
        }
    }
    points::reach("intent-written");
    superblock::set_intent(arena, blocks.first().copied());
    points::reach("intent-named");
    carry_out(arena, changes);
}

/// Change the words of the table as an intent says that took effect.
fn carry_out(arena: &Arena, changes: &[SlotChange]) {
    for &(slot, record) in changes {
        slots::set(arena, slot, record);
        points::reach("intent-slot-set");
    }
    superblock::set_intent(arena, None);
    points::reach("intent-done");
}

/// The disk table as the arena's intent leaves it.
#[derive(Debug, Default)]
pub(crate) struct Intent(HashMap<u32, Option<Block>>);

impl Intent {
    /// The intent of an arena, if a process was killed while it carried one out. `has_memory`
    /// refuses a block that can't be read.
    ///
    /// # Errors
    /// [`Error::Damaged`].
    pub(crate) fn found(
        arena: &Arena,
        has_memory: impl Fn(Block) -> Result<(), Error>,
    ) -> Result<Self, Error> {
        let table = slots::count(arena)?;
        Self::read(superblock::intent(arena), table, arena.blocks(), |block| {
            has_memory(block)?;
            Ok(words(arena, block))
        })
    }

    /// Read the list that begins in block `first`; 0 for none. The disk table has `table` words,
    /// and the arena `blocks` blocks.
    ///
    /// # Errors
    /// [`Error::Damaged`], and those of `load`.
    pub(crate) fn read(
        first: u64,
        table: u32,
        blocks: u32,
        mut load: impl FnMut(Block) -> Result<Words, Error>,
    ) -> Result<Self, Error> {
        let damaged = |what: &str| Error::damaged(&format!("changes under way: {what}"));
        let mut found = Self::default();
        let mut next = first;
        while next != 0 {
            let block = u32::try_from(next).ok().filter(|&number| number < blocks);
            let block = block.ok_or_else(|| damaged("a block of the list lies outside"))?;
            let list = load(Block(block))?;
            let count = usize::try_from(list[of::COUNT]).ok();
            let count = count.filter(|count| (1..=PER_BLOCK).contains(count));
            let (Some(count), MAGIC) = (count, list[of::MAGIC]) else {
                return Err(damaged("there is no list"));
            };
            if list_sum(&list) != list[of::SUM] {
                return Err(damaged("the sum of the list is wrong"));
            }
            for &word in &list[of::CHANGES..of::CHANGES + count] {
                let (slot, record) = (word >> 32, word & u64::from(u32::MAX));
                let slot = u32::try_from(slot).ok().filter(|&slot| slot < table);
                let slot = slot.ok_or_else(|| damaged("a slot lies outside the disk table"))?;
                let record = u32::try_from(record).ok().filter(|&block| block != 0);
                // So a list that leads back into itself ends here.
                if found.0.insert(slot, record.map(Block)).is_some() {
                    return Err(damaged("the list has a slot twice"));
                }
            }
            next = list[of::NEXT];
        }
        Ok(found)
    }

    /// What a word of the disk table says, that has `word` now.
    pub(crate) fn over(&self, slot: u32, word: u64) -> u64 {
        match self.0.get(&slot) {
            Some(record) => record.map_or(0, |block| u64::from(block.0)),
            None => word,
        }
    }

    /// Carry it out, after all that it leads to was found to be valid.
    pub(crate) fn finish(self, arena: &Arena) {
        if !self.0.is_empty() {
            let changes: Vec<SlotChange> = self.0.into_iter().collect();
            carry_out(arena, &changes);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn list(changes: &[SlotChange], next: u64) -> Words {
        let mut list = [0; BLOCK_WORDS];
        list[of::MAGIC] = MAGIC;
        list[of::COUNT] = changes.len() as u64;
        list[of::NEXT] = next;
        for (word, &(slot, record)) in list[of::CHANGES..].iter_mut().zip(changes) {
            *word = u64::from(slot) << 32 | record.map_or(0, |block| u64::from(block.0));
        }
        list[of::SUM] = list_sum(&list);
        list
    }

    #[test]
    fn a_list_is_read_over_the_table() {
        let parts = [
            list(&[(3, Some(Block(700))), (4, None)], 601),
            list(&[(9, Some(Block(701)))], 0),
        ];
        let load = |block: Block| Ok(parts[block.0 as usize - 600]);
        let intent = Intent::read(600, 512, 4096, load).unwrap();
        assert_eq!(
            [3, 4, 9, 5].map(|slot| intent.over(slot, 1)),
            [700, 0, 701, 1]
        );
        let none = Intent::read(0, 512, 4096, load).unwrap();
        assert_eq!(none.over(3, 1), 1);
    }

    #[test]
    fn what_is_no_list_is_damage() {
        let good = list(&[(3, Some(Block(700)))], 0);
        let mut of_nothing = good;
        of_nothing[of::COUNT] = 0;
        let mut changed = good;
        changed[of::CHANGES] += 1;
        let bad = [
            [0; BLOCK_WORDS],
            of_nothing,
            changed,
            list(&[(512, None)], 0),
            list(&[(3, None), (3, None)], 0),
            // It leads back to itself.
            list(&[(3, None)], 600),
            list(&[(3, None)], 4096),
            list(&[(3, None)], u64::MAX),
        ];
        for (at, words) in bad.into_iter().enumerate() {
            let read = Intent::read(600, 512, 4096, |_| Ok(words));
            assert!(matches!(read, Err(Error::Damaged { .. })), "{at}: {read:?}");
        }
        assert!(Intent::read(600, 512, 4096, |_| Ok(good)).is_ok());
    }
}
