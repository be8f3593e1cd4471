//! Snapshots, forks, and the way back.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::daemon::disks::Disks;
use crate::daemon::disks::served::disk::Entry;
use crate::daemon::disks::settings::metadata::Kept;
use crate::daemon::disks::settings::origin::Origin;
use crate::daemon::disks::settings::problems::{attached, conflict, not_found};
use crate::daemon::disks::settings::valid::snapshot_key;
use crate::daemon::disks::settings::valid::{Checked, check_name};
use crate::model::{Disk, EventKind, ForkRequest, Problem, ResetRequest, Snapshot};
use crate::store::{Change, Leftover};

impl Disks {
    /// Its snapshots, sorted.
    ///
    /// # Errors
    /// `not-found`.
    pub fn snapshots(&self, name: &str) -> Result<Vec<Snapshot>, Problem> {
        let entry = self.entry(name)?;
        let names: Vec<String> = entry.snapshots.lock().iter().cloned().collect();
        Ok(names
            .iter()
            // One that is destroyed meanwhile is no longer in the list.
            .filter_map(|snapshot| self.describe_snapshot(name, snapshot).ok())
            .collect())
    }

    /// One of them.
    ///
    /// # Errors
    /// `not-found`.
    pub fn snapshot(&self, name: &str, snapshot: &str) -> Result<Snapshot, Problem> {
        let entry = self.entry(name)?;
        self.has_snapshot(&entry, snapshot)?;
        self.describe_snapshot(name, snapshot)
    }

    fn has_snapshot(&self, entry: &Entry, snapshot: &str) -> Result<(), Problem> {
        if entry.snapshots.lock().contains(snapshot) {
            return Ok(());
        }
        let name = format!("{}@{snapshot}", entry.name);
        Err(not_found("snapshot", &name))
    }

    fn describe_snapshot(&self, disk: &str, snapshot: &str) -> Result<Snapshot, Problem> {
        let key = snapshot_key(disk, snapshot)?;
        let info = self.workshop.store.open(&key)?.get_info()?;
        Ok(Snapshot {
            disk: disk.to_owned(),
            name: snapshot.to_owned(),
            size_bytes: info.size_bytes,
            mapped_bytes: info.mapped_bytes,
            charged_bytes: info.charged_bytes,
        })
    }

    /// Take a snapshot: at one moment, whatever guests do, and without a copy.
    ///
    /// # Errors
    /// `not-found`; `invalid`; `conflict` if the name is taken; `over-budget`.
    pub fn take_snapshot(&self, name: &str, snapshot: &str) -> Result<Snapshot, Problem> {
        let _control = self.control.lock();
        let entry = self.entry(name)?;
        let key = snapshot_key(name, snapshot)?;
        entry.check_whole("take a snapshot of it")?;
        if entry.snapshots.lock().contains(snapshot) {
            return Err(conflict(format!(
                "snapshot {key:?} exists already; choose another name or destroy it first"
            )));
        }
        let taken = self.workshop.store.snapshot(name, &key)?;
        let id = taken.get_info()?.id;
        let mut table = self.table.write();
        table.names.insert(id, key);
        table.snapshots += 1;
        drop(table);
        entry.snapshots.lock().insert(snapshot.to_owned());
        self.tell_of(EventKind::Snapshot, name, "snapshot", snapshot);
        self.describe_snapshot(name, snapshot)
    }

    /// End a snapshot. What was forked from it stays, and can't be reset to it any more.
    ///
    /// # Errors
    /// `not-found`; `conflict` if disks were forked from it, without `force`.
    pub fn destroy_snapshot(&self, name: &str, snapshot: &str, force: bool) -> Result<(), Problem> {
        self.end_snapshot(name, snapshot, force).map(drop)
    }

    /// As [`Disks::destroy_snapshot`], but at once: the memory is freed when the answer is dropped.
    ///
    /// # Errors
    /// As there.
    pub fn end_snapshot(
        &self,
        name: &str,
        snapshot: &str,
        force: bool,
    ) -> Result<Leftover, Problem> {
        let _control = self.control.lock();
        let entry = self.entry(name)?;
        self.has_snapshot(&entry, snapshot)?;
        if !force {
            let key = snapshot_key(name, snapshot)?;
            self.check_children(&key, &self.children(name, Some(snapshot)))?;
        }
        self.end_snapshot_of(&entry, snapshot)
    }

    /// Disks that were forked from a disk or any snapshot of it, or from one snapshot; sorted.
    pub(crate) fn children(&self, name: &str, snapshot: Option<&str>) -> Vec<String> {
        let table = self.table.read();
        let is_meant = |parent: &String| match (parent.split_once('@'), snapshot) {
            (Some((disk, of)), Some(snapshot)) => disk == name && of == snapshot,
            (Some((disk, _)), None) => disk == name,
            (None, None) => parent == name,
            (None, Some(_)) => false,
        };
        let disks = table.disks.values().filter(|entry| {
            let parent = entry.parent_id.and_then(|id| table.names.get(&id));
            parent.is_some_and(is_meant)
        });
        disks.map(|entry| entry.name.clone()).collect()
    }

