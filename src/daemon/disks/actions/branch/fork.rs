//! Forking disks.

use super::snapshots::check_exists;
use crate::daemon::disks::actions::describe::describe;
use crate::daemon::disks::actions::{create, groups};
use crate::daemon::disks::registry::Disks;
use crate::daemon::disks::settings::metadata::Metadata;
use crate::daemon::disks::settings::names::{check_name, snapshot_key};
use crate::daemon::disks::settings::problems::conflict;
use crate::daemon::disks::settings::valid::ValidDisk;
use crate::model::{Disk, EventKind, ForkRequest, Problem};

/// Create a disk with the content of `name` or of one of its snapshots, at one moment and without
/// copying.
///
/// # Errors
/// `not-found`; `invalid`; `conflict` if the new name is taken; `over-budget`.
pub fn fork(disks: &Disks, name: &str, request: ForkRequest) -> Result<Disk, Problem> {
    check_name(&request.name)?;
    let _control = disks.control();
    let source = disks.find(name)?;
    source.check_whole("fork it")?;
    let new = request.name;
    if disks.find(&new).is_ok() {
        return Err(conflict(format!(
            "disk {new:?} exists already; choose another name or destroy it first"
        )));
    }
    let key = match &request.snapshot {
        Some(snapshot) => {
            check_exists(&source, snapshot)?;
            snapshot_key(name, snapshot)?
        }
        None => name.to_owned(),
    };
    // The settings of the disk as it is now, even if the snapshot is older.
    let mut settings = source.settings()?;
    let content = disks.store().open(&key)?;
    settings.size_bytes = content.capacity().bytes();
    // What a disk has at the moment of the fork is known only of a snapshot.
    let lineage = match request.snapshot {
        Some(_) => Metadata::lineage_of(&content)?,
        None => None,
    };
    // A history belongs to the disk whose past it is.
    settings.history = None;
    settings.serial = request.serial;
    settings.labels = request.labels;
    settings.faults = Vec::new();
    settings.queues = request.queues.unwrap_or(settings.queues);
    settings.read_only = request.read_only.unwrap_or(settings.read_only);
    let valid = ValidDisk::new(&new, settings, disks.store().limit_bytes())?;
    let valid = valid.made_from(lineage)?;
    let limiter = groups::limiter(disks, valid.settings.group.as_deref())?;
    create::check_room(disks)?;
    disks.factory.check(&new)?;
    let disk = disks
        .store()
        .fork_as(&key, &new, &valid.spec, &valid.blob)?;
    let served = create::serve_new(disks, &new, disk, &valid, limiter)?;
    let events = disks.events();
    events.tell_with(EventKind::Forked, &new, "from", key);
    describe(disks, &served)
}
