//! Resizing a disk while it is served.

use std::collections::BTreeMap;

use crate::daemon::disks::registry::Disks;
use crate::daemon::disks::served::disk::ServedDisk;
use crate::daemon::disks::settings::problems::invalid;
use crate::model::{DiskPatch, EventKind, FieldChange, Problem, Resized};
use crate::store::{Bytes, Capacity, Disk, Shrink};

/// A new size for a disk.
#[derive(Debug)]
pub(crate) struct Resize {
    from_bytes: u64,
    to_bytes: u64,
    /// Mapped bytes beyond the new size.
    lost_bytes: u64,
    shrink: Shrink,
}

impl Resize {
    /// The resize that a patch requests, if it names a size. `lost_bytes` lie beyond that size, and
    /// a refusal names them.
    pub(crate) fn of(
        served: &ServedDisk,
        patch: &DiskPatch,
        lost_bytes: u64,
    ) -> Result<Option<Self>, Problem> {
        let Some(to_bytes) = patch.size_bytes else {
            return match patch.shrink {
                true => Err(invalid(
                    "shrink",
                    "shrink needs a size_bytes with it".into(),
                )),
                false => Ok(None),
            };
        };
        served.check_whole("resize it")?;
        let capacity = served.disk.capacity();
        Capacity::new(to_bytes, capacity.sector_size())
            .map_err(|error| invalid("size_bytes", error.to_string()))?;
        Ok(Some(Self {
            from_bytes: capacity.bytes(),
            to_bytes,
            lost_bytes,
            shrink: match patch.shrink {
                true => Shrink::Allow,
                false => Shrink::Refuse,
            },
        }))
    }

    /// Mapped bytes that a patch without `shrink` would lose. Takes longer the more there are.
    pub(crate) fn would_lose(served: &ServedDisk, patch: &DiskPatch) -> Result<u64, Problem> {
        match patch.size_bytes {
            Some(to_bytes) if !patch.shrink => mapped_from(&served.disk, to_bytes),
            _ => Ok(0),
        }
    }

    /// The arguments for the store.
    pub(crate) fn wanted(&self) -> Option<(u64, Shrink)> {
        (self.to_bytes != self.from_bytes).then_some((self.to_bytes, self.shrink))
    }

    /// Add to the store's refusal how much data would be lost.
    pub(crate) fn explain(&self, problem: Problem) -> Problem {
        let lost_bytes = self.lost_bytes;
        let detail = format!(
            "{} is less than the disk's {}, and {} of data would be lost: ask for the shrink \
             explicitly",
            Bytes(self.to_bytes),
            Bytes(self.from_bytes),
            Bytes(lost_bytes)
        );
        Problem {
            lost_bytes: Some(lost_bytes),
            field: Some("size_bytes".into()),
            ..problem.with_detail(detail)
        }
    }
}

/// Notify front ends and listeners to events of the new size. How much was lost is known only when
/// it is freed.
pub(crate) fn announce(disks: &Disks, served: &ServedDisk, resize: &Resize) -> Resized {
    let (from_bytes, to_bytes) = (resize.from_bytes, resize.to_bytes);
    let notified = served.server.config_changed();
    let live = served.server.front_ends();
    // An NBD client keeps the size that it began with.
    let live = live.iter().filter(|it| it.live && !it.is_visitor);
    let live = live.count();
    let not_notified = live.saturating_sub(notified);
    if to_bytes != from_bytes {
        let details = BTreeMap::from([
            ("from_bytes".to_owned(), from_bytes.into()),
            ("to_bytes".to_owned(), to_bytes.into()),
            ("notified".to_owned(), notified.into()),
        ]);
        let change = FieldChange {
            field: "size_bytes".into(),
            old: from_bytes.into(),
            new: to_bytes.into(),
        };
        let events = disks.events();
        events.tell_changes(
            EventKind::Resized,
            Some(&served.name),
            details,
            vec![change],
        );
    }
    Resized {
        from_bytes,
        to_bytes,
        lost_bytes: 0,
        notified,
        not_notified,
        hint: (not_notified > 0).then(|| RESIZE_HINT.to_owned()),
    }
}

/// Firecracker has no channel for this message.
const RESIZE_HINT: &str = "the VMM can't be notified: make it read the configuration again \
    (Firecracker: PATCH /drives/ID with the same drive_id), or restart the guest";

/// Mapped bytes from `from_bytes` to the end.
fn mapped_from(disk: &Disk, from_bytes: u64) -> Result<u64, Problem> {
    let sector_bytes = disk.sector_size().bytes();
    let mut mapped_sectors = 0;
    for extent in disk.extents_from(from_bytes / sector_bytes)? {
        let extent = extent?;
        mapped_sectors += if extent.mapped { extent.sectors } else { 0 };
    }
    Ok(mapped_sectors * sector_bytes)
}
