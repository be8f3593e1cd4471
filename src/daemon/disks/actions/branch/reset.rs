//! Resetting a disk to a snapshot, or to what it was forked from.

use super::snapshots::check_exists;
use crate::daemon::disks::actions::describe::describe;
use crate::daemon::disks::registry::Disks;
use crate::daemon::disks::served::disk::ServedDisk;
use crate::daemon::disks::settings::metadata::Metadata;
use crate::daemon::disks::settings::names::snapshot_key;
use crate::daemon::disks::settings::origin::Origin;
use crate::daemon::disks::settings::problems::{attached, not_found};
use crate::device::history::PointName;
use crate::model::{Disk, EventKind, Problem, ResetRequest};
use crate::store::Leftover;

/// Replace content and size of a disk by those of one of its snapshots, or of what it was forked
/// from. The memory of the old content is freed when you drop the result.
///
/// # Errors
/// `not-found` if there is no such snapshot or parent; `attached` if a front end is connected,
/// without `force`; `over-budget`.
pub fn reset(
    disks: &Disks,
    name: &str,
    request: ResetRequest,
) -> Result<(Disk, Leftover), Problem> {
    let _control = disks.control();
    let served = disks.find(name)?;
    served.check_whole("reset it")?;
    let key = match &request.to {
        Some(snapshot) => {
            check_exists(&served, snapshot)?;
            snapshot_key(name, snapshot)?
        }
        None => parent_key(disks, &served)?,
    };
    let store = disks.store();
    let image = served.parent_id.and_then(|id| disks.image_with(id));
    let image = image.filter(|_| request.to.is_none());
    let source = store.open(&key)?;
    let origin = match (&request.to, &image) {
        // A point keeps no settings. Its content came from where the disk's does.
        (Some(to), _) if PointName::parse(to).is_some() => served.metadata.lock().origin.clone(),
        (Some(_), _) => Origin::of_snapshot(&source.settings()?),
        (None, Some(image)) => image.record().origin(),
        // A fork was not made from an image, and is now as it was created.
        (None, None) => Origin::default(),
    };
    // A disk may be larger than the image that it was forked from, and stays so.
    let size_bytes = served.disk.capacity().bytes();
    let least_bytes = image.as_ref().map_or(0, |_| size_bytes);
    let lineage = match source.get_info()?.snapshot {
        true => Metadata::lineage_of(&source)?,
        false => None,
    };
    let edit = |metadata: &mut Metadata| {
        metadata.origin = origin;
        metadata.lineage = lineage;
    };
    let left = served.replace_metadata(edit, |blob| {
        // No front end can connect between the check and the reset.
        let reset = served.server.unless_attached(request.force, || {
            store.reset_with(name, &key, Some(blob), least_bytes)
        });
        Ok(reset.ok_or_else(|| attached(name, "reset it"))??)
    })?;
    served.end_recording("the disk was reset");
    served.stabilise();
    served.server.config_changed();
    let events = disks.events();
    let to = image.map_or(key, |image| image.address());
    events.tell_with(EventKind::Reset, name, "to", to);
    Ok((describe(disks, &served)?, left))
}

fn parent_key(disks: &Disks, served: &ServedDisk) -> Result<String, Problem> {
    let parent = served.parent_id.and_then(|id| disks.key_of(id));
    parent.ok_or_else(|| {
        not_found("parent of disk", &served.name).with_detail(format!(
            "disk {:?} was not forked, or what it was forked from is gone: name one of its \
             snapshots to go back to",
            served.name
        ))
    })
}
