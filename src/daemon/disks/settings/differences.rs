//! The differences between two settings of a disk, and the patch that leads from one to the other.

use std::collections::BTreeMap;

use super::problems::{conflict, conflict_at, figures};
use super::valid::ValidDisk;
use crate::model::{
    DiskPatch, DiskSettings, FieldChange, LifePatch, Problem, ProblemKind, USUAL_QUEUES,
    field_changes,
};
use crate::store::Bytes;

/// The default of 0.1.0.
const FORMER_QUEUES: u16 = 16;

/// The names of the fields that differ.
pub(crate) fn differences(one: &DiskSettings, two: &DiskSettings) -> Vec<&'static str> {
    let fields = [
        ("size_bytes", one.size_bytes != two.size_bytes),
        ("quota_bytes", one.quota_bytes != two.quota_bytes),
        ("on_full", one.on_full != two.on_full),
        ("sanitize", one.sanitize != two.sanitize),
        ("history", one.history != two.history),
        ("write_cache", one.write_cache != two.write_cache),
        (
            "log_limit_bytes",
            one.log_limit_bytes != two.log_limit_bytes,
        ),
        ("limits", one.limits != two.limits),
        ("group", one.group != two.group),
        ("labels", one.labels != two.labels),
        ("faults", one.faults != two.faults),
        ("life", one.life != two.life),
        ("protected", one.protected != two.protected),
        ("socket_owner", one.socket_owner != two.socket_owner),
    ];
    let mut names = fixed_differences(one, two);
    names.extend(fields.iter().filter(|field| field.1).map(|field| field.0));
    names
}

/// The names of the fields that differ and can't be changed once the disk exists.
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

/// Whether a disk with `had` queues differs from one with `wanted`. If `wanted` is the default, a
/// disk that was created when the default was 16 doesn't differ.
fn differ_in_queues(had: u16, wanted: u16) -> bool {
    let is_usual = had == FORMER_QUEUES && wanted == USUAL_QUEUES;
    had != wanted && !is_usual
}

/// The changes from a disk's settings to the wanted ones, field by field.
pub(crate) fn field_changes_to(had: &DiskSettings, wanted: &DiskSettings) -> Vec<FieldChange> {
    let mut wanted = wanted.clone();
    if !differ_in_queues(had.queues, wanted.queues) {
        wanted.queues = had.queues;
    }
    field_changes(had, &wanted)
}

/// Check that a disk has the wanted settings.
///
/// # Errors
/// `conflict`, which says what differs; with the first such field if all of it can be changed.
pub(crate) fn check_alike(
    name: &str,
    had: &DiskSettings,
    wanted: &DiskSettings,
) -> Result<(), Problem> {
    let changes = field_changes_to(had, wanted);
    if changes.is_empty() {
        return Ok(());
    }
    let (figures, fixed) = (figures(&changes), fixed_differences(had, wanted));
    if !fixed.is_empty() {
        return Err(conflict(format!(
            "disk {name:?} exists with other settings ({figures}); {} can't be changed: destroy \
             it first",
            fixed.join(", ")
        )));
    }
    let detail = format!(
        "disk {name:?} exists with other settings ({figures}); change these, or destroy it first"
    );
    Err(conflict_at(&changes[0].field, detail))
}

/// The patch that changes the settings `had` to `wanted`.
///
/// # Errors
/// `conflict` for a field that can't be changed, `would-lose-data` for a smaller size.
pub(crate) fn patch_to(
    name: &str,
    had: &DiskSettings,
    wanted: &ValidDisk,
) -> Result<DiskPatch, Problem> {
    let wanted = &wanted.settings;
    let fixed = fixed_differences(had, wanted);
    if !fixed.is_empty() {
        return Err(conflict(format!(
            "disk {name:?} exists with another {}, which can't be changed; destroy it first",
            fixed.join(", ")
        )));
    }
    if wanted.size_bytes < had.size_bytes {
        return Err(Problem::new(
            ProblemKind::WouldLoseData,
            format!(
                "disk {name:?} has {}, and {} would lose the data beyond: \
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
        sanitize: Some(wanted.sanitize),
        history: Some(wanted.history),
        write_cache: Some(wanted.write_cache),
        log_limit_bytes: Some(wanted.log_limit_bytes).filter(|&limit| limit != had.log_limit_bytes),
        limits: Some(wanted.limits),
        group: Some(wanted.group.clone()),
        labels,
        faults: Some(wanted.faults.clone()).filter(|faults| *faults != had.faults),
        life: LifePatch {
            ttl_ms: Some(wanted.life.ttl_ms).filter(|&ttl| ttl != had.life.ttl_ms),
            on_detach: Some(wanted.life.on_detach),
            grace_ms: Some(wanted.life.grace_ms),
        },
        protected: Some(wanted.protected),
        socket_owner: Some(wanted.socket_owner.clone()).filter(|owner| *owner != had.socket_owner),
        failed: None,
    })
}
