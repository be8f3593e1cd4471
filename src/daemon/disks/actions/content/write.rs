//! Writing a part of a disk without a front end: as a whole or not at all.
//!
//! The bytes go into a fork, which becomes the disk's content when all have arrived. That can't be
//! done beside a guest, which would lose what it writes meanwhile: with `force` the bytes then go
//! into the disk as they arrive.

use std::sync::Arc;

use super::staged::Staged;
use crate::daemon::disks::registry::Disks;
use crate::daemon::disks::served::disk::ServedDisk;
use crate::daemon::disks::settings::lineage::Lineage;
use crate::daemon::disks::settings::problems::{attached, invalid};
use crate::model::{EventKind, Problem, ProblemKind};
use crate::store::{Bytes, Leftover, Source};

/// A write of a part of a disk, whose bytes arrive one after the other.
#[derive(Debug)]
pub struct Write {
    served: Arc<ServedDisk>,
    /// Where the bytes go that replace the content as a whole; none if they go into the disk.
    staged: Option<Staged>,
    start_bytes: u64,
}

/// Begin to write at `start_bytes`.
///
/// # Errors
/// `not-found`; `attached` if a front end is connected, without `force`; `conflict` if the disk's
/// first content is incomplete; `invalid` if the disk ends before `start_bytes`; `over-budget`.
pub fn begin(disks: &Disks, name: &str, start_bytes: u64, force: bool) -> Result<Write, Problem> {
    let _control = disks.control();
    let served = disks.find(name)?;
    served.check_whole("write to it")?;
    let size_bytes = served.disk.capacity().bytes();
    if start_bytes >= size_bytes {
        let detail = format!(
            "{start_bytes} is not inside disk {name:?}, which has {}",
            Bytes(size_bytes)
        );
        return Err(invalid("start_bytes", detail));
    }
    let staged = match served.is_attached() {
        true if !force => return Err(attached(name, "write to it")),
        true => None,
        false => Some(Staged::new(disks, &served)?),
    };
    if staged.is_none() {
        check_aligned(&served, "start_bytes", start_bytes)?;
        served.end_recording("a part of the disk was written over the API");
    }
    Ok(Write {
        served,
        staged,
        start_bytes,
    })
}

/// Check an offset beside a guest, which may be writing the rest of the same block.
fn check_aligned(served: &ServedDisk, field: &str, bytes: u64) -> Result<(), Problem> {
    let block_bytes = served.disk.sector_size().bytes();
    if bytes.is_multiple_of(block_bytes) {
        return Ok(());
    }
    let detail = format!(
        "{bytes} is not a multiple of the block size, {block_bytes}, and a guest may be writing \
         the rest of the block: send whole blocks, or detach the front end"
    );
    Err(invalid(field, detail))
}

impl Write {
    /// The most bytes that may follow.
    pub fn room_bytes(&self) -> u64 {
        let size_bytes = match &self.staged {
            Some(staged) => staged.disk().capacity().bytes(),
            None => self.served.disk.capacity().bytes(),
        };
        size_bytes.saturating_sub(self.start_bytes)
    }

    /// Whether the disk stays as it is unless all bytes arrive.
    pub fn is_whole(&self) -> bool {
        self.staged.is_some()
    }

    /// Write bytes, `at_bytes` after the beginning.
    ///
    /// # Errors
    /// `invalid` if they are not inside the disk, or, beside a guest, are no whole blocks;
    /// `over-budget`.
    pub fn write(&self, at_bytes: u64, bytes: &[u8]) -> Result<(), Problem> {
        let start = self.start_bytes + at_bytes;
        if let Some(staged) = &self.staged {
            return staged.write(start, bytes);
        }
        let (served, length) = (&self.served, bytes.len() as u64);
        check_aligned(served, "start_bytes", start)?;
        check_aligned(served, "body", length)?;
        let capacity = served.disk.capacity();
        let range = capacity.range_own(start / capacity.sector_size().bytes(), length)?;
        let volume = served.server.device().volume();
        volume.is_changed_beside(start, length).map_err(|_| {
            let name = &served.name;
            let detail = format!(
                "disk {name:?} has a front end, and its sanitizer fails writes beside that: detach \
                 it, or set sanitize to \"log\""
            );
            Problem::new(ProblemKind::Attached, detail)
        })?;
        Ok(served.disk.write_from(range, &[Source::from(bytes)])?)
    }

    /// All `length_bytes` have arrived: make them the disk's. The memory of what they replace is
    /// freed when you drop the result.
    ///
    /// # Errors
    /// `attached` if a front end has connected since; `conflict` if something else changed the
    /// disk; `over-budget`. The disk then stays as it is.
    pub fn finish(&self, disks: &Disks, length_bytes: u64) -> Result<Vec<Leftover>, Problem> {
        let _control = disks.control();
        if length_bytes == 0 {
            let detail = "the body has no bytes: the disk stays as it is; send some";
            return Err(Problem::new(ProblemKind::Invalid, detail));
        }
        let left = match &self.staged {
            Some(staged) => staged.commit(&self.served, |metadata| {
                metadata.lineage = metadata.lineage.map(Lineage::left_behind);
            })?,
            None => Vec::new(),
        };
        self.served
            .end_recording("a part of the disk was written over the API");
        let details = [
            ("start_bytes".to_owned(), self.start_bytes.into()),
            ("length_bytes".to_owned(), length_bytes.into()),
        ];
        let name = Some(self.served.name.as_str());
        disks
            .events()
            .tell(EventKind::Written, name, details.into());
        Ok(left)
    }
}
