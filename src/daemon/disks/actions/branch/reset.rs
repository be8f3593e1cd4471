//! Resetting a disk to a snapshot, or to what it was forked from.

use std::sync::Arc;

use super::snapshots::{check_exists, find_all};
use crate::daemon::disks::actions::describe::describe;
use crate::daemon::disks::registry::Disks;
use crate::daemon::disks::served::disk::ServedDisk;
use crate::daemon::disks::served::golden::Golden;
use crate::daemon::disks::settings::lineage::Lineage;
use crate::daemon::disks::settings::metadata::Metadata;
use crate::daemon::disks::settings::names::snapshot_key;
use crate::daemon::disks::settings::origin::Origin;
use crate::daemon::disks::settings::problems::attached;
use crate::device::history::PointName;
use crate::model::{Disk, EventKind, Missing, Problem, ResetRequest};
use crate::store::{Leftover, Step};

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
) -> Result<(Disk, Vec<Leftover>), Problem> {
    let _control = disks.control();
    let served = disks.find(name)?;
    let left = reset_locked(disks, std::slice::from_ref(&served), &request)?;
    Ok((describe(disks, &served)?, left))
}

/// Reset each of these disks, at one instant: all of them or none. What they are reset to is of one
/// moment too.
///
/// # Errors
/// The same as [`reset`]; `invalid` if there is no name, or one twice.
pub fn reset_all(
    disks: &Disks,
    names: &[String],
    request: &ResetRequest,
) -> Result<(Vec<Disk>, Vec<Leftover>), Problem> {
    let _control = disks.control();
    let all = find_all(disks, names)?;
    let left = reset_locked(disks, &all, request)?;
    let described = all.iter().map(|served| describe(disks, served));
    Ok((described.collect::<Result<_, _>>()?, left))
}

/// What a disk is reset to.
struct Target {
    key: String,
    /// The image, if it is one.
    image: Option<Arc<Golden>>,
    origin: Origin,
    lineage: Option<Lineage>,
    least_bytes: u64,
}

impl Target {
    fn find(disks: &Disks, served: &ServedDisk, request: &ResetRequest) -> Result<Self, Problem> {
        served.check_whole("reset it")?;
        let key = match &request.to {
            Some(snapshot) => {
                check_exists(served, snapshot)?;
                snapshot_key(&served.name, snapshot)?
            }
            None => parent_key(disks, served)?,
        };
        let image = served.parent_id.and_then(|id| disks.image_with(id));
        let image = image.filter(|_| request.to.is_none());
        let source = disks.store().open(&key)?;
        let origin = match (&request.to, &image) {
            // A point keeps no settings. Its content came from where the disk's does.
            (Some(to), _) if PointName::parse(to).is_some() => {
                served.metadata.lock().origin.clone()
            }
            (Some(_), _) => Origin::of_snapshot(&source.settings()?),
            (None, Some(image)) => image.record().origin(),
            // A fork was not made from an image, and is now as it was created.
            (None, None) => Origin::default(),
        };
        // A disk may be larger than the image that it was forked from, and stays so.
        let size_bytes = served.disk.capacity().bytes();
        Ok(Self {
            least_bytes: image.as_ref().map_or(0, |_| size_bytes),
            lineage: match source.get_info()?.snapshot {
                true => Metadata::lineage_of(&source)?,
                false => None,
            },
            key,
            image,
            origin,
        })
    }
}

/// Reset these disks, at one instant, and send the events. The caller holds the control lock.
pub(crate) fn reset_locked(
    disks: &Disks,
    all: &[Arc<ServedDisk>],
    request: &ResetRequest,
) -> Result<Vec<Leftover>, Problem> {
    let targets = all.iter().map(|it| Target::find(disks, it, request));
    let targets: Vec<Target> = targets.collect::<Result<_, _>>()?;
    let mut kept: Vec<_> = all.iter().map(|served| served.metadata.lock()).collect();
    let new = kept
        .iter()
        .zip(&targets)
        .map(|(metadata, target)| Metadata {
            origin: target.origin.clone(),
            lineage: target.lineage,
            lived: metadata.lived.unused(),
            ..(**metadata).clone()
        });
    let new: Vec<Metadata> = new.collect();
    let blobs: Vec<Vec<u8>> = new.iter().map(Metadata::encode).collect::<Result<_, _>>()?;
    let steps = all.iter().zip(&targets).zip(&blobs);
    let steps: Vec<Step<'_>> = steps
        .map(|((served, target), settings)| Step::Reset {
            key: &served.name,
            to: &target.key,
            settings,
            least_bytes: target.least_bytes,
        })
        .collect();
    // No front end can connect between the check and the reset.
    let pauses = all.iter().map(|served| {
        let pause = served.server.pause(request.force);
        pause.ok_or_else(|| attached(&served.name, "reset it"))
    });
    let pauses: Vec<_> = pauses.collect::<Result<_, Problem>>()?;
    let done = disks.store().transact(&steps)?;
    drop(pauses);
    for (metadata, new) in kept.iter_mut().zip(new) {
        **metadata = new;
    }
    drop(kept);
    for (served, target) in all.iter().zip(targets) {
        served.attendance.renewed();
        served.end_recording("the disk was reset");
        served.stabilise();
        served.server.config_changed();
        let events = disks.events();
        let to = target.image.map_or(target.key, |image| image.address());
        events.tell_with(EventKind::Reset, &served.name, "to", to);
    }
    Ok(done.left)
}

fn parent_key(disks: &Disks, served: &ServedDisk) -> Result<String, Problem> {
    let parent = served.parent_id.and_then(|id| disks.key_of(id));
    // A saved state has no name among the disks.
    let birth = served.metadata.lock().birth;
    let state = birth.map(|birth| birth.state.to_string());
    let state = state.filter(|key| disks.store().open(key).is_ok());
    parent.or(state).ok_or_else(|| {
        let detail = format!(
            "disk {:?} was not forked, or what it was forked from is gone: name one of its \
             snapshots to go back to",
            served.name
        );
        Problem::missing(Missing::Parent, detail)
    })
}
