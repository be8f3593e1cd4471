//! Creates the sockets of disks again if they are removed.

use std::path::Path;
use std::sync::Arc;

use crate::daemon::disks::registry::Disks;
use crate::daemon::error::Error;
use crate::daemon::host::removal::Look;
use crate::model::EventKind;

/// Watch the sockets of disks, until the registry is dropped.
///
/// # Errors
/// [`Error::System`] if there is no thread left.
pub(crate) fn watch(disks: &Arc<Disks>) -> Result<(), Error> {
    let watched = Arc::downgrade(disks);
    let removals = &disks.factory.removals;
    removals.look_also(Box::new(move || {
        let Some(disks) = watched.upgrade() else {
            return false;
        };
        let mut is_missing = false;
        for served in disks.all() {
            is_missing |= disks.factory.mend_socket(&served);
        }
        is_missing
    }));
    removals.start()
}

/// Add a check, which is made whenever a watched file has changed.
pub(crate) fn look_also(disks: &Disks, look: Look) {
    disks.factory.removals.look_also(look);
}

/// Watch the file at `path`.
pub(crate) fn watch_path(disks: &Disks, path: &Path) {
    disks.factory.removals.watch(path);
}

/// Send the event that the API's socket was removed, or exists again.
pub(crate) fn tell_of_api(disks: &Disks, socket: &Path, is_there: bool) {
    let removed = (!is_there).then_some("the API's socket was removed");
    disks.factory.tell_of_socket(None, socket, removed);
}

/// Warn that the disks will be lost when this process ends, since their file was removed.
pub(crate) fn tell_of_lost_state(disks: &Disks, arena: &Path) {
    let warning = format!(
        "{arena:?} was removed: all disks are lost when this process ends; export those that are \
         needed"
    );
    tracing::error!("{warning}");
    let details = [("reason".to_owned(), warning.clone().into())].into();
    disks.events().tell(EventKind::StateRemoved, None, details);
    disks.warn(warning);
}
