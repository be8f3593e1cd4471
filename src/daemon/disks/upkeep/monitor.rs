//! Who notices that memory gets short, and sees off disks that were destroyed under a front end.
//!
//! One thread for all disks. It sleeps until the store raises its pressure signal: when a charge
//! passes a mark, when a write found no memory, when a front end is gone. Only while something is
//! full does it look again by itself.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;

use crate::daemon::Error;
use crate::daemon::disks::Disks;
use crate::daemon::disks::served::disk::{Entry, Health};
use crate::model::{DiskState, EventKind};
use crate::store::PressureSignal;
use crate::threads::{self, Role};

/// Parts of a bound, in percent, at which somebody wants to know.
const LEVELS: [u64; 2] = [80, 95];
/// A charge must fall so many percent below a mark again before passing it is told again.
const SLACK: u64 = 5;
/// How often a disk that was full is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The thread.
#[derive(Debug, Default)]
pub(crate) struct Monitor {
    ends: Arc<AtomicBool>,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// How near its limit the pool was.
    level: Mutex<usize>,
}

impl Monitor {
    pub(crate) fn stop(&self, pressure: &PressureSignal) {
        self.ends.store(true, Ordering::Release);
        pressure.raise();
        if let Some(thread) = self.thread.lock().take()
            // The last owner of the disks may be that thread itself.
            && thread.thread().id() != std::thread::current().id()
        {
            let _ = thread.join();
        }
    }
}

/// Watch over `disks` from now on, until they go.
pub(crate) fn start(disks: &Arc<Disks>) -> Result<(), Error> {
    let pressure = Arc::clone(disks.workshop.store.pressure());
    let ends = Arc::clone(&disks.monitor.ends);
    let watched = Arc::downgrade(disks);
    let thread = threads::spawn(Role::Monitor, move || watch(&watched, &pressure, &ends))
        .map_err(Error::system("start a thread"))?;
    *disks.monitor.thread.lock() = Some(thread);
    disks.mark_pool(0);
    Ok(())
}

fn watch(disks: &Weak<Disks>, pressure: &PressureSignal, ends: &AtomicBool) {
    let (mut look_within, mut was_raised) = (None, false);
    loop {
        // The signal is raised where memory is refused, and whoever wanted it counts that a moment
        // later: so there is a second look.
        let second = was_raised.then_some(LOOK_EVERY);
        was_raised = pressure.wait(sooner(look_within, second));
        if ends.load(Ordering::Acquire) {
            return;
        }
        let Some(disks) = disks.upgrade() else {
            return;
        };
        look_within = disks.look();
    }
}

/// The shorter time, if there is one.
fn sooner(one: Option<Duration>, two: Option<Duration>) -> Option<Duration> {
    one.into_iter().chain(two).min()
}

/// The level that a charge has reached, given the one that it had.
fn level(charged_bytes: u64, bound_bytes: u64, had: usize) -> usize {
    let percent = u128::from(charged_bytes) * 100 / u128::from(bound_bytes.max(1));
    let reached = |at: u64| percent >= u128::from(at);
    let stays = |(number, &at): (usize, &u64)| reached(at) || number < had && reached(at - SLACK);
    LEVELS.iter().enumerate().filter(|&it| stays(it)).count()
}

/// The marks above and below which a charge of this level is looked at again.
fn marks(bound_bytes: u64, level: usize) -> (u64, u64) {
    let part = |percent: u64| {
        let bytes = u128::from(bound_bytes) * u128::from(percent) / 100;
        u64::try_from(bytes).unwrap_or(u64::MAX)
    };
    let above = LEVELS.get(level).map_or(u64::MAX, |&at| part(at));
    let below = level.checked_sub(1).and_then(|level| LEVELS.get(level));
    (above, below.map_or(0, |&at| part(at - SLACK)))
}

impl Disks {
    fn mark_pool(&self, level: usize) {
        let store = &self.workshop.store;
        let (above, below) = marks(store.limit_bytes(), level);
        store.set_marks(above, below);
        *self.monitor.level.lock() = level;
    }

    /// Have the signal raised when the charge of a disk comes near its quota.
    pub(crate) fn mark(&self, entry: &Entry) {
        let Ok(info) = entry.disk.get_info() else {
            return;
        };
        let (above, below) = match info.spec.quota_bytes {
            Some(quota_bytes) => marks(quota_bytes, entry.health.lock().level),
            None => (u64::MAX, 0),
        };
        entry.disk.set_marks(above, below);
    }

