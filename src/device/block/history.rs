//! The history of a disk: its content at chosen moments, to which one can go back.
//!
//! A *point* is a snapshot that the store takes in O(1), at the very moment: before a flush is
//! answered, or once so much was written. It shares all of its memory with the disk, and later has
//! what was overwritten since. The thread that serves the flush takes it, under locks that are held
//! for some microseconds; a disk without a history touches none of them. If nothing was written
//! since the last point there is nothing to take, so flushes of several queues at once make one
//! point. Dropping points takes longer, and is left to a thread of the daemon.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwapOption;
use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::store::{Disk, Error, Store};

/// How many points there may be beyond those that are kept, until the oldest are dropped. Beyond
/// that moments are missed: a guest must not take memory faster than it is freed.
const MOST_TOO_MANY: usize = 512;

/// After how many points the thread that drops some is woken.
const TIDY_EVERY: usize = 32;

/// Why a point was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// A flush was about to be answered.
    Flush,
    /// It was time.
    Time,
    /// So much was written.
    Written,
}

impl Cause {
    const ALL: [Self; 3] = [Self::Flush, Self::Time, Self::Written];

    fn word(self) -> &'static str {
        match self {
            Self::Flush => "flush",
            Self::Time => "time",
            Self::Written => "written",
        }
    }
}

/// The name of a point, as in `flush:1432`. No two points of a disk have the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PointName {
    /// Why it was taken.
    pub cause: Cause,
    /// Its number, from 1 on.
    pub number: u64,
}

impl PointName {
    /// The point that `text` names.
    pub fn parse(text: &str) -> Option<Self> {
        let (word, digits) = text.split_once(':')?;
        let cause = Cause::ALL.into_iter().find(|it| it.word() == word)?;
        // One spelling of each.
        let is_plain =
            digits.bytes().all(|digit| digit.is_ascii_digit()) && !digits.starts_with('0');
        let number = digits.parse().ok().filter(|_| is_plain)?;
        Some(Self { cause, number })
    }
}

impl fmt::Display for PointName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.cause.word(), self.number)
    }
}

/// A point.
#[derive(Clone, Copy, Debug)]
pub struct Point {
    /// Its name.
    pub name: PointName,
    /// When it was taken, in milliseconds since 1970; 0 if that is unknown.
    pub at_ms: u64,
    /// Bytes of memory that it has and the next point doesn't, once that is there and was counted.
    pub held_bytes: Option<u64>,
}

/// When points are taken, and how many are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// When.
    pub every: Every,
    /// How many are kept.
    pub keep: usize,
    /// The most bytes of memory that only they may have.
    pub limit_bytes: u64,
}

/// When points are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Every {
    /// At each flush.
    Flush,
    /// Each time that so much time has passed.
    Interval(Duration),
    /// Each time that this many bytes were written.
    Written(u64),
}

/// Wakes the thread that drops points.
#[derive(Debug, Default)]
pub struct Bell {
    rung: Mutex<bool>,
    changed: Condvar,
    is_rung: AtomicBool,
}

impl Bell {
    /// Wake it. If it is awake already, this is one load.
    pub fn ring(&self) {
        if !self.is_rung.swap(true, Ordering::AcqRel) {
            *self.rung.lock() = true;
            self.changed.notify_all();
        }
    }

    /// Wait until it was rung, or for so long.
    pub fn wait(&self, most: Option<Duration>) {
        let mut rung = self.rung.lock();
        if !*rung {
            match most {
                Some(most) => drop(self.changed.wait_for(&mut rung, most)),
                None => self.changed.wait(&mut rung),
            }
        }
        *rung = false;
        self.is_rung.store(false, Ordering::Release);
    }
}

/// The history of one disk.
#[derive(Debug)]
pub struct History {
    store: Arc<Store>,
    /// The disk's key.
    key: String,
    disk: Disk,
    /// Bytes to write between two points; 0 if points aren't taken so.
    every_bytes: AtomicU64,
    written_bytes: AtomicU64,
    bell: Arc<Bell>,
    /// Held by the thread that counts or drops points. Locked before `points`.
    tidying: Mutex<()>,
    points: Mutex<Points>,
    /// The content of the last point. It is set while `points` is locked, and read without.
    last: ArcSwapOption<Disk>,
}

