//! Parts that were taken out of a tree, and that wait to be counted and freed.

use std::sync::Arc;

use super::mapped::CutOff;
use super::subtree;
use crate::store::layout::entry::Entry;
use crate::store::layout::levels::TOP;
use crate::store::memory::pool::Pool;

/// Entries with their levels. Nothing else can reach them any more, so freeing them needs no lock.
#[derive(Debug, Default)]
pub(crate) struct Detached {
    pub(crate) entries: Vec<(Entry, u32)>,
    /// The count of a tree that still exists, which includes the sectors of these entries.
    pub(crate) part: Option<Arc<CutOff>>,
    /// Sectors that were subtracted from that count already.
    pub(crate) lost_sectors: u64,
}

impl Detached {
    /// A whole tree, which no count includes any more.
    pub(crate) fn tree(root: Entry) -> Self {
        Self {
            entries: vec![(root, TOP)],
            ..Self::default()
        }
    }

    /// Count and free everything. Returns how many mapped sectors a tree that still exists has
    /// lost. Takes longer the more it is.
    pub(crate) fn free(&mut self, pool: &Pool) -> u64 {
        let entries = std::mem::take(&mut self.entries);
        let counted = self.part.take().map_or(0, |part| {
            let below =
                |&(entry, level): &(Entry, u32)| subtree::sectors(pool.arena(), entry, level);
            let sectors = entries.iter().map(below).sum();
            part.counted(sectors);
            sectors
        });
        subtree::free(pool, entries);
        counted + std::mem::take(&mut self.lost_sectors)
    }
}
