//! The image that a disk's content comes from, and the progress of an import.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// An image, as the uploading client describes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Image {
    /// Its name, usually a path.
    pub name: String,
    /// An identifier that no other image has; absent for a stream that has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Its length in bytes, if that is known in advance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_bytes: Option<u64>,
}

impl Image {
    /// Whether both are known to be the same.
    pub fn is(&self, other: &Self) -> bool {
        self.id.is_some() && self.id == other.id
    }
}

/// The progress of an import.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Import {
    /// Bytes of the content that have arrived, including holes.
    pub done_bytes: u64,
    /// Bytes of the content in all, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_bytes: Option<u64>,
    /// Whether a client is sending content now.
    pub uploading: bool,
}
