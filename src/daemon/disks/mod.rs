//! The disks of a daemon, by name: made, changed, copied and destroyed while others run.
//!
//! | file | what it holds |
//! |---|---|
//! | `check` | what was asked for, made into what can't be wrong |
//! | `entry` | one disk: its bytes, its device, its socket |
//! | `change` | a disk's size, quota, limits and labels, changed while it runs |
//! | `branch` | snapshots, forks, and the way back |
//! | `content` | a disk's bytes and map, for whoever is no guest |
//! | `groups` | limits that several disks share |
//! | `guest` | what a disk's device is told, and asked |
//! | `apply` | many disks at once, as a configuration has them |
//! | `monitor` | who notices that memory gets short, and sees off destroyed disks |
//! | `problems` | what the rooms below say, as the API's problems |
//! | `mod` | the table of them |

mod apply;
mod branch;
mod change;
mod check;
mod content;
mod entry;
mod groups;
mod guest;
mod monitor;
mod problems;

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

<<<<<<< HEAD
use super::events::Events;
use super::model::{
    Applied, Config, ConfigGroup, Disk, DiskPatch, DiskSettings, ForkRequest, Group, Limits, Map,
    Patched, Pool, Problem, ResetRequest, Snapshot, Stats,
};
=======
use parking_lot::{Mutex, RwLock};
>>>>>>> 1e3b09392a30163bd303d4cb07aabbb375708c2c

pub use check::{MAX_NAME_BYTES, MOST_LABELS, check_name};
pub use content::{Reader, Writer};

use super::events::Events;
use super::model::{Disk, DiskSettings, EventKind, Pool, Problem, ProblemKind, Stats};
use super::socket::SocketAccess;
use crate::store::Store;
use crate::vhost_user::Hub;
use check::{Checked, snapshot_key};
use entry::{Entry, Workshop};
use groups::GroupEntry;
use monitor::Monitor;
use problems::{attached, conflict, not_found};

/// A disk, or a snapshot of it: `NAME` or `NAME@SNAPSHOT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The disk.
    pub disk: String,
    /// The snapshot, if one is meant.
    pub snapshot: Option<String>,
}

/// Whether something was made, or was there as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Made {
    /// It was made now.
    New,
    /// It was there, just so.
    Existing,
}

/// What else may go with a disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DestroyOptions {
    /// Do it though a front end is connected: its guest gets errors from then on.
    pub force: bool,
    /// Destroy its snapshots too.
    pub snapshots: bool,
}

<<<<<<< HEAD
/// The content of a disk at one moment, to be read from any thread, in any order.
#[derive(Debug)]
pub struct Reader;

/// The way to write a disk's content from outside.
#[derive(Debug)]
pub struct Writer;

impl Reader {
    /// Size in bytes.
    pub fn size_bytes(&self) -> u64 {
        unimplemented!()
    }
    /// The mapped stretch that contains or follows `from_bytes`: its start and length in bytes.
    pub fn next_mapped(&self, _from_bytes: u64) -> Result<Option<(u64, u64)>, Problem> {
        unimplemented!()
    }
    /// Fill `into` from `start_bytes` on; unaligned is allowed. What isn't mapped reads zero.
    pub fn read(&self, _start_bytes: u64, _into: &mut [u8]) -> Result<(), Problem> {
        unimplemented!()
    }
}

