//! Recording what changes a disk, for looking at what a crash at any moment could have left.
//!
//! The content before the first request is a snapshot of the disk, `recording`; the requests are in
//! a log of their own.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::branch::snapshots;
use super::content::Reader;
use crate::crash::log::{Log, MOST_MARK_BYTES, OWN_SECTOR_BYTES, ReadAt};
use crate::daemon::disks::registry::Disks;
use crate::daemon::disks::served::disk::ServedDisk;
use crate::daemon::disks::served::filling::fill;
use crate::daemon::disks::served::recording::{BASE, Recording, log_key};
use crate::daemon::disks::settings::names::IMPORT_PREFIX;
use crate::daemon::disks::settings::problems::{conflict, internal, invalid};
use crate::device::QueueStats;
use crate::model::{self, EventKind, Missing, Problem, RecordRequest};
use crate::store::{
    Bytes, Disk, DiskSpec, Leftover, MAX_CAPACITY_BYTES, OnFull, SectorSize, Store,
};

/// How long to wait for requests that began before the recording.
const SETTLES_WITHIN: Duration = Duration::from_secs(2);
/// More requests than a worker takes from a queue at once.
const ENOUGH_ANSWERED: u64 = 1024;
/// The least memory of a log.
const LEAST_LIMIT_BYTES: u64 = 64 << 10;

/// Begin to record a disk, also while a front end uses it.
///
/// # Errors
/// `not-found`; `invalid`; `conflict` if it has a recording, or a snapshot in the place of its
/// base; `over-budget`.
pub fn start(
    disks: &Disks,
    name: &str,
    request: &RecordRequest,
) -> Result<model::Recording, Problem> {
    let _control = disks.control();
    let served = disks.find(name)?;
    served.check_whole("record it")?;
    check_none(&served)?;
    let limit_bytes = request.limit_bytes;
    let limit_bytes = limit_bytes.unwrap_or_else(|| disks.store().limit_bytes() / 4);
    if limit_bytes < LEAST_LIMIT_BYTES {
        let detail = format!(
            "{} is not enough for a log: give it at least {}",
            Bytes(limit_bytes),
            Bytes(LEAST_LIMIT_BYTES)
        );
        return Err(invalid("limit_bytes", detail));
    }
    let size_bytes = served.disk.capacity().bytes();
    let usual = size_bytes.saturating_sub(4096) / 512;
    let mark_sector = request.mark_sector.unwrap_or(usual);
    if mark_sector >= size_bytes / 512 {
        let detail = format!(
            "sector {mark_sector} is not inside disk {name:?}, which has {}",
            size_bytes / 512
        );
        return Err(invalid("mark_sector", detail));
    }
    let (store, key) = (disks.store(), log_key(served.id));
    let log = store.create(&key, &log_spec(Some(limit_bytes)))?;
    let begun = begin(disks, &served, log, mark_sector);
    let recording = begun.inspect_err(|_| {
        served.server.device().volume().set_tap(None);
        drop(store.destroy(&key));
    })?;
    let described = recording.describe();
    *served.recording.lock() = Some(recording);
    disks
        .events()
        .tell_with(EventKind::Recording, name, "base", format!("{name}@{BASE}"));
    described
}

fn begin(
    disks: &Disks,
    served: &Arc<ServedDisk>,
    log: Disk,
    mark_sector: u64,
) -> Result<Arc<Recording>, Problem> {
    let (name, volume) = (&served.name, served.server.device().volume());
    let recording = Recording::new(name, disks.events(), volume, log, mark_sector)?;
    let recording = Arc::new(recording);
    volume.set_tap(Some(Arc::clone(&recording) as _));
    settle(served);
    recording.begin(|| snapshots::take_locked(disks, served, BASE))?;
    Ok(recording)
}

