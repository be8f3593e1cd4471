//! Snapshots of disks.

use std::collections::HashSet;
use std::sync::Arc;

use crate::daemon::disks::actions::ids;
use crate::daemon::disks::registry::Disks;
use crate::daemon::disks::served::disk::ServedDisk;
use crate::daemon::disks::served::recording::BASE;
use crate::daemon::disks::settings::lineage::Lineage;
use crate::daemon::disks::settings::metadata::{Decoded, Metadata};
use crate::daemon::disks::settings::names::{check_name, snapshot_key};
use crate::daemon::disks::settings::problems::{
    self, conflict, conflict_at, internal, invalid, not_found,
};
use crate::device::history::PointName;
use crate::model::{EventKind, Missing, Problem, Snapshot, SnapshotPatch};
use crate::store::{Disk, Leftover, Step};

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

/// A snapshot, with its children.
///
/// # Errors
/// `not-found`.
pub fn get(disks: &Disks, name: &str, snapshot: &str) -> Result<Snapshot, Problem> {
    let served = disks.find(name)?;
    check_exists(&served, snapshot)?;
    Ok(Snapshot {
        children: disks.children(name, Some(snapshot)),
        ..describe(disks, name, snapshot)?
    })
}

/// Check that a disk has this snapshot, or this point in its history.
pub(crate) fn check_exists(served: &ServedDisk, snapshot: &str) -> Result<(), Problem> {
    let (what, is_there) = match PointName::parse(snapshot) {
        Some(point) => {
            let history = served.server.device().volume().history();
            (
                Missing::Point,
                history.is_some_and(|history| history.has(point)),
            )
        }
        None => (
            Missing::Snapshot,
            served.snapshots.lock().contains(snapshot),
        ),
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
        protected: protected(&opened)?,
        children: Vec::new(),
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
    served: &Arc<ServedDisk>,
    snapshot: &str,
) -> Result<Snapshot, Problem> {
    let name = served.name.as_str();
    let key = snapshot_key(name, snapshot)?;
    check_new(served, snapshot, &key)?;
    for taken in keep_all(disks, &[(Arc::clone(served), key.clone())])? {
        disks.insert_snapshot(served, snapshot, &key, taken.get_info()?.id);
    }
    let events = disks.events();
    events.tell_with(EventKind::Snapshot, name, "snapshot", snapshot);
    describe(disks, name, snapshot)
}

/// Take a snapshot of each of these disks, all of one moment: a write that one of them has and that
/// was made after another one, by whatever guest, is not in one snapshot without the other one
/// being in its own. All are taken, or none.
///
/// # Errors
/// The same as [`take`]; `invalid` if there is no name, or one twice.
pub fn take_all(disks: &Disks, names: &[String], snapshot: &str) -> Result<Vec<Snapshot>, Problem> {
    let _control = disks.control();
    check_name(snapshot)?;
    let served = find_all(disks, names)?;
    let check = |served: &Arc<ServedDisk>| {
        let key = snapshot_key(&served.name, snapshot)?;
        check_new(served, snapshot, &key)?;
        Ok((Arc::clone(served), key))
    };
    let wanted: Vec<_> = served.iter().map(check).collect::<Result<_, Problem>>()?;
    let taken = keep_all(disks, &wanted)?;
    let events = disks.events();
    for ((served, key), taken) in wanted.iter().zip(&taken) {
        disks.insert_snapshot(served, snapshot, key, taken.get_info()?.id);
        events.tell_with(EventKind::Snapshot, &served.name, "snapshot", snapshot);
    }
    let names = served.iter().map(|served| served.name.as_str());
    names.map(|name| describe(disks, name, snapshot)).collect()
}

/// The disks of these names.
///
/// # Errors
/// `not-found`; `invalid` if there is no name, or one twice.
pub(crate) fn find_all(disks: &Disks, names: &[String]) -> Result<Vec<Arc<ServedDisk>>, Problem> {
    let mut once = HashSet::new();
    if let Some(twice) = names.iter().find(|&name| !once.insert(name)) {
        let detail = format!("{twice:?} is there twice: name each disk once");
        return Err(invalid("disks", detail));
    }
    if names.is_empty() {
        return Err(invalid(
            "disks",
            "there is no disk: name one or more".into(),
        ));
    }
    names.iter().map(|name| disks.find(name)).collect()
}

/// Check that the snapshot `key` can be taken of a disk.
fn check_new(served: &ServedDisk, snapshot: &str, key: &str) -> Result<(), Problem> {
    served.check_whole("take a snapshot of it")?;
    if served.snapshots.lock().contains(snapshot) {
        return Err(conflict(format!(
            "snapshot {key:?} exists already; choose another name or destroy it first"
        )));
    }
    Ok(())
}

/// Take these snapshots at one moment, each with an identifier of its content: a new one, or the
/// one that the disk's content has. A process that is killed in between leaves snapshots without
/// one, which the next start gives them.
fn keep_all(disks: &Disks, wanted: &[(Arc<ServedDisk>, String)]) -> Result<Vec<Disk>, Problem> {
    let known = wanted.iter().map(|(served, _)| ids::of_disk(disks, served));
    let known: Vec<_> = known.collect::<Result<_, _>>()?;
    let metadata = wanted
        .iter()
        .map(|(served, _)| served.metadata.lock().clone());
    let metadata: Vec<Metadata> = metadata.collect();
    let settings = metadata.iter().map(|metadata| metadata.for_snapshot(None));
    let settings: Vec<Vec<u8>> = settings.collect::<Result<_, _>>()?;
    let steps = wanted.iter().zip(&settings);
    let steps: Vec<Step<'_>> = steps
        .map(|((served, key), settings)| Step::Snapshot {
            source: &served.name,
            key,
            settings,
        })
        .collect();
    let taken = disks.store().transact(&steps)?.made;
    let name = |at: usize| {
        let (served, taken): (&ServedDisk, &Disk) = (&wanted[at].0, &taken[at]);
        // A guest may have written something in between: then it is new content.
        let still = ids::of_disk(disks, served)?.filter(|id| Some(*id) == known[at]);
        let lineage = match still {
            Some(id) => Lineage::of(id, taken)?,
            None => Lineage::new(taken)?,
        };
        let settings = metadata[at].for_snapshot(Some(lineage))?;
        Ok::<_, Problem>(taken.set_settings(&settings)?)
    };
    (0..taken.len()).try_for_each(name).inspect_err(|_| {
        let ends = wanted.iter().map(|(_, key)| Step::Destroy { key });
        // Report the first error.
        let _ = disks.store().transact(&ends.collect::<Vec<_>>());
    })?;
    Ok(taken)
}

/// Whether a snapshot can't be destroyed.
fn protected(snapshot: &Disk) -> Result<bool, Problem> {
    let decoded = Decoded::new(&snapshot.settings()?);
    Ok(decoded.is_ok_and(|decoded| decoded.metadata.protected))
}

/// Check that a snapshot may be destroyed.
///
/// # Errors
/// `conflict` if it is protected.
pub(crate) fn check_unprotected(disks: &Disks, name: &str, snapshot: &str) -> Result<(), Problem> {
    let key = snapshot_key(name, snapshot)?;
    match protected(&disks.store().open(&key)?)? {
        false => Ok(()),
        true => Err(problems::protected("snapshot", &key)),
    }
}

/// Change a snapshot. Its content stays as it is.
///
/// # Errors
/// `not-found`.
pub fn patch(
    disks: &Disks,
    name: &str,
    snapshot: &str,
    patch: SnapshotPatch,
) -> Result<Snapshot, Problem> {
    let _control = disks.control();
    let served = disks.find(name)?;
    check_name(snapshot)?;
    check_exists(&served, snapshot)?;
    let opened = disks.store().open(&snapshot_key(name, snapshot)?)?;
    if let Some(wanted) = patch
        .protected
        .filter(|&it| protected(&opened).ok() != Some(it))
    {
        let decoded = Decoded::new(&opened.settings()?).map_err(internal)?;
        let metadata = Metadata {
            protected: wanted,
            ..decoded.metadata
        };
        opened.set_settings(&metadata.encode()?)?;
        let details = [("snapshot", snapshot), ("settings", "protected")];
        let details = details.map(|(key, value)| (key.to_owned(), value.into()));
        let events = disks.events();
        events.tell(EventKind::Changed, Some(name), details.into());
        // The monitor computes again when the next life is over.
        disks.store().pressure().raise();
    }
    describe(disks, name, snapshot)
}

/// Destroy a snapshot. Disks that were forked from it stay, and can't be reset to it any more.
///
/// # Errors
/// `not-found`; without `force`, `conflict` if disks were forked from it or a recording began with
/// it.
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
    check_unprotected(disks, name, snapshot)?;
    if !force {
        let key = snapshot_key(name, snapshot)?;
        if snapshot == BASE && served.recording.lock().is_some() {
            let detail = format!(
                "{key:?} is what the recording of disk {name:?} began with: remove the recording \
                 first ('ramblk record rm {name}'), or set force"
            );
            return Err(conflict_at("force", detail));
        }
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
    let detail = format!(
        "{which} forked from {name:?} and could not be reset to it any more, though each keeps \
         its content; destroy these first, or set force"
    );
    Err(conflict_at("force", detail))
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