#[derive(Debug)]
struct Points {
    plan: Plan,
    /// Oldest first.
    list: VecDeque<Point>,
    next: u64,
    missed: u64,
    /// Whether no more are taken.
    closed: bool,
    /// When the next one is due, if points are taken at intervals.
    due: Option<Instant>,
}

/// How much there is of a history.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    /// Points.
    pub points: usize,
    /// Bytes of memory that only they have, as of the last one.
    pub held_bytes: u64,
    /// Moments at which no point could be taken.
    pub missed: u64,
}

impl History {
    /// The history of the disk that `store` has under `key`, with the points that are there: oldest
    /// first.
    ///
    /// # Errors
    /// The store's, if a disk or point is gone.
    pub fn new(
        store: &Arc<Store>,
        key: &str,
        plan: Plan,
        found: Vec<Point>,
        bell: &Arc<Bell>,
    ) -> Result<Self, Error> {
        let last = found
            .last()
            .map(|point| store.open(&point_key(key, point.name)));
        Ok(Self {
            disk: store.open(key)?,
            store: Arc::clone(store),
            key: key.to_owned(),
            every_bytes: AtomicU64::new(every_bytes(plan.every)),
            written_bytes: AtomicU64::new(0),
            bell: Arc::clone(bell),
            tidying: Mutex::new(()),
            points: Mutex::new(Points {
                plan,
                next: found.last().map_or(0, |point| point.name.number) + 1,
                list: found.into(),
                missed: 0,
                closed: false,
                due: None,
            }),
            last: ArcSwapOption::new(last.transpose()?.map(Arc::new)),
        })
    }

    /// Follow another plan from now on. Points that there are stay, as far as it keeps them.
    pub fn set_plan(&self, plan: Plan) {
        let mut points = self.points.lock();
        points.plan = plan;
        points.due = None;
        drop(points);
        self.every_bytes
            .store(every_bytes(plan.every), Ordering::Relaxed);
        self.bell.ring();
    }

    /// The present plan.
    pub fn plan(&self) -> Plan {
        self.points.lock().plan
    }

    /// Whether nothing has changed since the last point. This is a few loads: most flushes of a
    /// storm of them find it so.
    fn is_as_last(&self) -> bool {
        let last = self.last.load();
        let is_same = |last: &Arc<Disk>| self.disk.has_tree_of(last).unwrap_or(true);
        last.as_ref().is_some_and(is_same)
    }

    /// A flush is about to be answered.
    pub(super) fn flushed(&self) {
        if self.is_as_last() {
            return;
        }
        let mut points = self.points.lock();
        if points.plan.every == Every::Flush {
            self.take_locked(&mut points, Cause::Flush);
        }
    }

    /// A write of this many bytes is about to be answered.
    pub(super) fn written(&self, bytes: u64) {
        let every = self.every_bytes.load(Ordering::Relaxed);
        if every == 0 {
            return;
        }
        let had = self.written_bytes.fetch_add(bytes, Ordering::Relaxed);
        if had / every != had.wrapping_add(bytes) / every {
            self.take(Cause::Written);
        }
    }

    /// Take a point now, unless nothing has changed since the last one.
    pub fn take(&self, cause: Cause) {
        self.take_locked(&mut self.points.lock(), cause);
    }

    fn take_locked(&self, points: &mut Points, cause: Cause) {
        // Another thread may have taken one meanwhile.
        if points.closed || self.is_as_last() {
            return;
        }
        if points.list.len() >= points.plan.keep.saturating_add(MOST_TOO_MANY) {
            points.missed += 1;
            self.bell.ring();
            return;
        }
        let name = PointName {
            cause,
            number: points.next,
        };
        let at_ms = unix_ms();
        match self
            .store
            .point(&self.key, &point_key(&self.key, name), at_ms)
        {
            Ok(taken) => {
                points.next += 1;
                self.last.store(Some(Arc::new(taken)));
                points.list.push_back(Point {
                    name,
                    at_ms,
                    held_bytes: None,
                });
            }
            // Without memory, or with as many disks as the store can have.
            Err(_) => points.missed += 1,
        }
        // Not at each one: that would be a system call for each flush.
        let extra = points.list.len().saturating_sub(points.plan.keep);
        if extra >= TIDY_EVERY || points.next.is_multiple_of(TIDY_EVERY as u64) {
            self.bell.ring();
        }
    }

