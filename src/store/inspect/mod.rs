//! An arena that nobody uses, looked at: what is there, what is wrong, what can still be read.
//!
//! Recovery refuses an arena at the first thing that does not add up. This goes on, and tells what
//! each one costs which disk. It changes nothing, takes no memory of the file's holes, and ends
//! with any file: each node is walked once, and no list is longer than the file has blocks with
//! memory.
//!
//! | file | what it holds |
//! |---|---|
//! | `blocks` | which blocks have memory, and their words |
//! | `claims` | what each block is used as |
//! | `judge` | what is below each node, and what of it is lost |
//! | `parts` | a disk's content, as far as it can be read |
//! | `mod` | superblock, disk table and records |
//!
//! What it can't find: bytes of pages that changed, and an entry whose number was changed into that
//! of another block which fits in its place. Pages and nodes carry no sums, since every write would
//! have to change them.

mod blocks;
mod claims;
mod judge;
mod parts;

use std::collections::{HashMap, HashSet};
use std::fs::File;

use rustix::fs::FlockOperation;

use crate::store::base::error::Error;
use crate::store::base::limits::MOST_DISKS;
use crate::store::layout::entry::Entry;
use crate::store::layout::record::{self, Record};
use crate::store::layout::superblock::{self, FIRST_GROUP};
use crate::store::layout::words::Words;
use crate::store::memory::arena::{BLOCK_BYTES, Block, GROUP_BLOCKS};
use blocks::Blocks;
use claims::{Claims, Use};
use judge::Below;

pub use parts::{Part, Parts};

/// Most findings that are kept; those beyond are only counted.
const MOST_FINDINGS: usize = 1000;
/// Most disks that are named in a finding.
const MOST_NAMED: usize = 100;

/// Something that is wrong in an arena.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What it is, and where.
    pub what: String,
    /// Keys of disks whose content it hurts, at most a hundred; empty if they can't be told.
    pub keys: Vec<String>,
}

/// A disk or a snapshot that was found.
#[derive(Clone, Debug)]
pub struct FoundDisk {
    /// Its key.
    pub key: String,
    /// Its number in the arena.
    pub id: u64,
    /// The number of what it was forked from.
    pub parent_id: Option<u64>,
    /// Its size in bytes.
    pub size_bytes: u64,
    /// The size of its sectors in bytes.
    pub sector_bytes: u64,
    /// Whether nobody can ever change it.
    pub snapshot: bool,
    /// What it may take, in bytes.
    pub quota_bytes: Option<u64>,
    /// What its owner keeps with it.
    pub settings: Vec<u8>,
    /// Bytes that are mapped and can be read.
    pub mapped_bytes: u64,
    /// Bytes of its address range that can't be read: what was mapped there, if anything, is lost.
    pub lost_bytes: u64,
    root: Entry,
}

impl FoundDisk {
    /// Whether all of it can be read.
    pub fn is_whole(&self) -> bool {
        self.lost_bytes == 0
    }
}

/// An arena that was looked at. It holds a lock on the file that lets no store open it meanwhile.
#[derive(Debug)]
pub struct Inspection {
    blocks: Blocks,
    claims: Claims,
    /// How many blocks the arena has, by what it says of itself or by the file's length.
    arena_blocks: u32,
    id: [u64; 2],
    layout: u64,
    file_bytes: u64,
    disks: Vec<FoundDisk>,
    findings: Vec<Finding>,
    more_findings: u64,
    known: HashMap<Block, Below>,
}

fn refused(doing: &'static str) -> impl Fn(std::io::Error) -> Error {
    move |source| Error::Arena { doing, source }
}

