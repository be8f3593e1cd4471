//! The registry: which disks are served, by name, and the locks that keep it consistent.
//!
//! It finds, inserts, removes and lists. What can be done with disks is in `actions`, as functions
//! over it, and what happens to them by itself in `upkeep`.
//!
//! Two locks. *Control* is held by every thread that changes which disks there are or what they
//! are, from the first check to the event that tells of the change, so that each change is whole
//! before the next one begins. The *table* is locked for a look or an update at a time; readers
//! need only that.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard, RwLock};

use super::events::Events;
use super::served::disk::ServedDisk;
use super::served::factory::DiskFactory;
use super::served::group::LimitGroup;
use super::settings::problems::not_found;
use crate::daemon::error::Error;
use crate::daemon::host::socket::SocketAccess;
use crate::model::Problem;
use crate::store::Store;
use crate::vhost_user::Hub;

/// How a daemon keeps its disks.
#[derive(Clone, Debug)]
pub struct DisksOptions {
    /// The directory in which each disk has one of its own, with its socket.
    pub run_dir: PathBuf,
    /// Who may connect to them.
    pub access: SocketAccess,
    /// Disks that there can be.
    pub most_disks: usize,
    /// Threads that serve queues, as [`super::describe::pool`] reports it.
    pub workers: usize,
    /// Where the memory limit comes from, as [`super::describe::pool`] reports it.
    pub limit_from: String,
    /// How long a disk waits for its first content before it is destroyed.
    pub import_timeout: Duration,
}

/// All disks of a daemon. Any thread may ask anything at any time.
#[derive(Debug)]
pub struct Disks {
    pub(super) factory: DiskFactory,
    pub(super) options: DisksOptions,
    control: Mutex<()>,
    table: RwLock<Table>,
    /// What somebody should see to.
    warnings: Mutex<Vec<String>>,
    /// The thread that watches over the disks, if one does.
    pub(super) watcher: Watcher,
}

#[derive(Debug, Default)]
struct Table {
    disks: BTreeMap<String, Arc<ServedDisk>>,
    groups: BTreeMap<String, Arc<LimitGroup>>,
    /// Names of disks and snapshots, by the store's number.
    names: HashMap<u64, String>,
    snapshots: usize,
    /// Destroyed while a front end was connected, which gets errors until it goes.
    detached: Vec<Arc<ServedDisk>>,
}

/// A thread that ends with the registry.
#[derive(Debug, Default)]
pub(super) struct Watcher {
    pub(super) ends: Arc<AtomicBool>,
    pub(super) thread: Mutex<Option<JoinHandle<()>>>,
}

impl Disks {
    /// Without a disk, whatever the store has, and without a thread: see [`super::open`].
    pub(in crate::daemon) fn new(
        store: Arc<Store>,
        hub: Arc<Hub>,
        options: DisksOptions,
    ) -> Result<Self, Error> {
        let run_dir = options.run_dir.clone();
        Ok(Self {
            factory: DiskFactory::new(store, hub, run_dir, options.access)?,
            options,
            control: Mutex::new(()),
            table: RwLock::default(),
            warnings: Mutex::default(),
            watcher: Watcher::default(),
        })
    }

    /// What happens to the disks.
    pub fn events(&self) -> &Arc<Events> {
        &self.factory.events
    }

    pub(super) fn store(&self) -> &Arc<Store> {
        &self.factory.store
    }

