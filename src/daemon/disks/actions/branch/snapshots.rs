//! Snapshots of disks.

use crate::daemon::disks::actions::ids;
use crate::daemon::disks::registry::Disks;
use crate::daemon::disks::served::disk::ServedDisk;
use crate::daemon::disks::settings::lineage::Lineage;
use crate::daemon::disks::settings::names::{check_name, snapshot_key};
use crate::daemon::disks::settings::problems::{conflict, not_found};
use crate::device::history::PointName;
use crate::model::{EventKind, Problem, Snapshot};
use crate::store::{Change, Disk, Leftover};

/// The snapshots of a disk, sorted by name.
///
/// # Errors
/// `not-found`.
pub fn list(disks: &Disks, name: &str) -> Result<Vec<Snapshot>, Problem> {
    let served = disks.find(name)?;
    let names: Vec<String> = served.snapshots.lock().iter().cloned().collect();
    Ok(names
        .iter()
        // A snapshot that is destroyed meanwhile is left out.
        .filter_map(|snapshot| describe(disks, name, snapshot).ok())
        .collect())
}

/// A snapshot.
///
/// # Errors
/// `not-found`.
pub fn get(disks: &Disks, name: &str, snapshot: &str) -> Result<Snapshot, Problem> {
    let served = disks.find(name)?;
    check_exists(&served, snapshot)?;
    describe(disks, name, snapshot)
}

/// Check that a disk has this snapshot, or this point in its history.
pub(crate) fn check_exists(served: &ServedDisk, snapshot: &str) -> Result<(), Problem> {
    let (what, is_there) = match PointName::parse(snapshot) {
        Some(point) => {
            let history = served.server.device().volume().history();
            ("point", history.is_some_and(|history| history.has(point)))
        }
        None => ("snapshot", served.snapshots.lock().contains(snapshot)),
    };
    if is_there {
        return Ok(());
    }
    let name = format!("{}@{snapshot}", served.name);
    Err(not_found(what, &name))
}

fn describe(disks: &Disks, disk: &str, snapshot: &str) -> Result<Snapshot, Problem> {
    let key = snapshot_key(disk, snapshot)?;
    let opened = disks.store().open(&key)?;
    let info = opened.get_info()?;
    Ok(Snapshot {
        content_id: ids::of_snapshot(&opened)?,
        disk: disk.to_owned(),
        name: snapshot.to_owned(),
        size_bytes: info.size_bytes,
        mapped_bytes: info.mapped_bytes,
        charged_bytes: info.charged_bytes,
    })
}

/// Take a snapshot: at one moment, whatever guests do, and without copying.
///
/// # Errors
/// `not-found`; `invalid`; `conflict` if the name is taken; `over-budget`.
pub fn take(disks: &Disks, name: &str, snapshot: &str) -> Result<Snapshot, Problem> {
    let _control = disks.control();
    let served = disks.find(name)?;
    check_name(snapshot)?;
    take_locked(disks, &served, snapshot)
}

/// The same as [`take`], for a caller that holds the control lock.
pub(crate) fn take_locked(
    disks: &Disks,
    served: &ServedDisk,
    snapshot: &str,
) -> Result<Snapshot, Problem> {
    let name = served.name.as_str();
    let key = snapshot_key(name, snapshot)?;
    served.check_whole("take a snapshot of it")?;
    if served.snapshots.lock().contains(snapshot) {
        return Err(conflict(format!(
            "snapshot {key:?} exists already; choose another name or destroy it first"
        )));
    }
    let taken = keep(disks, served, &key)?;
    let id = taken.get_info()?.id;
    disks.insert_snapshot(served, snapshot, &key, id);
    let events = disks.events();
    events.tell_with(EventKind::Snapshot, name, "snapshot", snapshot);
    describe(disks, name, snapshot)
}

/// Take the snapshot `key`, with an identifier of its content: a new one, or the one that the
/// disk's content has. A process that is killed in between leaves a snapshot without one, which
/// the next start gives it.
fn keep(disks: &Disks, served: &ServedDisk, key: &str) -> Result<Disk, Problem> {
    let metadata = served.metadata.lock().clone();
    let settings = metadata.for_snapshot(None)?;
    let change = Change {
        settings: Some(&settings),
        ..Change::default()
    };
    let known = ids::of_disk(disks, served)?;
    let taken = disks.store().snapshot_with(&served.name, key, &change)?;
    // A guest may have written something in between: then it is new content.
    let still = ids::of_disk(disks, served)?.filter(|id| Some(*id) == known);
    let lineage = match still {
        Some(id) => Lineage::of(id, &taken)?,
        None => Lineage::new(&taken)?,
    };
    let settings = metadata.for_snapshot(Some(lineage))?;
    let named = taken.set_settings(&settings);
    named.inspect_err(|_| drop(disks.store().destroy(key)))?;
    Ok(taken)
}

/// Destroy a snapshot. Disks that were forked from it stay, and can't be reset to it any more.
///
/// # Errors
/// `not-found`; `conflict` if disks were forked from it, without `force`.
pub fn destroy(disks: &Disks, name: &str, snapshot: &str, force: bool) -> Result<(), Problem> {
    end(disks, name, snapshot, force).map(drop)
}

/// The same as [`destroy`], but quick: the memory is freed when you drop the result.
///
/// # Errors
/// The same as [`destroy`].
pub fn end(disks: &Disks, name: &str, snapshot: &str, force: bool) -> Result<Leftover, Problem> {
    let _control = disks.control();
    let served = disks.find(name)?;
    check_name(snapshot)?;
    check_exists(&served, snapshot)?;
    if !force {
        let key = snapshot_key(name, snapshot)?;
        check_children(&key, &disks.children(name, Some(snapshot)))?;
    }
    end_locked(disks, &served, snapshot)
}

/// Check that no disk was forked from `name`, which is about to be destroyed.
pub(crate) fn check_children(name: &str, children: &[String]) -> Result<(), Problem> {
    let Some((first, others)) = children.split_first() else {
        return Ok(());
    };
    let which = match others.len() {
        0 => format!("disk {first:?} was"),
        more => format!("{} disks ({first:?} and {more} more) were", more + 1),
    };
    Err(conflict(format!(
        "{which} forked from {name:?} and could not be reset to it any more, though each keeps \
         its content; destroy these first, or set force"
    )))
}

/// The same as [`end`], even if disks were forked from it, for a caller that holds the control
/// lock. Free the result without that lock.
pub(crate) fn end_locked(
    disks: &Disks,
    served: &ServedDisk,
    snapshot: &str,
) -> Result<Leftover, Problem> {
    let key = snapshot_key(&served.name, snapshot)?;
    let id = disks.store().open(&key)?.get_info()?.id;
    let left = disks.store().destroy(&key)?;
    disks.remove_snapshot(served, snapshot, id);
    let (events, kind) = (disks.events(), EventKind::SnapshotDestroyed);
    events.tell_with(kind, &served.name, "snapshot", snapshot);
    Ok(left)
}
