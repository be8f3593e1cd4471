//! The disks of a daemon, by name: made, changed, copied and destroyed while others run.
//!
//! | file | what it holds |
//! |---|---|
//! | `blob` | what is kept of a disk beside the store's own record of it |
//! | `check` | what was asked for, made into what can't be wrong |
//! | `entry` | one disk: its bytes, its device |
//! | `sockets` | its socket, also when somebody removes it |
//! | `create` | a disk that is made, or found made just so |
//! | `change` | a disk's quota, limits and labels, changed while it runs |
//! | `resize` | its size, changed while it runs |
//! | `branch` | snapshots, forks, and the way back |
//! | `content` | a disk's bytes and map, for whoever is no guest |
//! | `origin` | which image a disk's content was made from, and whether it is whole |
//! | `upload` | new content for a disk, which takes its place at one instant |
//! | `lonely` | disks whose first content nobody brings |
//! | `groups` | limits that several disks share |
//! | `failed` | a disk of which ramblk died, until somebody says that it may be served again |
//! | `guest` | what a disk's device is told, and asked |
//! | `adopt` | what a process before this one left in the store |
//! | `apply` | many disks at once, as a configuration has them |
//! | `monitor` | who notices that memory gets short, and sees off destroyed disks |
//! | `problems` | what the rooms below say, as the API's problems |
//! | `mod` | the table of them |

mod adopt;
mod apply;
mod blob;
mod branch;
mod change;
mod check;
mod content;
mod create;
mod entry;
mod failed;
mod groups;
mod guest;
mod lonely;
mod monitor;
mod origin;
mod problems;
mod resize;
mod sockets;
mod upload;

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};

pub(super) use adopt::forget_readers;
pub use apply::ApplyOptions;
pub(super) use blob::{Kept as KeptBlob, Read as ReadBlob};
pub use check::{MAX_NAME_BYTES, MOST_LABELS, check_name};
pub(super) use content::READER_PREFIX;
pub use content::Reader;
pub(super) use groups::GROUP_PREFIX;
pub(super) use origin::Origin;
pub(super) use upload::IMPORT_PREFIX;
pub use upload::{Upload, UploadOptions};

use super::events::Events;
use super::removal::{Look, Removals};
use super::socket::SocketAccess;
use crate::model::{Detail, Disk, EventKind, Pool, Problem, Stats};
use crate::store::{Leftover, Store};
use crate::vhost_user::Hub;
use check::snapshot_key;
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

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.snapshot {
            Some(snapshot) => write!(f, "{}@{snapshot}", self.disk),
            None => f.write_str(&self.disk),
        }
    }
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
    /// Do it though a front end is connected, whose guest gets errors from then on, or disks were
    /// forked from it, which can't be reset any more.
    pub force: bool,
    /// Destroy its snapshots too.
    pub snapshots: bool,
    /// Only if its first content is not whole yet.
    pub importing: bool,
}

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
    /// Where the memory limit comes from, for whoever asks.
    pub limit_from: String,
    /// How long a disk waits for somebody to bring its first content, before it goes.
    pub import_timeout: Duration,
}

/// All disks of a daemon. Any thread may ask anything at any time.
#[derive(Debug)]
pub struct Disks {
    workshop: Workshop,
    most_disks: usize,
    workers: usize,
    limit_from: String,
    import_timeout: Duration,
    /// Held by whoever changes which disks there are or what they are, so that each change is whole
    /// before the next one begins. Who only asks doesn't need it.
    control: Mutex<()>,
    table: RwLock<Table>,
    monitor: Monitor,
    /// What else is looked at when something that is watched has changed.
    looks: Looks,
    /// What somebody should see to.
    warnings: Mutex<Vec<String>>,
}

/// Things to look at.
#[derive(Default)]
struct Looks(Mutex<Vec<Look>>);

impl std::fmt::Debug for Looks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Looks({})", self.0.lock().len())
    }
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
}

