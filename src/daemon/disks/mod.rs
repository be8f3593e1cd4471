//! The disks of a daemon, by name: made, changed, copied and destroyed while others run.
//!
//! | file | what it holds |
//! |---|---|
//! | `events` | what happens to disks, told to whoever listens |
//! | `settings` | what a disk is to be |
//! | `served` | one disk that is served |
//! | `actions` | what can be done with disks |
//! | `upkeep` | what happens to them by itself |
//! | `mod` | the table of them |

pub(crate) mod actions;
pub mod events;
pub(crate) mod served;
pub(crate) mod settings;
pub(crate) mod upkeep;

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};

pub use actions::apply::ApplyOptions;
pub use actions::content::Reader;
pub use actions::upload::{Upload, UploadOptions};
pub use settings::valid::{MAX_NAME_BYTES, MOST_LABELS, check_name};

use super::host::removal::{Look, Removals};
use super::host::socket::SocketAccess;
use crate::model::{Detail, Disk, EventKind, Pool, Problem, Stats};
use crate::store::{Leftover, Store};
use crate::vhost_user::Hub;
use actions::groups::GroupEntry;
use events::Events;
use served::disk::{Entry, Workshop};
use settings::problems::{attached, conflict, not_found};
use upkeep::monitor::{self, Monitor};

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
        disks.workshop.store.pressure().raise();
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
        self.monitor.stop(self.workshop.store.pressure());
    }
}

fn size_details(entry: &Entry) -> BTreeMap<String, Detail> {
    let size_bytes = entry.disk.capacity().bytes();
    BTreeMap::from([("size_bytes".to_owned(), size_bytes.into())])
}