impl Writer {
    /// Size in bytes.
    pub fn size_bytes(&self) -> u64 {
        unimplemented!()
    }
    /// Write `bytes` at `start_bytes` (both multiples of the block size). Pages of zeros are
    /// unmapped instead.
    pub fn write(&self, _start_bytes: u64, _bytes: &[u8]) -> Result<(), Problem> {
        unimplemented!()
    }
    /// Unmap a range: it reads zero.
    pub fn discard(&self, _start_bytes: u64, _length_bytes: u64) -> Result<(), Problem> {
        unimplemented!()
    }
=======
/// How a daemon keeps its disks.
#[derive(Clone, Debug)]
pub struct DisksOptions {
    /// The directory in which each disk has one of its own, with its socket.
    pub run_dir: PathBuf,
    /// Who may connect to them.
    pub access: SocketAccess,
    /// Disks that there can be.
    pub most_disks: usize,
    /// Threads that serve queues, for whoever asks.
    pub workers: usize,
}

/// All disks of a daemon. Any thread may ask anything at any time.
#[derive(Debug)]
pub struct Disks {
    workshop: Workshop,
    most_disks: usize,
    workers: usize,
    /// Held by whoever changes which disks there are or what they are, so that each change is whole
    /// before the next one begins. Who only asks doesn't need it.
    control: Mutex<()>,
    table: RwLock<Table>,
    monitor: Monitor,
}

#[derive(Debug, Default)]
struct Table {
    disks: BTreeMap<String, Arc<Entry>>,
    groups: BTreeMap<String, Arc<GroupEntry>>,
    /// Names of disks and snapshots, by the store's number.
    names: HashMap<u64, String>,
    snapshots: usize,
    /// Destroyed while a front end was connected, which gets errors until it goes.
    ghosts: Vec<Arc<Entry>>,
>>>>>>> 1e3b09392a30163bd303d4cb07aabbb375708c2c
}

impl Disks {
    /// No disks yet, in an empty store.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn new(
        store: Arc<Store>,
        hub: Arc<Hub>,
        options: DisksOptions,
    ) -> Result<Arc<Self>, super::Error> {
        let disks = Arc::new(Self {
            workshop: Workshop {
                store,
                hub,
                events: Arc::default(),
                run_dir: options.run_dir,
                access: options.access,
            },
            most_disks: options.most_disks,
            workers: options.workers,
            control: Mutex::new(()),
            table: RwLock::default(),
            monitor: Monitor::default(),
        });
        monitor::start(&disks)?;
        Ok(disks)
    }

    /// What happens to them.
    pub fn events(&self) -> &Arc<Events> {
<<<<<<< HEAD
        &self.events
    }
    /// All disks that have every one of `labels`, sorted by name. Takes time with their number.
    pub fn list(&self, _labels: &[(String, String)]) -> Vec<Disk> {
        unimplemented!()
    }
    /// A disk, with what only it holds (takes time with what is mapped).
    pub fn get(&self, _name: &str) -> Result<Disk, Problem> {
        unimplemented!()
    }
    /// Make a disk, or find it made just so.
    pub fn put(&self, _name: &str, _settings: DiskSettings) -> Result<(Disk, Made), Problem> {
        unimplemented!()
    }
    /// Change a disk: all of it or nothing. A shrink takes time with what is lost.
    pub fn patch(&self, _name: &str, _patch: DiskPatch) -> Result<Patched, Problem> {
        unimplemented!()
    }
    /// End a disk. Takes time with what it holds.
    pub fn destroy(&self, _name: &str, _options: DestroyOptions) -> Result<(), Problem> {
        unimplemented!()
    }
    /// Its stretches from `start_bytes` on, at most `most` of them.
    pub fn map(&self, _target: &Target, _start_bytes: u64, _most: usize) -> Result<Map, Problem> {
        unimplemented!()
    }
    /// What guests did to it.
    pub fn stats(&self, _name: &str) -> Result<Stats, Problem> {
        unimplemented!()
    }
    /// Its limits.
    pub fn limits(&self, _name: &str) -> Result<Limits, Problem> {
        unimplemented!()
    }
    /// Other limits from now on.
    pub fn set_limits(&self, _name: &str, _limits: Limits) -> Result<Limits, Problem> {
        unimplemented!()
    }
    /// Its snapshots, sorted.
    pub fn snapshots(&self, _name: &str) -> Result<Vec<Snapshot>, Problem> {
        unimplemented!()
    }
    /// One of them.
    pub fn snapshot(&self, _name: &str, _snapshot: &str) -> Result<Snapshot, Problem> {
        unimplemented!()
    }
    /// Take a snapshot. A name that is taken is a conflict.
    pub fn take_snapshot(&self, _name: &str, _snapshot: &str) -> Result<Snapshot, Problem> {
        unimplemented!()
    }
    /// End a snapshot.
    pub fn destroy_snapshot(&self, _name: &str, _snapshot: &str) -> Result<(), Problem> {
        unimplemented!()
    }
    /// A new disk with the content of `name`, or of a snapshot of it.
    pub fn fork(&self, _name: &str, _request: ForkRequest) -> Result<Disk, Problem> {
        unimplemented!()
    }
    /// Give it the content of one of its snapshots, or of what it was forked from.
    pub fn reset(&self, _name: &str, _request: ResetRequest) -> Result<Disk, Problem> {
        unimplemented!()
    }
    /// Its content at this moment.
    pub fn reader(&self, _target: &Target) -> Result<Reader, Problem> {
        unimplemented!()
    }
    /// A way to write it; refused while a front end is connected, unless `force`.
    pub fn writer(&self, _name: &str, _force: bool) -> Result<Writer, Problem> {
        unimplemented!()
    }
    /// All groups, sorted.
    pub fn groups(&self) -> Vec<Group> {
        unimplemented!()
    }
    /// One of them.
    pub fn group(&self, _name: &str) -> Result<Group, Problem> {
        unimplemented!()
    }
    /// Make a group, or give it other limits.
    pub fn put_group(&self, _name: &str, _limits: Limits) -> Result<(Group, Made), Problem> {
        unimplemented!()
    }
    /// End a group that no disk is in.
    pub fn destroy_group(&self, _name: &str) -> Result<(), Problem> {
        unimplemented!()
    }
    /// The memory of all.
    pub fn pool(&self) -> Pool {
        unimplemented!()
    }
    /// All disks and groups, as a configuration that would make them.
    pub fn config(&self) -> Config {
        unimplemented!()
    }
    /// Make what a configuration names and isn't there, and change what may be changed. All of it
    /// is checked before anything is done.
    pub fn apply(&self, _config: Config, _dry_run: bool) -> Result<Applied, Problem> {
        unimplemented!()
=======
        &self.workshop.events
    }

