//! Changing a disk while it is served.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::describe::describe;
use super::groups;
use super::history;
use super::resize::{Resize, announce};
use crate::daemon::disks::registry::Disks;
use crate::daemon::disks::served::disk::ServedDisk;
use crate::daemon::disks::served::power::log_limit;
use crate::daemon::disks::settings::differences::differences;
use crate::daemon::disks::settings::faults;
use crate::daemon::disks::settings::life::check_life;
use crate::daemon::disks::settings::metadata::Metadata;
use crate::daemon::disks::settings::problems::invalid;
use crate::daemon::disks::settings::valid::{
    check_history, check_labels, check_limits, check_log_limit, check_quota,
};
use crate::daemon::host::socket::SocketAccess;
use crate::device::Limiter;
use crate::model::{
    DiskPatch, DiskSettings, EventKind, FieldChange, Limits, Patched, Problem, ProblemKind,
    Resized, field_changes,
};
use crate::store::{Change, Leftover, Shrink};

/// The memory that a change left.
#[derive(Debug, Default)]
pub(crate) struct Left {
    /// What lay beyond a smaller size.
    size: Option<Leftover>,
    /// The points of a history that ended.
    points: Vec<Leftover>,
}

/// The settings after a patch, if they are valid.
fn patched(
    name: &str,
    had: &DiskSettings,
    patch: &DiskPatch,
    pool_bytes: u64,
) -> Result<DiskSettings, Problem> {
    let mut settings = had.clone();
    if let Some(size_bytes) = patch.size_bytes {
        settings.size_bytes = size_bytes;
    }
    if let Some(quota_bytes) = patch.quota_bytes {
        check_quota(quota_bytes, pool_bytes)?;
        settings.quota_bytes = quota_bytes;
    }
    if let Some(on_full) = patch.on_full {
        settings.on_full = on_full;
    }
    if let Some(sanitize) = patch.sanitize {
        settings.sanitize = sanitize;
    }
    if let Some(history) = patch.history {
        if let Some(history) = &history {
            check_history(name, history)?;
        }
        settings.history = history;
    }
    if let Some(write_cache) = patch.write_cache {
        settings.write_cache = write_cache;
    }
    if let Some(log_limit_bytes) = patch.log_limit_bytes {
        settings.log_limit_bytes = log_limit_bytes;
    }
    check_log_limit(&settings)?;
    if let Some(limits) = patch.limits {
        check_limits(&limits)?;
        settings.limits = limits;
    }
    if let Some(group) = &patch.group {
        settings.group.clone_from(group);
    }
    for (key, value) in &patch.labels {
        match value {
            Some(value) => {
                settings.labels.insert(key.clone(), value.clone());
            }
            None => {
                settings.labels.remove(key);
            }
        }
    }
    check_labels(&settings.labels)?;
    settings.life = patch.life.over(settings.life);
    check_life(&settings.life)?;
    settings.protected = patch.protected.unwrap_or(settings.protected);
    if let Some(owner) = &patch.socket_owner {
        settings.socket_owner.clone_from(owner);
    }
    if let Some(texts) = &patch.faults {
        settings.faults = faults::texts(&faults::named(texts)?);
    }
    if patch.faults.is_some() || patch.size_bytes.is_some() {
        let rules = faults::named(&settings.faults)?;
        faults::check_size(&rules, settings.size_bytes)?;
    }
    Ok(settings)
}

/// A refusal by the store, with the field at fault and what to do.
fn explained(problem: Problem, resize: Option<&Resize>, change: &Change<'_>) -> Problem {
    if problem.is(ProblemKind::WouldLoseData) {
        return match resize {
            Some(resize) => resize.explain(problem),
            None => problem,
        };
    }
    if problem.is(ProblemKind::Conflict) && change.quota_bytes.is_some() {
        let detail = format!(
            "{}; discard data, give a larger quota, or set force",
            problem.detail
        );
        return Problem {
            field: Some("quota_bytes".into()),
            ..problem.with_detail(detail)
        };
    }
    problem
}

/// Change a disk: all fields or none. A shrink takes longer the more data it discards.
///
/// # Errors
/// `not-found`; `invalid`; `would-lose-data` for a smaller size without `shrink`; `over-budget`.
pub fn patch(disks: &Disks, name: &str, patch: DiskPatch) -> Result<Patched, Problem> {
    patch_if(disks, name, patch, None)
}

