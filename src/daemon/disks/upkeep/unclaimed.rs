//! Destroys disks whose first content no client sends.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::daemon::disks::actions::destroy::{self, DestroyOptions};
use crate::daemon::disks::registry::Disks;
use crate::daemon::disks::served::disk::ServedDisk;
use crate::model::EventKind;

/// Destroy disks whose first content no client has sent for the import timeout. Returns when to
/// check again.
pub(crate) fn destroy_overdue(disks: &Disks) -> Option<Duration> {
    let timeout = disks.options.import_timeout;
    let mut next: Option<Duration> = None;
    for served in disks.all().iter().filter(|served| served.is_importing()) {
        let Some(idle) = served.uploads.idle_for() else {
            continue;
        };
        let left = timeout.saturating_sub(idle);
        if left.is_zero() {
            destroy_unclaimed(disks, served);
        } else {
            next = Some(next.map_or(left, |next| next.min(left)));
        }
    }
    next
}

fn destroy_unclaimed(disks: &Disks, served: &Arc<ServedDisk>) {
    let timeout = disks.options.import_timeout;
    let control = disks.control();
    let there = disks.find(&served.name);
    let same = there.is_ok_and(|there| Arc::ptr_eq(&there, served));
    let idle = served.uploads.idle_for();
    if !same || !served.is_importing() || idle.is_none_or(|it| it < timeout) {
        return;
    }
    let reason = format!("no client sent its content for {} s", timeout.as_secs());
    tracing::warn!(
        disk = served.name,
        reason,
        "a disk that was importing is destroyed"
    );
    let image = served.metadata.lock().origin.image().cloned();
    let image = image.map(|image| ("image".to_owned(), image.name));
    let details: BTreeMap<_, _> = [("reason".to_owned(), reason)]
        .into_iter()
        .chain(image)
        .map(|(key, value)| (key, value.into()))
        .collect();
    let events = disks.events();
    events.tell(EventKind::ImportFailed, Some(&served.name), details);
    let gone = destroy::end_locked(disks, served, DestroyOptions::default());
    drop(control);
    if let Err(problem) = gone {
        tracing::error!(disk = served.name, %problem, "can't destroy it");
        // Don't try this again and again.
        served.uploads.expect();
    }
}
