//! Adopting the disks, snapshots and groups that an earlier process left in the store.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::daemon::disks::actions::destroy::{self, DestroyOptions};
use crate::daemon::disks::actions::{groups, history};
use crate::daemon::disks::registry::Disks;
use crate::daemon::disks::served::cut;
use crate::daemon::disks::served::disk::{Age, ServedDisk};
use crate::daemon::disks::served::golden::Golden;
use crate::daemon::disks::served::group::LimitGroup;
use crate::daemon::disks::served::recording::{Recording, log_key};
use crate::daemon::disks::settings::golden::GoldenRecord;
use crate::daemon::disks::settings::lineage::Lineage;
use crate::daemon::disks::settings::metadata::{Decoded, Metadata, Moved};
use crate::daemon::disks::settings::names::{
    GROUP_PREFIX, IMAGE_PREFIX, IMPORT_PREFIX, READER_PREFIX, RECORD_PREFIX, STATE_PREFIX, Target,
    image_key, snapshot_key,
};
use crate::daemon::disks::settings::valid::ValidDisk;
use crate::device::Limiter;
use crate::device::history::{Point, PointName};
use crate::model::{EventKind, Limits, Problem, ProblemKind};
use crate::store::{self, Change, Disk, OwnerWords, Store};
use crate::vhost_user::crash::{self, Culprit};

/// Destroy what only the earlier process could use: snapshots of its readers, and incomplete
/// uploads. A power cut that it began is finished before that, from what is among these.
///
/// # Errors
/// The store's, of which none is expected.
pub(crate) fn forget_readers(store: &Store) -> Result<(), store::Error> {
    cut::finish(store)?;
    let is_theirs = |key: &String| {
        [READER_PREFIX, IMPORT_PREFIX]
            .iter()
            .any(|it| key.starts_with(it))
    };
    let keys = store.keys();
    let mut theirs = keys.iter().filter(|key| is_theirs(key));
    theirs.try_for_each(|key| store.destroy(key).map(drop))
}

/// A disk of the store, with its metadata decoded.
struct Found {
    id: u64,
    disk: Disk,
    valid: ValidDisk,
    /// Settings that an older version kept elsewhere.
    moved: Option<Moved>,
    /// Whether an older version made it, and it has no identity.
    is_unnamed: bool,
    limiter: Option<Arc<Limiter>>,
}

/// Put every disk of the store into the registry, and let it listen at its socket. No socket
/// listens before all disks are in the registry.
pub(crate) fn adopt(disks: &Disks) -> Result<(), Problem> {
    let _control = disks.control();
    let store = disks.store();
    forget_readers(store)?;
    let keys = store.keys();
    for key in &keys {
        if let Some(name) = key.strip_prefix(GROUP_PREFIX) {
            adopt_group(disks, key, name)?;
        }
        if key.starts_with(IMAGE_PREFIX) {
            adopt_image(disks, key)?;
        }
    }
    let named: Vec<_> = keys
        .iter()
        .filter_map(|key| Target::parse(key).ok())
        .collect();
    let found = named.iter().filter(|target| target.snapshot.is_none());
    let found: Vec<Found> = found
        .map(|target| find(disks, &target.disk))
        .collect::<Result<_, _>>()?;
    // Everything was decoded, so state of an older version can be converted. Until this instant the
    // older version can serve it, and from here on only this one.
    store.carry_over();
    let words = OwnerWords::new(store);
    let culprit = crash::culprit(&words);
    let mut adopted = Vec::new();
    for disk in found {
        adopted.push(adopt_disk(disks, disk, culprit)?);
    }
    let mut points: HashMap<&str, Vec<Point>> = HashMap::new();
    for target in &named {
        let Some(snapshot) = &target.snapshot else {
            continue;
        };
        match PointName::parse(snapshot) {
            Some(name) => {
                let point = find_point(store, target, name)?;
                points.entry(&target.disk).or_default().push(point);
            }
            None => adopt_snapshot(disks, target, snapshot)?,
        }
    }
    for served in &adopted {
        let points = points.remove(served.name.as_str()).unwrap_or_default();
        adopt_history(disks, served, points)?;
    }
    drop_stray_states(store, &keys, &adopted)?;
    adopt_recordings(disks, &keys, &adopted)?;
    crash::forget_culprit(&words);
    adopted.retain(|served| !drop_held(disks, served));
    for served in adopted.iter().filter(|served| !served.is_importing()) {
        disks.factory.listen(served)?;
    }
    Ok(())
}

