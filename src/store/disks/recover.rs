//! Recovering an arena that another process left. Every record and node is read and checked, and
//! the blocks that they name are counted (mark); all others are free (sweep). Nothing is written
//! before everything was found to be valid.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::os::unix::fs::FileExt;

use rustix::fs::SeekFrom;
use rustix::io::Errno;

use crate::store::base::error::Error;
use crate::store::base::limits::MOST_DISKS;
use crate::store::layout::entry::Entry;
use crate::store::layout::intent::Intent;
use crate::store::layout::levels::{PAGE, TOP, sectors_below};
use crate::store::layout::record::{self, Record};
use crate::store::layout::slots;
use crate::store::layout::superblock::{self, FIRST_GROUP};
use crate::store::memory::arena::{Arena, BLOCK_BYTES, BLOCK_WORDS, Block, GROUP_BLOCKS};
use crate::store::memory::pool::Pool;

/// A disk that was found.
pub(crate) struct Found {
    pub(crate) slot: u32,
    pub(crate) block: Block,
    pub(crate) settings: Option<Block>,
    pub(crate) record: Record,
    pub(crate) account: u16,
    pub(crate) mapped_sectors: u64,
}

/// The use of a block is a byte; 0 means unused. Its top bit means that the first entry that names
/// the block doesn't have `SHARED`.
const CLAIMED: u8 = 0x80;
const AS_RECORD: u8 = 16;
const AS_SETTINGS: u8 = 17;

struct Mark<'a> {
    pool: &'a Pool,
    used_as: Vec<u8>,
    /// The blocks that the file has memory for.
    data: Vec<u64>,
    /// Mapped sectors below the nodes that were walked.
    sectors: HashMap<Block, u64>,
}

/// The size in blocks according to the superblock, if the file is an arena and that long.
pub(crate) fn blocks(file: &File) -> Result<u32, Error> {
    let refused = |source| Error::Arena {
        doing: "read",
        source,
    };
    let len_bytes = file.metadata().map_err(refused)?.len();
    if len_bytes < BLOCK_BYTES as u64 {
        return Err(Error::Foreign);
    }
    let mut bytes = [0; superblock::WORDS * 8];
    file.read_exact_at(&mut bytes, 0).map_err(refused)?;
    let mut words = [0; superblock::WORDS];
    for (word, bytes) in words.iter_mut().zip(bytes.chunks_exact(8)) {
        *word = u64::from_le_bytes(bytes.try_into().unwrap_or_default());
    }
    let blocks = superblock::read(&words)?;
    if len_bytes < u64::from(blocks) * BLOCK_BYTES as u64 {
        return Err(Error::damaged(&format!(
            "it was cut to {len_bytes} bytes, and had {}",
            u64::from(blocks) * BLOCK_BYTES as u64
        )));
    }
    Ok(blocks)
}

/// Find all disks, count the blocks that they use, and make the free list.
pub(crate) fn recover(pool: &Pool) -> Result<Vec<Found>, Error> {
    let arena = pool.arena();
    let mut mark = Mark {
        pool,
        used_as: vec![0; arena.blocks() as usize],
        data: data(arena)?,
        sectors: HashMap::new(),
    };
    mark.has_data(Block(0))?;
    let mut found = Vec::new();
    let (mut ids, mut keys) = (HashSet::new(), HashSet::new());
    let slots = slots::count(arena)?;
    let intent = Intent::found(arena, |block| mark.has_data(block))?;
    for slot in 0..slots {
        if slot % GROUP_BLOCKS == 0 {
            mark.has_data(Block(1 + slot / GROUP_BLOCKS))?;
        }
        let number = intent.over(slot, slots::get(arena, slot));
        if number == 0 {
            continue;
        }
        let block = u32::try_from(number)
            .ok()
            .filter(|&number| number >= FIRST_GROUP * GROUP_BLOCKS && number < arena.blocks())
            .map(Block)
            .ok_or_else(|| Error::damaged(&format!("slot {slot} names block {number}")))?;
        mark.has_data(block)?;
        let (record, settings) = Record::read(arena, block, |block| mark.has_data(block))?;
        if !ids.insert(record.id) || !keys.insert(record.key.clone()) || found.len() >= MOST_DISKS {
            return Err(Error::damaged(&format!("slot {slot} names a disk twice")));
        }
        let account = pool.budget().open(record.spec.quota_bytes)?;
        found.push(Found {
            slot,
            block,
            settings,
            record,
            account,
            mapped_sectors: 0,
        });
    }
    // Older disks first, so that blocks which a fork shares are charged to the older disk.
    found.sort_unstable_by_key(|disk| disk.record.id);
    for disk in &mut found {
        mark.once(disk.block, AS_RECORD, disk.account)?;
        if let Some(settings) = disk.settings {
            mark.once(settings, AS_SETTINGS, disk.account)?;
        }
        let root = Entry::load(record::root(arena, disk.block));
        disk.mapped_sectors = mark.visit(root, TOP, disk.account)?;
    }
    intent.finish(arena);
    let last_word = mark.data.iter().rposition(|&word| word != 0).unwrap_or(0);
    pool.sweep(FIRST_GROUP, last_word * 64 / GROUP_BLOCKS as usize);
    Ok(found)
}

