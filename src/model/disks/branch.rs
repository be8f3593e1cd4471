//! Snapshots of a disk, and what is made of them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::model::ContentId;

/// A snapshot of a disk: its content at one moment, which never changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Snapshot {
    /// The disk.
    pub disk: String,
    /// The snapshot's own name.
    pub name: String,
    /// Size in bytes.
    pub size_bytes: u64,
    /// Bytes of all mapped sectors.
    pub mapped_bytes: u64,
    /// Bytes of memory that are charged to it.
    pub charged_bytes: u64,
    /// Whether it can't be destroyed until that is changed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub protected: bool,
    /// Disks that were forked from it, sorted. Lists leave it out, because it takes time to find.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub children: Vec<String>,
    /// The identifier of its content.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_id: Option<ContentId>,
}

/// Another name for a disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RenameRequest {
    /// The new name.
    #[schema(pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    pub name: String,
    /// Rename it even if the daemon's configuration file declares it. The next start then creates
    /// an empty disk of the old name, unless the file was changed too.
    #[serde(default)]
    pub force: bool,
}

/// Another name for a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SnapshotRenameRequest {
    /// The new name.
    #[schema(pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    pub name: String,
}

/// A new disk with the content of another one or of a snapshot. Absent settings are those of that
/// disk, but not its serial and labels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ForkRequest {
    /// The new disk's name.
    #[schema(pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    pub name: String,
    /// The snapshot to fork, or a point of the disk's history as in `flush:1432`; by default the
    /// disk's present content.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(
        pattern = "^([A-Za-z0-9][A-Za-z0-9._-]{0,63}|(flush|time|written):[1-9][0-9]{0,17})$"
    )]
    pub snapshot: Option<String>,
    /// The serial that guests see.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(pattern = "^[ -~]{1,20}$")]
    pub serial: Option<String>,
    /// Whether guests can only read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_only: Option<bool>,
    /// Request queues that a front end may use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 256)]
    pub queues: Option<u16>,
    /// Labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

impl ForkRequest {
    /// A fork of the disk's present content, called `name`.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            snapshot: None,
            serial: None,
            read_only: None,
            queues: None,
            labels: BTreeMap::new(),
        }
    }
}

/// The content to which a disk is reset.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ResetRequest {
    /// One of its own snapshots, or a point of its history as in `flush:1432`; by default the
    /// content from which it was forked.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(
        pattern = "^([A-Za-z0-9][A-Za-z0-9._-]{0,63}|(flush|time|written):[1-9][0-9]{0,17})$"
    )]
    pub to: Option<String>,
    /// Allow it while a front end is connected; its guest sees the content change at once.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub force: bool,
}

/// Changes of a snapshot. Its content never changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SnapshotPatch {
    /// Whether it can't be destroyed until that is changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protected: Option<bool>,
}
