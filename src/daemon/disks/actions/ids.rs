//! The identifier of a disk's present content, as far as that is known.

use crate::daemon::disks::registry::Disks;
use crate::daemon::disks::served::disk::ServedDisk;
use crate::daemon::disks::settings::metadata::Metadata;
use crate::daemon::disks::settings::names::snapshot_key;
use crate::model::{ContentId, Problem};
use crate::store::Disk;

/// The identifier of the content that a disk has now: that of the content which came to it, if
/// nothing was written since, or that of a snapshot, if nothing was written since it was taken.
///
/// # Errors
/// The disk is gone.
pub(crate) fn of_disk(disks: &Disks, served: &ServedDisk) -> Result<Option<ContentId>, Problem> {
    let lineage = served.metadata.lock().lineage;
    if let Some(lineage) = lineage
        && lineage.is_content_of(&served.disk)?
    {
        return Ok(Some(lineage.id));
    }
    let names: Vec<String> = served.snapshots.lock().iter().cloned().collect();
    for name in names {
        // One that is destroyed meanwhile is left out.
        let Ok(snapshot) = disks.store().open(&snapshot_key(&served.name, &name)?) else {
            continue;
        };
        if served.disk.has_tree_of(&snapshot).unwrap_or(false) {
            return of_snapshot(&snapshot);
        }
    }
    Ok(None)
}

/// The identifier of a snapshot's content.
///
/// # Errors
/// The snapshot is gone.
pub(crate) fn of_snapshot(snapshot: &Disk) -> Result<Option<ContentId>, Problem> {
    let lineage = Metadata::lineage_of(snapshot)?;
    Ok(lineage.map(|lineage| lineage.id))
}
