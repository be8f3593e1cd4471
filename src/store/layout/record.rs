//! What the arena says of itself and of its disks: superblock, disk table, disk records.
//!
//! | blocks | hold |
//! |---|---|
//! | 0 | superblock: magic, layout version, id of the arena, size, length of the table, notes |
//! | 1 to 128 | disk table: 65536 words, each the number of a record's block, or 0 |
//! | 512 and up | records, settings, nodes, pages |
//!
//! A record is written before the table names it and never changed after, but for its root. So
//! whatever becomes of a disk (created, forked, reset, resized, renamed, destroyed) happens at one
//! instant: the store of its word in the table.

use std::sync::atomic::{AtomicU64, Ordering};

use super::entry::Entry;
use super::spec::{DiskSpec, OnFull};
use crate::store::base::error::Error;
use crate::store::base::limits::MAX_SETTINGS_BYTES;
use crate::store::base::limits::{LAYOUT, MAX_KEY_BYTES, OLDEST_LAYOUT};
use crate::store::base::points;
use crate::store::base::range::{Capacity, SectorSize};
use crate::store::memory::arena::{Arena, BLOCK_BYTES, BLOCK_WORDS, Block, GROUP_BLOCKS};
use crate::store::pages::tree::ROOT_WORD;

/// First group that blocks are handed out from.
pub(crate) const FIRST_GROUP: u32 = 1;
/// Blocks of the disk table.
pub(crate) const TABLE_BLOCKS: u32 = 128;
const SUPERBLOCK: Block = Block(0);
const MAGIC: u64 = u64::from_le_bytes(*b"ramblk\x00A");
const RECORD_MAGIC: u64 = u64::from_le_bytes(*b"ramblk\x00D");
/// Words of the superblock.
mod at {
    pub(crate) const MAGIC: usize = 0;
    pub(crate) const LAYOUT: usize = 1;
    pub(crate) const ID: usize = 2;
    /// Of the words before it, with this very layout, in layouts of odd numbers. Layouts of even
    /// numbers have theirs elsewhere: so the sum of the next one can be there already when the
    /// layout changes, which is the one word that tells.
    pub(crate) const ODD_SUM: usize = 4;
    /// Changes when the arena grows, so by itself.
    pub(crate) const BLOCKS: usize = 5;
    pub(crate) const EVEN_SUM: usize = 6;
    pub(crate) const TABLE_BLOCKS: usize = 8;
    /// The owner's. Zeros in arenas that were made before there were any.
    pub(crate) const OWNER_WORDS: usize = 16;
}

/// Words of a record.
mod of {
    pub(crate) const MAGIC: usize = 0;
    pub(crate) const ID: usize = 1;
    pub(crate) const FLAGS: usize = 2;
    pub(crate) const SIZE_BYTES: usize = 3;
    pub(crate) const PARENT: usize = 5;
    pub(crate) const QUOTA_BYTES: usize = 6;
    pub(crate) const LENGTHS: usize = 7;
    pub(crate) const SETTINGS: usize = 8;
    pub(crate) const SUM: usize = 9;
    pub(crate) const KEY: usize = 16;
    pub(crate) const KEY_WORDS: usize = 8;
}

/// All words of a block, as values.
pub(crate) type Words = [u64; BLOCK_WORDS];

const READ_ONLY: u64 = 1;
const SNAPSHOT: u64 = 2;
const STALL: u64 = 4;
const DETECT_ZEROES: u64 = 8;
const FLAGS: u64 = READ_ONLY | SNAPSHOT | STALL | DETECT_ZEROES;
const SECTOR_SHIFT: u32 = 16;

/// Everything about a disk but its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    /// Never used again for another disk of the arena.
    pub(crate) id: u64,
    pub(crate) key: String,
    /// With the size that it has now.
    pub(crate) spec: DiskSpec,
    pub(crate) snapshot: bool,
    /// The disk that this one was forked from; 0 for none.
    pub(crate) parent: u64,
    pub(crate) settings: Vec<u8>,
}

