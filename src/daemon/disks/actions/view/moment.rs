//! Content that never changes: of a snapshot, or of a disk at one moment.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::answers::{errno, run};
use crate::daemon::disks::actions::content::Reader;
use crate::daemon::disks::registry::Disks;
use crate::daemon::disks::settings::names::{Target, snapshot_key};
use crate::model::Problem;
use crate::nbd::{About, Errno, Export, Operation, Run};
use crate::store::{Extent, SECTOR_BYTES, Store};

/// An older snapshot of the same disk.
#[derive(Debug)]
struct Older {
    key: String,
    /// The store's number of it, which tells it from a later one of the same name.
    id: u64,
}

/// Content that never changes.
#[derive(Debug)]
pub(super) struct Moment {
    about: About,
    store: Arc<Store>,
    /// The store's key of the content.
    key: String,
    older: BTreeMap<String, Older>,
    reader: Reader,
}

impl Moment {
    /// What `reader` reads of `target`, whose disk has these snapshots. `is_shared` says whether
    /// all connections see the same moment.
    pub(super) fn new(
        disks: &Disks,
        target: &Target,
        reader: Reader,
        snapshots: &BTreeSet<String>,
        is_shared: bool,
    ) -> Result<Self, Problem> {
        let info = reader.disk().get_info()?;
        let store = Arc::clone(disks.store());
        let mut older = BTreeMap::new();
        for name in snapshots {
            let key = snapshot_key(&target.disk, name)?;
            // One that is destroyed meanwhile is left out.
            let id = store.open(&key).and_then(|disk| disk.get_info());
            if let Ok(id) = id.map(|info| info.id)
                && id < info.id
            {
                older.insert(name.clone(), Older { key, id });
            }
        }
        let description = match &target.snapshot {
            Some(_) => format!("snapshot {target}, which never changes"),
            None => format!("disk {target} as it was when this view of it began"),
        };
        Ok(Self {
            about: About {
                name: target.to_string(),
                description,
                size_bytes: info.size_bytes,
                block_bytes: 1,
                is_writable: false,
                is_shared: is_shared || target.snapshot.is_some(),
            },
            store,
            key: info.key,
            older,
            reader,
        })
    }

    /// Check that the snapshot of this name is still the one that it was.
    fn check(&self, older: &Older) -> Result<(), Errno> {
        let now = self.store.open(&older.key).and_then(|disk| disk.get_info());
        let now = now.map_err(|error| errno(&error))?;
        if now.id == older.id {
            Ok(())
        } else {
            Err(Errno::Shutdown)
        }
    }
}

impl Export for Moment {
    fn about(&self) -> &About {
        &self.about
    }

    fn execute(&self, operation: Operation<'_>, _is_gone: &dyn Fn() -> bool) -> Result<(), Errno> {
        match operation {
            Operation::Read { at_bytes, into } => self
                .reader
                .read_bytes(at_bytes, into)
                .map_err(|error| errno(&error)),
            Operation::Flush => Ok(()),
            Operation::Write { .. } | Operation::Zero { .. } | Operation::Discard { .. } => {
                Err(Errno::Perm)
            }
        }
    }

    fn allocation(&self, at_bytes: u64, end_bytes: u64) -> Result<Run, Errno> {
        let disk = self.reader.disk();
        let find = |start, end| disk.extent_at(start, end);
        run(disk.sector_size(), at_bytes, end_bytes, find)
    }

    fn bitmaps(&self) -> Vec<String> {
        self.older.keys().cloned().collect()
    }

    fn has_bitmap(&self, name: &str) -> bool {
        self.older.contains_key(name)
    }

    fn changes(
        &self,
        name: &str,
        at_bytes: u64,
        end_bytes: u64,
        most: usize,
    ) -> Result<Vec<Run>, Errno> {
        let older = self.older.get(name).ok_or(Errno::Inval)?;
        // Before and after: the store's numbers are never used twice.
        self.check(older)?;
        let sectors = at_bytes / SECTOR_BYTES..end_bytes.div_ceil(SECTOR_BYTES);
        let changed = self
            .store
            .changed_within(&older.key, &self.key, sectors, most)
            .map_err(|error| errno(&error))?;
        self.check(older)?;
        let is_cut = changed.len() == most;
        Ok(runs(&changed, at_bytes, end_bytes, is_cut, most))
    }
}

/// Differences as runs without gaps. If the differences are cut off, the runs end with the last of
/// them.
fn runs(changed: &[Extent], start: u64, end: u64, is_cut: bool, most: usize) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    let mut at_bytes = start;
    let mut add = |to_bytes: u64, is_set: bool| {
        let to_bytes = to_bytes.min(end);
        let len_bytes = to_bytes.saturating_sub(at_bytes);
        match runs.last_mut() {
            _ if len_bytes == 0 => return,
            // One that became unmapped beside one that was written.
            Some(last) if last.is_set == is_set => last.len_bytes += len_bytes,
            _ => runs.push(Run { len_bytes, is_set }),
        }
        at_bytes = to_bytes;
    };
    for extent in changed {
        let start_bytes = extent.start_sector * SECTOR_BYTES;
        add(start_bytes, false);
        add(start_bytes + extent.sectors * SECTOR_BYTES, true);
    }
    if !is_cut {
        add(end, false);
    }
    runs.truncate(most.max(1));
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extent(start_sector: u64, sectors: u64) -> Extent {
        Extent {
            start_sector,
            sectors,
            mapped: start_sector.is_multiple_of(2),
        }
    }

    #[test]
    fn differences_become_runs_without_gaps() {
        let found = |changed: &[Extent], start, end, is_cut, most| {
            let runs = runs(changed, start, end, is_cut, most);
            let pairs = runs.iter().map(|run| (run.len_bytes, run.is_set));
            pairs.collect::<Vec<_>>()
        };
        assert_eq!(found(&[], 7, 4096, false, 9), [(4089, false)]);
        let changed = [extent(1, 1), extent(2, 2), extent(6, 1)];
        assert_eq!(
            found(&changed, 0, 4096, false, 9),
            [
                (512, false),
                (1536, true),
                (1024, false),
                (512, true),
                (512, false)
            ]
        );
        assert_eq!(
            found(&changed, 700, 3100, true, 9),
            [(1348, true), (1024, false), (28, true)]
        );
        assert_eq!(found(&changed, 0, 4096, false, 1), [(512, false)]);
    }
}
