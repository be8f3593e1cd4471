//! Changing a disk while it is served.

use super::describe::describe;
use super::groups;
use super::history;
use super::resize::{Resize, announce};
use crate::daemon::disks::registry::Disks;
use crate::daemon::disks::served::disk::ServedDisk;
use crate::daemon::disks::served::power::log_limit;
use crate::daemon::disks::settings::differences::differences;
use crate::daemon::disks::settings::faults;
use crate::daemon::disks::settings::metadata::Metadata;
use crate::daemon::disks::settings::problems::invalid;
use crate::daemon::disks::settings::valid::{
    check_history, check_labels, check_limits, check_log_limit, check_quota,
};
use crate::model::{
    DiskPatch, DiskSettings, EventKind, Limits, Patched, Problem, ProblemKind, Resized,
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
    let lost_bytes = Resize::would_lose(&*disks.find(name)?, &patch)?;
    let control = disks.control();
    let served = disks.find(name)?;
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
    let mut left = Left::default();
    if had != settings || repairs {
        let quota_bytes = settings.quota_bytes;
        let change = Change {
            quota_bytes: (quota_bytes != had.quota_bytes).then_some(quota_bytes),
            even_below_charge: patch.force,
            on_full: Some(settings.on_full.into()),
            ..Change::default()
        };
        let edit = |metadata: &mut Metadata| {
            *metadata = metadata.with(&settings);
            metadata.failure.take_if(|_| repairs);
        };
        let size = resize.as_ref().and_then(Resize::wanted);
        let changed = match had.write_cache == settings.write_cache {
            true => served.change(edit, &change, size),
            false => change_cache(disks, served, &settings, edit, &change, size),
        };
        let changed = changed.map_err(|problem| explained(problem, resize.as_ref(), &change));
        left.size = Some(changed?);
    }
    // From here on nothing can be refused.
    served.limit(&settings.limits, limiter);
    served.sanitize(settings.sanitize);
    left.points = history::follow(disks, served, settings.history.as_ref())?;
    if let Some(cache) = served.server.device().volume().cache() {
        cache.set_log_limit(log_limit(disks.store(), &settings));
    }
    if resize.is_some() {
        served.stabilise();
    }
    served.set_marks(settings.quota_bytes);
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
    let mut changed = differences(&had, &settings);
    changed.retain(|&field| field != "size_bytes");
    changed.extend(repairs.then_some("failed"));
    if !changed.is_empty() {
        let (events, changed) = (disks.events(), changed.join(","));
        events.tell_with(EventKind::Changed, &served.name, "settings", changed);
    }
    Ok((resized, left))
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
