//! What a process before this one left in the store: disks with all that belongs to them.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use crate::daemon::disks::actions::content::READER_PREFIX;
use crate::daemon::disks::actions::groups::GROUP_PREFIX;
use crate::daemon::disks::actions::upload::IMPORT_PREFIX;
use crate::daemon::disks::served::failed::reason;
use crate::daemon::disks::served::states::STATE_PREFIX;
use crate::daemon::disks::settings::metadata::{Kept, Moved, Read};
use crate::daemon::disks::settings::valid::Checked;
use crate::daemon::disks::{Disks, Entry, Target};
use crate::device::Limiter;
use crate::model::{EventKind, Limits, Problem, ProblemKind};
use crate::store::{self, Change, Disk, OwnerWords, Store};
use crate::vhost_user::crash::{self, Culprit};

/// End what readers of content held, and what new content came to that was not whole: those who
/// read or brought it are gone with the process before this one.
///
/// # Errors
/// None that can be expected.
pub(crate) fn forget_readers(store: &Store) -> Result<(), store::Error> {
    let keys = store.keys();
    let is_theirs = |key: &&String| {
        [READER_PREFIX, IMPORT_PREFIX]
            .iter()
            .any(|it| key.starts_with(it))
    };
    let mut theirs = keys.iter().filter(is_theirs);
    theirs.try_for_each(|key| store.destroy(key).map(drop))
}

/// A disk that the store has.
struct Found {
    id: u64,
    disk: Disk,
    kept: Kept,
    /// What an older version kept elsewhere.
    moved: Option<Moved>,
    checked: Checked,
    limiter: Option<Arc<Limiter>>,
}

impl Disks {
    /// Have every disk of the store in the table and at its socket. No socket listens before all
    /// of them are there.
    pub(crate) fn adopt(&self) -> Result<(), Problem> {
        let _control = self.control.lock();
        forget_readers(&self.workshop.store)?;
        let keys = self.workshop.store.keys();
        for key in &keys {
            if let Some(name) = key.strip_prefix(GROUP_PREFIX) {
                self.adopt_group(key, name)?;
            }
        }
        let named: Vec<_> = keys
            .iter()
            .filter_map(|key| Target::parse(key).ok())
            .collect();
        let disks = named.iter().filter(|target| target.snapshot.is_none());
        let found: Vec<Found> = disks
            .map(|target| self.find(&target.disk))
            .collect::<Result<_, _>>()?;
        // All of it can be understood. What an older version left is what that one can serve until
        // this instant, and ours from here on.
        self.workshop.store.carry_over();
        let words = OwnerWords::new(&self.workshop.store);
        let culprit = crash::culprit(&words);
        let mut adopted = Vec::new();
        for disk in found {
            adopted.push(self.adopt_disk(disk, culprit)?);
        }
        for target in &named {
            if let Some(snapshot) = &target.snapshot {
                self.adopt_snapshot(target, snapshot)?;
            }
        }
        self.drop_stray_states(&keys, &adopted)?;
        crash::forget_culprit(&words);
        for entry in adopted.iter().filter(|entry| !entry.is_importing()) {
            self.workshop.listen(entry)?;
        }
        Ok(())
    }

    fn adopt_group(&self, key: &str, name: &str) -> Result<(), Problem> {
        let settings = self.workshop.store.open(key)?.settings()?;
        let limits: Limits = serde_json::from_slice(&settings)
            .map_err(|error| damaged("group", name, &error.to_string()))?;
        self.add_group(name, limits);
        Ok(())
    }

    /// Understand a disk that the store has, and change nothing.
    fn find(&self, name: &str) -> Result<Found, Problem> {
        let disk = self.workshop.store.open(name)?.into_owner();
        let info = disk.get_info()?;
        let Read { kept, moved } = Read::new(&disk.settings()?)
            .map_err(|error| damaged("disk", name, &error.to_string()))?;
        let spec = moved.map_or(info.spec, |moved| moved.spec(info.spec));
        let settings = kept.settings(&spec);
        let limiter = self.group_limiter(settings.group.as_deref())?;
        // A limit that is lower than it was is no reason to lose a disk.
        let checked = Checked::new(name, settings, u64::MAX)?;
        Ok(Found {
            id: info.id,
            disk,
            kept: kept.with(&checked.settings),
            moved,
            checked,
            limiter,
        })
    }

    fn adopt_disk(&self, found: Found, culprit: Option<Culprit>) -> Result<Arc<Entry>, Problem> {
        let (id, checked) = (found.id, found.checked);
        if let Some(moved) = found.moved {
            let blob = found.kept.to_blob()?;
            found.disk.change(&moved.change(&blob), None)?;
        }
        let workshop = &self.workshop;
        let entry = workshop.prepare(found.disk, &checked, found.kept, false)?;
        entry.limit(&checked.settings.limits, found.limiter);
        entry.follow_failure();
        if let Some(culprit) = culprit.filter(|culprit| culprit.disk_id == id) {
            self.blame(&entry, &culprit);
        }
        Ok(self.add(entry))
    }

    /// The process before this one died of a request of this disk.
    fn blame(&self, entry: &Entry, culprit: &Culprit) {
        let reason = reason(culprit);
        tracing::error!(disk = entry.name, "{reason}: ramblk repair {}", entry.name);
        let fail = |kept: &mut Kept| kept.failure = Some(reason.clone());
        if let Err(problem) = entry.change(fail, &Change::default(), None) {
            // It stays so for as long as this process lives, at least.
            tracing::error!(disk = entry.name, %problem, "can't keep that it has failed");
            fail(&mut entry.kept.lock());
        }
        entry.follow_failure();
        let details = BTreeMap::from([("reason".to_owned(), reason.into())]);
        let events = &self.workshop.events;
        events.tell(EventKind::Fault, Some(&entry.name), details);
    }

    fn adopt_snapshot(&self, target: &Target, snapshot: &str) -> Result<(), Problem> {
        let key = target.key()?;
        let id = self.workshop.store.open(&key)?.get_info()?.id;
        let Ok(entry) = self.entry(&target.disk) else {
            // Disks go after their snapshots, so this can't be; and data is not ours to throw away.
            tracing::warn!(key, "a snapshot without its disk; it is left as it is");
            return Ok(());
        };
        entry.snapshots.lock().insert(snapshot.to_owned());
        let mut table = self.table.write();
        table.names.insert(id, key);
        table.snapshots += 1;
        Ok(())
    }

    /// A state that was saved of a disk that is gone is nobody's.
    fn drop_stray_states(&self, keys: &[String], adopted: &[Arc<Entry>]) -> Result<(), Problem> {
        let ids: HashSet<u64> = adopted.iter().map(|entry| entry.id).collect();
        for key in keys {
            let Some(rest) = key.strip_prefix(STATE_PREFIX) else {
                continue;
            };
            let id = rest.split('.').next().and_then(|id| id.parse().ok());
            if !id.is_some_and(|id: u64| ids.contains(&id)) {
                self.workshop.store.destroy(key)?;
            }
        }
        Ok(())
    }
}

fn damaged(what: &str, name: &str, why: &str) -> Problem {
    Problem::new(
        ProblemKind::Internal,
        format!("the settings of {what} {name:?} can't be read: {why}; it is left as it is"),
    )
}
