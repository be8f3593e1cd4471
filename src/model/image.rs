//! The image that a disk's content comes from, and how far it has come.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// An image, as whoever brings its content names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Image {
    /// What it is called: a path, most often.
    pub name: String,
    /// What tells it from other images; none for a stream that can't be told from another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Its length in bytes, if that is known before all of it has come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_bytes: Option<u64>,
}

impl Image {
    /// Whether both are known to be the same.
    pub fn is(&self, other: &Self) -> bool {
        self.id.is_some() && self.id == other.id
    }
}

/// How far content that is being imported has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Import {
    /// Bytes of the content that have come, holes counted.
    pub done_bytes: u64,
    /// Bytes that are to come in all, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_bytes: Option<u64>,
    /// Whether somebody sends content at this moment.
    pub uploading: bool,
}
