//! A disk that is changed while it runs.

use std::collections::BTreeMap;

use super::resize::Resize;
use crate::daemon::disks::Disks;
use crate::daemon::disks::served::disk::Entry;
use crate::daemon::disks::settings::metadata::Kept;
use crate::daemon::disks::settings::valid::{Checked, check_labels, check_limits, check_quota};
use crate::model::{
    DiskPatch, DiskSettings, EventKind, FieldChange, Limits, Patched, Problem, ProblemKind,
    Resized, USUAL_QUEUES, field_changes,
};
use crate::store::{Bytes, Change, Leftover};

/// What was usual in 0.1.0.
const FORMER_QUEUES: u16 = 16;

/// Names of what differs between two settings.
pub(crate) fn differences(one: &DiskSettings, two: &DiskSettings) -> Vec<&'static str> {
    let fields = [
        ("size_bytes", one.size_bytes != two.size_bytes),
        ("quota_bytes", one.quota_bytes != two.quota_bytes),
        ("on_full", one.on_full != two.on_full),
        ("limits", one.limits != two.limits),
        ("group", one.group != two.group),
        ("labels", one.labels != two.labels),
    ];
    let mut names = fixed_differences(one, two);
    names.extend(fields.iter().filter(|field| field.1).map(|field| field.0));
    names
}

/// The same, of what can't be changed once the disk is made.
pub(crate) fn fixed_differences(one: &DiskSettings, two: &DiskSettings) -> Vec<&'static str> {
    let fields = [
        ("block_size", one.block_size != two.block_size),
        ("queues", differ_in_queues(one.queues, two.queues)),
        ("read_only", one.read_only != two.read_only),
        ("serial", one.serial != two.serial),
        ("share", one.share != two.share),
        ("in_order", one.in_order != two.in_order),
        ("detect_zeroes", one.detect_zeroes != two.detect_zeroes),
    ];
    let differing = fields.iter().filter(|field| field.1);
    differing.map(|field| field.0).collect()
}

/// Whether a disk that has so many queues is another one than the one that is wanted. Whoever says
/// nothing of queues has the usual number; one that was made so when that was 16 keeps it.
fn differ_in_queues(had: u16, wanted: u16) -> bool {
    let is_usual = had == FORMER_QUEUES && wanted == USUAL_QUEUES;
    had != wanted && !is_usual
}

/// What would have to change in a disk's settings to make them those that are wanted, field by
/// field.
pub(crate) fn field_changes_to(had: &DiskSettings, wanted: &DiskSettings) -> Vec<FieldChange> {
    let mut wanted = wanted.clone();
    if !differ_in_queues(had.queues, wanted.queues) {
        wanted.queues = had.queues;
    }
    field_changes(had, &wanted)
}

/// What a patch makes of settings, if that can be.
fn patched(
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
    Ok(settings)
}

/// A refusal of the store's, with the field at fault and what to do.
fn explained(problem: Problem, resize: Option<&Resize>, change: &Change<'_>) -> Problem {
    if problem.is(ProblemKind::WouldLoseData) {
        return match resize {
            Some(resize) => resize.explain(problem),
            None => problem,
        };
    }
    if problem.is(ProblemKind::Conflict) && change.quota_bytes.is_some() {
        let detail = format!(
            "{}; discard data, give a larger quota, or say force",
            problem.detail
        );
        return Problem {
            field: Some("quota_bytes".into()),
            ..problem.with_detail(detail)
        };
    }
    problem
}

impl Disks {
    /// Change a disk: all of it or nothing. A shrink takes time with what is lost.
    ///
    /// # Errors
    /// `not-found`; `invalid`; `would-lose-data` for a smaller size without `shrink`;
    /// `over-budget`.
    pub fn patch(&self, name: &str, patch: DiskPatch) -> Result<Patched, Problem> {
        let lost_bytes = Resize::would_lose(&*self.entry(name)?, &patch)?;
        let control = self.control.lock();
        let entry = self.entry(name)?;
        let (resized, left) = self.patch_entry(&entry, &patch, lost_bytes)?;
        drop(control);
        let lost_bytes = left.map_or(0, Leftover::free);
        Ok(Patched {
            disk: self.describe(&entry, false)?,
            resized: resized.map(|resized| Resized {
                lost_bytes,
                ..resized
            }),
        })
    }