    /// Look at everything; returns when to look again, if that is not for the signal to say.
    fn look(&self) -> Option<Duration> {
        self.reap_ghosts();
        self.look_at_pool();
        let mut is_full = false;
        for entry in self.entries() {
            is_full |= self.look_at(&entry);
        }
        sooner(is_full.then_some(LOOK_EVERY), self.end_lonely_imports())
    }

    /// Let go of destroyed disks whose last front end is gone.
    fn reap_ghosts(&self) {
        let mut table = self.table.write();
        let (stay, gone) = std::mem::take(&mut table.ghosts)
            .into_iter()
            .partition::<Vec<_>, _>(|ghost| ghost.is_attached());
        table.ghosts = stay;
        // They end without the table.
        drop(table);
        drop(gone);
    }

    fn look_at_pool(&self) {
        let store = &self.workshop.store;
        let (charged_bytes, bound_bytes) = (store.charged_bytes(), store.limit_bytes());
        let had = *self.monitor.level.lock();
        let level = level(charged_bytes, bound_bytes, had);
        if level != had {
            self.mark_pool(level);
            self.tell_of_level(None, level, had, charged_bytes, bound_bytes);
        }
    }

    /// Look at one disk; whether it is full.
    fn look_at(&self, entry: &Entry) -> bool {
        let Ok(info) = entry.disk.get_info() else {
            return false;
        };
        let had = *entry.health.lock();
        let mut now = had;
        if let Some(quota_bytes) = info.spec.quota_bytes {
            now.level = level(info.charged_bytes, quota_bytes, had.level);
            if now.level != had.level {
                let (name, charged) = (Some(entry.name.as_str()), info.charged_bytes);
                self.tell_of_level(name, now.level, had.level, charged, quota_bytes);
            }
        }
        now.full_events = entry.full_events();
        let store = &self.workshop.store;
        let room = |charged: u64, bound: u64| {
            bound.saturating_sub(charged) >= ROOM_BYTES.max(bound / ROOM_PART)
        };
        let has_room = room(store.charged_bytes(), store.limit_bytes())
            && info
                .spec
                .quota_bytes
                .is_none_or(|quota| room(info.charged_bytes, quota));
        let was_full = matches!(had.state, DiskState::Full | DiskState::Stalled);
        now.state = if entry.failure().is_some() {
            DiskState::Failed
        } else if entry.is_importing() {
            DiskState::Importing
        } else if entry.stalled() > 0 {
            DiskState::Stalled
        } else if now.full_events > had.full_events || was_full && !has_room {
            DiskState::Full
        } else {
            DiskState::Ok
        };
        self.settle(entry, had, now);
        matches!(now.state, DiskState::Full | DiskState::Stalled)
    }

    fn settle(&self, entry: &Entry, had: Health, now: Health) {
        *entry.health.lock() = now;
        if now.level != had.level {
            self.mark(entry);
        }
        let details = BTreeMap::from([(
            "requests".to_owned(),
            (now.full_events - had.full_events).into(),
        )]);
        let events = &self.workshop.events;
        match (had.state, now.state) {
            (DiskState::Ok, DiskState::Full | DiskState::Stalled) => {
                tracing::warn!(disk = entry.name, "a write found no memory");
                events.tell(EventKind::Full, Some(&entry.name), details);
            }
            (DiskState::Full | DiskState::Stalled, DiskState::Ok) => {
                events.tell(EventKind::Room, Some(&entry.name), BTreeMap::new());
            }
            _ => {}
        }
    }

    fn tell_of_level(
        &self,
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
        self.workshop
            .events
            .tell(EventKind::Watermark, disk, details);
    }
}

/// What must be free so that something is no longer full: a page and the nodes that may lead to it,
/// and a part of its bound, or the next write would find it full again.
const ROOM_BYTES: u64 = 32 << 10;
const ROOM_PART: u64 = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_is_left_later_than_it_is_reached() {
        assert_eq!(level(79, 100, 0), 0);
        assert_eq!(level(80, 100, 0), 1);
        assert_eq!(level(76, 100, 1), 1);
        assert_eq!(level(74, 100, 1), 0);
        assert_eq!(level(100, 100, 0), 2);
        assert_eq!(level(90, 100, 2), 2);
        assert_eq!(level(89, 100, 2), 1);
    }

    #[test]
    fn marks_are_where_the_level_changes() {
        assert_eq!(marks(1000, 0), (800, 0));
        assert_eq!(marks(1000, 1), (950, 750));
        assert_eq!(marks(1000, 2), (u64::MAX, 900));
    }
}
