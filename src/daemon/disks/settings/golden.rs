//! What the daemon keeps of a golden image beside its content: the settings of its hidden disk.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::origin::Origin;
use super::problems::internal;
use crate::model::{ContentId, Digest, Image, Problem};

/// What is kept of an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct GoldenRecord {
    pub(crate) digest: Digest,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
    /// Where it came from.
    pub(crate) source: String,
    /// The format that the client named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) format: Option<String>,
    /// The length of its content. The disk's size is that of whole sectors.
    pub(crate) content_bytes: u64,
    /// The identifier of its content, if the file named it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) content_id: Option<ContentId>,
    /// Whether it stays when memory is wanted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) keep: bool,
    /// Whether it can't be removed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) protected: bool,
    /// When all of it had arrived, and when it was last used, in nanoseconds since 1970.
    pub(crate) pulled_ns: u64,
    pub(crate) used_ns: u64,
}

impl GoldenRecord {
    /// The blob for the store.
    pub(crate) fn encode(&self) -> Result<Vec<u8>, Problem> {
        serde_json::to_vec(self).map_err(internal)
    }

    /// Decode a blob.
    pub(crate) fn decode(blob: &[u8]) -> serde_json::Result<Self> {
        serde_json::from_slice(blob)
    }

    /// The identifier of its content. Without one in the file it comes from the file's digest and
    /// format, so that it is the same on all hosts which pull the same image in the same way.
    pub(crate) fn content(&self) -> ContentId {
        self.content_id.unwrap_or_else(|| {
            let file = format!("{} {}", self.digest, self.format.as_deref().unwrap_or(""));
            let hash = blake3::derive_key("ramblk content of a golden image", file.as_bytes());
            let half = hash.first_chunk().copied().unwrap_or_default();
            ContentId(u128::from_le_bytes(half))
        })
    }

    /// The origin of a disk that is forked from the image.
    pub(crate) fn origin(&self) -> Origin {
        let image = Image {
            name: self.source.clone(),
            id: Some(self.digest.to_string()),
            size_bytes: Some(self.content_bytes),
        };
        Origin::default().after(Some(&image), self.content_bytes)
    }
}

/// The time in nanoseconds since 1970.
pub(crate) fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let ns = since.map_or(0, |since| since.as_nanos());
    u64::try_from(ns).unwrap_or(u64::MAX)
}
