//! Applying a declaration: many disks and groups at once.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::branch::snapshots::check_children;
use super::destroy::{self, DestroyOptions};
use super::{change, create, groups};
use crate::daemon::disks::registry::Disks;
use crate::daemon::disks::served::disk::ServedDisk;
use crate::daemon::disks::settings::differences::{field_changes_to, patch_to};
use crate::daemon::disks::settings::names::{check_name, group_key};
use crate::daemon::disks::settings::problems::{attached, conflict, invalid};
use crate::daemon::disks::settings::valid::{ValidDisk, check_limits};
use crate::model::{
    Action, Applied, Changed, Config, ConfigDisk, ConfigGroup, Declaration, DeclaredDisk,
    DeclaredGroup, DiskSettings, FieldChange, Limits, Missing, Problem, field_changes,
};

/// The most disks of a declaration.
const MOST_DISKS: usize = 100_000;

/// How to apply a declaration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ApplyOptions {
    /// Only return what would be done.
    pub dry_run: bool,
    /// Remove what isn't declared: disks and groups, and labels, limits, quota, group, owner of the
    /// socket and `on_full` of disks.
    pub prune: bool,
    /// The daemon is starting: skip a new size of a disk that is importing, so that the start
    /// succeeds.
    pub starting: bool,
}

/// A step of a plan. Steps are executed in this order.
enum Planned<'a> {
    Group(&'a str, Limits),
    Disk(&'a DeclaredDisk),
    DestroyDisk(String),
    DestroyGroup(String),
}

struct Plan<'a> {
    steps: Vec<Planned<'a>>,
    applied: Applied,
}

impl Plan<'_> {
    fn change(&mut self, kind: &str, name: &str, action: Action, fields: Vec<FieldChange>) {
        self.applied.changes.push(Changed {
            kind: kind.to_owned(),
            name: name.to_owned(),
            action,
            fields,
        });
    }
}

/// The settings that a declaration requests for an existing disk.
fn wanted(
    declared: &DeclaredDisk,
    served: &ServedDisk,
    had: &DiskSettings,
    options: ApplyOptions,
) -> DiskSettings {
    let usual = DiskSettings::new(had.size_bytes);
    let base = match options.prune {
        false => had.clone(),
        true => DiskSettings {
            on_full: usual.on_full,
            sanitize: usual.sanitize,
            history: usual.history,
            write_cache: usual.write_cache,
            log_limit_bytes: usual.log_limit_bytes,
            quota_bytes: usual.quota_bytes,
            limits: usual.limits,
            group: usual.group,
            labels: usual.labels,
            faults: usual.faults,
            socket_owner: usual.socket_owner,
            ..had.clone()
        },
    };
    let mut wanted = declared.over(base);
    if options.starting && wanted.size_bytes != had.size_bytes && served.is_importing() {
        tracing::warn!(
            disk = served.name,
            size_bytes = had.size_bytes,
            wanted_bytes = wanted.size_bytes,
            "the disk is importing, and keeps its size: apply the configuration again later"
        );
        wanted.size_bytes = had.size_bytes;
    }
    wanted
}

/// The settings that a declaration requests for a new disk.
fn new_settings(declared: &DeclaredDisk) -> Result<DiskSettings, Problem> {
    if declared.size_bytes.is_none() {
        let detail = format!(
            "disk {:?} does not exist, and a new one needs a size",
            declared.name
        );
        return Err(invalid("size_bytes", detail));
    }
    Ok(declared.over(DiskSettings::new(0)))
}

fn with_limits(limits: &Limits) -> Value {
    json!({ "limits": limits })
}

/// All disks and groups, as a configuration that would create them. It doesn't contain snapshots,
/// nor which disks share content.
pub fn config(disks: &Disks) -> Config {
    let groups = disks.all_groups();
    let groups = groups.iter().map(|group| ConfigGroup {
        name: group.name.clone(),
        limits: group.limits(),
    });
    let all = disks.all();
    // A disk that is destroyed meanwhile is left out.
    let disks = all.iter().filter_map(|served| {
        Some(ConfigDisk {
            name: served.name.clone(),
            settings: served.settings().ok()?,
        })
    });
    Config {
        groups: groups.collect(),
        disks: disks.collect(),
    }
}