/// The same as [`patch`], if the disk has one of the entity tags `any_of`.
///
/// # Errors
/// As [`patch`]; `changed` if it has another tag.
pub fn patch_if(
    disks: &Disks,
    name: &str,
    patch: DiskPatch,
    any_of: Option<&[String]>,
) -> Result<Patched, Problem> {
    let lost_bytes = Resize::would_lose(&*disks.find(name)?, &patch)?;
    let control = disks.control();
    let served = disks.find(name)?;
    if let Some(any_of) = any_of {
        check_tag(disks, &served, any_of)?;
    }
    let (resized, left) = patch_locked(disks, &served, &patch, lost_bytes)?;
    drop(control);
    let lost_bytes = left.size.map_or(0, Leftover::free);
    drop(left.points);
    Ok(Patched {
        disk: describe(disks, &served)?,
        resized: resized.map(|resized| Resized {
            lost_bytes,
            ..resized
        }),
    })
}

/// The same as [`patch`], for a caller that holds the control lock. Free what it left without that
/// lock. `lost_bytes` is what a smaller size would lose, for the refusal.
pub(crate) fn patch_locked(
    disks: &Disks,
    served: &ServedDisk,
    patch: &DiskPatch,
    lost_bytes: u64,
) -> Result<(Option<Resized>, Left), Problem> {
    let had = served.settings()?;
    let settings = patched(&served.name, &had, patch, disks.store().limit_bytes())?;
    let limiter = groups::limiter(disks, settings.group.as_deref())?;
    check_repair(patch)?;
    let resize = Resize::of(served, patch, lost_bytes)?;
    let rules = faults::named(&settings.faults)?;
    let repairs = patch.failed == Some(false) && served.failure().is_some();
    // The same time again begins again.
    let renews = patch.life.ttl_ms.is_some();
    let mut left = Left::default();
    // The same owner again tries again. Who could connect before is for a refusal by the store.
    let given = patch.socket_owner.as_ref();
    let given = given.map(|owner| disks.factory.give(served, owner.as_deref()));
    let given = given.transpose()?.flatten();
    if had != settings || repairs || renews {
        let quota_bytes = settings.quota_bytes;
        let change = Change {
            quota_bytes: (quota_bytes != had.quota_bytes).then_some(quota_bytes),
            even_below_charge: patch.force,
            on_full: Some(settings.on_full.into()),
            ..Change::default()
        };
        let edit = |metadata: &mut Metadata| {
            *metadata = metadata.with(&settings);
            if renews {
                metadata.lived = metadata.lived.with_ttl(&settings.life);
            }
            metadata.failure.take_if(|_| repairs);
        };
        let size = resize.as_ref().and_then(Resize::wanted);
        let changed = match had.write_cache == settings.write_cache {
            true => served.change(edit, &change, size),
            false => change_cache(disks, served, &settings, edit, &change, size),
        };
        let refused = |problem| {
            take_back(served, given);
            explained(problem, resize.as_ref(), &change)
        };
        left.size = Some(changed.map_err(refused)?);
    }
    // From here on nothing can be refused.
    left.points = put_in_force(disks, served, &settings, limiter)?;
    if resize.is_some() {
        served.stabilise();
    }
    if had.faults != settings.faults {
        served.set_faults(rules);
    }
    if repairs {
        served.follow_state();
    }
    debug_assert!(
        served.is_in_force() && served.settings().is_ok_and(|found| found == settings),
        "what is shown of {:?} is not what it has",
        served.name
    );
    if resize.as_ref().and_then(Resize::wanted).is_some() {
        served.end_recording("the disk was resized");
    }
    let resized = resize.map(|resize| announce(disks, served, &resize));
    announce_settings(disks, &served.name, (&had, &settings), (repairs, renews));
    if !patch.life.is_empty() || patch.protected.is_some() {
        // The monitor computes again when the next life is over.
        disks.store().pressure().raise();
    }
    Ok((resized, left))
}

/// Let those connect to a disk's socket who could before a change that was refused.
fn take_back(served: &ServedDisk, had: Option<SocketAccess>) {
    if let Some(Err(error)) = had.map(|had| served.give_socket(had)) {
        tracing::error!(disk = served.name, %error, "its socket has another owner than it says");
    }
}

