//! Which content a disk was made from: the identifier that it had, and whether the disk still has
//! it.
//!
//! The store keeps it with the settings, in the record that brings the root of the disk's tree. So
//! both come at one instant, and as long as the root is untouched the disk has the very content.

use serde::{Deserialize, Serialize};

use crate::model::ContentId;
use crate::store::{Disk, Error};

/// The content that a disk was made from. A snapshot has it for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Lineage {
    pub(crate) id: ContentId,
    size_bytes: u64,
    /// Whether the content had no pages, so that its root can't be untouched.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    blank: bool,
    /// Whether other content came to the disk since, but as a change of this.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    changed: bool,
}

impl Lineage {
    /// The content that `disk` has now.
    ///
    /// # Errors
    /// The disk is gone.
    pub(crate) fn of(id: ContentId, disk: &Disk) -> Result<Self, Error> {
        Ok(Self {
            id,
            size_bytes: disk.capacity().bytes(),
            blank: disk.is_blank()?,
            changed: false,
        })
    }

    /// A new content, which nothing else has, that `disk` has now.
    ///
    /// # Errors
    /// The disk is gone.
    pub(crate) fn new(disk: &Disk) -> Result<Self, Error> {
        let mut bytes = [0; 16];
        // The kernel has random bytes, or the process would not have an arena.
        let _ = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
        Self::of(ContentId(u128::from_le_bytes(bytes)), disk)
    }

    /// The same, for a disk that has other content now.
    pub(crate) fn left_behind(self) -> Self {
        Self {
            changed: true,
            ..self
        }
    }

    /// Whether `disk`, whose record has this, still has that content.
    ///
    /// # Errors
    /// The disk is gone.
    pub(crate) fn is_content_of(&self, disk: &Disk) -> Result<bool, Error> {
        let same_size = disk.capacity().bytes() == self.size_bytes;
        let untouched = match self.blank {
            true => disk.is_blank()?,
            false => disk.is_untouched()?,
        };
        Ok(untouched && same_size && !self.changed)
    }
}
