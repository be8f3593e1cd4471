//! The disks that an arena's disk table names.

use std::collections::HashSet;

use super::claims::Use;
use super::findings::Findings;
use super::trees::Trees;
use crate::store::base::error::Error;
use crate::store::base::limits::MOST_DISKS;
use crate::store::layout::entry::Entry;
use crate::store::layout::intent::Intent;
use crate::store::layout::record::{self, Record};
use crate::store::layout::spec::DiskSpec;
use crate::store::layout::superblock::FIRST_GROUP;
use crate::store::layout::words::Words;
use crate::store::memory::arena::{Block, GROUP_BLOCKS};

/// A disk or a snapshot that was found.
#[derive(Clone, Debug)]
pub struct FoundDisk {
    /// Its key.
    pub key: String,
    /// Its number in the arena.
    pub id: u64,
    /// The number of the disk that it was forked from.
    pub parent_id: Option<u64>,
    /// Its size in bytes.
    pub size_bytes: u64,
    /// The size of its sectors in bytes.
    pub sector_bytes: u64,
    /// Whether it is a snapshot, which can never be changed.
    pub snapshot: bool,
    /// Its quota in bytes.
    pub quota_bytes: Option<u64>,
    /// All that its record says of it.
    pub spec: DiskSpec,
    /// Its owner's settings.
    pub settings: Vec<u8>,
    /// Bytes that are mapped and can be read.
    pub mapped_bytes: u64,
    /// Bytes of its address range that can't be read. What was mapped there, if anything, is lost.
    pub lost_bytes: u64,
    pub(super) root: Entry,
}

impl FoundDisk {
    /// Whether all of it can be read.
    pub fn is_whole(&self) -> bool {
        self.lost_bytes == 0
    }
}

/// The changes that the disk table doesn't have yet, whose list begins in block `first`.
fn intent(
    trees: &Trees,
    findings: &mut Findings,
    first: u64,
    table_blocks: u32,
) -> Result<Intent, Error> {
    let table = table_blocks * GROUP_BLOCKS;
    let read = Intent::read(first, table, trees.arena_blocks, |block| {
        if trees.blocks.rank(block).is_none() {
            let what = format!("block {} is missing", block.0);
            return Err(Error::damaged(&what));
        }
        trees.blocks.words(block).map_err(Error::arena("read"))
    });
    match read {
        Err(Error::Damaged { what }) => {
            findings.add(what);
            Ok(Intent::default())
        }
        read => read,
    }
}

/// All disks that the disk table names, sorted by key. Claims their records. The table has this
/// number of blocks, and a list of changes that it may not have yet begins in block `first`.
///
/// # Errors
/// [`Error::Arena`] if the file can't be read.
pub(super) fn disks(
    trees: &mut Trees,
    findings: &mut Findings,
    (table_blocks, first): (u32, u64),
) -> Result<Vec<FoundDisk>, Error> {
    let mut disks = Vec::<FoundDisk>::new();
    // The superblock and the table itself belong to no tree.
    for number in 0..=table_blocks {
        if let Some(rank) = trees.blocks.rank(Block(number)) {
            trees.claims.claim(rank, Use::RECORD, false);
        }
    }
    let intent = intent(trees, findings, first, table_blocks)?;
    let (mut ids, mut keys) = (HashSet::new(), HashSet::new());
    for number in 1..=table_blocks {
        if trees.blocks.rank(Block(number)).is_none() {
            findings.add(format!(
                "block {number} of the disk table is missing, with the names of its disks"
            ));
            continue;
        }
        let slots = trees
            .blocks
            .words(Block(number))
            .map_err(Error::arena("read"))?;
        for (index, &word) in (0..).zip(&slots) {
            let slot = (number - 1) * GROUP_BLOCKS + index;
            let word = intent.over(slot, word);
            if word == 0 {
                continue;
            }
            match disk_at(trees, slot, word)? {
                Err(what) => drop(findings.add(what)),
                Ok(disk) if disks.len() >= MOST_DISKS => {
                    findings.add(format!("slot {slot}, disk {:?}, is one too many", disk.key));
                }
                Ok(disk) if !ids.insert(disk.id) || !keys.insert(disk.key.clone()) => {
                    let what = format!("slot {slot} names a disk twice: {:?}", disk.key);
                    findings.add(what);
                }
                Ok(disk) => disks.push(disk),
            }
        }
    }
    disks.sort_unstable_by(|one, other| one.key.cmp(&other.key));
    Ok(disks)
}

/// The disk whose record a slot names, or what is wrong with it.
fn disk_at(trees: &mut Trees, slot: u32, word: u64) -> Result<Result<FoundDisk, String>, Error> {
    let block = u32::try_from(word).ok().map(Block);
    let block = block.filter(|block| block.0 >= FIRST_GROUP * GROUP_BLOCKS);
    let Some((block, rank)) = block.and_then(|it| Some((it, trees.blocks.rank(it)?))) else {
        return Ok(Err(format!(
            "slot {slot} of the disk table names block {word}, which is missing"
        )));
    };
    let words = trees.blocks.words(block).map_err(Error::arena("read"))?;
    let load = |settings: Block| {
        if trees.blocks.rank(settings).is_none() {
            return Err(Error::damaged(&format!(
                "disk record {}: its settings, block {}, are missing",
                block.0, settings.0
            )));
        }
        trees.blocks.words(settings).map_err(Error::arena("read"))
    };
    let (record, settings) = match Record::parse(block, &words, trees.arena_blocks, load) {
        Ok(found) => found,
        Err(Error::Damaged { what }) => {
            return Ok(Err(format!("slot {slot} of the disk table: {what}")));
        }
        Err(error) => return Err(error),
    };
    trees.claims.claim(rank, Use::RECORD, false);
    if let Some(rank) = settings.and_then(|settings| trees.blocks.rank(settings)) {
        trees.claims.claim(rank, Use::SETTINGS, false);
    }
    Ok(Ok(found(record, &words)))
}

fn found(record: Record, words: &Words) -> FoundDisk {
    FoundDisk {
        key: record.key,
        id: record.id,
        parent_id: Some(record.parent).filter(|&id| id != 0),
        size_bytes: record.spec.size_bytes,
        sector_bytes: record.spec.sector_size.bytes(),
        snapshot: record.snapshot,
        quota_bytes: record.spec.quota_bytes,
        spec: record.spec,
        settings: record.settings,
        mapped_bytes: 0,
        lost_bytes: 0,
        root: record::root_of(words),
    }
}