/// Destroy a disk that a connection to the earlier process held. Returns whether it is gone.
fn drop_held(disks: &Disks, served: &Arc<ServedDisk>) -> bool {
    if !served.metadata.lock().held {
        return false;
    }
    let ended = destroy::end_locked(disks, served, DestroyOptions::of_held());
    if let Err(problem) = &ended {
        tracing::warn!(disk = served.name, %problem, "a crash state stays as a disk");
    }
    ended.is_ok()
}

fn adopt_group(disks: &Disks, key: &str, name: &str) -> Result<(), Problem> {
    let settings = disks.store().open(key)?.settings()?;
    let limits: Limits = serde_json::from_slice(&settings)
        .map_err(|error| damaged("group", name, &error.to_string()))?;
    disks.insert_group(LimitGroup::new(name, limits));
    Ok(())
}

fn adopt_image(disks: &Disks, key: &str) -> Result<(), Problem> {
    let disk = disks.store().open(key)?;
    let record = GoldenRecord::decode(&disk.settings()?);
    let record = record.ok().filter(|it| image_key(&it.digest) == key);
    let Some(record) = record else {
        // Its disks don't need it, so the daemon starts without it. Keep the data.
        tracing::warn!(
            key,
            "the settings of an image can't be read; it is left as it is"
        );
        return Ok(());
    };
    disks.insert_image(Golden::new(disk, record)?);
    Ok(())
}

/// Read and check a disk of the store, without changing anything.
fn find(disks: &Disks, name: &str) -> Result<Found, Problem> {
    let disk = disks.store().open(name)?.into_owner();
    let info = disk.get_info()?;
    let Decoded { metadata, moved } = Decoded::new(&disk.settings()?)
        .map_err(|error| damaged("disk", name, &error.to_string()))?;
    let spec = moved.map_or(info.spec, |moved| moved.spec(info.spec));
    let group = metadata.group.as_deref();
    let limiter = groups::limiter(disks, group)?;
    Ok(Found {
        id: info.id,
        disk,
        valid: ValidDisk::found(name, &metadata, &spec)?,
        moved,
        is_unnamed: metadata.identity.is_nothing(),
        limiter,
    })
}

fn adopt_disk(
    disks: &Disks,
    found: Found,
    culprit: Option<Culprit>,
) -> Result<Arc<ServedDisk>, Problem> {
    let valid = found.valid;
    if let Some(moved) = found.moved {
        found.disk.change(&moved.change(&valid.blob), None)?;
    } else if found.is_unnamed {
        found.disk.set_settings(&valid.blob)?;
    }
    let served = disks.factory.prepare(found.disk, &valid, Age::Old)?;
    served.limit(&valid.settings.limits, found.limiter);
    if let Some(culprit) = culprit.filter(|culprit| culprit.disk_id == found.id) {
        blame(disks, &served, &culprit);
    }
    Ok(disks.insert(served))
}

/// Mark a disk as failed, on one of whose requests the earlier process crashed.
fn blame(disks: &Disks, served: &ServedDisk, culprit: &Culprit) {
    let reason = format!(
        "ramblk crashed twice while it served a request of this disk (queue {}, descriptor {}); \
         every request fails until it is repaired",
        culprit.queue, culprit.head
    );
    tracing::error!(
        disk = served.name,
        "{reason}: ramblk repair {}",
        served.name
    );
    let fail = |metadata: &mut Metadata| metadata.failure = Some(reason.clone());
    if let Err(problem) = served.change(fail, &Change::default(), None) {
        // It stays failed at least as long as this process lives.
        tracing::error!(disk = served.name, %problem, "can't store that the disk has failed");
        fail(&mut served.metadata.lock());
    }
    served.follow_state();
    let events = disks.events();
    events.tell_with(EventKind::Fault, &served.name, "reason", reason);
}

