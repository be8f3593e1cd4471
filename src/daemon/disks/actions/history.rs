//! The histories of disks: turning them on and off, and their points.

use std::sync::Arc;
use std::time::Duration;

use crate::daemon::disks::registry::Disks;
use crate::daemon::disks::served::disk::ServedDisk;
use crate::daemon::disks::settings::problems::internal;
use crate::device::history::{Every, History, Plan, Point};
use crate::model::{self, HistoryAmount, HistoryPoint, HistorySettings, Problem};
use crate::store::Leftover;

/// The part of the memory limit that the points of a disk may take if nothing else is said.
const USUAL_PART: u64 = 4;

fn plan(disks: &Disks, settings: &HistorySettings) -> Plan {
    let every = match (settings.interval_ms, settings.written_bytes) {
        (Some(ms), _) => Every::Interval(Duration::from_millis(ms)),
        (None, Some(bytes)) => Every::Written(bytes),
        (None, None) => Every::Flush,
    };
    let usual_bytes = disks.store().limit_bytes() / USUAL_PART;
    Plan {
        every,
        keep: usize::try_from(settings.keep).unwrap_or(usize::MAX),
        limit_bytes: settings.limit_bytes.unwrap_or(usual_bytes),
    }
}

/// Let a disk have the history that its settings ask for: start one, follow another plan, or end
/// it. The caller holds the control lock, and frees what is returned without it.
///
/// # Errors
/// There is no thread left.
pub(crate) fn follow(
    disks: &Disks,
    served: &ServedDisk,
    wanted: Option<&HistorySettings>,
) -> Result<Vec<Leftover>, Problem> {
    let volume = served.server.device().volume();
    match (volume.history(), wanted) {
        (_, None) => Ok(end(disks, served)),
        (None, Some(wanted)) => start(disks, served, wanted, Vec::new()).map(|()| Vec::new()),
        (Some(history), Some(wanted)) => {
            history.set_plan(plan(disks, wanted));
            volume.set_history(Some(history));
            Ok(Vec::new())
        }
    }
}

/// Start the history of a disk with the points that were found of it, oldest first.
///
/// # Errors
/// The same as [`follow`].
pub(crate) fn start(
    disks: &Disks,
    served: &ServedDisk,
    wanted: &HistorySettings,
    found: Vec<Point>,
) -> Result<(), Problem> {
    let (store, plan) = (disks.store(), plan(disks, wanted));
    let history = History::new(store, &served.name, plan, found, disks.keeper.bell())?;
    let history = Arc::new(history);
    disks.keeper.keep(&history).map_err(internal)?;
    served.server.device().volume().set_history(Some(history));
    Ok(())
}

/// End the history of a disk, and destroy its points.
pub(crate) fn end(disks: &Disks, served: &ServedDisk) -> Vec<Leftover> {
    let volume = served.server.device().volume();
    let Some(history) = volume.history() else {
        return Vec::new();
    };
    volume.set_history(None);
    let keys = history.close();
    let destroyed = keys.iter().map(|key| disks.store().destroy(key));
    destroyed.filter_map(Result::ok).collect()
}

/// How much there is of a disk's history, if it has one.
pub(crate) fn amount(served: &ServedDisk) -> Option<HistoryAmount> {
    let amount = served.server.device().volume().history()?.amount();
    Some(HistoryAmount {
        points: amount.points as u64,
        held_bytes: amount.held_bytes,
        missed: amount.missed,
    })
}

/// The history of a disk, after what its plan doesn't keep was dropped.
///
/// # Errors
/// `not-found`.
pub fn list(disks: &Disks, name: &str) -> Result<model::History, Problem> {
    let served = disks.find(name)?;
    let history = served.server.device().volume().history();
    if let Some(history) = &history {
        history.tidy();
    }
    let points = history.map(|history| history.points()).unwrap_or_default();
    let points = points.iter().map(|point| HistoryPoint {
        name: point.name.to_string(),
        at_ms: point.at_ms,
        held_bytes: point.held_bytes,
    });
    let settings = served.metadata.lock().history;
    Ok(model::History {
        disk: name.to_owned(),
        settings,
        amount: amount(&served).unwrap_or_default(),
        points: points.collect(),
    })
}