    /// Begin a change, which ends when the answer is dropped.
    pub(super) fn control(&self) -> MutexGuard<'_, ()> {
        self.control.lock()
    }

    fn debug_assert_control(&self) {
        debug_assert!(self.control.is_locked(), "a change is made under control");
    }

    // Disks

    /// The disk of this name.
    pub(super) fn find(&self, name: &str) -> Result<Arc<ServedDisk>, Problem> {
        let found = self.table.read().disks.get(name).cloned();
        found.ok_or_else(|| not_found("disk", name))
    }

    /// Check that there is such a disk. Takes no time.
    ///
    /// # Errors
    /// `not-found`.
    pub fn expect(&self, name: &str) -> Result<(), Problem> {
        self.find(name).map(drop)
    }

    /// All disks, sorted by name.
    pub(super) fn all(&self) -> Vec<Arc<ServedDisk>> {
        self.table.read().disks.values().cloned().collect()
    }

    /// How many disks and snapshots there are.
    pub(super) fn counts(&self) -> (usize, usize) {
        let table = self.table.read();
        (table.disks.len(), table.snapshots)
    }

    /// Add a disk. Control is held.
    pub(super) fn insert(&self, served: ServedDisk) -> Arc<ServedDisk> {
        self.debug_assert_control();
        debug_assert!(served.is_in_force(), "{:?} isn't as it says", served.name);
        let served = Arc::new(served);
        let (name, mut table) = (&served.name, self.table.write());
        table.names.insert(served.id, name.clone());
        let before = table.disks.insert(name.clone(), Arc::clone(&served));
        debug_assert!(before.is_none(), "{name:?} was there");
        drop(table);
        served
    }

    /// Remove a disk that the store has no more. Control is held. Front ends that are connected
    /// get errors until they leave.
    pub(super) fn remove(&self, served: &Arc<ServedDisk>) {
        self.debug_assert_control();
        debug_assert!(
            served.disk.is_disconnected(),
            "{:?} is removed, and the store has it",
            served.name
        );
        let mut table = self.table.write();
        let removed = table.disks.remove(&served.name);
        debug_assert!(removed.is_some_and(|it| Arc::ptr_eq(&it, served)));
        table.names.remove(&served.id);
        if served.is_attached() {
            table.detached.push(Arc::clone(served));
        }
    }

    /// Let go of removed disks whose last front end has left.
    pub(super) fn drop_detached(&self) {
        let mut table = self.table.write();
        let (stay, gone) = std::mem::take(&mut table.detached)
            .into_iter()
            .partition::<Vec<_>, _>(|served| served.is_attached());
        table.detached = stay;
        // They end without the table.
        drop(table);
        drop(gone);
    }

    // Snapshots, and what was forked from what

    /// The disk or snapshot with the store's number `id`, while there is one.
    pub(super) fn name_of(&self, id: u64) -> Option<String> {
        self.table.read().names.get(&id).cloned()
    }

    /// Add a snapshot of a disk, which the store has as `key` with number `id`. Control is held.
    pub(super) fn insert_snapshot(&self, of: &ServedDisk, snapshot: &str, key: &str, id: u64) {
        self.debug_assert_control();
        let is_new = of.snapshots.lock().insert(snapshot.to_owned());
        debug_assert!(is_new, "{key:?} was there");
        let mut table = self.table.write();
        table.names.insert(id, key.to_owned());
        table.snapshots += 1;
    }

    /// Remove a snapshot that the store has no more. Control is held.
    pub(super) fn remove_snapshot(&self, of: &ServedDisk, snapshot: &str, id: u64) {
        self.debug_assert_control();
        let was_there = of.snapshots.lock().remove(snapshot);
        debug_assert!(was_there, "{snapshot:?} of {:?} was not there", of.name);
        let mut table = self.table.write();
        table.names.remove(&id);
        table.snapshots -= 1;
    }

    /// Disks that were forked from a disk or any snapshot of it, or from one snapshot; sorted.
    pub(super) fn children(&self, name: &str, snapshot: Option<&str>) -> Vec<String> {
        let table = self.table.read();
        let is_meant = |parent: &String| match (parent.split_once('@'), snapshot) {
            (Some((disk, of)), Some(snapshot)) => disk == name && of == snapshot,
            (Some((disk, _)), None) => disk == name,
            (None, None) => parent == name,
            (None, Some(_)) => false,
        };
        let disks = table.disks.values().filter(|served| {
            let parent = served.parent_id.and_then(|id| table.names.get(&id));
            parent.is_some_and(is_meant)
        });
        disks.map(|served| served.name.clone()).collect()
    }

    // Groups

    pub(super) fn find_group(&self, name: &str) -> Option<Arc<LimitGroup>> {
        self.table.read().groups.get(name).cloned()
    }

    /// All groups, sorted by name.
    pub(super) fn all_groups(&self) -> Vec<Arc<LimitGroup>> {
        self.table.read().groups.values().cloned().collect()
    }

    /// Add a group. Control is held.
    pub(super) fn insert_group(&self, group: LimitGroup) -> Arc<LimitGroup> {
        self.debug_assert_control();
        let group = Arc::new(group);
        let mut table = self.table.write();
        table.groups.insert(group.name.clone(), Arc::clone(&group));
        drop(table);
        group
    }

    /// Remove a group. Control is held.
    pub(super) fn remove_group(&self, name: &str) {
        self.debug_assert_control();
        self.table.write().groups.remove(name);
    }

    // Everything

    pub(super) fn warn(&self, warning: String) {
        self.warnings.lock().push(warning);
    }

    pub(super) fn warnings(&self) -> Vec<String> {
        self.warnings.lock().clone()
    }

    /// End every session and remove every socket; the disks stay in the store.
    pub fn close(&self) {
        let _control = self.control();
        let table = std::mem::take(&mut *self.table.write());
        // All sockets first, so that no front end finds one and then another end of file.
        for served in table.disks.values() {
            served.stop_listening();
        }
        // Then all connections, so that those that hang are waited for at the same time.
        for served in table.disks.values().chain(&table.detached) {
            served.server.hang_up();
        }
        drop(table);
    }
}

impl Drop for Disks {
    fn drop(&mut self) {
        self.factory.removals.stop();
        self.watcher.ends.store(true, Ordering::Release);
        self.store().pressure().raise();
        if let Some(thread) = self.watcher.thread.lock().take()
            // The last owner of the disks may be that thread itself.
            && thread.thread().id() != std::thread::current().id()
        {
            let _ = thread.join();
        }
    }
}
