//! The monitor: one thread that reports lack of memory for all disks, and drops detached disks.
//!
//! It sleeps until the pressure signal is raised: a charge passes a mark, a write finds no memory,
//! or a front end disconnects. Only while a disk or the pool is full does it check again by itself.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::lives::end_overdue;
use super::unclaimed::destroy_overdue;
use crate::daemon::disks::actions::golden::remove::{Droppable, drop_one, next_within};
use crate::daemon::disks::registry::Disks;
use crate::daemon::disks::served::disk::ServedDisk;
use crate::daemon::disks::served::health::{Health, LEVELS, level, marks};
use crate::daemon::error::Error;
use crate::model::{DiskState, EventKind};
use crate::store::{DiskInfo, PressureSignal};
use crate::threads::{self, Role};

/// How often to check a disk that was full.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What must be free before a bound counts as no longer reached: a page and the nodes that lead to
/// it, and a part of the bound, or the next write would reach it again.
const ROOM_BYTES: u64 = 32 << 10;
const ROOM_PART: u64 = 64;

/// How long a golden image stays at least after it was used, while memory is short and not yet
/// refused. The client that has pulled it is about to fork it.
const FRESH: Duration = Duration::from_secs(2);

/// Start the monitor of `disks`. It ends with the registry.
///
/// # Errors
/// [`Error::System`] if there is no thread left.
pub(crate) fn start(disks: &Arc<Disks>) -> Result<(), Error> {
    let pressure = Arc::clone(disks.store().pressure());
    let ends = Arc::clone(&disks.watcher.ends);
    let watched = Arc::downgrade(disks);
    mark_pool(disks, 0);
    let thread = threads::spawn(Role::Monitor, move || watch(&watched, &pressure, &ends))
        .map_err(Error::system("start a thread"))?;
    *disks.watcher.thread.lock() = Some(thread);
    Ok(())
}

fn watch(disks: &Weak<Disks>, pressure: &PressureSignal, ends: &AtomicBool) {
    let (mut look_within, mut was_raised) = (None, false);
    let mut pool = PoolHealth::default();
    loop {
        // The signal is raised when memory is refused, and the disk counts that a moment later. So
        // check twice.
        let second = was_raised.then_some(LOOK_EVERY);
        was_raised = pressure.wait(sooner(look_within, second));
        if ends.load(Ordering::Acquire) {
            return;
        }
        let Some(disks) = disks.upgrade() else {
            return;
        };
        look_within = look(&disks, &mut pool);
    }
}

/// What the monitor knows of the pool.
#[derive(Debug, Default)]
struct PoolHealth {
    /// How near its charge was to the limit.
    level: usize,
    /// How often memory had been refused, and how often by the host.
    refusals: u64,
    host_refusals: u64,
}

/// The shorter time, if there is one.
fn sooner(one: Option<Duration>, two: Option<Duration>) -> Option<Duration> {
    one.into_iter().chain(two).min()
}

/// Check everything. Returns when to check again, if that must be without a signal.
fn look(disks: &Disks, pool: &mut PoolHealth) -> Option<Duration> {
    disks.drop_detached();
    look_at_pool(disks, &mut pool.level);
    let unused = drop_unused_images(disks, pool);
    let mut is_full = false;
    for served in disks.all() {
        is_full |= look_at(disks, &served);
    }
    let full = is_full.then_some(LOOK_EVERY);
    let unclaimed = sooner(destroy_overdue(disks), end_overdue(disks));
    sooner(sooner(full, unused), unclaimed)
}

/// Drop golden images without forks while memory is wanted: it was refused, or nearly all is taken.
/// Returns when to check again.
fn drop_unused_images(disks: &Disks, pool: &mut PoolHealth) -> Option<Duration> {
    let store = disks.store();
    let pressure = store.pressure();
    let (refusals, by_host) = (pressure.refusals(), pressure.host_refusals());
    let is_refused = std::mem::replace(&mut pool.refusals, refusals) != refusals;
    let has_host_none = std::mem::replace(&mut pool.host_refusals, by_host) != by_host;
    // The thread that was refused may have dropped one already.
    let is_short = || level(store.charged_bytes(), store.limit_bytes(), 0) == LEVELS.len();
    if has_host_none || is_refused && is_short() {
        drop_one(disks, Droppable::default());
    }
    let unused = Droppable {
        idle_for: FRESH,
        ..Droppable::default()
    };
    while is_short() && drop_one(disks, unused) {}
    // The past goes before the guests' present.
    while is_short() && disks.keeper.drop_oldest() {}
    look_at_pool(disks, &mut pool.level);
    match is_short() {
        true => next_within(disks, FRESH),
        false => None,
    }
}