/// FNV-1a over words: finds damage, not malice.
fn sum(words: impl Iterator<Item = u64>) -> u64 {
    words.fold(0xcbf2_9ce4_8422_2325, |sum, word| {
        (sum ^ word)
            .wrapping_mul(0x0000_0100_0000_01b3)
            .rotate_left(29)
    })
}

fn get(arena: &Arena, block: Block, index: usize) -> u64 {
    arena.word(block, index).load(Ordering::Acquire)
}

fn put(arena: &Arena, block: Block, index: usize, value: u64) {
    arena.word(block, index).store(value, Ordering::Release);
}

fn to_words(bytes: &[u8]) -> impl Iterator<Item = u64> {
    bytes.chunks(8).map(|chunk| {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        u64::from_le_bytes(word)
    })
}

fn to_bytes(words: &[u64], len: usize) -> Vec<u8> {
    let words = words.iter().take(len.div_ceil(8));
    let mut bytes: Vec<u8> = words.flat_map(|word| word.to_le_bytes()).collect();
    bytes.truncate(len);
    bytes
}

/// The words of a block, as they are now.
fn words(arena: &Arena, block: Block) -> Words {
    std::array::from_fn(|at| get(arena, block, at))
}

/// How many blocks an arena has for a limit.
pub(crate) fn blocks_for(limit_bytes: u64) -> Result<u32, Error> {
    let group_bytes = u64::from(GROUP_BLOCKS) * BLOCK_BYTES as u64;
    // One group more: records are replaced also where the limit is reached.
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

/// Make an arena of an older layout one of this layout, at the instant at which the layout's word
/// changes. What was an arena of that layout until then is one of this layout as it is.
pub(crate) fn carry_over(arena: &Arena) {
    let had = layout(arena);
    if had != LAYOUT {
        let sum = superblock_sum(LAYOUT, arena_id(arena));
        put(arena, SUPERBLOCK, sum_at(LAYOUT), sum);
        points::reach("layout-summed");
        put(arena, SUPERBLOCK, at::LAYOUT, LAYOUT);
        points::reach("layout-changed");
    }
    // For an older version, that it finds no damaged layout but another one.
    put(arena, SUPERBLOCK, sum_at(LAYOUT + 1), 0);
}

/// The arena's layout.
pub(crate) fn layout(arena: &Arena) -> u64 {
    get(arena, SUPERBLOCK, at::LAYOUT)
}

/// How many words of a superblock [`read_superblock`] looks at.
pub(crate) const SUPERBLOCK_WORDS: usize = 8;

/// What the first bytes of a file say: how many blocks the arena has.
pub(crate) fn read_superblock(words: &[u64; SUPERBLOCK_WORDS]) -> Result<u32, Error> {
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

/// A layout that this code reads.
fn known_layout(found: u64) -> Result<u64, Error> {
    if (OLDEST_LAYOUT..=LAYOUT).contains(&found) {
        return Ok(found);
    }
    Err(Error::OtherLayout { found })
}

/// What is left of a superblock, for who looks at a damaged arena.
pub(crate) struct Remains {
    pub(crate) id: [u64; 2],
    /// Its layout.
    pub(crate) layout: u64,
    /// How many blocks the arena has, if it says something possible.
    pub(crate) blocks: Option<u32>,
    /// How many blocks of the disk table are in use, or all of them if it doesn't say.
    pub(crate) table_blocks: u32,
    /// What is wrong with it.
    pub(crate) faults: Vec<String>,
}

/// Read a superblock that may be damaged. One that belongs to something else is refused.
pub(crate) fn examine_superblock(words: &Words) -> Result<Remains, Error> {
    let mut faults = Vec::new();
    let id = [words[at::ID], words[at::ID + 1]];
    let says = words[at::LAYOUT];
    // What it says, if that may be; else the newest one whose sum is right.
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

/// One of the words in which the owner of the store keeps what it likes.
pub(crate) fn owner_word(arena: &Arena, index: usize) -> &AtomicU64 {
    arena.word(
        SUPERBLOCK,
        at::OWNER_WORDS + index % crate::store::disks::owner_words::OWNER_WORDS,
    )
}

/// The arena's id.
pub(crate) fn arena_id(arena: &Arena) -> [u64; 2] {
    [
        get(arena, SUPERBLOCK, at::ID),
        get(arena, SUPERBLOCK, at::ID + 1),
    ]
}

/// How many slots of the table can be read.
pub(crate) fn table_slots(arena: &Arena) -> Result<u32, Error> {
    let blocks = get(arena, SUPERBLOCK, at::TABLE_BLOCKS);
    possible_table_blocks(blocks)
        .map(|blocks| blocks * GROUP_BLOCKS)
        .ok_or_else(|| Error::damaged("its superblock names an impossible disk table"))
}

fn slot_place(slot: u32) -> (Block, usize) {
    (
        Block(1 + slot / GROUP_BLOCKS),
        (slot % GROUP_BLOCKS) as usize,
    )
}

/// Have memory behind a slot of the table.
pub(crate) fn back_slot(arena: &Arena, slot: u32) -> Result<(), Error> {
    let (block, _) = slot_place(slot);
    let used = get(arena, SUPERBLOCK, at::TABLE_BLOCKS);
    if u64::from(block.0) > used {
        arena
            .back(block, 1)
            .map_err(|source| Error::HostFull { source })?;
        put(arena, SUPERBLOCK, at::TABLE_BLOCKS, u64::from(block.0));
    }
    Ok(())
}

/// The record that a slot names.
pub(crate) fn slot(arena: &Arena, slot: u32) -> u64 {
    let (block, index) = slot_place(slot);
    get(arena, block, index)
}

/// The instant at which a disk becomes what its record says, or is gone.
pub(crate) fn set_slot(arena: &Arena, slot: u32, record: Option<Block>) {
    let (block, index) = slot_place(slot);
    put(
        arena,
        block,
        index,
        record.map_or(0, |record| u64::from(record.0)),
    );
}

fn record_sum(words: &Words, settings: &[u8]) -> u64 {
    let summed = (0..of::KEY + of::KEY_WORDS).filter(|&at| at != ROOT_WORD && at != of::SUM);
    sum(summed.map(|at| words[at]).chain(to_words(settings)))
}

impl Record {
    /// Write the record into a block of its own, with its settings in another.
    pub(crate) fn write(&self, arena: &Arena, block: Block, settings: Option<Block>, root: Entry) {
        for index in 0..BLOCK_WORDS {
            put(arena, block, index, 0);
        }
        let flag = |on: bool, bit: u64| if on { bit } else { 0 };
        let flags = flag(self.spec.read_only, READ_ONLY)
            | flag(self.snapshot, SNAPSHOT)
            | flag(self.spec.on_full == OnFull::Stall, STALL)
            | flag(self.spec.detect_zeroes, DETECT_ZEROES)
            | self.spec.sector_size.bytes() << SECTOR_SHIFT;
        put(arena, block, of::MAGIC, RECORD_MAGIC);
        put(arena, block, of::ID, self.id);
        put(arena, block, of::FLAGS, flags);
        put(arena, block, of::SIZE_BYTES, self.spec.size_bytes);
        put(arena, block, ROOT_WORD, root.0);
        put(arena, block, of::PARENT, self.parent);
        put(
            arena,
            block,
            of::QUOTA_BYTES,
            self.spec.quota_bytes.unwrap_or(0),
        );
        let lengths = self.key.len() as u64 | (self.settings.len() as u64) << 32;
        put(arena, block, of::LENGTHS, lengths);
        put(
            arena,
            block,
            of::SETTINGS,
            settings.map_or(0, |block| u64::from(block.0)),
        );
        for (at, word) in to_words(self.key.as_bytes()).enumerate() {
            put(arena, block, of::KEY + at, word);
        }
        if let Some(settings) = settings {
            for (at, word) in to_words(&self.settings).enumerate() {
                put(arena, settings, at, word);
            }
        }
        let sum = record_sum(&words(arena, block), &self.settings);
        put(arena, block, of::SUM, sum);
    }

    /// Read a record, whose block lies in the arena and has memory; gives its settings' block too,
    /// which `has_memory` vouches for before it is touched.
    pub(crate) fn read(
        arena: &Arena,
        block: Block,
        has_memory: impl FnOnce(Block) -> Result<(), Error>,
    ) -> Result<(Self, Option<Block>), Error> {
        Self::parse(block, &words(arena, block), arena.blocks(), |settings| {
            has_memory(settings)?;
            Ok(words(arena, settings))
        })
    }

    /// What the words of a record say; `load` gives those of its settings' block, which is below
    /// `blocks`.
    pub(crate) fn parse(
        block: Block,
        words: &Words,
        blocks: u32,
        load: impl FnOnce(Block) -> Result<Words, Error>,
    ) -> Result<(Self, Option<Block>), Error> {
        let damaged = |what: &str| Error::damaged(&format!("disk record {}: {what}", block.0));
        if words[of::MAGIC] != RECORD_MAGIC {
            return Err(damaged("no record is there"));
        }
        let lengths = words[of::LENGTHS];
        let fits = |len: u64, most: usize| usize::try_from(len).ok().filter(|&len| len <= most);
        let key_len = fits(lengths & 0xffff_ffff, MAX_KEY_BYTES).filter(|&len| len > 0);
        let key_len = key_len.ok_or_else(|| damaged("a key of impossible length"))?;
        let settings_len = fits(lengths >> 32, MAX_SETTINGS_BYTES)
            .ok_or_else(|| damaged("settings of impossible length"))?;
        let settings_block = match words[of::SETTINGS] {
            0 => None,
            number => Some(
                u32::try_from(number)
                    .ok()
                    .filter(|&number| number < blocks)
                    .map(Block)
                    .ok_or_else(|| damaged("settings outside of the arena"))?,
            ),
        };
        let settings = match settings_block {
            Some(block) => to_bytes(&load(block)?, settings_len),
            None if settings_len == 0 => Vec::new(),
            None => return Err(damaged("settings are missing")),
        };
        if record_sum(words, &settings) != words[of::SUM] {
            return Err(damaged("its sum is wrong"));
        }
        let key = String::from_utf8(to_bytes(&words[of::KEY..], key_len))
            .map_err(|_| damaged("a key that is no text"))?;
        let record = Self {
            id: words[of::ID],
            key,
            spec: spec(words).map_err(damaged)?,
            snapshot: words[of::FLAGS] & SNAPSHOT != 0,
            parent: words[of::PARENT],
            settings,
        };
        Ok((record, settings_block))
    }
}

/// The part of a record that its disk was made with, or what is wrong with it.
fn spec(words: &Words) -> Result<DiskSpec, &'static str> {
    let flags = words[of::FLAGS];
    if flags & ((1 << SECTOR_SHIFT) - 1) & !FLAGS != 0 {
        return Err("unknown flags");
    }
    let sector_size = SectorSize::from_bytes(flags >> SECTOR_SHIFT);
    let sector_size = sector_size.map_err(|_| "an impossible sector size")?;
    let size_bytes = words[of::SIZE_BYTES];
    Capacity::new(size_bytes, sector_size).map_err(|_| "an impossible size")?;
    Ok(DiskSpec {
        sector_size,
        size_bytes,
        read_only: flags & READ_ONLY != 0,
        quota_bytes: Some(words[of::QUOTA_BYTES]).filter(|&quota| quota > 0),
        on_full: if flags & STALL != 0 {
            OnFull::Stall
        } else {
            OnFull::Error
        },
        detect_zeroes: flags & DETECT_ZEROES != 0,
    })
}
