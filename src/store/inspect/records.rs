//! What an arena says about itself and its disks: the superblock, the disk table and the records,
//! read once for all that inspects it.

use std::fs::File;

use super::blocks::Blocks;
use super::findings::Findings;
use super::found::{self, FoundDisk};
use super::trees::Trees;
use crate::store::base::error::Error;
use crate::store::layout::superblock;
use crate::store::memory::arena::{BLOCK_BYTES, Block};

/// The records of an arena, and what is wrong with them. Reading them takes no lock.
#[derive(Debug)]
pub(super) struct Records {
    /// Its blocks, of whose trees nothing was followed yet.
    pub(super) trees: Trees,
    /// Its id.
    pub(super) id: [u64; 2],
    /// Its layout, one of those that this version reads.
    pub(super) layout: u64,
    /// How long the file is, in bytes.
    pub(super) file_bytes: u64,
    /// All disks and snapshots, sorted by key. Nothing is known of their content.
    pub(super) disks: Vec<FoundDisk>,
    /// What is wrong so far.
    pub(super) findings: Findings,
}

impl Records {
    /// Read them from a file that is open for reading.
    ///
    /// # Errors
    /// [`Error::Foreign`] if it isn't an arena, [`Error::OtherLayout`] if its layout is unknown,
    /// and [`Error::Arena`] if it can't be read.
    pub(super) fn read(file: File) -> Result<Self, Error> {
        let file_bytes = file.metadata().map_err(Error::arena("read"))?.len();
        let blocks = Blocks::look(file).map_err(Error::arena("look for data in"))?;
        if blocks.rank(Block(0)).is_none() {
            return Err(Error::Foreign);
        }
        let superblock = blocks.words(Block(0)).map_err(Error::arena("read"))?;
        let remains = superblock::examine(&superblock)?;
        let by_length = u32::try_from(file_bytes / BLOCK_BYTES as u64).unwrap_or(u32::MAX);
        let mut trees = Trees::new(blocks, remains.blocks.unwrap_or(by_length));
        let mut findings = Findings::default();
        for fault in remains.faults {
            findings.add(fault);
        }
        let size_bytes = trees.size_bytes();
        if size_bytes > file_bytes {
            findings.add(format!(
                "the file was cut to {file_bytes} bytes, and had {size_bytes}"
            ));
        }
        let table = (remains.table_blocks, remains.intent);
        let disks = found::disks(&mut trees, &mut findings, table)?;
        Ok(Self {
            trees,
            id: remains.id,
            layout: remains.layout,
            file_bytes,
            disks,
            findings,
        })
    }
}
