//! The directory of an exploration, which is removed at its end, or by the next one if it was
//! killed.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use tempfile::TempDir;

use crate::cli::error::Error;

/// What names of directories begin with.
const PREFIX: &str = "ramblk-explore-";
/// A file in each, which is locked as long as its process lives.
const LOCK: &str = "lock";

/// The directory of an exploration.
#[derive(Debug)]
pub(in crate::cli::verbs::crash) struct Folder {
    folder: TempDir,
    _lock: File,
}

impl Folder {
    /// A directory in `wanted`, or else in memory. Those that killed processes left there are
    /// removed.
    pub(in crate::cli::verbs::crash) fn new(wanted: Option<&Path>) -> Result<Self, Error> {
        let memory = Path::new("/dev/shm");
        let within = match wanted {
            Some(wanted) => wanted.to_owned(),
            None if memory.is_dir() => memory.to_owned(),
            None => std::env::temp_dir(),
        };
        remove_stale(&within);
        let made = tempfile::Builder::new().prefix(PREFIX).tempdir_in(&within);
        let made = made.and_then(|folder| {
            let lock = lock(folder.path())?;
            Ok(Self {
                folder,
                _lock: lock,
            })
        });
        made.map_err(|source| Error::File {
            what: "make a directory in",
            path: within,
            source,
        })
    }

    pub(in crate::cli::verbs::crash) fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// Make the lock of a directory. It appears under its name when it is locked.
fn lock(folder: &Path) -> io::Result<File> {
    let new = folder.join("lock.new");
    let file = File::create(&new)?;
    flock(&file, FlockOperation::NonBlockingLockExclusive)?;
    fs::rename(new, folder.join(LOCK))?;
    Ok(file)
}

/// Remove directories whose process has ended: they have a lock that no process holds.
fn remove_stale(within: &Path) {
    let Ok(entries) = fs::read_dir(within) else {
        return;
    };
    let ours = entries.filter_map(Result::ok).filter(|entry| {
        let name = entry.file_name();
        name.to_str().is_some_and(|name| name.starts_with(PREFIX))
    });
    for folder in ours.map(|entry| entry.path()) {
        if let Some(lock) = stale_lock(&folder) {
            let removed = fs::remove_dir_all(&folder);
            drop(lock);
            if let Err(error) = removed {
                tracing::debug!(folder = %folder.display(), %error, "can't remove");
            }
        }
    }
}

/// The lock of a directory, if no process holds it.
fn stale_lock(folder: &PathBuf) -> Option<File> {
    let is_folder = fs::symlink_metadata(folder).is_ok_and(|it| it.is_dir());
    let file = is_folder.then(|| File::open(folder.join(LOCK)))?.ok()?;
    let locked = flock(&file, FlockOperation::NonBlockingLockExclusive);
    locked.ok().map(|()| file)
}
