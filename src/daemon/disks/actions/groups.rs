//! Limits that several disks share.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::daemon::disks::settings::problems::{conflict, figures, not_found};
use crate::daemon::disks::settings::valid::{check_limits, check_name, invalid};
use crate::daemon::disks::{Disks, Made};
use crate::device::Limiter;
use crate::model::{Group, Limits, LimitsPatch, Problem, ProblemKind, field_changes};
use crate::store::{DiskSpec, MAX_KEY_BYTES, SectorSize};

/// A group of disks.
#[derive(Debug)]
pub(crate) struct GroupEntry {
    name: String,
    limits: Mutex<Limits>,
    limiter: Arc<Limiter>,
}

/// What keys of groups begin with. Names of disks have no `@`.
pub(crate) const GROUP_PREFIX: &str = "@group.";

/// The store's key of a group: it is kept as a disk that nobody sees, in its settings.
pub(crate) fn group_key(name: &str) -> Result<String, Problem> {
    check_name(name)?;
    let key = format!("{GROUP_PREFIX}{name}");
    if key.len() <= MAX_KEY_BYTES {
        return Ok(key);
    }
    Err(invalid(
        "name",
        format!(
            "{name:?} has {} bytes, and a group's name can have {}: use a shorter one",
            name.len(),
            MAX_KEY_BYTES - GROUP_PREFIX.len()
        ),
    ))
}

impl Disks {
    fn group_entry(&self, name: &str) -> Result<Arc<GroupEntry>, Problem> {
        let found = self.table.read().groups.get(name).cloned();
        found.ok_or_else(|| {
            not_found("group", name)
                .with_detail(format!("there is no group named {name:?}: make it first"))
        })
    }

    /// What bounds the disks of a group together.
    pub(crate) fn group_limiter(
        &self,
        name: Option<&str>,
    ) -> Result<Option<Arc<Limiter>>, Problem> {
        let entry = name.map(|name| self.group_entry(name)).transpose()?;
        Ok(entry.map(|entry| Arc::clone(&entry.limiter)))
    }

    fn describe_group(&self, entry: &GroupEntry) -> Group {
        let disks = self.entries();
        let disks = disks
            .iter()
            .filter(|disk| disk.kept.lock().group.as_ref() == Some(&entry.name))
            .map(|disk| disk.name.clone())
            .collect();
        Group {
            name: entry.name.clone(),
            limits: *entry.limits.lock(),
            disks,
        }
    }

    /// All groups, sorted.
    pub fn groups(&self) -> Vec<Group> {
        let groups: Vec<_> = self.table.read().groups.values().cloned().collect();
        groups
            .iter()
            .map(|group| self.describe_group(group))
            .collect()
    }

    /// One of them.
    ///
    /// # Errors
    /// `not-found`.
    pub fn group(&self, name: &str) -> Result<Group, Problem> {
        Ok(self.describe_group(&*self.group_entry(name)?))
    }

    /// Make a group, or find it made just so.
    ///
    /// # Errors
    /// `invalid`; `conflict` if there is one with other limits.
    pub fn put_group(&self, name: &str, limits: Limits) -> Result<(Group, Made), Problem> {
        let _control = self.control.lock();
        if let Ok(group) = self.group(name) {
            check_limits(&limits)?;
            let changes = field_changes(&group.limits, &limits);
            if !changes.is_empty() {
                return Err(conflict(format!(
                    "group {name:?} exists with other limits ({}); change these, or destroy \
                     it first",
                    figures(&changes)
                )));
            }
        }
        self.put_locked(name, limits)
    }

    /// Give a group other limits, which hold at once; those that aren't named stay.
    ///
    /// # Errors
    /// `not-found`; `invalid`.
    pub fn patch_group(&self, name: &str, patch: LimitsPatch) -> Result<Group, Problem> {
        let _control = self.control.lock();
        let entry = self.group_entry(name)?;
        let limits = patch.over(*entry.limits.lock());
        Ok(self.put_locked(name, limits)?.0)
    }

    /// Have a group with these limits, whether it is there or not.
    pub(crate) fn have_group(&self, name: &str, limits: Limits) -> Result<(Group, Made), Problem> {
        let _control = self.control.lock();
        self.put_locked(name, limits)
    }

    /// The control is held.
    fn put_locked(&self, name: &str, limits: Limits) -> Result<(Group, Made), Problem> {
        let key = group_key(name)?;
        check_limits(&limits)?;
        let kept = serde_json::to_vec(&limits)
            .map_err(|error| Problem::new(ProblemKind::Internal, error.to_string()))?;
        let store = &self.workshop.store;
        if let Ok(entry) = self.group_entry(name) {
            store.open(&key)?.set_settings(&kept)?;
            *entry.limits.lock() = limits;
            entry.limiter.set(&(&limits).into());
            return Ok((self.describe_group(&entry), Made::Existing));
        }
        store.create_with(&key, &DiskSpec::new(SectorSize::S512, 512), &kept)?;
        self.add_group(name, limits);
        let group = Group {
            name: name.to_owned(),
            limits,
            disks: Vec::new(),
        };
        Ok((group, Made::New))
    }

    pub(crate) fn add_group(&self, name: &str, limits: Limits) {
        let entry = Arc::new(GroupEntry {
            name: name.to_owned(),
            limits: Mutex::new(limits),
            limiter: Limiter::new(&(&limits).into()),
        });
        self.table.write().groups.insert(name.to_owned(), entry);
    }

    /// End a group that no disk is in.
    ///
    /// # Errors
    /// `not-found`; `conflict` if disks are in it.
    pub fn destroy_group(&self, name: &str) -> Result<(), Problem> {
        let _control = self.control.lock();
        let group = self.group(name)?;
        if !group.disks.is_empty() {
            return Err(conflict(format!(
                "disks are in group {name:?} ({}); take them out of it first",
                group.disks.join(", ")
            )));
        }
        self.workshop.store.destroy(&group_key(name)?)?;
        self.table.write().groups.remove(name);
        Ok(())
    }
}
