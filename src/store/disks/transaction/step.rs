//! The changes that a transaction can have.

use crate::store::disks::disk::Disk;
use crate::store::disks::leftover::Leftover;
use crate::store::layout::spec::DiskSpec;

/// A change of one disk, which takes effect together with those of others:
/// [`Store::transact`](crate::store::Store::transact).
#[derive(Clone, Copy, Debug)]
pub enum Step<'a> {
    /// A new disk, as [`Store::fork_as`](crate::store::Store::fork_as) makes it.
    Fork {
        /// The disk whose content it has.
        source: &'a str,
        /// Its key.
        key: &'a str,
        /// Its spec; its size is at least that of the source.
        spec: &'a DiskSpec,
        /// Its owner's settings.
        settings: &'a [u8],
    },
    /// A new snapshot.
    Snapshot {
        /// The disk whose content it has.
        source: &'a str,
        /// Its key.
        key: &'a str,
        /// Its owner's settings.
        settings: &'a [u8],
    },
    /// A disk gets the content of another one, as
    /// [`Store::reset_with`](crate::store::Store::reset_with) does it.
    Reset {
        /// The disk.
        key: &'a str,
        /// The disk whose content it gets.
        to: &'a str,
        /// Its owner's settings from then on.
        settings: &'a [u8],
        /// The least size that it has then, in bytes; a multiple of its sector size, or 0.
        least_bytes: u64,
    },
    /// A disk gets another key. Its connections and its content stay.
    Rename {
        /// The disk.
        key: &'a str,
        /// Its key from then on.
        new: &'a str,
        /// Its owner's settings from then on, if they change.
        settings: Option<&'a [u8]>,
    },
    /// A disk is destroyed. Forks of the same transaction have its last content.
    Destroy {
        /// The disk.
        key: &'a str,
    },
}

/// What a transaction has made and left.
#[derive(Debug, Default)]
pub struct Done {
    /// The new disks and snapshots, in the order of their steps.
    pub made: Vec<Disk>,
    /// The old content of disks that were reset or destroyed. Dropping it frees the memory.
    pub left: Vec<Leftover>,
}

impl<'a> Step<'a> {
    /// The disk whose content it takes, if it takes one.
    pub(super) fn source(&self) -> Option<&'a str> {
        match *self {
            Self::Fork { source, .. } | Self::Snapshot { source, .. } => Some(source),
            Self::Reset { to, .. } => Some(to),
            Self::Rename { .. } | Self::Destroy { .. } => None,
        }
    }

    /// The key that it brings, if it brings one.
    pub(super) fn new_key(&self) -> Option<&'a str> {
        match *self {
            Self::Fork { key, .. } | Self::Snapshot { key, .. } => Some(key),
            Self::Rename { new, .. } => Some(new),
            Self::Reset { .. } | Self::Destroy { .. } => None,
        }
    }

    /// The key of the disk that it changes, if it changes one.
    pub(super) fn changed_key(&self) -> Option<&'a str> {
        match *self {
            Self::Fork { .. } | Self::Snapshot { .. } => None,
            Self::Reset { key, .. } | Self::Rename { key, .. } | Self::Destroy { key } => Some(key),
        }
    }

    /// The settings that it stores.
    pub(super) fn settings(&self) -> &'a [u8] {
        match *self {
            Self::Fork { settings, .. }
            | Self::Snapshot { settings, .. }
            | Self::Reset { settings, .. } => settings,
            Self::Rename { settings, .. } => settings.unwrap_or_default(),
            Self::Destroy { .. } => &[],
        }
    }
}