impl Inspection {
    /// Look at the arena in a file that is open to be read.
    ///
    /// # Errors
    /// [`Error::Busy`] if a store has it open: what it says would change while it is read.
    /// [`Error::Foreign`] and [`Error::OtherLayout`] for what can't be understood, and
    /// [`Error::Arena`] if the system lets nobody read it.
    pub fn open(file: File) -> Result<Self, Error> {
        rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared).map_err(|errno| {
            if errno == rustix::io::Errno::WOULDBLOCK {
                Error::Busy
            } else {
                refused("lock")(errno.into())
            }
        })?;
        let file_bytes = file.metadata().map_err(refused("read"))?.len();
        let blocks = Blocks::look(file).map_err(refused("look for data in"))?;
        if blocks.rank(Block(0)).is_none() {
            return Err(Error::Foreign);
        }
        let superblock = blocks.words(Block(0)).map_err(refused("read"))?;
        let remains = superblock::examine(&superblock)?;
        let by_length = u32::try_from(file_bytes / BLOCK_BYTES as u64).unwrap_or(u32::MAX);
        let mut inspection = Self {
            claims: Claims::new(blocks.count()),
            blocks,
            arena_blocks: remains.blocks.unwrap_or(by_length),
            id: remains.id,
            layout: remains.layout,
            file_bytes,
            disks: Vec::new(),
            findings: Vec::new(),
            more_findings: 0,
            known: HashMap::new(),
        };
        for fault in remains.faults {
            inspection.find(fault);
        }
        if inspection.size_bytes() > file_bytes {
            inspection.find(format!(
                "the file was cut to {file_bytes} bytes, and had {}",
                inspection.size_bytes()
            ));
        }
        inspection.find_disks(remains.table_blocks)?;
        inspection.judge_all()?;
        Ok(inspection)
    }

    /// The layout of the arena, one of those that this version reads.
    pub fn layout(&self) -> u64 {
        self.layout
    }

    /// The arena's id.
    pub fn id(&self) -> u128 {
        u128::from(self.id[1]) << 64 | u128::from(self.id[0])
    }

    /// How long the file should be, in bytes.
    pub fn size_bytes(&self) -> u64 {
        u64::from(self.arena_blocks) * BLOCK_BYTES as u64
    }

    /// How long the file is, in bytes.
    pub fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    /// Bytes that the file has memory for.
    pub fn memory_bytes(&self) -> u64 {
        self.blocks.count() as u64 * BLOCK_BYTES as u64
    }

    /// Bytes of these that nothing uses: a store would give them back.
    pub fn unused_bytes(&self) -> u64 {
        self.claims.unused() as u64 * BLOCK_BYTES as u64
    }

    /// All disks and snapshots that were found, sorted by key.
    pub fn disks(&self) -> &[FoundDisk] {
        &self.disks
    }

    /// What is wrong, at most a thousand findings.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// How many findings were left out.
    pub fn more_findings(&self) -> u64 {
        self.more_findings
    }

    /// Remember something that is wrong; gives its number, if there is room for it.
    fn find(&mut self, what: String) -> Option<u32> {
        if self.findings.len() >= MOST_FINDINGS {
            self.more_findings += 1;
            return None;
        }
        let keys = Vec::new();
        self.findings.push(Finding { what, keys });
        u32::try_from(self.findings.len() - 1).ok()
    }

    /// All records that the disk table names.
    fn find_disks(&mut self, table_blocks: u32) -> Result<(), Error> {
        // The superblock and the table itself are in nobody's tree.
        for number in 0..=table_blocks {
            if let Some(rank) = self.blocks.rank(Block(number)) {
                self.claims.claim(rank, Use::RECORD, false);
            }
        }
        let (mut ids, mut keys) = (HashSet::new(), HashSet::new());
        for number in 1..=table_blocks {
            if self.blocks.rank(Block(number)).is_none() {
                self.find(format!(
                    "block {number} of the disk table is missing, with the names of its disks"
                ));
                continue;
            }
            let slots = self.blocks.words(Block(number)).map_err(refused("read"))?;
            for (index, &word) in (0..).zip(&slots) {
                let slot = (number - 1) * GROUP_BLOCKS + index;
                if word == 0 {
                    continue;
                }
                match self.disk_at(slot, word)? {
                    Err(what) => drop(self.find(what)),
                    Ok(disk) if self.disks.len() >= MOST_DISKS => {
                        self.find(format!("slot {slot}, disk {:?}, is one too many", disk.key));
                    }
                    Ok(disk) if !ids.insert(disk.id) || !keys.insert(disk.key.clone()) => {
                        let what = format!("slot {slot} names a disk twice: {:?}", disk.key);
                        self.find(what);
                    }
                    Ok(disk) => self.disks.push(disk),
                }
            }
        }
        self.disks.sort_by(|one, other| one.key.cmp(&other.key));
        Ok(())
    }

    /// The disk whose record a slot names, or what is wrong with it.
    fn disk_at(&mut self, slot: u32, word: u64) -> Result<Result<FoundDisk, String>, Error> {
        let block = u32::try_from(word).ok().map(Block);
        let block = block.filter(|block| block.0 >= FIRST_GROUP * GROUP_BLOCKS);
        let Some((block, rank)) = block.and_then(|it| Some((it, self.blocks.rank(it)?))) else {
            return Ok(Err(format!(
                "slot {slot} of the disk table names block {word}, which is missing"
            )));
        };
        let words = self.blocks.words(block).map_err(refused("read"))?;
        let load = |settings: Block| {
            if self.blocks.rank(settings).is_none() {
                return Err(Error::damaged(&format!(
                    "disk record {}: its settings, block {}, are missing",
                    block.0, settings.0
                )));
            }
            self.blocks.words(settings).map_err(refused("read"))
        };
        let (record, settings) = match Record::parse(block, &words, self.arena_blocks, load) {
            Ok(found) => found,
            Err(Error::Damaged { what }) => {
                return Ok(Err(format!("slot {slot} of the disk table: {what}")));
            }
            Err(error) => return Err(error),
        };
        self.claims.claim(rank, Use::RECORD, false);
        if let Some(rank) = settings.and_then(|settings| self.blocks.rank(settings)) {
            self.claims.claim(rank, Use::SETTINGS, false);
        }
        Ok(Ok(found(record, &words)))
    }
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
        settings: record.settings,
        mapped_bytes: 0,
        lost_bytes: 0,
        root: record::root_of(words),
    }
}
