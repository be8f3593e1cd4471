//! Limits that several disks share.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::daemon::disks::registry::Disks;
use crate::daemon::disks::served::group::LimitGroup;
use crate::daemon::disks::settings::names::{Made, group_key};
use crate::daemon::disks::settings::problems::{conflict, figures, internal};
use crate::daemon::disks::settings::valid::check_limits;
use crate::device::Limiter;
use crate::model::{
    EventKind, FieldChange, Group, Limits, LimitsPatch, Missing, Problem, field_changes,
};
use crate::store::{DiskSpec, SectorSize};

fn find(disks: &Disks, name: &str) -> Result<Arc<LimitGroup>, Problem> {
    disks.find_group(name).ok_or_else(|| {
        let detail = format!("there is no group named {name:?}: create it first");
        Problem::missing(Missing::Group, detail)
    })
}

/// The limiter of a group, if a name is given.
pub(crate) fn limiter(disks: &Disks, name: Option<&str>) -> Result<Option<Arc<Limiter>>, Problem> {
    let group = name.map(|name| find(disks, name)).transpose()?;
    Ok(group.map(|group| group.limiter()))
}

fn describe(disks: &Disks, group: &LimitGroup) -> Group {
    let all = disks.all();
    let members = all
        .iter()
        .filter(|served| served.metadata.lock().group.as_ref() == Some(&group.name));
    Group {
        name: group.name.clone(),
        limits: group.limits(),
        disks: members.map(|served| served.name.clone()).collect(),
    }
}

/// All groups, sorted by name.
pub fn list(disks: &Disks) -> Vec<Group> {
    let groups = disks.all_groups();
    groups.iter().map(|group| describe(disks, group)).collect()
}

/// A group.
///
/// # Errors
/// `not-found`.
pub fn get(disks: &Disks, name: &str) -> Result<Group, Problem> {
    Ok(describe(disks, &*find(disks, name)?))
}

/// Create a group, or find one with the same limits.
///
/// # Errors
/// `invalid`; `conflict` if it exists with other limits.
pub fn put(disks: &Disks, name: &str, limits: Limits) -> Result<(Group, Made), Problem> {
    let _control = disks.control();
    if let Some(group) = disks.find_group(name) {
        check_limits(&limits)?;
        let changes = field_changes(&group.limits(), &limits);
        if !changes.is_empty() {
            return Err(conflict(format!(
                "group {name:?} exists with other limits ({}); change these, or destroy it first",
                figures(&changes)
            )));
        }
    }
    put_locked(disks, name, limits)
}

/// Change the limits of a group. They apply at once; those that aren't named stay.
///
/// # Errors
/// `not-found`; `invalid`.
pub fn patch(disks: &Disks, name: &str, patch: LimitsPatch) -> Result<Group, Problem> {
    let _control = disks.control();
    let limits = patch.over(find(disks, name)?.limits());
    Ok(put_locked(disks, name, limits)?.0)
}

/// Create a group, or change the limits of an existing one.
pub(crate) fn put_over(
    disks: &Disks,
    name: &str,
    limits: Limits,
) -> Result<(Group, Made), Problem> {
    let _control = disks.control();
    put_locked(disks, name, limits)
}

/// The same as [`put_over`], for a caller that holds the control lock.
fn put_locked(disks: &Disks, name: &str, limits: Limits) -> Result<(Group, Made), Problem> {
    let key = group_key(name)?;
    check_limits(&limits)?;
    let encoded = serde_json::to_vec(&limits).map_err(internal)?;
    let store = disks.store();
    if let Some(group) = disks.find_group(name) {
        store.open(&key)?.set_settings(&encoded)?;
        let changes = field_changes(&group.limits(), &limits);
        group.set_limits(limits);
        if !changes.is_empty() {
            announce(disks, EventKind::GroupChanged, name, changes);
        }
        return Ok((describe(disks, &group), Made::Existing));
    }
    // The store keeps a group as a hidden disk, whose settings are the limits.
    store.create_with(&key, &DiskSpec::new(SectorSize::S512, 512), &encoded)?;
    let group = disks.insert_group(LimitGroup::new(name, limits));
    let changes = field_changes(&Limits::default(), &limits);
    announce(disks, EventKind::GroupCreated, name, changes);
    Ok((describe(disks, &group), Made::New))
}

/// Destroy a group without disks.
///
/// # Errors
/// `not-found`; `conflict` if disks are in it.
pub fn destroy(disks: &Disks, name: &str) -> Result<(), Problem> {
    let _control = disks.control();
    let group = get(disks, name)?;
    if !group.disks.is_empty() {
        return Err(conflict(format!(
            "disks are in group {name:?} ({}); take them out of it first",
            group.disks.join(", ")
        )));
    }
    disks.store().destroy(&group_key(name)?)?;
    disks.remove_group(name);
    announce(disks, EventKind::GroupDestroyed, name, Vec::new());
    Ok(())
}

fn announce(disks: &Disks, kind: EventKind, name: &str, changes: Vec<FieldChange>) {
    let details = BTreeMap::from([("group".to_owned(), name.into())]);
    disks.events().tell_changes(kind, None, details, changes);
}