/// Which blocks the file has memory for. The others must not be touched: that would take memory,
/// and end the process if none is left.
fn data(arena: &Arena) -> Result<Vec<u64>, Error> {
    let refused = |errno: Errno| Error::Arena {
        doing: "look for data in",
        source: errno.into(),
    };
    let mut bits = vec![0u64; arena.blocks() as usize / 64 + 1];
    let end = u64::from(arena.blocks()) * BLOCK_BYTES as u64;
    let mut at = 0;
    while at < end {
        let start = match rustix::fs::seek(arena.file(), SeekFrom::Data(at)) {
            Ok(start) => start,
            Err(Errno::NXIO) => break,
            Err(errno) => return Err(refused(errno)),
        };
        at = rustix::fs::seek(arena.file(), SeekFrom::Hole(start)).map_err(refused)?;
        let (first, last) = (start / BLOCK_BYTES as u64, at.min(end) / BLOCK_BYTES as u64);
        for block in first..last {
            if let Some(word) = usize::try_from(block / 64)
                .ok()
                .and_then(|i| bits.get_mut(i))
            {
                *word |= 1 << (block % 64);
            }
        }
    }
    Ok(bits)
}

impl Mark<'_> {
    fn has_data(&self, block: Block) -> Result<(), Error> {
        let word = self.data.get(block.0 as usize / 64).copied();
        if word.unwrap_or(0) >> (block.0 % 64) & 1 == 1 {
            return Ok(());
        }
        Err(Error::damaged(&format!("block {} is missing", block.0)))
    }

    fn kind(&mut self, block: Block) -> Result<&mut u8, Error> {
        let outside = || Error::damaged(&format!("block {} lies outside", block.0));
        if block.0 < FIRST_GROUP * GROUP_BLOCKS {
            return Err(outside());
        }
        self.used_as.get_mut(block.0 as usize).ok_or_else(outside)
    }

    fn once(&mut self, block: Block, kind: u8, account: u16) -> Result<(), Error> {
        let used_as = self.kind(block)?;
        if *used_as != 0 {
            return Err(twice(block));
        }
        *used_as = kind;
        self.pool.found(block, account);
        Ok(())
    }

    /// Count all below an entry. Returns its mapped sectors.
    fn visit(&mut self, entry: Entry, level: u32, account: u16) -> Result<u64, Error> {
        if !entry.is_sound(level == PAGE, self.pool.arena().blocks()) {
            return Err(Error::damaged(&format!("an entry is {:#x}", entry.0)));
        }
        let own = u64::from(entry.mask().count_ones());
        let Some(block) = entry.block() else {
            let zero = entry.is_all_zero() && level > PAGE;
            return Ok(if zero { sectors_below(level) } else { own });
        };
        self.has_data(block)?;
        let kind = u8::try_from(level + 1).unwrap_or(u8::MAX);
        let used_as = self.kind(block)?;
        if *used_as == 0 {
            *used_as = if entry.is_shared() {
                kind
            } else {
                kind | CLAIMED
            };
            self.pool.found(block, account);
            if level == PAGE {
                return Ok(own);
            }
            let mut sectors = 0;
            for at in 0..BLOCK_WORDS {
                let child = Entry::load(self.pool.arena().word(block, at));
                if !child.is_none() {
                    sectors += self.visit(child, level - 1, account)?;
                }
            }
            self.sectors.insert(block, sectors);
            return Ok(sectors);
        }
        if *used_as != kind || !entry.is_shared() {
            return Err(twice(block));
        }
        self.pool.found(block, account);
        if level == PAGE {
            return Ok(own);
        }
        // A node without a count is still being walked, so this is a loop.
        let known = self.sectors.get(&block).copied();
        known.ok_or_else(|| twice(block))
    }
}

fn twice(block: Block) -> Error {
    Error::damaged(&format!("block {} is used twice", block.0))
}
