//! What an arena says about itself and its disks, without their content, while a store may have it
//! open.

use std::fs::File;

use super::found::FoundDisk;
use super::records::Records;
use crate::store::base::error::Error;

/// The records of an arena. Reading them takes no lock and changes nothing.
///
/// A store that has the arena open may replace records meanwhile. Then what was read of one is
/// damaged, which another reading doesn't find.
#[derive(Debug)]
pub struct Inventory {
    /// Its layout, one of those that this version reads.
    pub layout: u64,
    /// How long the file should be, in bytes.
    pub size_bytes: u64,
    /// Bytes that the file has memory for.
    pub memory_bytes: u64,
    /// All disks and snapshots, sorted by key. Nothing is known of their content.
    pub disks: Vec<FoundDisk>,
    /// What is wrong with the superblock, the disk table and the records.
    pub faults: Vec<String>,
}

impl Inventory {
    /// Read the records of the arena in a file that is open for reading.
    ///
    /// # Errors
    /// [`Error::Foreign`] if it isn't an arena, [`Error::OtherLayout`] if its layout is unknown,
    /// and [`Error::Arena`] if it can't be read.
    pub fn read(file: File) -> Result<Self, Error> {
        let records = Records::read(file)?;
        let faults = records.findings.kept().iter().map(|it| it.what.clone());
        Ok(Self {
            layout: records.layout,
            size_bytes: records.trees.size_bytes(),
            memory_bytes: records.trees.memory_bytes(),
            faults: faults.collect(),
            disks: records.disks,
        })
    }
}
