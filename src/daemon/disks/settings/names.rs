//! Names of disks, snapshots and groups, and the keys that the store has them under.
//!
//! A name has no `@` in front, so the keys of what only the daemon knows can't be one.

use super::problems::invalid;
use crate::model::Problem;
pub use crate::model::Target;
use crate::store::MAX_KEY_BYTES;

/// Longest name of a disk, a snapshot or a group, in bytes.
pub const MAX_NAME_BYTES: usize = 64;

/// Start of the keys of groups.
pub(crate) const GROUP_PREFIX: &str = "@group.";
/// Start of the keys of the snapshots that readers hold.
pub(crate) const READER_PREFIX: &str = "@read.";
/// Start of the keys of content that is being uploaded.
pub(crate) const IMPORT_PREFIX: &str = "@import.";
/// Start of the keys of saved device states.
pub(crate) const STATE_PREFIX: &str = "@state.";

/// Whether something was made, or was there as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Made {
    /// It was made now.
    New,
    /// It was there, just so.
    Existing,
}

/// Whether `name` can be one of a disk, a snapshot or a group.
pub fn check_name(name: &str) -> Result<(), Problem> {
    let fits = name.len() <= MAX_NAME_BYTES
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'));
    if fits {
        return Ok(());
    }
    Err(invalid(
        "name",
        format!(
            "{name:?} is no name: use 1 to {MAX_NAME_BYTES} of A-Z a-z 0-9 . _ -, and begin with a \
             letter or digit"
        ),
    ))
}

/// The store's key of a snapshot.
pub(crate) fn snapshot_key(disk: &str, snapshot: &str) -> Result<String, Problem> {
    check_name(snapshot)?;
    let key = format!("{disk}@{snapshot}");
    if key.len() <= MAX_KEY_BYTES {
        return Ok(key);
    }
    Err(invalid(
        "snapshot",
        format!(
            "{key:?} has {} characters, and a disk's name and a snapshot's together, without the \
             @, can have {}: use a shorter name",
            key.len() - 1,
            MAX_KEY_BYTES - 1
        ),
    ))
}

impl Target {
    /// The disk or snapshot that `text` names: `NAME` or `NAME@SNAPSHOT`.
    ///
    /// # Errors
    /// A problem of kind `invalid`.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        let (disk, snapshot) = match text.split_once('@') {
            Some((disk, snapshot)) => (disk, Some(snapshot)),
            None => (text, None),
        };
        check_name(disk)?;
        snapshot.map(check_name).transpose()?;
        Ok(Self {
            disk: disk.to_owned(),
            snapshot: snapshot.map(str::to_owned),
        })
    }

    /// The store's key.
    pub(crate) fn key(&self) -> Result<String, Problem> {
        match &self.snapshot {
            Some(snapshot) => snapshot_key(&self.disk, snapshot),
            None => Ok(self.disk.clone()),
        }
    }
}

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
