//! Disks that are made, and served from then on.

use std::sync::Arc;

use super::change::field_changes_to;
use crate::daemon::disks::served::disk::Entry;
use crate::daemon::disks::settings::metadata::Kept;
use crate::daemon::disks::settings::origin::{self, Origin};
use crate::daemon::disks::settings::problems::{conflict, figures};
use crate::daemon::disks::settings::valid::Checked;
use crate::daemon::disks::{Disks, Made, size_details};
use crate::device::Limiter;
use crate::model::{Disk, DiskSettings, EventKind, Image, Problem, ProblemKind};
use crate::store;

impl Disks {
    /// Make a disk, or find it made just so.
    ///
    /// # Errors
    /// `invalid`; `conflict` if there is one with other settings; `over-budget`.
    pub fn put(&self, name: &str, settings: DiskSettings) -> Result<(Disk, Made), Problem> {
        self.put_as(name, settings, None)
    }

    /// Make a disk whose first content is that of an image, to be brought by [`Disks::upload`], or
    /// find it made, or being made, just so. Until its content is whole it is importing, and it
    /// goes if nobody brings that for too long.
    ///
    /// # Errors
    /// As [`Disks::put`]; `conflict` if there is one that was made from another image, or from one
    /// that can't be told from others.
    pub fn put_from(
        &self,
        name: &str,
        settings: DiskSettings,
        image: Image,
    ) -> Result<(Disk, Made), Problem> {
        self.put_as(name, settings, Some(image))
    }

    fn put_as(
        &self,
        name: &str,
        settings: DiskSettings,
        image: Option<Image>,
    ) -> Result<(Disk, Made), Problem> {
        image.as_ref().map_or(Ok(()), origin::check_image)?;
        let pool_bytes = self.workshop.store.limit_bytes();
        let checked = Checked::new(name, settings, pool_bytes)?;
        let _control = self.control.lock();
        if let Ok(entry) = self.entry(name) {
            match &image {
                Some(image) => entry.check_made_from(image)?,
                None => entry.check_whole("take it as made")?,
            }
            let differing = field_changes_to(&entry.settings()?, &checked.settings);
            if differing.is_empty() {
                entry.import.expect();
                return Ok((self.describe(&entry, false)?, Made::Existing));
            }
            return Err(conflict(format!(
                "disk {name:?} exists with other settings ({}); change these, or \
                 destroy it first",
                figures(&differing)
            )));
        }
        let kept = Kept {
            import: image.map_or_else(Origin::default, Origin::to_come),
            ..Kept::of(&checked.settings)
        };
        let entry = self.create(name, &checked, kept)?;
        self.workshop
            .events
            .tell(EventKind::Created, Some(name), size_details(&entry));
        if entry.is_importing() {
            // Whoever ends those that wait too long has one more.
            self.workshop.store.pressure().raise();
        }
        Ok((self.describe(&entry, false)?, Made::New))
    }

    /// Make a disk that isn't there. The control is held.
    pub(crate) fn create(
        &self,
        name: &str,
        checked: &Checked,
        kept: Kept,
    ) -> Result<Arc<Entry>, Problem> {
        self.check_room()?;
        self.workshop.check(name)?;
        let limiter = self.group_limiter(checked.settings.group.as_deref())?;
        let blob = kept.to_blob()?;
        let disk = self
            .workshop
            .store
            .create_with(name, &checked.spec, &blob)?;
        self.serve_new(disk, checked, kept, limiter)
    }

    /// Serve a disk that the store has just got, unless its content is still to come; where that
    /// fails, it is gone again.
    pub(crate) fn serve_new(
        &self,
        disk: store::Disk,
        checked: &Checked,
        kept: Kept,
        limiter: Option<Arc<Limiter>>,
    ) -> Result<Arc<Entry>, Problem> {
        let name = disk.get_info()?.key;
        let prepared = self.workshop.prepare(disk, checked, kept, true);
        let served = prepared.and_then(|entry| {
            entry.limit(&checked.settings.limits, limiter);
            if !entry.is_importing() {
                self.workshop.listen(&entry)?;
            }
            Ok(entry)
        });
        let entry = served.inspect_err(|_| {
            // The problem is the one to tell; the disk was made a moment ago.
            let _ = self.workshop.store.destroy(&name);
        })?;
        Ok(self.add(entry))
    }

    /// Add a disk that is being served to the table.
    pub(crate) fn add(&self, entry: Entry) -> Arc<Entry> {
        let entry = Arc::new(entry);
        self.mark(&entry);
        let mut table = self.table.write();
        table.names.insert(entry.id, entry.name.clone());
        table.disks.insert(entry.name.clone(), Arc::clone(&entry));
        entry
    }

    /// Whether there can be one more disk.
    pub(crate) fn check_room(&self) -> Result<(), Problem> {
        let most = self.most_disks;
        if self.table.read().disks.len() < most {
            return Ok(());
        }
        Err(Problem::new(
            ProblemKind::OverBudget,
            format!(
                "there are {most} disks, as many as the limit on open files allows: destroy some, \
                 or start the daemon with a higher one (ulimit -n, LimitNOFILE=)"
            ),
        ))
    }
}