/// Create the declared disks and groups that don't exist, and change settings that can change.
/// Applying a declaration again changes nothing. What isn't declared stays, unless `prune` is set.
/// Everything is checked before anything is done, and with `dry_run` nothing is done.
///
/// # Errors
/// The same as for each disk by itself. If memory runs out, the changes that were made before stay.
pub fn apply(
    disks: &Disks,
    declaration: &Declaration,
    options: ApplyOptions,
) -> Result<Applied, Problem> {
    let plan = plan(disks, declaration, options)?;
    if !options.dry_run {
        for step in &plan.steps {
            carry_out(disks, step, options)?;
        }
    }
    Ok(plan.applied)
}

/// Check the declaration and make a plan.
fn plan<'a>(
    disks: &Disks,
    declaration: &'a Declaration,
    options: ApplyOptions,
) -> Result<Plan<'a>, Problem> {
    let prune = options.prune;
    if declaration.disks.len() > MOST_DISKS || declaration.groups.len() > MOST_DISKS {
        let detail = format!("a configuration has at most {MOST_DISKS} disks");
        return Err(invalid("disk", detail));
    }
    let mut plan = Plan {
        steps: Vec::new(),
        applied: Applied::default(),
    };
    let mut groups = BTreeSet::new();
    for group in &declaration.groups {
        plan_group(disks, group, prune, &mut plan)?;
        if !groups.insert(group.name.clone()) {
            let detail = format!("group {:?} is declared twice", group.name);
            return Err(invalid("group", detail));
        }
    }
    let sorted: BTreeMap<&str, &DeclaredDisk> = declaration
        .disks
        .iter()
        .map(|disk| (disk.name.as_str(), disk))
        .collect();
    if sorted.len() < declaration.disks.len() {
        let mut seen = BTreeSet::new();
        let twice = declaration
            .disks
            .iter()
            .find(|disk| !seen.insert(&disk.name));
        let name = twice.map(|disk| disk.name.as_str()).unwrap_or_default();
        return Err(invalid("disk", format!("disk {name:?} is declared twice")));
    }
    for disk in sorted.values() {
        let group = plan_disk(disks, disk, options, &groups, &mut plan)?;
        groups.extend(group);
    }
    if prune {
        plan_prune(disks, &sorted, &groups, &mut plan)?;
    }
    Ok(plan)
}

fn plan_group<'a>(
    disks: &Disks,
    group: &'a DeclaredGroup,
    prune: bool,
    plan: &mut Plan<'a>,
) -> Result<(), Problem> {
    group_key(&group.name)?;
    let had = disks.find_group(&group.name).map(|group| group.limits());
    let base = had.filter(|_| !prune).unwrap_or_default();
    let limits = group.limits.over(base);
    check_limits(&limits)?;
    if had == Some(limits) {
        return Ok(());
    }
    let old = had.as_ref().map_or_else(|| json!({}), with_limits);
    let action = match had {
        Some(_) => Action::Change,
        None => Action::Create,
    };
    let fields = field_changes(&old, &with_limits(&limits));
    plan.change("group", &group.name, action, fields);
    plan.applied.groups.push(group.name.clone());
    plan.steps.push(Planned::Group(&group.name, limits));
    Ok(())
}

/// Plan the changes of a disk. Returns the group that it will be in.
fn plan_disk<'a>(
    disks: &Disks,
    disk: &'a DeclaredDisk,
    options: ApplyOptions,
    groups: &BTreeSet<String>,
    plan: &mut Plan<'a>,
) -> Result<Option<String>, Problem> {
    let name = &disk.name;
    check_name(name)?;
    let settings = match disks.find(name) {
        Ok(served) => {
            let had = served.settings()?;
            let settings = wanted(disk, &served, &had, options);
            let valid = check_change(disks, &served, &had, settings)?;
            let fields = field_changes_to(&had, &valid.settings);
            if fields.is_empty() {
                plan.applied.unchanged.push(name.clone());
            } else {
                plan.change("disk", name, Action::Change, fields);
                plan.applied.changed.push(name.clone());
                plan.steps.push(Planned::Disk(disk));
            }
            valid.settings
        }
        Err(_) => {
            let pool_bytes = disks.store().limit_bytes();
            let valid = ValidDisk::new(name, new_settings(disk)?, pool_bytes)?;
            disks.factory.check(name)?;
            disks.factory.check_owner(None, &valid.settings)?;
            let mut fields = field_changes(&DiskSettings::new(0), &valid.settings);
            for field in &mut fields {
                field.old = Value::Null;
            }
            plan.change("disk", name, Action::Create, fields);
            plan.applied.created.push(name.clone());
            plan.steps.push(Planned::Disk(disk));
            valid.settings
        }
    };
    if let Some(group) = &settings.group
        && !groups.contains(group)
        && disks.find_group(group).is_none()
    {
        let detail = format!(
            "disk {name:?} names group {group:?}, which does not exist; add it to the \
             configuration"
        );
        return Err(Problem::missing(Missing::Group, detail));
    }
    Ok(settings.group)
}