    /// The control is held, and what is left is to be freed without it. `lost_bytes` is what a
    /// smaller size that is refused would lose.
    pub(crate) fn patch_entry(
        &self,
        entry: &Entry,
        patch: &DiskPatch,
        lost_bytes: u64,
    ) -> Result<(Option<Resized>, Option<Leftover>), Problem> {
        let had = entry.settings()?;
        let settings = patched(&had, patch, self.workshop.store.limit_bytes())?;
        let limiter = self.group_limiter(settings.group.as_deref())?;
        self.check_repair(patch)?;
        let resize = Resize::of(entry, patch, lost_bytes)?;
        let repairs = patch.failed == Some(false) && entry.failure().is_some();
        let mut left = None;
        if had != settings || repairs {
            let quota_bytes = settings.quota_bytes;
            let change = Change {
                quota_bytes: (quota_bytes != had.quota_bytes).then_some(quota_bytes),
                even_below_charge: patch.force,
                on_full: Some(settings.on_full.into()),
                ..Change::default()
            };
            let keep = |kept: &mut Kept| {
                *kept = kept.with(&settings);
                kept.failure.take_if(|_| repairs);
            };
            let size = resize.as_ref().and_then(Resize::wanted);
            let changed = entry.change(keep, &change, size);
            let changed = changed.map_err(|problem| explained(problem, resize.as_ref(), &change));
            left = Some(changed?);
        }
        // Nothing from here on can be refused.
        entry.limit(&settings.limits, limiter);
        self.mark(entry);
        if repairs {
            entry.follow_failure();
        }
        let resized = resize.map(|resize| self.announce(entry, &resize));
        let mut changed = differences(&had, &settings);
        changed.retain(|&field| field != "size_bytes");
        changed.extend(repairs.then_some("failed"));
        if !changed.is_empty() {
            let details = BTreeMap::from([("settings".to_owned(), changed.join(",").into())]);
            let events = &self.workshop.events;
            events.tell(EventKind::Changed, Some(&entry.name), details);
        }
        Ok((resized, left))
    }

    /// Its limits.
    ///
    /// # Errors
    /// `not-found`.
    pub fn limits(&self, name: &str) -> Result<Limits, Problem> {
        Ok(self.entry(name)?.kept.lock().limits)
    }

    /// Other limits from now on; requests that wait notice.
    ///
    /// # Errors
    /// `not-found`; `invalid`.
    pub fn set_limits(&self, name: &str, limits: Limits) -> Result<Limits, Problem> {
        let patch = DiskPatch {
            limits: Some(limits),
            ..DiskPatch::default()
        };
        Ok(self.patch(name, patch)?.disk.limits)
    }
}

/// What must change so that a disk with settings `had` has those of `wanted`.
///
/// # Errors
/// `conflict` for what can't be changed, `would-lose-data` for a smaller size.
pub(crate) fn patch_to(
    name: &str,
    had: &DiskSettings,
    wanted: &Checked,
) -> Result<DiskPatch, Problem> {
    let wanted = &wanted.settings;
    let fixed = fixed_differences(had, wanted);
    if !fixed.is_empty() {
        return Err(crate::daemon::disks::settings::problems::conflict(format!(
            "disk {name:?} exists with another {}, which can't be changed; destroy it first",
            fixed.join(", ")
        )));
    }
    if wanted.size_bytes < had.size_bytes {
        return Err(Problem::new(
            ProblemKind::WouldLoseData,
            format!(
                "disk {name:?} has {} and is to have {}, which would lose what lies beyond: \
                 shrink it by itself first",
                Bytes(had.size_bytes),
                Bytes(wanted.size_bytes)
            ),
        ));
    }
    let labels = had.labels.keys().map(|key| (key.clone(), None));
    let new = wanted.labels.iter();
    let new = new.map(|(key, value)| (key.clone(), Some(value.clone())));
    let labels: BTreeMap<_, _> = labels.chain(new).collect();
    Ok(DiskPatch {
        size_bytes: Some(wanted.size_bytes).filter(|&size| size != had.size_bytes),
        shrink: false,
        force: false,
        quota_bytes: Some(wanted.quota_bytes).filter(|&quota| quota != had.quota_bytes),
        on_full: Some(wanted.on_full),
        limits: Some(wanted.limits),
        group: Some(wanted.group.clone()),
        labels,
        failed: None,
    })
}