    fn entry(&self, name: &str) -> Result<Arc<Entry>, Problem> {
        let found = self.table.read().disks.get(name).cloned();
        found.ok_or_else(|| not_found("disk", name))
    }

    /// All of them, sorted by name.
    fn entries(&self) -> Vec<Arc<Entry>> {
        self.table.read().disks.values().cloned().collect()
    }

    fn describe(&self, entry: &Entry, walk: bool) -> Result<Disk, Problem> {
        let info = entry.disk.get_info()?;
        let parent = info.parent_id;
        let parent = parent.and_then(|id| self.table.read().names.get(&id).cloned());
        entry.describe(walk, parent)
    }

    /// All disks that have every one of `labels`, sorted by name. Takes time with their number.
    pub fn list(&self, labels: &[(String, String)]) -> Vec<Disk> {
        let wanted = |entry: &Arc<Entry>| {
            let settings = entry.settings.lock();
            labels
                .iter()
                .all(|(key, value)| settings.labels.get(key) == Some(value))
        };
        self.entries()
            .iter()
            .filter(|entry| wanted(entry))
            // One that is destroyed meanwhile is no longer in the list.
            .filter_map(|entry| self.describe(entry, false).ok())
            .collect()
    }

    /// A disk, with what only it holds, which takes time with what is mapped.
    ///
    /// # Errors
    /// `not-found`.
    pub fn get(&self, name: &str) -> Result<Disk, Problem> {
        self.describe(&*self.entry(name)?, true)
    }

    /// Make a disk, or find it made just so.
    ///
    /// # Errors
    /// `invalid`; `conflict` if there is one with other settings; `over-budget`.
    pub fn put(&self, name: &str, settings: DiskSettings) -> Result<(Disk, Made), Problem> {
        let pool_bytes = self.workshop.store.limit_bytes();
        let checked = Checked::new(name, settings, pool_bytes)?;
        let _control = self.control.lock();
        if let Ok(entry) = self.entry(name) {
            let differing = change::differences(&entry.settings.lock(), &checked.settings);
            if differing.is_empty() {
                return Ok((self.describe(&entry, false)?, Made::Existing));
            }
            return Err(conflict(format!(
                "disk {name:?} exists with other settings ({}); change it with ramblk set, limit or \
                 resize, or destroy it first",
                differing.join(", ")
            )));
        }
        let entry = self.create(name, &checked)?;
        self.workshop
            .events
            .tell(EventKind::Created, Some(name), size_details(&entry));
        Ok((self.describe(&entry, false)?, Made::New))
    }

