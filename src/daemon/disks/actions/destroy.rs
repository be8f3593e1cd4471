//! Destroying disks.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::branch::snapshots::{self, check_children};
use super::change::check_tag;
use super::{history, record, upload};
use crate::daemon::disks::registry::Disks;
use crate::daemon::disks::served::disk::ServedDisk;
use crate::daemon::disks::settings::problems::{attached, conflict_at, protected};
use crate::model::{EventKind, Problem};
use crate::store::Leftover;

/// Which disks [`destroy`] may destroy, and what with them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DestroyOptions {
    /// Destroy the disk even if a front end is connected, whose guest gets errors from then on, or
    /// if disks were forked from it, which can't be reset to it any more.
    pub force: bool,
    /// Destroy its snapshots too.
    pub snapshots: bool,
    /// Destroy the disk only if it is still importing.
    pub importing: bool,
}

impl DestroyOptions {
    /// For a disk that nothing holds any more: whatever became of it.
    pub(crate) fn of_held() -> Self {
        Self {
            force: true,
            snapshots: true,
            importing: false,
        }
    }
}

/// Destroy a disk and free its memory, which takes longer the more memory it has. A guest that
/// still uses the disk gets errors from then on, until its front end disconnects.
///
/// # Errors
/// `not-found`. Without `force`: `attached` if a front end is connected, and `conflict` if disks
/// were forked from it. Without `snapshots`: `conflict` if it has snapshots.
pub fn destroy(disks: &Disks, name: &str, options: DestroyOptions) -> Result<(), Problem> {
    end(disks, name, options).map(drop)
}

/// The same as [`destroy`], but quick: the memory is freed when you drop the result.
///
/// # Errors
/// The same as [`destroy`].
pub fn end(disks: &Disks, name: &str, options: DestroyOptions) -> Result<Vec<Leftover>, Problem> {
    end_if(disks, name, options, None)
}

/// The same as [`end`], if the disk has one of the entity tags `any_of`.
///
/// # Errors
/// As [`destroy`]; `changed` if it has another tag.
pub fn end_if(
    disks: &Disks,
    name: &str,
    options: DestroyOptions,
    any_of: Option<&[String]>,
) -> Result<Vec<Leftover>, Problem> {
    let _control = disks.control();
    let served = disks.find(name)?;
    if let Some(any_of) = any_of {
        check_tag(disks, &served, any_of)?;
    }
    end_locked(disks, &served, options)
}

/// Check that a disk may be destroyed, and its snapshots if they go with it.
///
/// # Errors
/// `conflict` if it is protected, or one of them.
pub(crate) fn check_unprotected(
    disks: &Disks,
    served: &ServedDisk,
    with_snapshots: bool,
) -> Result<(), Problem> {
    let name = served.name.as_str();
    if served.metadata.lock().protected {
        return Err(protected("disk", name));
    }
    let snapshots: Vec<String> = served.snapshots.lock().iter().cloned().collect();
    let mut snapshots = snapshots.iter().filter(|_| with_snapshots);
    snapshots.try_for_each(|snapshot| snapshots::check_unprotected(disks, name, snapshot))
}

/// The same as [`end`], for a caller that holds the control lock.
pub(crate) fn end_locked(
    disks: &Disks,
    served: &Arc<ServedDisk>,
    options: DestroyOptions,
) -> Result<Vec<Leftover>, Problem> {
    let name = served.name.as_str();
    if options.importing {
        served.check_importing()?;
    }
    check_unprotected(disks, served, options.snapshots)?;
    if !options.force && served.is_attached() {
        return Err(attached(name, "destroy it"));
    }
    let snapshots: Vec<String> = served.snapshots.lock().iter().cloned().collect();
    if !snapshots.is_empty() && !options.snapshots {
        let listed = snapshots.join(", ");
        let detail = format!(
            "disk {name:?} has snapshots ({listed}); destroy these first, or all of them with it"
        );
        return Err(conflict_at("snapshots", detail));
    }
    if !options.force {
        check_children(name, &disks.children(name, None))?;
    }
    served.stop_listening();
    served.views.close();
    let mut left = history::end(disks, served);
    for snapshot in &snapshots {
        left.push(snapshots::end_locked(disks, served, snapshot)?);
    }
    left.extend(upload::end(disks, served));
    left.extend(record::forget(disks.store(), served));
    left.push(disks.store().destroy(name)?);
    // Last: a front end may save another state for as long as the disk exists.
    left.extend(served.forget_states());
    disks.remove(served);
    let image = served.parent_id.and_then(|id| disks.image_with(id));
    if let Some(image) = image {
        image.touch();
    }
    disks
        .events()
        .tell(EventKind::Destroyed, Some(name), BTreeMap::new());
    Ok(left)
}