    /// Whether nothing was forked from what is to end.
    pub(crate) fn check_children(&self, name: &str, children: &[String]) -> Result<(), Problem> {
        let Some((first, others)) = children.split_first() else {
            return Ok(());
        };
        let which = match others.len() {
            0 => format!("disk {first:?} was"),
            more => format!("{} disks ({first:?} and {more} more) were", more + 1),
        };
        Err(conflict(format!(
            "{which} forked from {name:?} and could not be reset to it any more, though each keeps \
             its content; destroy these first, or say force"
        )))
    }

    /// The control is held, and what is left is to be freed without it.
    pub(crate) fn end_snapshot_of(
        &self,
        entry: &Entry,
        snapshot: &str,
    ) -> Result<Leftover, Problem> {
        let key = snapshot_key(&entry.name, snapshot)?;
        let id = self.workshop.store.open(&key)?.get_info()?.id;
        let left = self.workshop.store.destroy(&key)?;
        entry.snapshots.lock().remove(snapshot);
        let mut table = self.table.write();
        table.names.remove(&id);
        table.snapshots -= 1;
        drop(table);
        self.tell_of(
            EventKind::SnapshotDestroyed,
            &entry.name,
            "snapshot",
            snapshot,
        );
        Ok(left)
    }

    /// A new disk with the content of `name`, or of a snapshot of it, at one moment and without a
    /// copy.
    ///
    /// # Errors
    /// `not-found`; `invalid`; `conflict` if the new name is taken; `over-budget`.
    pub fn fork(&self, name: &str, request: ForkRequest) -> Result<Disk, Problem> {
        check_name(&request.name)?;
        let _control = self.control.lock();
        let source = self.entry(name)?;
        source.check_whole("fork it")?;
        let new = request.name;
        if self.entry(&new).is_ok() {
            return Err(conflict(format!(
                "disk {new:?} exists already; choose another name or destroy it first"
            )));
        }
        let key = match &request.snapshot {
            Some(snapshot) => {
                self.has_snapshot(&source, snapshot)?;
                snapshot_key(name, snapshot)?
            }
            None => name.to_owned(),
        };
        // Of the disk as it is now, also where a snapshot is older than that.
        let mut settings = source.settings()?;
        settings.size_bytes = self.workshop.store.open(&key)?.capacity().bytes();
        settings.serial = request.serial;
        settings.labels = request.labels;
        settings.queues = request.queues.unwrap_or(settings.queues);
        settings.read_only = request.read_only.unwrap_or(settings.read_only);
        let checked = Checked::new(&new, settings, self.workshop.store.limit_bytes())?;
        let limiter = self.group_limiter(checked.settings.group.as_deref())?;
        self.check_room()?;
        self.workshop.check(&new)?;
        let store = &self.workshop.store;
        let kept = Kept::of(&checked.settings);
        let blob = kept.to_blob()?;
        let change = Change {
            settings: Some(&blob),
            quota_bytes: Some(checked.spec.quota_bytes),
            on_full: Some(checked.spec.on_full),
            read_only: Some(checked.spec.read_only),
            ..Change::default()
        };
        let disk = store.fork_with(&key, &new, &change)?;
        let entry = self.serve_new(disk, &checked, kept, limiter)?;
        self.tell_of(EventKind::Forked, &new, "from", &key);
        self.describe(&entry, false)
    }

    /// Give it the content and size of one of its snapshots, or of what it was forked from. What
    /// only the old content held is freed when the answer is dropped.
    ///
    /// # Errors
    /// `not-found` if there is no such thing to go back to; `attached` without `force`;
    /// `over-budget`.
    pub fn reset(&self, name: &str, request: ResetRequest) -> Result<(Disk, Leftover), Problem> {
        let _control = self.control.lock();
        let entry = self.entry(name)?;
        entry.check_whole("reset it")?;
        let key = match &request.to {
            Some(snapshot) => {
                self.has_snapshot(&entry, snapshot)?;
                snapshot_key(name, snapshot)?
            }
            None => self.parent(&entry)?,
        };
        let store = &self.workshop.store;
        let import = match &request.to {
            Some(_) => Origin::of_snapshot(&store.open(&key)?.settings()?),
            // A fork was made from no image, and is as it was made.
            None => Origin::default(),
        };
        let mut kept = entry.kept.lock();
        let new = Kept {
            import,
            ..kept.clone()
        };
        let blob = new.to_blob()?;
        // No front end can come between the look and the instant.
        let reset = entry
            .server
            .unless_attached(request.force, || store.reset_with(name, &key, Some(&blob)));
        let left = reset.ok_or_else(|| attached(name, "reset it"))??;
        *kept = new;
        drop(kept);
        entry.server.config_changed();
        self.tell_of(EventKind::Reset, name, "to", &key);
        Ok((self.describe(&entry, false)?, left))
    }

    fn parent(&self, entry: &Arc<Entry>) -> Result<String, Problem> {
        let parent = entry.parent_id.and_then(|id| self.name_of(id));
        parent.ok_or_else(|| {
            not_found("parent of disk", &entry.name).with_detail(format!(
                "disk {:?} was not forked, or what it was forked from is gone: name one of its \
                 snapshots to go back to",
                entry.name
            ))
        })
    }

    fn tell_of(&self, kind: EventKind, disk: &str, key: &str, value: &str) {
        let details = BTreeMap::from([(key.to_owned(), value.into())]);
        self.workshop.events.tell(kind, Some(disk), details);
    }
}
