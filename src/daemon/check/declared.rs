//! The disks and groups that a configuration declares, beside those that are kept.

use std::collections::BTreeSet;
use std::path::Path;

use super::diagnosis::Diagnosis;
use super::kept::Kept;
use crate::daemon::disks::served::factory::OWN_FILES;
use crate::daemon::disks::settings::differences::patch_to;
use crate::daemon::disks::settings::names::{check_name, group_key};
use crate::daemon::disks::settings::problems::invalid;
use crate::daemon::disks::settings::valid::{ValidDisk, check_limits, check_socket_path};
use crate::daemon::host::owner::SocketOwner;
use crate::model::{Declaration, DeclaredDisk, DeclaredGroup, DiskSettings, Limits, Problem};

const DECLARED: &str = "declared";

/// What would keep a daemon from applying the declaration. Each group and disk is judged by itself.
pub(super) fn check(
    declaration: &Declaration,
    kept: &Kept,
    run_dir: Option<&Path>,
    pool_bytes: u64,
) -> Vec<Diagnosis> {
    let mut told = Vec::new();
    let mut groups = kept.groups.clone();
    let mut seen = BTreeSet::new();
    for group in &declaration.groups {
        if let Err(problem) = check_group(group) {
            told.push(refused("group", &group.name, &problem.detail));
        }
        if !seen.insert(&group.name) {
            told.push(refused("group", &group.name, "it is declared twice"));
        }
        groups.insert(group.name.clone());
    }
    let mut seen = BTreeSet::new();
    for disk in &declaration.disks {
        if !seen.insert(&disk.name) {
            told.push(refused("disk", &disk.name, "it is declared twice"));
        }
        match check_disk(disk, kept, run_dir, pool_bytes) {
            Err(problem) => told.push(refused("disk", &disk.name, &problem.detail)),
            Ok(settings) => {
                let missing = settings.group.filter(|group| !groups.contains(group));
                told.extend(missing.map(|group| {
                    let why = format!("its group {group:?} does not exist; declare it too");
                    refused("disk", &disk.name, &why)
                }));
            }
        }
    }
    if told.is_empty() {
        let (disks, groups) = (declaration.disks.len(), declaration.groups.len());
        let what = format!("all can be applied; disks: {disks}, groups: {groups}");
        told.push(Diagnosis::ok(DECLARED, what));
    }
    told
}

/// How many disks there are once the declaration is applied.
pub(super) fn disks(declaration: &Declaration, kept: &Kept) -> usize {
    let names = declaration.disks.iter().map(|disk| &disk.name);
    let all: BTreeSet<&String> = names.chain(kept.disks.keys()).collect();
    all.len()
}

fn refused(kind: &str, name: &str, why: &str) -> Diagnosis {
    Diagnosis::problem(DECLARED, format!("{kind} {name:?}: {why}"), "")
}

fn check_group(group: &DeclaredGroup) -> Result<(), Problem> {
    group_key(&group.name)?;
    check_limits(&group.limits.over(Limits::default()))
}

fn check_disk(
    disk: &DeclaredDisk,
    kept: &Kept,
    run_dir: Option<&Path>,
    pool_bytes: u64,
) -> Result<DiskSettings, Problem> {
    let name = &disk.name;
    check_name(name)?;
    if OWN_FILES.contains(&name.as_str()) {
        let detail = "it is the name of a file of ramblk: choose another".to_owned();
        return Err(invalid("name", detail));
    }
    if let Some(run_dir) = run_dir {
        check_socket_path(&run_dir.join(name).join("vhost.sock"))?;
    }
    let had = kept.disks.get(name);
    if had.is_none() && disk.size_bytes.is_none() {
        let detail = "it does not exist, and a new one needs a size".to_owned();
        return Err(invalid("size_bytes", detail));
    }
    let base = had.cloned().unwrap_or_else(|| DiskSettings::new(0));
    let settings = disk.over(base);
    // A quota that the disk already has may exceed the pool, if that has become smaller.
    let is_old_quota = had.is_some_and(|had| had.quota_bytes == settings.quota_bytes);
    let pool_bytes = if is_old_quota { u64::MAX } else { pool_bytes };
    let valid = ValidDisk::new(name, settings, pool_bytes)?;
    if let Some(had) = had {
        patch_to(name, had, &valid)?;
    }
    if let Some(owner) = &valid.settings.socket_owner
        && had.and_then(|had| had.socket_owner.as_ref()) != Some(owner)
    {
        SocketOwner::parse(owner)?.resolve()?;
    }
    Ok(valid.settings)
}
