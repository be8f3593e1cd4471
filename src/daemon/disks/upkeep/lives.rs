//! Ends the lives of disks: by time, or after their front ends have left.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::daemon::disks::actions::branch::reset;
use crate::daemon::disks::actions::destroy::{self, DestroyOptions};
use crate::daemon::disks::registry::Disks;
use crate::daemon::disks::served::disk::ServedDisk;
use crate::model::{Ending, EventKind, OnDetach, Problem, ResetRequest};
use crate::store::{Change, Leftover};

/// How long to sleep at most while a life has an end: the boot clock goes on while the host sleeps,
/// and the monitor's doesn't.
const LONGEST: Duration = Duration::from_secs(5);

/// End the lives that are over. Returns when to look again.
pub(crate) fn end_overdue(disks: &Disks) -> Option<Duration> {
    let mut next: Option<Duration> = None;
    for served in disks.all() {
        note_use(&served);
        let Some(ending) = served.ending() else {
            continue;
        };
        if ending.in_ms == 0 {
            end(disks, &served);
            continue;
        }
        let left = Duration::from_millis(ending.in_ms).min(LONGEST);
        next = Some(next.map_or(left, |next| next.min(left)));
    }
    next
}

/// Store that a disk was used, which the next process can't know otherwise.
fn note_use(served: &ServedDisk) {
    let (life, lived) = {
        let metadata = served.metadata.lock();
        (metadata.life, metadata.lived)
    };
    if life.on_detach.is_keep() || lived.used || !served.attendance.is_used() {
        return;
    }
    let used = served.change(|it| it.lived.used = true, &Change::default(), None);
    if let Err(problem) = used {
        tracing::error!(disk = served.name, %problem, "can't store that it was used");
    }
}

/// End the life of a disk that is over.
fn end(disks: &Disks, served: &Arc<ServedDisk>) {
    let control = disks.control();
    let there = disks.find(&served.name);
    let same = there.is_ok_and(|there| Arc::ptr_eq(&there, served));
    let ending = served.ending().filter(|ending| ending.in_ms == 0);
    let (Some(ending), true) = (ending, same) else {
        return;
    };
    let ended = destroy::check_unprotected(disks, served, true)
        .and_then(|()| end_locked(disks, served, &ending));
    drop(control);
    match ended {
        // Freed without the lock.
        Ok(left) => drop(left),
        Err(problem) => spare(disks, served, &ending, &problem),
    }
}

fn details(ending: &Ending, more: Option<(&str, &str)>) -> BTreeMap<String, crate::model::Detail> {
    let by = [("by", ending.by.name()), ("action", ending.action.name())];
    let all = by.into_iter().chain(more);
    all.map(|(key, value)| (key.to_owned(), value.into()))
        .collect()
}

fn end_locked(
    disks: &Disks,
    served: &Arc<ServedDisk>,
    ending: &Ending,
) -> Result<Vec<Leftover>, Problem> {
    let left = match ending.action {
        OnDetach::Keep => Vec::new(),
        OnDetach::Reset => {
            let one = std::slice::from_ref(served);
            reset::reset_locked(disks, one, &ResetRequest::default())?
        }
        OnDetach::Destroy => {
            let options = DestroyOptions {
                force: true,
                snapshots: true,
                importing: false,
            };
            destroy::end_locked(disks, served, options)?
        }
    };
    tracing::info!(
        disk = served.name,
        by = ending.by.name(),
        action = ending.action.name(),
        "the life of a disk is over"
    );
    let events = disks.events();
    events.tell(EventKind::Ended, Some(&served.name), details(ending, None));
    Ok(left)
}

/// A disk stays, though its life is over.
fn spare(disks: &Disks, served: &ServedDisk, ending: &Ending, problem: &Problem) {
    let is_new = served.spared(ending);
    if is_new {
        tracing::warn!(disk = served.name, %problem, "the life of a disk is over, and it stays");
        let details = details(ending, Some(("reason", &problem.detail)));
        disks
            .events()
            .tell(EventKind::Spared, Some(&served.name), details);
    }
}
