//! Content beside a disk, which begins as the disk's own and becomes the disk's at one instant.
//!
//! It is a fork of the disk (`@import.ID.wN`), whose content at that moment is held by a snapshot.
//! A process that is killed leaves the disk as it was, and the next one destroys the fork.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::reader::{Reader, reader};
use crate::daemon::disks::actions::ids;
use crate::daemon::disks::registry::Disks;
use crate::daemon::disks::served::disk::ServedDisk;
use crate::daemon::disks::settings::metadata::Metadata;
use crate::daemon::disks::settings::names::{IMPORT_PREFIX, Target};
use crate::daemon::disks::settings::problems::{attached, conflict};
use crate::model::{ContentId, Problem, ProblemKind};
use crate::store::is_zero;
use crate::store::{
    ByteRange, Bytes, Change, Disk, Leftover, OnFull, PAGE_BYTES, Shrink, Source, Store,
};

/// A fork of a disk that will replace the disk's content. If you drop it before that, the disk
/// stays as it is.
#[derive(Debug)]
pub(crate) struct Staged {
    /// The content of the disk at the moment of the fork.
    before: Reader,
    disk: Disk,
    key: String,
    store: Arc<Store>,
}

impl Drop for Staged {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.store.destroy(&self.key);
    }
}

impl Staged {
    /// A fork of the disk as it is now.
    ///
    /// # Errors
    /// `conflict` if the disk's first content is incomplete; `over-budget`.
    pub(crate) fn new(disks: &Disks, served: &ServedDisk) -> Result<Self, Problem> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let target = Target {
            disk: served.name.clone(),
            snapshot: None,
        };
        let before = reader(disks, &target)?;
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let key = format!("{IMPORT_PREFIX}{}.w{number}", served.id);
        let change = Change {
            settings: Some(&[]),
            on_full: Some(OnFull::Error),
            read_only: Some(false),
            ..Change::default()
        };
        let disk = disks.store().fork_with(before.key(), &key, &change)?;
        Ok(Self {
            before,
            disk: disk.into_never_waiting(),
            key,
            store: Arc::clone(disks.store()),
        })
    }

    /// A fork of a disk that has the content of `base`, for a change that makes it this long.
    ///
    /// # Errors
    /// The same as [`Staged::new`]; `conflict` if the disk has other content.
    pub(crate) fn on(
        disks: &Disks,
        served: &ServedDisk,
        base: ContentId,
        size_bytes: Option<u64>,
    ) -> Result<Self, Problem> {
        let staged = Self::new(disks, served)?;
        let has = ids::of_disk(disks, served)?;
        // What it had then it still has, and so it had it at the moment of the fork.
        staged.check_current(served)?;
        if has != Some(base) {
            let has = match has {
                Some(has) => format!("it has {has}"),
                None => "it was written to since that, or never had it".to_owned(),
            };
            return Err(conflict(format!(
                "the change is one of content {base}, and disk {:?} has other content ({has}): \
                 reset it to a snapshot with that content, or import the whole content first",
                served.name
            )));
        }
        if let Some(size_bytes) = size_bytes {
            staged.disk.resize_bytes(size_bytes, Shrink::Allow)?.free();
        }
        Ok(staged)
    }

    /// Its content.
    pub(crate) fn disk(&self) -> &Disk {
        &self.disk
    }

    /// Another connection to it.
    ///
    /// # Errors
    /// None is expected.
    pub(crate) fn open(&self) -> Result<Disk, Problem> {
        Ok(self.store.open(&self.key)?)
    }

    /// Replace a range by zeros, which take no memory.
    ///
    /// # Errors
    /// `invalid` if the range is not inside the disk, or not of whole blocks; `over-budget`.
    pub(crate) fn zero(&self, start_bytes: u64, length_bytes: u64) -> Result<(), Problem> {
        let block_bytes = self.disk.sector_size().bytes();
        if !(start_bytes | length_bytes).is_multiple_of(block_bytes) {
            return Err(Problem::new(
                ProblemKind::Invalid,
                format!(
                    "zeros of {length_bytes} bytes at {start_bytes} are not multiples of the block \
                     size, {block_bytes}"
                ),
            ));
        }
        let range = self.range(start_bytes, length_bytes)?;
        Ok(self.disk.write_zeroes_range(range, true)?)
    }

    /// Write bytes at any offset. Pages of zeros take no memory.
    ///
    /// # Errors
    /// `invalid` if the range is not inside the disk; `over-budget`.
    pub(crate) fn write(&self, start_bytes: u64, bytes: &[u8]) -> Result<(), Problem> {
        let block_bytes = self.disk.sector_size().bytes();
        let end = start_bytes.saturating_add(bytes.len() as u64);
        let first = start_bytes / block_bytes * block_bytes;
        let aligned = first == start_bytes && end.is_multiple_of(block_bytes);
        if aligned {
            return self.write_blocks(first, bytes);
        }
        // The blocks at both ends keep the rest of their bytes.
        let length = end.next_multiple_of(block_bytes).saturating_sub(first);
        let mut whole = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
        self.disk.read(first / block_bytes, &mut [&mut whole])?;
        let skipped = usize::try_from(start_bytes - first).unwrap_or(usize::MAX);
        if let Some(part) = whole.get_mut(skipped..skipped + bytes.len()) {
            part.copy_from_slice(bytes);
        }
        self.write_blocks(first, &whole)
    }

    fn write_blocks(&self, start_bytes: u64, bytes: &[u8]) -> Result<(), Problem> {
        let mut at = start_bytes;
        let mut rest = bytes;
        while !rest.is_empty() {
            let to_page = PAGE_BYTES - at % PAGE_BYTES;
            let length = usize::try_from(to_page).unwrap_or(usize::MAX);
            let (now, later) = rest.split_at(length.min(rest.len()));
            let range = self.range(at, now.len() as u64)?;
            match is_zero(now) {
                true => self.disk.write_zeroes_range(range, true)?,
                false => self.disk.write_from(range, &[Source::from(now)])?,
            }
            at += now.len() as u64;
            rest = later;
        }
        Ok(())
    }

    fn range(&self, start_bytes: u64, length_bytes: u64) -> Result<ByteRange, Problem> {
        let capacity = self.disk.capacity();
        let block_bytes = capacity.sector_size().bytes();
        Ok(capacity.range_own(start_bytes / block_bytes, length_bytes)?)
    }

    /// Check that nothing changed the disk since the fork.
    ///
    /// # Errors
    /// `conflict`.
    pub(crate) fn check_current(&self, served: &ServedDisk) -> Result<(), Problem> {
        if served.disk.has_tree_of(self.before.disk())? {
            return Ok(());
        }
        Err(conflict(format!(
            "disk {:?} was written to, or its size ({}) changed, meanwhile: it stays as it is now; \
             try again",
            served.name,
            Bytes(self.before.size_bytes())
        )))
    }

    /// Make this the disk's content and size, at one instant, and `edit` the metadata at the same
    /// one. The caller holds the control lock. The memory of the old content is freed when you drop
    /// the result.
    ///
    /// # Errors
    /// `attached` if a front end is connected; `conflict` if something changed the disk since the
    /// fork; `over-budget`. The disk then stays as it is.
    pub(crate) fn commit(
        &self,
        served: &ServedDisk,
        edit: impl FnOnce(&mut Metadata),
    ) -> Result<Vec<Leftover>, Problem> {
        let left = served.replace_metadata(edit, |blob| {
            // No front end can connect between the checks and the commit.
            let done = served.server.unless_attached(false, || {
                self.check_current(served)?;
                let (disk, fork) = (&served.name, &self.key);
                let stable = served.stable_key();
                let leaving = [Some(self.before.key()), stable.as_deref()];
                let leaving: Vec<&str> = leaving.into_iter().flatten().collect();
                self.store.check_absorb(disk, fork, &leaving)?;
                Ok::<_, Problem>(self.store.absorb(disk, fork, blob)?)
            });
            done.ok_or_else(|| attached(&served.name, "write to it"))?
        })?;
        served.stabilise();
        let rest = self.store.destroy(&self.key).ok();
        Ok([Some(left), rest].into_iter().flatten().collect())
    }
}
