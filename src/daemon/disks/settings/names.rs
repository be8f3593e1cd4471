//! Names of disks, snapshots and groups, and their keys in the store.
//!
//! A name doesn't begin with `@`, so it can't collide with a key of the daemon's own.

pub(crate) use super::keys::{
    CUT_KEY, GROUP_PREFIX, IMAGE_PREFIX, IMPORT_PREFIX, READER_PREFIX, RECORD_PREFIX, STATE_PREFIX,
};
use super::problems::invalid;
use crate::device::history::PointName;
pub use crate::model::Target;
use crate::model::{Digest, Problem};
use crate::store::MAX_KEY_BYTES;

/// The longest name of a disk, a snapshot or a group, in bytes.
pub const MAX_NAME_BYTES: usize = 64;

/// How many digits of an image's digest are in its key, which has no room for all of them.
const IMAGE_KEY_DIGITS: usize = 40;

/// Whether something was created, or existed with the same settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Made {
    /// It was created now.
    New,
    /// It existed with the same settings.
    Existing,
}

/// Check that `name` is valid for a disk, a snapshot or a group.
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
            "{name:?} is not a name: use 1 to {MAX_NAME_BYTES} of A-Z a-z 0-9 . _ -, and begin \
             with a letter or digit"
        ),
    ))
}

/// Check that `name` is valid for a snapshot, or is that of a point.
fn check_moment(name: &str) -> Result<(), Problem> {
    match PointName::parse(name) {
        Some(_) => Ok(()),
        None => check_name(name),
    }
}

/// The store's key of a snapshot, or of a point of a disk's history.
pub(crate) fn snapshot_key(disk: &str, snapshot: &str) -> Result<String, Problem> {
    check_moment(snapshot)?;
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
        snapshot.map(check_moment).transpose()?;
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

/// The store's key of a group, which is a hidden disk whose settings are the limits.
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

/// The store's key of a golden image. Its settings have the whole digest.
pub(crate) fn image_key(digest: &Digest) -> String {
    let hex = digest.hex();
    format!("{IMAGE_PREFIX}{}", &hex[..IMAGE_KEY_DIGITS])
}

/// A golden image, as a request names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImageName {
    /// The one with this digest.
    Digest(Digest),
    /// The one with this name.
    Name(String),
}

impl ImageName {
    /// The image that `text` names: a digest, or else a name, which has no colon.
    ///
    /// # Errors
    /// A problem of kind `invalid`.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        if let Ok(digest) = text.parse() {
            return Ok(Self::Digest(digest));
        }
        check_name(text).map_err(|problem| {
            problem.with_detail(format!(
                "{text:?} is neither the name of an image nor a digest: write sha256: and 64 \
                 hexadecimal digits, or a name of A-Z a-z 0-9 . _ - that begins with a letter or \
                 digit"
            ))
        })?;
        Ok(Self::Name(text.to_owned()))
    }
}

impl std::fmt::Display for ImageName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Digest(digest) => digest.fmt(f),
            Self::Name(name) => name.fmt(f),
        }
    }
}