    /// Make a disk that isn't there. The control is held.
    fn create(&self, name: &str, checked: &Checked) -> Result<Arc<Entry>, Problem> {
        self.check_room()?;
        self.workshop.check(name)?;
        let limiter = self.group_limiter(checked.settings.group.as_deref())?;
        let blob = checked.blob()?;
        let disk = self
            .workshop
            .store
            .create_with(name, &checked.spec, &blob)?;
        let entry = self.workshop.serve(disk, checked);
        let entry = entry.inspect_err(|_| {
            // The problem is the one to tell; the disk was made a moment ago.
            let _ = self.workshop.store.destroy(name);
        })?;
        entry.limit(&checked.settings.limits, limiter);
        Ok(self.add(entry))
    }

    /// Add a disk that is being served to the table.
    fn add(&self, entry: Entry) -> Arc<Entry> {
        let entry = Arc::new(entry);
        self.mark(&entry);
        let mut table = self.table.write();
        table.names.insert(entry.id, entry.name.clone());
        table.disks.insert(entry.name.clone(), Arc::clone(&entry));
        entry
    }

    /// Whether there can be one more disk.
    fn check_room(&self) -> Result<(), Problem> {
        let most = self.most_disks;
        if self.table.read().disks.len() < most {
            return Ok(());
        }
        Err(Problem::new(
            ProblemKind::OverBudget,
            format!(
                "there are {most} disks, as many as the limit on open files allows: destroy some, \
                 or start the daemon with a higher one (ulimit -n, LimitNOFILE=)"
            ),
        ))
    }

    /// End a disk. Takes time with what it holds. A guest that still uses it gets errors from then
    /// on, until its front end goes.
    ///
    /// # Errors
    /// `not-found`; `attached` without `force`; `conflict` if it has snapshots that are not to go.
    pub fn destroy(&self, name: &str, options: DestroyOptions) -> Result<(), Problem> {
        let _control = self.control.lock();
        let entry = self.entry(name)?;
        if !options.force && entry.is_attached() {
            return Err(attached(name, "destroy it"));
        }
        let snapshots: Vec<String> = entry.snapshots.lock().iter().cloned().collect();
        if !snapshots.is_empty() && !options.snapshots {
            return Err(conflict(format!(
                "disk {name:?} has snapshots ({}); destroy these first, or all with --snapshots",
                snapshots.join(", ")
            )));
        }
        entry.stop_listening();
        for snapshot in &snapshots {
            self.end_snapshot(&entry, snapshot)?;
        }
        entry.forget_states();
        self.workshop.store.destroy(name)?;
        let mut table = self.table.write();
        table.disks.remove(name);
        table.names.remove(&entry.id);
        if entry.is_attached() {
            table.ghosts.push(entry);
        }
        drop(table);
        self.workshop
            .events
            .tell(EventKind::Destroyed, Some(name), BTreeMap::new());
        Ok(())
    }

    /// What guests did to it.
    ///
    /// # Errors
    /// `not-found`.
    pub fn stats(&self, name: &str) -> Result<Stats, Problem> {
        Ok(self.entry(name)?.stats())
    }

    /// The memory of all.
    pub fn pool(&self) -> Pool {
        let entries = self.entries();
        let mapped = entries.iter().map(|entry| entry.mapped_bytes());
        let mapped_bytes = mapped.sum();
        let (disks, snapshots) = {
            let table = self.table.read();
            (table.disks.len(), table.snapshots)
        };
        Pool {
            limit_bytes: self.workshop.store.limit_bytes(),
            charged_bytes: self.workshop.store.charged_bytes(),
            mapped_bytes,
            disks,
            snapshots,
            most_disks: self.most_disks,
            workers: self.workers,
        }
    }

    /// End every session and remove every socket; the disks stay in the store.
    pub fn close(&self) {
        let _control = self.control.lock();
        let table = std::mem::take(&mut *self.table.write());
        // All sockets first, so that no front end finds one and then another end of file.
        for entry in table.disks.values() {
            entry.stop_listening();
        }
        drop(table);
>>>>>>> 1e3b09392a30163bd303d4cb07aabbb375708c2c
    }
}

impl Drop for Disks {
    fn drop(&mut self) {
        self.monitor.stop(self.workshop.store.alarm());
    }
}

fn size_details(entry: &Entry) -> BTreeMap<String, String> {
    let size_bytes = entry.disk.capacity().bytes();
    BTreeMap::from([("size_bytes".to_owned(), size_bytes.to_string())])
}
