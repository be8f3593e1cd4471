//! Memory that a change of a disk leaves to be freed.

use std::sync::Arc;

use super::table::{DiskTable, Placed};
use crate::store::base::range::SECTOR_BYTES;
use crate::store::pages::subtrees::detached::Detached;

/// Memory that a change took from a disk and that nothing else can reach: beyond a new end, from
/// before a reset, or of a destroyed disk. The change itself took effect at one instant. Dropping
/// this frees the memory, which takes longer the more it is, and blocks no other operation. Until
/// then the memory stays charged.
#[derive(Debug)]
pub struct Leftover {
    table: Arc<DiskTable>,
    pub(crate) detached: Detached,
    pub(crate) record: Option<Placed>,
    /// The slot of the disk table, which another disk may use after this.
    pub(crate) slot: Option<u32>,
}

impl Leftover {
    pub(crate) fn new(table: &Arc<DiskTable>, detached: Detached) -> Self {
        Self {
            table: Arc::clone(table),
            detached,
            record: None,
            slot: None,
        }
    }

    /// Free it now. Returns how many bytes of mapped sectors a disk that still exists has lost.
    pub fn free(mut self) -> u64 {
        self.free_all() * SECTOR_BYTES
    }

    fn free_all(&mut self) -> u64 {
        let lost_sectors = self.detached.free(self.table.pool());
        if let Some(record) = self.record.take() {
            self.table.free(record);
        }
        // Last: the bound on disks bounds the references to a block, and disks that are being freed
        // still count.
        if let Some(slot) = self.slot.take() {
            self.table.lock().give_back(slot);
        }
        lost_sectors
    }
}

impl Drop for Leftover {
    fn drop(&mut self) {
        self.free_all();
    }
}