/// Check that an existing disk can get these settings.
fn check_change(
    disks: &Disks,
    served: &ServedDisk,
    had: &DiskSettings,
    settings: DiskSettings,
) -> Result<ValidDisk, Problem> {
    // A quota that the disk already has may exceed the pool, if that has become smaller.
    let pool_bytes = match settings.quota_bytes == had.quota_bytes {
        true => u64::MAX,
        false => disks.store().limit_bytes(),
    };
    let valid = ValidDisk::new(&served.name, settings, pool_bytes)?;
    let patch = patch_to(&served.name, had, &valid)?;
    disks.factory.check_owner(Some(had), &valid.settings)?;
    if patch.size_bytes.is_some() {
        served.check_whole("resize it")?;
    }
    if let Some(Some(quota_bytes)) = patch.quota_bytes {
        served.disk.may_have_quota(quota_bytes)?;
    }
    Ok(valid)
}

/// Plan to destroy what isn't declared.
fn plan_prune(
    disks: &Disks,
    declared: &BTreeMap<&str, &DeclaredDisk>,
    groups: &BTreeSet<String>,
    plan: &mut Plan<'_>,
) -> Result<(), Problem> {
    let mut ends = disks.all();
    ends.retain(|served| !declared.contains_key(served.name.as_str()));
    // Forks before the disks that they were forked from.
    ends.sort_unstable_by_key(|served| std::cmp::Reverse(served.id));
    let ending: BTreeSet<&str> = ends.iter().map(|served| served.name.as_str()).collect();
    for served in &ends {
        let name = &served.name;
        if served.is_attached() {
            return Err(attached(name, "destroy it by its name"));
        }
        let snapshots: Vec<String> = served.snapshots.lock().iter().cloned().collect();
        if !snapshots.is_empty() {
            return Err(conflict(format!(
                "disk {name:?} is not declared and has snapshots ({}); declare it, or destroy \
                 it by its name",
                snapshots.join(", ")
            )));
        }
        let mut staying = disks.children(name, None);
        staying.retain(|child| !ending.contains(child.as_str()));
        check_children(name, &staying)?;
        let mapped_bytes = served.mapped_bytes().into();
        let fields = vec![FieldChange {
            field: "mapped_bytes".into(),
            old: mapped_bytes,
            new: Value::Null,
        }];
        plan.change("disk", name, Action::Destroy, fields);
        plan.applied.destroyed.push(name.clone());
        plan.steps.push(Planned::DestroyDisk(name.clone()));
    }
    for group in disks.all_groups() {
        if !groups.contains(&group.name) {
            let fields = field_changes(&with_limits(&group.limits()), &json!({}));
            plan.change("group", &group.name, Action::Destroy, fields);
            plan.applied.groups.push(group.name.clone());
            plan.steps.push(Planned::DestroyGroup(group.name.clone()));
        }
    }
    Ok(())
}

fn carry_out(disks: &Disks, step: &Planned<'_>, options: ApplyOptions) -> Result<(), Problem> {
    match step {
        Planned::Group(name, limits) => groups::put_over(disks, name, *limits).map(drop),
        Planned::Disk(disk) => apply_one(disks, disk, options),
        Planned::DestroyDisk(name) => destroy::destroy(disks, name, DestroyOptions::default()),
        Planned::DestroyGroup(name) => groups::destroy(disks, name),
    }
}

fn apply_one(disks: &Disks, disk: &DeclaredDisk, options: ApplyOptions) -> Result<(), Problem> {
    let name = &disk.name;
    let _control = disks.control();
    let Ok(served) = disks.find(name) else {
        let pool_bytes = disks.store().limit_bytes();
        let valid = ValidDisk::new(name, new_settings(disk)?, pool_bytes)?;
        return create::create(disks, name, &valid).map(drop);
    };
    let had = served.settings()?;
    let settings = wanted(disk, &served, &had, options);
    let valid = check_change(disks, &served, &had, settings)?;
    if !field_changes_to(&had, &valid.settings).is_empty() {
        change::patch_locked(disks, &served, &patch_to(name, &had, &valid)?, 0)?;
    }
    Ok(())
}
