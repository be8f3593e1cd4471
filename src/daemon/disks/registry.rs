//! The registry: which disks are served, by name, and the locks that keep it consistent.
//!
//! It finds, inserts, removes and lists. Actions on disks are functions over it, in `actions`; what
//! the daemon does by itself is in `upkeep`.
//!
//! There are two locks. A thread that changes which disks exist, or a disk's settings, holds
//! *control* from the first check to the event that reports the change, so each change is complete
//! before the next one begins. The *table* is locked for one look-up or update at a time; readers
//! need only that lock.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard, RwLock};

use super::events::Events;
use super::served::disk::ServedDisk;
use super::served::factory::DiskFactory;
use super::served::golden::{Fetches, Golden};
use super::served::group::LimitGroup;
use super::served::keeper::Keeper;
use super::settings::names::ImageName;
use super::settings::problems::not_found;
use crate::daemon::digest::recent::Recent;
use crate::daemon::error::Error;
use crate::daemon::host::socket::SocketAccess;
use crate::model::{Declaration, Digest, Missing, Problem};
use crate::store::Store;
use crate::vhost_user::Hub;

/// How a daemon keeps its disks.
#[derive(Clone, Debug)]
pub struct DisksOptions {
    /// The directory in which each disk has its own directory with its socket.
    pub run_dir: PathBuf,
    /// Which users may connect to the sockets.
    pub access: SocketAccess,
    /// The most disks.
    pub most_disks: usize,
    /// Threads that serve queues, as [`super::describe::pool`] reports it.
    pub workers: usize,
    /// Where the memory limit comes from, as [`super::describe::pool`] reports it.
    pub limit_from: String,
    /// How long a disk waits for its first content before it is destroyed.
    pub import_timeout: Duration,
}

/// All disks of a daemon. You can use it from any thread at any time.
#[derive(Debug)]
pub struct Disks {
    pub(super) factory: DiskFactory,
    pub(super) options: DisksOptions,
    control: Mutex<()>,
    table: RwLock<Table>,
    /// Golden images that clients are fetching.
    pub(super) fetches: Arc<Fetches>,
    /// Warnings for the operator.
    warnings: Mutex<Vec<String>>,
    /// Keys of labels that metrics have.
    shown_labels: OnceLock<Vec<String>>,
    /// Disks that the configuration file declares, which the next start creates if they are gone.
    declared: RwLock<BTreeSet<String>>,
    /// Histories of disks.
    pub(super) keeper: Keeper,
    /// Digests of snapshots.
    pub(super) digests: Recent,
    /// The monitor's thread, if it was started.
    pub(super) watcher: Watcher,
}

#[derive(Debug, Default)]
struct Table {
    disks: BTreeMap<String, Arc<ServedDisk>>,
    groups: BTreeMap<String, Arc<LimitGroup>>,
    images: BTreeMap<Digest, Arc<Golden>>,
    /// Keys of disks, snapshots and golden images, by the store's number.
    names: HashMap<u64, String>,
    snapshots: usize,
    /// Disks that were destroyed under a front end, which gets errors until it disconnects.
    detached: Vec<Arc<ServedDisk>>,
}

/// A thread that ends with the registry.
#[derive(Debug, Default)]
pub(super) struct Watcher {
    pub(super) ends: Arc<AtomicBool>,
    pub(super) thread: Mutex<Option<JoinHandle<()>>>,
}