/// Wait until the requests that began unseen have ended: a queue has none in flight, or has
/// answered more since than any worker serves at once. What takes longer than the bound is a long
/// request, whose steps are seen, or one that waits and is seen when it is tried again.
fn settle(served: &ServedDisk) {
    let volume = served.server.device().volume();
    let until = Instant::now() + SETTLES_WITHIN;
    // A worker may have looked for a tap, found none, and not yet shown that it serves something.
    std::thread::sleep(Duration::from_millis(5));
    let before = volume.stats().queues;
    let mut busy: Vec<usize> = (0..before.len()).collect();
    while !busy.is_empty() && Instant::now() < until {
        let now = volume.stats().queues;
        busy.retain(|&queue| match (before.get(queue), now.get(queue)) {
            (Some(before), Some(now)) => {
                now.in_flight > 0 && answered(now) - answered(before) < ENOUGH_ANSWERED
            }
            _ => false,
        });
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// How many requests of a queue were answered.
fn answered(queue: &QueueStats) -> u64 {
    let QueueStats {
        reads,
        writes,
        flushes,
        discards,
        write_zeroes,
        others,
        ..
    } = queue;
    let all = [reads, writes, flushes, discards, write_zeroes, others];
    all.iter().map(|operation| operation.completed).sum()
}

/// Check that a disk has no recording, and no snapshot in the place of its base.
fn check_none(served: &ServedDisk) -> Result<(), Problem> {
    let name = &served.name;
    if served.recording.lock().is_none() {
        if served.snapshots.lock().contains(BASE) {
            let base = format!("{name}@{BASE}");
            return Err(conflict(format!(
                "snapshot {base:?} is in the way: a recording keeps under that name what it began \
                 with; rename it: 'ramblk rename {base} NEW'"
            )));
        }
        return Ok(());
    }
    Err(conflict(format!(
        "disk {name:?} has a recording: export what you need of it, and remove it first (ramblk \
         record rm {name})"
    )))
}

fn log_spec(quota_bytes: Option<u64>) -> DiskSpec {
    DiskSpec {
        quota_bytes,
        on_full: OnFull::Error,
        ..DiskSpec::new(SectorSize::S512, MAX_CAPACITY_BYTES)
    }
}

fn find(disks: &Disks, name: &str) -> Result<(Arc<ServedDisk>, Arc<Recording>), Problem> {
    let served = disks.find(name)?;
    let recording = served.recording.lock().clone();
    let none = || {
        let detail = format!("disk {name:?} has no recording: start one first");
        Problem::missing(Missing::Recording, detail)
    };
    Ok((served, recording.ok_or_else(none)?))
}

/// Describe the recording of a disk.
///
/// # Errors
/// `not-found`.
pub fn show(disks: &Disks, name: &str) -> Result<model::Recording, Problem> {
    find(disks, name)?.1.describe()
}

/// End the recording of a disk, if it hasn't ended by itself. What was recorded is kept.
///
/// # Errors
/// `not-found`.
pub fn stop(disks: &Disks, name: &str) -> Result<model::Recording, Problem> {
    let (_, recording) = find(disks, name)?;
    recording.end("it was stopped");
    recording.describe()
}

/// Add a mark to the recording of a disk, at this moment.
///
/// # Errors
/// `not-found`; `invalid`; `conflict` if the recording has ended.
pub fn mark(disks: &Disks, name: &str, text: &str) -> Result<model::Recording, Problem> {
    if text.is_empty() || text.len() > MOST_MARK_BYTES || text.contains(['\0', '\n']) {
        let detail = format!("a mark is one line of 1 to {MOST_MARK_BYTES} bytes");
        return Err(invalid("text", detail));
    }
    let (_, recording) = find(disks, name)?;
    if recording.mark(text) {
        return recording.describe();
    }
    let reason = recording.describe()?.reason.unwrap_or_default();
    Err(conflict(format!(
        "the recording of disk {name:?} has ended: {reason}"
    )))
}

/// Remove the recording of a disk, and its base.
///
/// # Errors
/// `not-found`; `conflict` if disks were forked from the base, without `force`.
pub fn remove(disks: &Disks, name: &str, force: bool) -> Result<Vec<Leftover>, Problem> {
    let _control = disks.control();
    let (served, recording) = find(disks, name)?;
    let has_base = served.snapshots.lock().contains(BASE);
    if has_base && !force {
        let base = format!("{name}@{BASE}");
        snapshots::check_children(&base, &disks.children(name, Some(BASE)))?;
    }
    recording.end("it was removed");
    let mut left = Vec::new();
    if has_base {
        left.push(snapshots::end_locked(disks, &served, BASE)?);
    }
    left.extend(forget(disks.store(), &served));
    Ok(left)
}

/// Remove the log of a disk, if it has one. The caller holds the control lock.
pub(crate) fn forget(store: &Store, served: &ServedDisk) -> Option<Leftover> {
    let recording = served.recording.lock().take()?;
    recording.end("its disk was destroyed");
    store.destroy(&log_key(served.id)).ok()
}

/// The log of a disk, at this moment: its bytes, and how many there are.
///
/// # Errors
/// `not-found`; `over-budget`.
pub fn log(disks: &Disks, name: &str) -> Result<(Reader, u64), Problem> {
    let (served, recording) = find(disks, name)?;
    let length_bytes = recording.describe()?.length_bytes;
    let reader = Reader::of_key(disks.store(), &log_key(served.id))?;
    Ok((reader, length_bytes))
}

/// A log that arrives, to be explored as a recording of a disk.
#[derive(Debug)]
pub struct LogUpload {
    served: Arc<ServedDisk>,
    store: Arc<Store>,
    log: Disk,
    key: String,
}

impl Drop for LogUpload {
    fn drop(&mut self) {
        // A log that became a recording has another key.
        let _ = self.store.destroy(&self.key);
    }
}

/// Begin to receive a log that was recorded elsewhere, whose base is the disk's present content.
///
/// # Errors
/// `not-found`; `conflict` if the disk has a recording; `over-budget`.
pub fn begin_import(disks: &Disks, name: &str) -> Result<LogUpload, Problem> {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let _control = disks.control();
    let served = disks.find(name)?;
    served.check_whole("import a log for it")?;
    check_none(&served)?;
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let key = format!("{IMPORT_PREFIX}{}.l{number}", served.id);
    let store = Arc::clone(disks.store());
    let log = store.create(&key, &log_spec(None))?.into_never_waiting();
    Ok(LogUpload {
        served,
        store,
        log,
        key,
    })
}

impl LogUpload {
    /// Write bytes of the log.
    ///
    /// # Errors
    /// `invalid` if there is no room or they aren't aligned; `over-budget`.
    pub fn write(&self, start_bytes: u64, bytes: &[u8]) -> Result<(), Problem> {
        fill(&self.log, start_bytes, bytes).map(drop)
    }

    /// The longest log.
    pub fn size_bytes(&self) -> u64 {
        self.log.capacity().bytes()
    }
}

/// The whole log has arrived: check it, and make it a recording.
///
/// # Errors
/// `invalid` if it is no log, is cut off, or is of another disk; `conflict`; `over-budget`.
pub fn import(
    disks: &Disks,
    upload: &LogUpload,
    length_bytes: u64,
) -> Result<model::Recording, Problem> {
    let served = &upload.served;
    let source = Bounded {
        disk: &upload.log,
        length_bytes,
    };
    // Before the lock, since it takes as long as the log is long.
    let read = Log::read(&source, served.disk.capacity().bytes());
    let read = read.map_err(|error| invalid("body", error.to_string()))?;
    let _control = disks.control();
    check_none(served)?;
    Recording::keep_imported(&upload.log, &read, length_bytes)?;
    snapshots::take_locked(disks, served, BASE)?;
    let key = log_key(served.id);
    let renamed = upload.store.rename(&upload.key, &key);
    if let Err(error) = renamed {
        drop(snapshots::end_locked(disks, served, BASE));
        return Err(error.into());
    }
    let log = upload.store.open(&key).map_err(internal)?;
    let recording = Arc::new(Recording::found(&served.name, disks.events(), log)?);
    let described = recording.describe();
    *served.recording.lock() = Some(recording);
    described
}

/// The first bytes of a disk.
struct Bounded<'d> {
    disk: &'d Disk,
    length_bytes: u64,
}

impl ReadAt for Bounded<'_> {
    fn length_bytes(&self) -> u64 {
        self.length_bytes
    }

    fn read_at(&self, at: u64, into: &mut [u8]) -> std::io::Result<()> {
        // The superblock alone is shorter than a sector.
        let mut whole = vec![0; into.len().next_multiple_of(512)];
        let read = self.disk.read(at / OWN_SECTOR_BYTES, &mut [&mut whole]);
        read.map_err(std::io::Error::other)?;
        into.copy_from_slice(&whole[..into.len()]);
        Ok(())
    }
}