fn adopt_snapshot(disks: &Disks, target: &Target, snapshot: &str) -> Result<(), Problem> {
    let key = target.key()?;
    let opened = disks.store().open(&key)?;
    let id = opened.get_info()?.id;
    let Ok(served) = disks.find(&target.disk) else {
        // A disk is destroyed after its snapshots, so this should be impossible. Keep the data.
        tracing::warn!(key, "a snapshot without its disk; it is left as it is");
        return Ok(());
    };
    if let Err(problem) = identify(&opened) {
        // It can't be the base of a change until a later start.
        tracing::warn!(key, %problem, "a snapshot stays without an identifier of its content");
    }
    disks.insert_snapshot(&served, snapshot, &key, id);
    Ok(())
}

fn find_point(store: &Store, target: &Target, name: PointName) -> Result<Point, Problem> {
    let info = store.open(&target.key()?)?.get_info()?;
    Ok(Point {
        name,
        at_ms: info.made_at_ms.unwrap_or(0),
        held_bytes: None,
    })
}

/// Start the history of a disk with the points that there are, or drop these: a process may have
/// been killed while it ended the history.
fn adopt_history(
    disks: &Disks,
    served: &ServedDisk,
    mut points: Vec<Point>,
) -> Result<(), Problem> {
    points.sort_unstable_by_key(|point| point.name.number);
    let wanted = served.metadata.lock().history;
    match wanted {
        Some(wanted) => history::start(disks, served, &wanted, points),
        None => {
            for point in points {
                let key = snapshot_key(&served.name, &point.name.to_string())?;
                disks.store().destroy(&key)?;
            }
            Ok(())
        }
    }
}

/// Give an identifier to the content of a snapshot that an older version took.
fn identify(snapshot: &Disk) -> Result<(), Problem> {
    let Ok(Decoded { metadata, .. }) = Decoded::new(&snapshot.settings()?) else {
        return Ok(());
    };
    if metadata.lineage.is_none() {
        let lineage = Lineage::new(snapshot)?;
        snapshot.set_settings(&metadata.for_snapshot(Some(lineage))?)?;
    }
    Ok(())
}

/// Destroy saved states whose disk is gone.
fn drop_stray_states(
    store: &Store,
    keys: &[String],
    adopted: &[Arc<ServedDisk>],
) -> Result<(), Problem> {
    let ids: HashSet<u64> = adopted.iter().map(|served| served.id).collect();
    for key in keys {
        let Some(rest) = key.strip_prefix(STATE_PREFIX) else {
            continue;
        };
        let id = rest.split('.').next().and_then(|id| id.parse().ok());
        if !id.is_some_and(|id: u64| ids.contains(&id)) {
            store.destroy(key)?;
        }
    }
    Ok(())
}

/// Take up the recordings of disks, and destroy those whose disk is gone.
fn adopt_recordings(
    disks: &Disks,
    keys: &[String],
    adopted: &[Arc<ServedDisk>],
) -> Result<(), Problem> {
    for key in keys.iter().filter(|key| key.starts_with(RECORD_PREFIX)) {
        let Some(served) = adopted.iter().find(|served| log_key(served.id) == **key) else {
            disks.store().destroy(key)?;
            continue;
        };
        let log = disks.store().open(key)?;
        match Recording::found(&served.name, disks.events(), log) {
            Ok(recording) => *served.recording.lock() = Some(Arc::new(recording)),
            Err(problem) => tracing::warn!(key, %problem, "a recording can't be read"),
        }
    }
    Ok(())
}

fn damaged(what: &str, name: &str, why: &str) -> Problem {
    Problem::new(
        ProblemKind::Internal,
        format!("the settings of {what} {name:?} can't be read: {why}; it is left as it is"),
    )
}