/// Set the marks at which the charge of all disks leaves this level.
fn mark_pool(disks: &Disks, level: usize) {
    let store = disks.store();
    let (above, below) = marks(store.limit_bytes(), level);
    store.set_marks(above, below);
}

fn look_at_pool(disks: &Disks, pool_level: &mut usize) {
    let store = disks.store();
    let (charged_bytes, bound_bytes) = (store.charged_bytes(), store.limit_bytes());
    let had = std::mem::replace(pool_level, level(charged_bytes, bound_bytes, *pool_level));
    if *pool_level != had {
        mark_pool(disks, *pool_level);
        tell_of_level(disks, None, *pool_level, had, charged_bytes, bound_bytes);
    }
}

/// Drop the oldest points of a disk that is full by its quota: they are charged to it.
fn drop_points(served: &ServedDisk, quota_bytes: u64) {
    let Some(history) = served.server.device().volume().history() else {
        return;
    };
    let is_short = || {
        let info = served.disk.get_info();
        info.is_ok_and(|info| level(info.charged_bytes, quota_bytes, 0) == LEVELS.len())
    };
    while is_short() && history.drop_oldest() {}
}

/// Check one disk. Returns whether it is full.
fn look_at(disks: &Disks, served: &ServedDisk) -> bool {
    let quota_bytes = served
        .disk
        .get_info()
        .ok()
        .and_then(|info| info.spec.quota_bytes);
    if let Some(quota_bytes) = quota_bytes {
        drop_points(served, quota_bytes);
    }
    let Ok(info) = served.disk.get_info() else {
        return false;
    };
    let had = *served.health.lock();
    let mut now = had;
    if let Some(quota_bytes) = info.spec.quota_bytes {
        now.level = level(info.charged_bytes, quota_bytes, had.level);
        if now.level != had.level {
            let (name, charged) = (Some(served.name.as_str()), info.charged_bytes);
            tell_of_level(disks, name, now.level, had.level, charged, quota_bytes);
        }
    }
    let volume = served.server.device().volume();
    now.full_events = volume.full_events();
    let was_full = matches!(had.state, DiskState::Full | DiskState::Stalled);
    now.state = if served.failure().is_some() {
        DiskState::Failed
    } else if served.is_importing() {
        DiskState::Importing
    } else if volume.stalled() > 0 {
        DiskState::Stalled
    } else if now.full_events > had.full_events || was_full && !has_room(disks, &info) {
        DiskState::Full
    } else {
        DiskState::Ok
    };
    *served.health.lock() = now;
    if now.level != had.level {
        served.set_marks(info.spec.quota_bytes);
    }
    tell_of_state(disks, &served.name, had, now);
    matches!(now.state, DiskState::Full | DiskState::Stalled)
}

/// Whether a disk has room again.
fn has_room(disks: &Disks, info: &DiskInfo) -> bool {
    let room = |charged: u64, bound: u64| {
        bound.saturating_sub(charged) >= ROOM_BYTES.max(bound / ROOM_PART)
    };
    let store = disks.store();
    let quota_bytes = info.spec.quota_bytes;
    room(store.charged_bytes(), store.limit_bytes())
        && quota_bytes.is_none_or(|quota_bytes| room(info.charged_bytes, quota_bytes))
}

fn tell_of_state(disks: &Disks, name: &str, had: Health, now: Health) {
    let events = disks.events();
    match (had.state, now.state) {
        (DiskState::Ok, DiskState::Full | DiskState::Stalled) => {
            tracing::warn!(disk = name, "a write found no memory");
            let requests = now.full_events - had.full_events;
            events.tell_with(EventKind::Full, name, "requests", requests);
        }
        (DiskState::Full | DiskState::Stalled, DiskState::Ok) => {
            events.tell(EventKind::Room, Some(name), BTreeMap::new());
        }
        _ => {}
    }
}

fn tell_of_level(
    disks: &Disks,
    disk: Option<&str>,
    level: usize,
    had: usize,
    charged_bytes: u64,
    bound_bytes: u64,
) {
    let percent = level.checked_sub(1).and_then(|level| LEVELS.get(level));
    let details = BTreeMap::from([
        ("rising".to_owned(), (level > had).into()),
        ("percent".to_owned(), (*percent.unwrap_or(&0)).into()),
        ("charged_bytes".to_owned(), charged_bytes.into()),
        ("bound_bytes".to_owned(), bound_bytes.into()),
    ]);
    disks.events().tell(EventKind::Watermark, disk, details);
}