/// Send the event of changed settings. A new size has an event of its own.
fn announce_settings(
    disks: &Disks,
    name: &str,
    (had, settings): (&DiskSettings, &DiskSettings),
    (repairs, renews): (bool, bool),
) {
    let mut changed = differences(had, settings);
    changed.retain(|&field| field != "size_bytes");
    changed.extend(repairs.then_some("failed"));
    // The same time to live again begins again, which is no other value.
    if renews && !changed.contains(&"life") {
        changed.push("life");
    }
    if changed.is_empty() {
        return;
    }
    let mut changes = field_changes(had, settings);
    changes.retain(|change| change.field != "size_bytes");
    changes.extend(repairs.then(|| FieldChange {
        field: "failed".into(),
        old: true.into(),
        new: false.into(),
    }));
    let details = BTreeMap::from([("settings".to_owned(), changed.join(",").into())]);
    let events = disks.events();
    events.tell_changes(EventKind::Changed, Some(name), details, changes);
}

/// Let a disk do what its new settings say. Returns the points of a history that ended.
fn put_in_force(
    disks: &Disks,
    served: &ServedDisk,
    settings: &DiskSettings,
    limiter: Option<Arc<Limiter>>,
) -> Result<Vec<Leftover>, Problem> {
    served.limit(&settings.limits, limiter);
    served.sanitize(settings.sanitize);
    let points = history::follow(disks, served, settings.history.as_ref())?;
    if let Some(cache) = served.server.device().volume().cache() {
        cache.set_log_limit(log_limit(disks.store(), settings));
    }
    served.set_marks(settings.quota_bytes);
    Ok(points)
}

/// Change a disk, and let it have a volatile write cache from then on, or none.
fn change_cache(
    disks: &Disks,
    served: &ServedDisk,
    settings: &DiskSettings,
    edit: impl FnOnce(&mut Metadata),
    change: &Change<'_>,
    size: Option<(u64, Shrink)>,
) -> Result<Leftover, Problem> {
    let cache = disks.factory.cache(served, settings)?;
    served.replace_metadata(edit, |blob| {
        let change = Change {
            settings: Some(blob),
            ..*change
        };
        // No front end can connect between the check and the change.
        let changed = served.server.unless_attached(false, || {
            let left = served.disk.change(&change, size)?;
            served.server.device().volume().set_cache(cache);
            Ok::<_, Problem>(left)
        });
        changed.ok_or_else(|| {
            let name = &served.name;
            let detail = format!(
                "a front end is connected to disk {name:?}; detach it first: its write cache can't \
                 change under a guest"
            );
            Problem::new(ProblemKind::Attached, detail)
        })?
    })
}

/// Check that a disk has one of these entity tags; `*` is any.
pub(crate) fn check_tag(
    disks: &Disks,
    served: &ServedDisk,
    any_of: &[String],
) -> Result<(), Problem> {
    let has = describe(disks, served)?.entity_tag();
    if any_of.iter().any(|tag| *tag == has || tag == "*") {
        return Ok(());
    }
    let detail = format!(
        "disk {:?} has changed: its entity tag is {has}; read it again first",
        served.name
    );
    let problem = Problem::new(ProblemKind::Changed, detail);
    Err(Problem {
        field: Some("if-match".into()),
        ..problem
    })
}

/// Check that a patch doesn't set `failed` to true: you can repair a disk, but not make it fail.
fn check_repair(patch: &DiskPatch) -> Result<(), Problem> {
    if patch.failed == Some(true) {
        return Err(invalid(
            "failed",
            "failed can only be set to false, which serves a failed disk again".into(),
        ));
    }
    Ok(())
}

/// The limits of a disk.
///
/// # Errors
/// `not-found`.
pub fn limits(disks: &Disks, name: &str) -> Result<Limits, Problem> {
    Ok(disks.find(name)?.metadata.lock().limits)
}

/// Replace the limits of a disk. They apply at once, also to waiting requests.
///
/// # Errors
/// `not-found`; `invalid`.
pub fn set_limits(disks: &Disks, name: &str, limits: Limits) -> Result<Limits, Problem> {
    let patch = DiskPatch {
        limits: Some(limits),
        ..DiskPatch::default()
    };
    Ok(self::patch(disks, name, patch)?.disk.limits)
}
