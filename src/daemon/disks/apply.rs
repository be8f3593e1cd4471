//! Many disks at once, as a configuration has them.

use std::collections::{BTreeMap, HashSet};

use super::super::model::{Applied, Config, ConfigDisk, ConfigGroup, EventKind, Problem};
use super::change::{differences, patch_to};
use super::check::{Checked, check_limits, check_name, invalid};
use super::problems::not_found;
use super::{Disks, size_details};

/// A configuration of more disks is a mistake.
const MOST_DISKS: usize = 100_000;

impl Disks {
    /// All disks and groups, as a configuration that would make them. Snapshots and what disks have
    /// in common are not in it.
    pub fn config(&self) -> Config {
        let groups = self.groups().into_iter().map(|group| ConfigGroup {
            name: group.name,
            limits: group.limits,
        });
        let entries = self.entries();
        // One that is destroyed meanwhile is no longer in the list.
        let disks = entries.iter().filter_map(|entry| {
            Some(ConfigDisk {
                name: entry.name.clone(),
                settings: entry.settings().ok()?,
            })
        });
        Config {
            groups: groups.collect(),
            disks: disks.collect(),
        }
    }

    /// Make what a configuration names and isn't there, and change what may be changed; doing it
    /// twice does nothing more. All of it is checked before anything is done, and with `dry_run`
    /// that is all.
    ///
    /// # Errors
    /// As for each disk by itself. What was done before a want of memory stopped it stays done.
    pub fn apply(&self, config: Config, dry_run: bool) -> Result<Applied, Problem> {
        let wanted = self.check_config(&config)?;
        let mut applied = Applied::default();
        for (name, checked) in &wanted {
            match self.entry(name) {
                Err(_) => applied.created.push(name.clone()),
                Ok(entry) => {
                    let had = entry.settings()?;
                    patch_to(name, &had, checked)?;
                    if differences(&had, &checked.settings).is_empty() {
                        applied.unchanged.push(name.clone());
                    } else {
                        applied.changed.push(name.clone());
                    }
                }
            }
        }
        let is_new = |group: &&ConfigGroup| {
            let had = self.group(&group.name);
            had.map_or(true, |had| had.limits != group.limits)
        };
        let groups = config.groups.iter().filter(is_new);
        applied.groups = groups.map(|group| group.name.clone()).collect();
        if dry_run {
            return Ok(applied);
        }
        for group in config.groups {
            self.put_group(&group.name, group.limits)?;
        }
        for (name, checked) in &wanted {
            self.apply_one(name, checked)?;
        }
        Ok(applied)
    }

    fn apply_one(&self, name: &str, checked: &Checked) -> Result<(), Problem> {
        let _control = self.control.lock();
        let Ok(entry) = self.entry(name) else {
            let entry = self.create(name, checked)?;
            let events = &self.workshop.events;
            events.tell(EventKind::Created, Some(name), size_details(&entry));
            return Ok(());
        };
        let had = entry.settings()?;
        if !differences(&had, &checked.settings).is_empty() {
            let patch = patch_to(name, &had, checked)?;
            self.patch_entry(&entry, &patch, 0)?;
        }
        Ok(())
    }

    /// Everything that can be said of a configuration before anything is done.
    fn check_config(&self, config: &Config) -> Result<BTreeMap<String, Checked>, Problem> {
        if config.disks.len() > MOST_DISKS || config.groups.len() > MOST_DISKS {
            let detail = format!("a configuration has at most {MOST_DISKS} disks");
            return Err(invalid("disk", detail));
        }
        let mut groups = HashSet::new();
        for group in &config.groups {
            check_name(&group.name)?;
            check_limits(&group.limits)?;
            if !groups.insert(group.name.as_str()) {
                let detail = format!("group {:?} is there twice", group.name);
                return Err(invalid("group", detail));
            }
        }
        let pool_bytes = self.workshop.store.limit_bytes();
        let mut wanted = BTreeMap::new();
        for disk in &config.disks {
            let checked = Checked::new(&disk.name, disk.settings.clone(), pool_bytes)?;
            self.workshop.check(&disk.name)?;
            if let Some(group) = &checked.settings.group
                && !groups.contains(group.as_str())
                && self.group(group).is_err()
            {
                return Err(not_found("group", group).with_detail(format!(
                    "disk {:?} is to be in group {group:?}, which is not there; add it to the \
                     configuration",
                    disk.name
                )));
            }
            if wanted.insert(disk.name.clone(), checked).is_some() {
                let detail = format!("disk {:?} is there twice", disk.name);
                return Err(invalid("disk", detail));
            }
        }
        Ok(wanted)
    }
}
