//! Creates the sockets of disks again if they are removed.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::daemon::disks::registry::Disks;
use crate::daemon::disks::served::disk::ServedDisk;
use crate::daemon::error::Error;
use crate::daemon::host::removal::{Look, Round};
use crate::model::EventKind;

/// Watch the sockets of disks, until the registry is dropped.
///
/// # Errors
/// [`Error::System`] if there is no thread left.
pub(crate) fn watch(disks: &Arc<Disks>) -> Result<(), Error> {
    let watched = Arc::downgrade(disks);
    let removals = &disks.factory.removals;
    let missing = Mutex::new(BTreeSet::new());
    removals.look_also(Box::new(move |round| match watched.upgrade() {
        Some(disks) => look(&disks, round, &mut missing.lock()),
        None => false,
    }));
    removals.start()
}

/// Look at the sockets that the round names, and again at those that are `missing`. If one was
/// taken away, look at all: who did that may have taken others in ways that nothing tells. Returns
/// whether any is missing.
fn look(disks: &Disks, round: &Round, missing: &mut BTreeSet<String>) -> bool {
    let named = round.names.union(missing);
    let named = named.filter_map(|name| disks.find(name).ok());
    let mut found: Vec<Arc<ServedDisk>> = named.collect();
    let is_new = |it: &&Arc<ServedDisk>| !missing.contains(&it.name);
    let is_gone = |it: &Arc<ServedDisk>| it.unreachable().is_some();
    if round.all || found.iter().filter(is_new).any(is_gone) {
        found = disks.all();
    }
    let mend = |served: &Arc<ServedDisk>| disks.factory.mend_socket(served);
    let found = found.into_iter().filter(mend);
    *missing = found.map(|served| served.name.clone()).collect();
    !missing.is_empty()
}

/// Add a check, which is made whenever a watched file has changed.
pub(crate) fn look_also(disks: &Disks, look: Look) {
    disks.factory.removals.look_also(look);
}

/// Watch the file at `path`.
pub(crate) fn watch_path(disks: &Disks, path: &Path) {
    disks.factory.removals.watch(path, None);
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
