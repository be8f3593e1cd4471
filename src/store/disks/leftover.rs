//! What a change of a disk leaves to be freed.

use std::sync::Arc;

use super::table::{DiskTable, Placed};
use crate::store::base::range::SECTOR_BYTES;
use crate::store::pages::detached::Detached;

/// Memory that a change took away from a disk and that nothing can reach any more: what lay beyond
/// a new end, was there before a reset, or belonged to a disk that is gone. The change itself was
/// one instant. Dropping this frees the memory, which takes time with how much it is, and blocks no
/// other operation; until then the memory is charged.
#[derive(Debug)]
pub struct Leftover {
    table: Arc<DiskTable>,
    pub(crate) detached: Detached,
    pub(crate) record: Option<Placed>,
    /// The place in the disk table, which another disk may have after this.
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

    /// Free it now. Returns how many bytes of mapped sectors a disk lost with it that lives on.
    pub fn free(mut self) -> u64 {
        self.free_all() * SECTOR_BYTES
    }

    fn free_all(&mut self) -> u64 {
        let lost_sectors = self.detached.free(self.table.pool());
        if let Some(record) = self.record.take() {
            self.table.free(record);
        }
        // Last: the bound on disks is what bounds the references to a block, those of disks that
        // are being freed included.
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