impl Disks {
    /// An empty registry without a thread, whatever the store has: see [`super::open`].
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
            fetches: Arc::default(),
            warnings: Mutex::default(),
            shown_labels: OnceLock::new(),
            declared: RwLock::default(),
            keeper: Keeper::default(),
            digests: Recent::default(),
            watcher: Watcher::default(),
        })
    }

    /// The events of the disks.
    pub fn events(&self) -> &Arc<Events> {
        &self.factory.events
    }

    pub(super) fn store(&self) -> &Arc<Store> {
        &self.factory.store
    }

    /// Take the control lock, for a change.
    pub(super) fn control(&self) -> MutexGuard<'_, ()> {
        self.control.lock()
    }

    fn debug_assert_control(&self) {
        debug_assert!(self.control.is_locked(), "a change needs the control lock");
    }

    // Disks

    /// The disk of this name.
    pub(super) fn find(&self, name: &str) -> Result<Arc<ServedDisk>, Problem> {
        let found = self.table.read().disks.get(name).cloned();
        found.ok_or_else(|| not_found(Missing::Disk, name))
    }

    /// Check that a disk exists. Takes no time.
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

    /// Add a disk. The caller holds the control lock.
    pub(super) fn insert(&self, served: ServedDisk) -> Arc<ServedDisk> {
        self.debug_assert_control();
        debug_assert!(served.is_in_force(), "{:?} isn't as it says", served.name);
        let served = Arc::new(served);
        let (name, mut table) = (&served.name, self.table.write());
        table.names.insert(served.id, name.clone());
        let before = table.disks.insert(name.clone(), Arc::clone(&served));
        debug_assert!(before.is_none(), "{name:?} existed");
        drop(table);
        served
    }

    /// Replace a disk by the same one under another name, with the keys that its snapshots have
    /// now, by number. The caller holds the control lock.
    pub(super) fn replace(
        &self,
        old: &Arc<ServedDisk>,
        new: ServedDisk,
        snapshots: Vec<(u64, String)>,
    ) -> Arc<ServedDisk> {
        self.debug_assert_control();
        debug_assert!(new.id == old.id && new.is_in_force(), "another disk");
        let new = Arc::new(new);
        let mut table = self.table.write();
        let removed = table.disks.remove(&old.name);
        debug_assert!(removed.is_some_and(|it| Arc::ptr_eq(&it, old)));
        table.disks.insert(new.name.clone(), Arc::clone(&new));
        table.names.insert(new.id, new.name.clone());
        table.names.extend(snapshots);
        drop(table);
        new
    }

    /// Whether the configuration file declares a disk of this name.
    pub(super) fn is_declared(&self, name: &str) -> bool {
        self.declared.read().contains(name)
    }

    /// Note which disks the configuration file declares.
    pub fn declare(&self, declaration: &Declaration) {
        let names = declaration.disks.iter().map(|disk| disk.name.clone());
        *self.declared.write() = names.collect();
    }

    /// Remove a disk that was destroyed in the store. Connected front ends get errors until they
    /// disconnect. The caller holds the control lock.
    pub(super) fn remove(&self, served: &Arc<ServedDisk>) {
        self.debug_assert_control();
        debug_assert!(
            served.disk.is_disconnected(),
            "{:?} is removed, and the store has it",
            served.name
        );
        self.factory.removals.forget(&served.name);
        let mut table = self.table.write();
        let removed = table.disks.remove(&served.name);
        debug_assert!(removed.is_some_and(|it| Arc::ptr_eq(&it, served)));
        table.names.remove(&served.id);
        if served.is_attached() {
            table.detached.push(Arc::clone(served));
        }
    }

    /// Drop detached disks whose last front end has disconnected.
    pub(super) fn drop_detached(&self) {
        let mut table = self.table.write();
        let (stay, gone) = std::mem::take(&mut table.detached)
            .into_iter()
            .partition::<Vec<_>, _>(|served| served.is_attached());
        table.detached = stay;
        // Dropped without the lock on the table.
        drop(table);
        drop(gone);
    }

    // Snapshots, and what was forked from what

    /// The key of the disk, snapshot or golden image with the store's number `id`, if it exists.
    pub(super) fn key_of(&self, id: u64) -> Option<String> {
        self.table.read().names.get(&id).cloned()
    }

    /// Add a snapshot of a disk, which the store has as `key` with number `id`. The caller holds
    /// the control lock.
    pub(super) fn insert_snapshot(&self, of: &ServedDisk, snapshot: &str, key: &str, id: u64) {
        self.debug_assert_control();
        let is_new = of.snapshots.lock().insert(snapshot.to_owned());
        debug_assert!(is_new, "{key:?} existed");
        let mut table = self.table.write();
        table.names.insert(id, key.to_owned());
        table.snapshots += 1;
    }

    /// Rename a snapshot, which the store has as `key` now, from one name to another. The caller
    /// holds the control lock.
    pub(super) fn rename_snapshot(
        &self,
        of: &ServedDisk,
        (from, to): (&str, &str),
        key: &str,
        id: u64,
    ) {
        self.debug_assert_control();
        let mut snapshots = of.snapshots.lock();
        let was_there = snapshots.remove(from) && snapshots.insert(to.to_owned());
        debug_assert!(was_there, "{from:?} of {:?} didn't exist", of.name);
        self.table.write().names.insert(id, key.to_owned());
    }

    /// Remove a snapshot that was destroyed in the store. The caller holds the control lock.
    pub(super) fn remove_snapshot(&self, of: &ServedDisk, snapshot: &str, id: u64) {
        self.debug_assert_control();
        let was_there = of.snapshots.lock().remove(snapshot);
        debug_assert!(was_there, "{snapshot:?} of {:?} didn't exist", of.name);
        let mut table = self.table.write();
        table.names.remove(&id);
        table.snapshots -= 1;
    }

    /// The name of the disk or snapshot with the store's number `id`, or the address of the golden
    /// image, if it exists.
    pub(super) fn name_of(&self, id: u64) -> Option<String> {
        match self.image_with(id) {
            Some(image) => Some(image.address()),
            None => self.key_of(id),
        }
    }

    /// Disks that were forked from a disk or any of its snapshots, or only from `snapshot`; sorted.
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

    // Golden images

    /// The golden image of this name or digest.
    pub(super) fn find_image(&self, which: &ImageName) -> Result<Arc<Golden>, Problem> {
        let table = self.table.read();
        let found = match which {
            ImageName::Digest(digest) => table.images.get(digest),
            ImageName::Name(name) => {
                let mut images = table.images.values();
                images.find(|image| image.record().name.as_ref() == Some(name))
            }
        };
        found
            .cloned()
            .ok_or_else(|| not_found(Missing::Image, &which.to_string()))
    }

    /// The golden image with the store's number `id`, if there is one.
    pub(super) fn image_with(&self, id: u64) -> Option<Arc<Golden>> {
        let table = self.table.read();
        table.images.values().find(|image| image.id == id).cloned()
    }

    /// All golden images, sorted by digest.
    pub(super) fn all_images(&self) -> Vec<Arc<Golden>> {
        self.table.read().images.values().cloned().collect()
    }

    /// Add a golden image. The caller holds the control lock.
    pub(super) fn insert_image(&self, image: Golden) -> Arc<Golden> {
        self.debug_assert_control();
        let image = Arc::new(image);
        let mut table = self.table.write();
        table.names.insert(image.id, image.key.clone());
        let before = table.images.insert(image.digest, Arc::clone(&image));
        debug_assert!(before.is_none(), "{} existed", image.digest);
        drop(table);
        image
    }

    /// Remove a golden image that was destroyed in the store. The caller holds the control lock.
    pub(super) fn remove_image(&self, image: &Golden) {
        self.debug_assert_control();
        let mut table = self.table.write();
        table.images.remove(&image.digest);
        table.names.remove(&image.id);
    }

    /// Disks that were forked from the disk, snapshot or golden image with the store's number `id`;
    /// sorted.
    pub(super) fn forks_of(&self, id: u64) -> Vec<String> {
        let table = self.table.read();
        let disks = table.disks.values();
        let forks = disks.filter(|served| served.parent_id == Some(id));
        forks.map(|served| served.name.clone()).collect()
    }

    // Groups

    pub(super) fn find_group(&self, name: &str) -> Option<Arc<LimitGroup>> {
        self.table.read().groups.get(name).cloned()
    }

    /// All groups, sorted by name.
    pub(super) fn all_groups(&self) -> Vec<Arc<LimitGroup>> {
        self.table.read().groups.values().cloned().collect()
    }

    /// Add a group. The caller holds the control lock.
    pub(super) fn insert_group(&self, group: LimitGroup) -> Arc<LimitGroup> {
        self.debug_assert_control();
        let group = Arc::new(group);
        let mut table = self.table.write();
        table.groups.insert(group.name.clone(), Arc::clone(&group));
        drop(table);
        group
    }

    /// Remove a group. The caller holds the control lock.
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

    /// Keys of labels that metrics have.
    pub fn shown_labels(&self) -> &[String] {
        self.shown_labels.get().map_or(&[], Vec::as_slice)
    }

    /// Set the keys of labels that metrics have, once.
    pub fn show_labels(&self, keys: Vec<String>) {
        let _ = self.shown_labels.set(keys);
    }

    /// End all sessions and remove all sockets. The disks stay in the store.
    pub fn close(&self) {
        let _control = self.control();
        let table = std::mem::take(&mut *self.table.write());
        // All sockets first, so that no front end reconnects only to be disconnected again.
        for served in table.disks.values() {
            served.stop_listening();
        }
        // Then all connections, so that hung ones are waited for at the same time.
        for served in table.disks.values().chain(&table.detached) {
            served.hang_up();
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
            // That thread may itself drop the last reference to the registry.
            && thread.thread().id() != std::thread::current().id()
        {
            let _ = thread.join();
        }
    }
}