impl Disks {
    /// The disks that `store` has, each at its socket again; none, if it is new.
    ///
    /// # Errors
    /// If the system gives no thread, or what the store has is not a daemon's.
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
                removals: Removals::new()?,
            },
            most_disks: options.most_disks,
            workers: options.workers,
            limit_from: options.limit_from,
            import_timeout: options.import_timeout,
            control: Mutex::new(()),
            table: RwLock::default(),
            monitor: Monitor::default(),
            looks: Looks::default(),
            warnings: Mutex::default(),
        });
        monitor::start(&disks)?;
        disks
            .adopt()
            .map_err(|problem| super::Error::Disks(Box::new(problem)))?;
        disks.watch_sockets()?;
        // There may be disks that wait for content.
        disks.workshop.store.alarm().ring();
        Ok(disks)
    }

    /// What happens to them.
    pub fn events(&self) -> &Arc<Events> {
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
        entry.describe(walk, |parent_id| self.name_of(parent_id))
    }

    /// The disk or snapshot with the store's number `id`, while there is one.
    fn name_of(&self, id: u64) -> Option<String> {
        self.table.read().names.get(&id).cloned()
    }

    /// All disks that have every one of `labels`, sorted by name. Takes time with their number.
    pub fn list(&self, labels: &[(String, String)]) -> Vec<Disk> {
        let wanted = |entry: &Arc<Entry>| {
            let kept = entry.kept.lock();
            labels
                .iter()
                .all(|(key, value)| kept.labels.get(key) == Some(value))
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
        let mut disk = self.describe(&*self.entry(name)?, true)?;
        disk.children = Some(self.children(name, None));
        Ok(disk)
    }

    /// That there is such a disk. Takes no time.
    ///
    /// # Errors
    /// `not-found`.
    pub fn expect(&self, name: &str) -> Result<(), Problem> {
        self.entry(name).map(|_| ())
    }

    /// End a disk. Takes time with what it holds. A guest that still uses it gets errors from then
    /// on, until its front end goes.
    ///
    /// # Errors
    /// `not-found`; without `force`, `attached`, and `conflict` if disks were forked from it;
    /// `conflict` if it has snapshots that are not to go.
    pub fn destroy(&self, name: &str, options: DestroyOptions) -> Result<(), Problem> {
        self.end(name, options).map(drop)
    }

    /// As [`Disks::destroy`], but at once: the memory is freed when the answer is dropped.
    ///
    /// # Errors
    /// As there.
    pub fn end(&self, name: &str, options: DestroyOptions) -> Result<Vec<Leftover>, Problem> {
        let _control = self.control.lock();
        let entry = self.entry(name)?;
        self.destroy_locked(&entry, options)
    }

    /// The control is held.
    fn destroy_locked(
        &self,
        entry: &Arc<Entry>,
        options: DestroyOptions,
    ) -> Result<Vec<Leftover>, Problem> {
        let name = entry.name.as_str();
        if options.importing {
            self.check_importing(entry)?;
        }
        if !options.force && entry.is_attached() {
            return Err(attached(name, "destroy it"));
        }
        let snapshots: Vec<String> = entry.snapshots.lock().iter().cloned().collect();
        if !snapshots.is_empty() && !options.snapshots {
            return Err(conflict(format!(
                "disk {name:?} has snapshots ({}); destroy these first, or all of them with it",
                snapshots.join(", ")
            )));
        }
        if !options.force {
            self.check_children(name, &self.children(name, None))?;
        }
        entry.stop_listening();
        let mut left = Vec::new();
        for snapshot in &snapshots {
            left.push(self.end_snapshot_of(entry, snapshot)?);
        }
        left.extend(self.end_upload(entry));
        left.push(self.workshop.store.destroy(name)?);
        // Only now: a front end may save another one as long as there is a disk.
        left.extend(entry.forget_states());
        let mut table = self.table.write();
        table.disks.remove(name);
        table.names.remove(&entry.id);
        if entry.is_attached() {
            table.ghosts.push(Arc::clone(entry));
        }
        drop(table);
        self.workshop
            .events
            .tell(EventKind::Destroyed, Some(name), BTreeMap::new());
        Ok(left)
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
            limit_from: self.limit_from.clone(),
            charged_bytes: self.workshop.store.charged_bytes(),
            mapped_bytes,
            disks,
            snapshots,
            most_disks: self.most_disks,
            workers: self.workers,
            warnings: self.warnings.lock().clone(),
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
        // Then all connections, so that those that hang are waited for at the same time.
        for entry in table.disks.values().chain(&table.ghosts) {
            entry.server.hang_up();
        }
        drop(table);
    }
}

impl Drop for Disks {
    fn drop(&mut self) {
        self.workshop.removals.stop();
        self.monitor.stop(self.workshop.store.alarm());
    }
}

fn size_details(entry: &Entry) -> BTreeMap<String, Detail> {
    let size_bytes = entry.disk.capacity().bytes();
    BTreeMap::from([("size_bytes".to_owned(), size_bytes.into())])
}
