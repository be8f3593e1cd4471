//! What all disks must hold according to the log, and the comparison.

use std::collections::BTreeMap;

use ramblk::store::Store;

use super::child::key;
use super::content::{Content, Fill, Sector};
use super::log::{Act, Entry};
use super::verify::{self, Begun};

/// The expected state of a disk.
#[derive(Clone, Debug)]
struct Known {
    size: u64,
    sector_bytes: u64,
    content: Content,
}

/// All disks, by number.
#[derive(Debug, Default)]
pub(crate) struct History {
    disks: BTreeMap<u64, Known>,
}

/// What a check has seen, to prove that the test tests something.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) done: usize,
    pub(crate) begun: usize,
    pub(crate) torn: u64,
    pub(crate) loose: usize,
}

impl std::ops::AddAssign for Seen {
    fn add_assign(&mut self, other: Self) {
        self.done += other.done;
        self.begun += other.begun;
        self.torn += other.torn;
        self.loose += other.loose;
    }
}

/// The new content of sectors, for operations that set it.
fn fill(entry: &Entry) -> Option<Sector> {
    match entry.act {
        Act::Write => Some(Some(Fill::Tag(entry.tag))),
        Act::Zero => Some(Some(Fill::Zero)),
        Act::Unmap => Some(None),
        _ => None,
    }
}

impl History {
    /// Apply a finished operation.
    fn apply(&mut self, entry: &Entry) {
        if let Some(fill) = fill(entry) {
            let known = self.disks.get_mut(&entry.disk).unwrap();
            known.content.set(entry.start, entry.sectors, fill);
            return;
        }
        match entry.act {
            Act::Create => {
                let known = Known {
                    size: entry.sectors,
                    sector_bytes: entry.start,
                    content: Content::default(),
                };
                self.disks.insert(entry.disk, known);
            }
            Act::Fork | Act::Snapshot => {
                let known = self.disks[&entry.disk].clone();
                self.disks.insert(entry.other, known);
            }
            Act::Reset => {
                let known = self.disks[&entry.other].clone();
                self.disks.insert(entry.disk, known);
            }
            Act::Rename => {
                let known = self.disks.remove(&entry.disk).unwrap();
                self.disks.insert(entry.other, known);
            }
            Act::Destroy => {
                self.disks.remove(&entry.disk).unwrap();
            }
            Act::Resize => {
                let known = self.disks.get_mut(&entry.disk).unwrap();
                known.size = entry.sectors;
                known.content.truncate(entry.sectors);
            }
            Act::Write | Act::Zero | Act::Unmap => {}
        }
    }

    /// Whether an unfinished operation on a whole disk has happened.
    fn happened(&self, entry: &Entry, store: &Store) -> bool {
        match entry.act {
            Act::Create => store.open(&key(entry.disk)).is_ok(),
            Act::Fork | Act::Snapshot | Act::Rename => store.open(&key(entry.other)).is_ok(),
            Act::Destroy => store.open(&key(entry.disk)).is_err(),
            Act::Resize => {
                let disk = store.open(&key(entry.disk));
                disk.is_ok_and(|disk| disk.capacity().sectors() == entry.sectors)
            }
            Act::Reset => {
                let known = &self.disks[&entry.other];
                let disk = store.open(&key(entry.disk));
                disk.is_ok_and(|disk| {
                    verify::exact(&disk, &known.content, known.size, known.sector_bytes).is_ok()
                })
            }
            Act::Write | Act::Zero | Act::Unmap => false,
        }
    }

    /// Apply the log of a killed process, and compare the whole store with the result.
    pub(crate) fn check(
        &mut self,
        store: &Store,
        entries: &[Entry],
        fresh_tag: u64,
    ) -> Result<Seen, String> {
        let (done, begun): (Vec<Entry>, Vec<Entry>) = entries.iter().partition(|entry| entry.done);
        done.iter().for_each(|entry| self.apply(entry));
        let mut seen = Seen {
            done: done.len(),
            begun: begun.len(),
            ..Seen::default()
        };
        for entry in &begun {
            if let Some(fill) = fill(entry) {
                let begun = Begun {
                    start: entry.start,
                    sectors: entry.sectors,
                    fill,
                };
                let known = self.disks.get_mut(&entry.disk).unwrap();
                let disk = store
                    .open(&key(entry.disk))
                    .map_err(|error| error.to_string())?;
                let torn = verify::settle(&disk, &mut known.content, &begun, fresh_tag);
                seen.torn += torn.map_err(|what| format!("{}: {what}", key(entry.disk)))?;
            } else if self.happened(entry, store) {
                self.apply(entry);
            }
        }
        self.compare(store, &mut seen)
            .map_err(|what| format!("{what}; begun: {begun:x?}"))?;
        Ok(seen)
    }

    fn compare(&self, store: &Store, seen: &mut Seen) -> Result<(), String> {
        for name in store.keys() {
            if name.starts_with('s') {
                verify::without_garbage(&store.open(&name).unwrap())
                    .map_err(|what| format!("{name}: {what}"))?;
                store.destroy(&name).unwrap();
                seen.loose += 1;
            }
        }
        let mut keys: Vec<String> = self.disks.keys().map(|&number| key(number)).collect();
        keys.sort_unstable();
        if store.keys() != keys {
            return Err(format!(
                "there is {:?} and should be {keys:?}",
                store.keys()
            ));
        }
        for (&number, known) in &self.disks {
            let disk = store.open(&key(number)).unwrap();
            verify::exact(&disk, &known.content, known.size, known.sector_bytes)
                .map_err(|what| format!("{}: {what}", key(number)))?;
            let sector_bytes = disk.sector_size().bytes();
            assert_eq!(sector_bytes, known.sector_bytes);
        }
        Ok(())
    }
}
