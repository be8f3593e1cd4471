//! A disk that is changed while it runs.

use std::collections::BTreeMap;

use super::super::model::{
    DiskPatch, DiskSettings, EventKind, Limits, Patched, Problem, ProblemKind,
};
use super::Disks;
use super::check::{Checked, check_labels, check_limits, check_quota, invalid};
use super::entry::Entry;
use super::failed::blob;
use crate::store::{Capacity, Disk};

/// Names of what differs between two settings.
pub(super) fn differences(one: &DiskSettings, two: &DiskSettings) -> Vec<&'static str> {
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
pub(super) fn fixed_differences(one: &DiskSettings, two: &DiskSettings) -> Vec<&'static str> {
    let fields = [
        ("block_size", one.block_size != two.block_size),
        ("queues", one.queues != two.queues),
        ("read_only", one.read_only != two.read_only),
        ("serial", one.serial != two.serial),
        ("share", one.share != two.share),
        ("in_order", one.in_order != two.in_order),
        ("detect_zeroes", one.detect_zeroes != two.detect_zeroes),
    ];
    let differing = fields.iter().filter(|field| field.1);
    differing.map(|field| field.0).collect()
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
    blob(&settings, None)?;
    Ok(settings)
}

impl Disks {
    /// Change a disk: all of it or nothing. A shrink takes time with what is lost.
    ///
    /// # Errors
    /// `not-found`; `invalid`; `would-lose-data` for a smaller size without `shrink`;
    /// `over-budget`.
    pub fn patch(&self, name: &str, patch: DiskPatch) -> Result<Patched, Problem> {
        let _control = self.control.lock();
        let entry = self.entry(name)?;
        self.patch_entry(&entry, &patch)
    }

    /// The control is held.
    pub(super) fn patch_entry(&self, entry: &Entry, patch: &DiskPatch) -> Result<Patched, Problem> {
        let had = entry.settings.lock().clone();
        let settings = patched(&had, patch, self.workshop.store.limit_bytes())?;
        let limiter = self.group_limiter(settings.group.as_deref())?;
        let now_bytes = entry.disk.capacity().bytes();
        if patch.shrink && patch.size_bytes.is_none() {
            return Err(invalid(
                "shrink",
                "shrink needs a size_bytes with it".into(),
            ));
        }
        self.check_repair(patch)?;
        let resized = match patch.size_bytes {
            Some(to_bytes) => {
                Capacity::new(to_bytes, entry.disk.sector_size())
                    .map_err(|error| invalid("size_bytes", error.to_string()))?;
                Some(entry.resize(to_bytes, patch.shrink)?)
            }
            None => None,
        };
        // From here on only the host's memory could refuse something, and then the rest with it.
        if settings.quota_bytes != had.quota_bytes {
            entry.disk.set_quota(settings.quota_bytes)?;
        }
        self.keep_settings(entry, |kept, _| kept.clone_from(&settings))?;
        entry.set_on_full(settings.on_full);
        entry.limit(&settings.limits, limiter);
        self.mark(entry);
        if patch.failed == Some(false) {
            self.repair(entry)?;
        }
        if let Some(resized) = &resized
            && resized.to_bytes != now_bytes
        {
            let details = BTreeMap::from([
                ("from_bytes".to_owned(), resized.from_bytes.to_string()),
                ("to_bytes".to_owned(), resized.to_bytes.to_string()),
                ("notified".to_owned(), resized.notified.to_string()),
            ]);
            let events = &self.workshop.events;
            events.tell(EventKind::Resized, Some(&entry.name), details);
        }
        let changed: Vec<_> = differences(&had, &settings)
            .into_iter()
            .filter(|&field| field != "size_bytes")
            .collect();
        if !changed.is_empty() {
            let details = BTreeMap::from([("settings".to_owned(), changed.join(","))]);
            let events = &self.workshop.events;
            events.tell(EventKind::Changed, Some(&entry.name), details);
        }
        Ok(Patched {
            disk: self.describe(entry, false)?,
            resized,
        })
    }

    /// Change what a disk is said to be, here and in the store.
    pub(super) fn keep_settings(
        &self,
        entry: &Entry,
        change: impl FnOnce(&mut DiskSettings, &Disk),
    ) -> Result<(), Problem> {
        let mut settings = entry.settings.lock().clone();
        change(&mut settings, &entry.disk);
        if *entry.settings.lock() != settings {
            entry.keep(&settings)?;
            *entry.settings.lock() = settings;
        }
        Ok(())
    }

    /// Its limits.
    ///
    /// # Errors
    /// `not-found`.
    pub fn limits(&self, name: &str) -> Result<Limits, Problem> {
        Ok(self.entry(name)?.settings.lock().limits)
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
pub(super) fn patch_to(
    name: &str,
    had: &DiskSettings,
    wanted: &Checked,
) -> Result<DiskPatch, Problem> {
    let wanted = &wanted.settings;
    let fixed = fixed_differences(had, wanted);
    if !fixed.is_empty() {
        return Err(super::problems::conflict(format!(
            "disk {name:?} exists with another {}, which can't be changed; destroy it first",
            fixed.join(", ")
        )));
    }
    if wanted.size_bytes < had.size_bytes {
        return Err(Problem::new(
            ProblemKind::WouldLoseData,
            format!(
                "disk {name:?} has {} bytes and is to have {}: shrink it yourself, with ramblk \
                 resize --shrink",
                had.size_bytes, wanted.size_bytes
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
        quota_bytes: Some(wanted.quota_bytes),
        on_full: Some(wanted.on_full),
        limits: Some(wanted.limits),
        group: Some(wanted.group.clone()),
        labels,
        failed: None,
    })
}
