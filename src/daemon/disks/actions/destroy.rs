//! The end of a disk.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::snapshots::{self, check_children};
use super::upload;
use crate::daemon::disks::registry::Disks;
use crate::daemon::disks::served::disk::ServedDisk;
use crate::daemon::disks::settings::problems::{attached, conflict};
use crate::model::{EventKind, Problem};
use crate::store::Leftover;

/// What else may go with a disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DestroyOptions {
    /// Destroy it though a front end is connected, whose guest gets errors from then on, or disks
    /// were forked from it, which can't be reset any more.
    pub force: bool,
    /// Destroy its snapshots too.
    pub snapshots: bool,
    /// Only if its first content is not whole yet.
    pub importing: bool,
}

/// Destroy a disk. Takes time with what it holds. A guest that still uses it gets errors from then
/// on, until its front end goes.
///
/// # Errors
/// `not-found`; without `force`, `attached`, and `conflict` if disks were forked from it;
/// `conflict` if it has snapshots that are not to go.
pub fn destroy(disks: &Disks, name: &str, options: DestroyOptions) -> Result<(), Problem> {
    end(disks, name, options).map(drop)
}

/// As [`destroy`], but at once: the memory is freed when the answer is dropped.
///
/// # Errors
/// As there.
pub fn end(disks: &Disks, name: &str, options: DestroyOptions) -> Result<Vec<Leftover>, Problem> {
    let _control = disks.control();
    let served = disks.find(name)?;
    end_locked(disks, &served, options)
}

/// As [`end`]. Control is held.
pub(crate) fn end_locked(
    disks: &Disks,
    served: &Arc<ServedDisk>,
    options: DestroyOptions,
) -> Result<Vec<Leftover>, Problem> {
    let name = served.name.as_str();
    if options.importing {
        served.check_importing()?;
    }
    if !options.force && served.is_attached() {
        return Err(attached(name, "destroy it"));
    }
    let snapshots: Vec<String> = served.snapshots.lock().iter().cloned().collect();
    if !snapshots.is_empty() && !options.snapshots {
        return Err(conflict(format!(
            "disk {name:?} has snapshots ({}); destroy these first, or all of them with it",
            snapshots.join(", ")
        )));
    }
    if !options.force {
        check_children(name, &disks.children(name, None))?;
    }
    served.stop_listening();
    let mut left = Vec::new();
    for snapshot in &snapshots {
        left.push(snapshots::end_locked(disks, served, snapshot)?);
    }
    left.extend(upload::end(disks, served));
    left.push(disks.store().destroy(name)?);
    // Only now: a front end may save another one as long as there is a disk.
    left.extend(served.forget_states());
    disks.remove(served);
    disks
        .events()
        .tell(EventKind::Destroyed, Some(name), BTreeMap::new());
    Ok(left)
}