    /// All points, oldest first.
    pub fn points(&self) -> Vec<Point> {
        self.points.lock().list.iter().copied().collect()
    }

    /// Whether there is a point of this name.
    pub fn has(&self, name: PointName) -> bool {
        let points = self.points.lock();
        let found = points
            .list
            .binary_search_by_key(&name.number, |point| point.name.number);
        found.is_ok_and(|at| points.list[at].name == name)
    }

    /// How much there is of it.
    pub fn amount(&self) -> Amount {
        let points = self.points.lock();
        Amount {
            points: points.list.len(),
            held_bytes: points.held_bytes(),
            missed: points.missed,
        }
    }

    /// Count what points hold that have a next one now, and drop the oldest beyond the plan.
    pub fn tidy(&self) {
        let tidying = self.tidying.lock();
        self.count();
        while self.points.lock().are_too_many() && self.drop_oldest_of(&tidying) {}
    }

    /// Count the memory that each point has and the next one doesn't.
    fn count(&self) {
        loop {
            let pair = {
                let points = self.points.lock();
                let first = points
                    .list
                    .iter()
                    .position(|point| point.held_bytes.is_none());
                first.and_then(|at| Some((points.list[at].name, points.list.get(at + 1)?.name)))
            };
            let Some((one, two)) = pair else {
                return;
            };
            let (key, next) = (point_key(&self.key, one), point_key(&self.key, two));
            // Only the thread that tidies drops points, so both are there.
            let held_bytes = self.store.only_in(&key, &next).unwrap_or(0);
            let mut points = self.points.lock();
            let found = points.list.iter_mut().find(|point| point.name == one);
            if let Some(point) = found {
                point.held_bytes = Some(held_bytes);
            }
        }
    }

    /// Drop the oldest point, unless it is the last one. Returns whether there was one.
    pub fn drop_oldest(&self) -> bool {
        self.drop_oldest_of(&self.tidying.lock())
    }

    fn drop_oldest_of(&self, _tidying: &MutexGuard<'_, ()>) -> bool {
        let oldest = {
            let mut points = self.points.lock();
            match points.list.len() {
                0 | 1 => return false,
                _ => points.list.pop_front(),
            }
        };
        let Some(oldest) = oldest else {
            return false;
        };
        if let Ok(left) = self.store.destroy(&point_key(&self.key, oldest.name)) {
            left.free();
        }
        true
    }

    /// When the oldest point was taken, if there is one that may be dropped.
    pub fn oldest_ms(&self) -> Option<u64> {
        let points = self.points.lock();
        let oldest = points.list.front().filter(|_| points.list.len() > 1);
        oldest.map(|point| point.at_ms)
    }

    /// Take a point if it is time. Returns when the next one is due, if that is a matter of time.
    pub fn tick(&self, now: Instant) -> Option<Instant> {
        let mut points = self.points.lock();
        let Every::Interval(interval) = points.plan.every else {
            return None;
        };
        let due = *points.due.get_or_insert(now + interval);
        if now < due {
            return Some(due);
        }
        self.take_locked(&mut points, Cause::Time);
        // Those that were slept through are left out.
        let next = now + interval;
        points.due = Some(next);
        Some(next)
    }

    /// End it: no more points are taken. Returns the keys of those that there are, which the caller
    /// destroys.
    pub fn close(&self) -> Vec<String> {
        let list = self.leave();
        list.iter()
            .map(|point| point_key(&self.key, point.name))
            .collect()
    }

    /// Take and drop no more points. Returns those that there are, which another history may have:
    /// oldest first.
    pub fn leave(&self) -> Vec<Point> {
        let _tidying = self.tidying.lock();
        let mut points = self.points.lock();
        points.closed = true;
        self.last.store(None);
        std::mem::take(&mut points.list).into()
    }
}

impl Points {
    fn held_bytes(&self) -> u64 {
        self.list.iter().filter_map(|point| point.held_bytes).sum()
    }

    fn are_too_many(&self) -> bool {
        self.list.len() > self.plan.keep || self.held_bytes() > self.plan.limit_bytes
    }
}

/// The store's key of a point.
fn point_key(disk: &str, point: PointName) -> String {
    format!("{disk}@{point}")
}

fn every_bytes(every: Every) -> u64 {
    match every {
        Every::Written(bytes) => bytes,
        Every::Flush | Every::Interval(_) => 0,
    }
}

fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    u64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}
