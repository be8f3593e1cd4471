//! Inspecting an arena that no store has open.

use std::fs::File;

use rustix::fs::FlockOperation;

use super::findings::{Finding, Findings};
use super::found::FoundDisk;
use super::judge::Judge;
use super::parts::{Part, Parts};
use super::records::Records;
use super::trees::Trees;
use crate::store::base::error::Error;
use crate::store::base::range::SECTOR_BYTES;
use crate::store::memory::arena::BLOCK_BYTES;

/// An inspected arena. It holds a lock on the file, so that no store can open it meanwhile.
#[derive(Debug)]
pub struct Inspection {
    trees: Trees,
    id: [u64; 2],
    layout: u64,
    file_bytes: u64,
    disks: Vec<FoundDisk>,
    findings: Findings,
}

impl Inspection {
    /// Inspect the arena in a file that is open for reading.
    ///
    /// # Errors
    /// [`Error::Busy`] if a store has it open and could change it. [`Error::Foreign`] if it isn't
    /// an arena, [`Error::OtherLayout`] if its layout is unknown, and [`Error::Arena`] if it can't
    /// be read.
    pub fn open(file: File) -> Result<Self, Error> {
        rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared).map_err(|errno| {
            if errno == rustix::io::Errno::WOULDBLOCK {
                Error::Busy
            } else {
                Error::arena("lock")(errno.into())
            }
        })?;
        let Records {
            mut trees,
            id,
            layout,
            file_bytes,
            mut disks,
            mut findings,
        } = Records::read(file)?;
        trees.claim_all(disks.iter().map(|disk| disk.root))?;
        let mut judge = Judge::new(&trees, &mut findings);
        for disk in &mut disks {
            let below = judge.disk(&disk.key, disk.root)?;
            // A disk that was shrunk may have data behind its end until a store opens it.
            let bytes = |sectors: u64| sectors.saturating_mul(SECTOR_BYTES).min(disk.size_bytes);
            (disk.mapped_bytes, disk.lost_bytes) =
                (bytes(below.mapped_sectors), bytes(below.lost_sectors));
        }
        Ok(Self {
            trees,
            id,
            layout,
            file_bytes,
            disks,
            findings,
        })
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
        self.trees.size_bytes()
    }

    /// How long the file is, in bytes.
    pub fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    /// Bytes that the file has memory for.
    pub fn memory_bytes(&self) -> u64 {
        self.trees.memory_bytes()
    }

    /// Bytes of these that are unused. A store would free them.
    pub fn unused_bytes(&self) -> u64 {
        self.trees.claims.unused() as u64 * BLOCK_BYTES as u64
    }

    /// All disks and snapshots that were found, sorted by key.
    pub fn disks(&self) -> &[FoundDisk] {
        &self.disks
    }

    /// What is wrong, at most a thousand findings.
    pub fn findings(&self) -> &[Finding] {
        self.findings.kept()
    }

    /// How many findings were left out.
    pub fn more_findings(&self) -> u64 {
        self.findings.more()
    }

    /// The content of a disk.
    ///
    /// # Errors
    /// [`Error::Unknown`] if there is no such disk, or its record is lost.
    pub fn parts(&self, key: &str) -> Result<Parts<'_>, Error> {
        let disk = self.disk(key)?;
        Ok(Parts::new(&self.trees, disk.root, disk.size_bytes))
    }

    /// A disk by its key.
    ///
    /// # Errors
    /// [`Error::Unknown`].
    pub fn disk(&self, key: &str) -> Result<&FoundDisk, Error> {
        let disks = self.disks();
        let found = disks.binary_search_by(|disk| disk.key.as_str().cmp(key));
        found.map(|at| &disks[at]).map_err(|_| Error::Unknown {
            key: key.to_owned(),
        })
    }

    /// The bytes of a part, as many as its length; none if the part is lost.
    ///
    /// # Errors
    /// [`Error::Arena`] if the file can't be read.
    pub fn read(&self, part: &Part, bytes: &mut Vec<u8>) -> Result<(), Error> {
        part.read(&self.trees.blocks, bytes)
    }
}
