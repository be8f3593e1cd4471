//! Sockets that are removed under the daemon, and made again.

use std::path::Path;
use std::sync::Arc;

use crate::daemon::disks::registry::Disks;
use crate::daemon::error::Error;
use crate::daemon::host::removal::Look;
use crate::model::EventKind;

/// Look after the sockets of disks from now on, until the registry is gone.
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

/// Have `look` called, too, whenever something that is watched has changed.
pub(crate) fn look_also(disks: &Disks, look: Look) {
    disks.factory.removals.look_also(look);
}

/// Have it noticed when what is at `path` is removed.
pub(crate) fn watch_path(disks: &Disks, path: &Path) {
    disks.factory.removals.watch(path);
}

/// Tell that the API's socket is gone, or there again.
pub(crate) fn tell_of_api(disks: &Disks, socket: &Path, is_there: bool) {
    let removed = (!is_there).then_some("the API's socket was removed");
    disks.factory.tell_of_socket(None, socket, removed);
}

/// Tell that disks end with this process, since their file was removed.
pub(crate) fn tell_of_lost_state(disks: &Disks, arena: &Path) {
    let warning = format!(
        "{arena:?} was removed: all disks are gone when this process ends; export those that are \
         needed"
    );
    tracing::error!("{warning}");
    let details = [("reason".to_owned(), warning.clone().into())].into();
    disks.events().tell(EventKind::StateRemoved, None, details);
    disks.warn(warning);
}
