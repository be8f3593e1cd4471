//! Running a transaction.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use super::plan::{Held, Plan};
use super::step::{Done, Step};
use crate::store::base::error::Error;
use crate::store::disks::disk::Disk;
use crate::store::disks::inner::DiskInner;
use crate::store::disks::store::Store;
use crate::store::disks::table::DiskTable;
use crate::store::layout::intent::{self, SlotChange};
use crate::store::layout::record::check_settings;
use crate::store::memory::account::NO_DISK;
use crate::store::memory::arena::Block;
use crate::store::pages::locks::AllShards;

type Involved<'k> = BTreeMap<&'k str, Arc<DiskInner>>;

impl Store {
    /// Make several changes at one instant, or none: connections, and a process that opens the
    /// store after a crash, see all of them or nothing. All content that they take is that of one
    /// moment, for all queues of all disks. A disk can be changed by one step, and used as a source
    /// by any number.
    ///
    /// # Errors
    /// [`Error::Unknown`]; [`Error::Exists`] if a new key is in use or is there twice, or a disk is
    /// changed twice; and those of [`Store::fork_as`] and [`Store::reset_with`]. Nothing changes
    /// then.
    pub fn transact(&self, steps: &[Step<'_>]) -> Result<Done, Error> {
        let mut slots = self.table.lock();
        let involved = self.check(steps)?;
        // Only here locks of several disks are held, and no thread that holds some waits for those
        // of another one.
        let locks: BTreeMap<&str, AllShards<'_>> = involved
            .iter()
            .map(|(&key, disk)| (key, disk.map().lock_all()))
            .collect();
        let held = |key: &str| match (involved.get(key), locks.get(key)) {
            (Some(disk), Some(all)) => Ok(Held { disk, all }),
            _ => Err(Error::Unknown {
                key: key.to_owned(),
            }),
        };
        let mut plans = Vec::with_capacity(steps.len());
        let mut prepare = || {
            for step in steps {
                plans.push(Plan::prepare(&self.table, &mut slots, step, held)?);
            }
            let changes: Vec<SlotChange> = plans.iter().map(Plan::slot_change).collect();
            let list = list_blocks(&self.table, &changes)?;
            Ok((changes, list))
        };
        let (changes, list) = match prepare() {
            Ok(prepared) => prepared,
            Err(error) => {
                for plan in plans {
                    plan.undo(&self.table, &mut slots);
                }
                return Err(error);
            }
        };
        match (changes.as_slice(), list.is_empty()) {
            (&[(slot, record)], true) => self.table.publish_block(slot, record),
            _ => intent::commit(self.table.pool().arena(), &list, &changes),
        }
        let done = self.follow(plans, &locks);
        drop(locks);
        list.into_iter()
            .for_each(|block| self.table.free_block(block));
        Ok(done)
    }

    /// Give a disk another key. Connections stay.
    ///
    /// # Errors
    /// [`Error::Unknown`], [`Error::Exists`], [`Error::InvalidKey`], [`Error::is_out_of_memory`].
    pub fn rename(&self, key: &str, new: &str) -> Result<(), Error> {
        let settings = None;
        self.transact(&[Step::Rename { key, new, settings }])
            .map(drop)
    }

    /// Check the keys and settings of all steps. Returns the disks that they use.
    fn check<'k>(&self, steps: &[Step<'k>]) -> Result<Involved<'k>, Error> {
        let (mut involved, mut once) = (BTreeMap::new(), HashSet::new());
        for step in steps {
            check_settings(step.settings())?;
            step.new_key()
                .map_or(Ok(()), |key| self.check_new_key(key))?;
            for key in step.new_key().into_iter().chain(step.changed_key()) {
                if !once.insert(key) {
                    return Err(Error::Exists {
                        key: key.to_owned(),
                    });
                }
            }
            for key in step.source().into_iter().chain(step.changed_key()) {
                if !involved.contains_key(key) {
                    involved.insert(key, self.find(key)?);
                }
            }
        }
        Ok(involved)
    }

    /// Make the disks in memory what the table says. All locks of those involved are held.
    fn follow(&self, plans: Vec<Plan<'_>>, locks: &BTreeMap<&str, AllShards<'_>>) -> Done {
        let mut done = Done::default();
        let mut disks = self.disks.write();
        for plan in plans {
            match plan {
                Plan::Add {
                    holding,
                    record,
                    moment,
                    ..
                } => {
                    let (key, table) = (record.key.clone(), Arc::clone(&self.table));
                    let disk = DiskInner::new(table, holding, record, moment.mapped);
                    let disk = Arc::new(disk);
                    disks.insert(key, Arc::clone(&disk));
                    done.made.push(Disk::open(disk));
                }
                Plan::Replace {
                    disk,
                    record,
                    placed,
                    moment,
                    ..
                } => {
                    if let Some(all) = locks.get(record.key.as_str()) {
                        done.left.push(disk.replaced(all, record, placed, &moment));
                    }
                }
                Plan::Rename {
                    disk,
                    record,
                    placed,
                } => {
                    let (key, new) = (disk.key(), record.key.clone());
                    if let (Some(all), Some(inner)) = (locks.get(key.as_str()), disks.remove(&key))
                    {
                        disk.renamed(all, record, placed);
                        disks.insert(new, inner);
                    }
                }
                Plan::End { disk } => {
                    let key = disk.key();
                    if let Some(all) = locks.get(key.as_str()) {
                        disks.remove(&key);
                        done.left.push(disk.ended(all));
                    }
                }
            }
        }
        drop(disks);
        done
    }
}

/// Blocks for the list of changes, unless a single store makes them all.
fn list_blocks(table: &DiskTable, changes: &[SlotChange]) -> Result<Vec<Block>, Error> {
    let mut list = Vec::new();
    if changes.len() > 1 {
        for _ in 0..intent::blocks_for(changes.len()) {
            // Freed at once, as a record that is replaced.
            match table.pool().take_beyond(NO_DISK) {
                Ok(block) => list.push(block),
                Err(error) => {
                    list.into_iter().for_each(|block| table.free_block(block));
                    return Err(error);
                }
            }
        }
    }
    Ok(list)
}
