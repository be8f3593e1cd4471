//! Golden images: read-only copies that disks are forked from.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::model::{Digest, Import};

/// What there is of a golden image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum GoldenState {
    /// All of it: disks can be forked from it.
    Present,
    /// A client is fetching it.
    Fetching,
}

/// A golden image: a read-only copy, of which there is one for each digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GoldenImage {
    /// The SHA-256 digest of the file as it was published.
    #[schema(value_type = String, pattern = "^sha256:[0-9a-f]{64}$")]
    pub digest: Digest,
    /// Its name, if it has one.
    pub name: Option<String>,
    /// Where it came from, usually a path or an address.
    pub source: String,
    /// The format that the client named, if it named one instead of recognising it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    /// What there is of it.
    pub state: GoldenState,
    /// The size of a disk that is forked from it, at least; 0 while it isn't known.
    pub size_bytes: u64,
    /// Bytes of all mapped sectors.
    pub mapped_bytes: u64,
    /// Bytes of memory that are charged to it.
    pub charged_bytes: u64,
    /// Whether it stays when memory is wanted.
    pub keep: bool,
    /// Whether it can't be removed until that is changed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub protected: bool,
    /// When all of it had arrived, in nanoseconds since 1970; 0 while it is fetched.
    pub pulled_ns: u64,
    /// When it was last forked, or the last disk that was forked from it was destroyed, in
    /// nanoseconds since 1970. If there has been none, it is the time when it was pulled.
    pub used_ns: u64,
    /// Disks that were forked from it, sorted.
    pub forks: Vec<String>,
    /// How much of it has arrived, while a client is sending it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub import: Option<Import>,
}

/// A golden image that a client wants to be there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GoldenRequest {
    /// Where it comes from, usually a path or an address.
    #[schema(min_length = 1, max_length = 255)]
    pub source: String,
    /// A name, which no other image may have. An image that has one keeps it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    pub name: Option<String>,
    /// The format, if the client names one instead of recognising it. The same file in another
    /// format is other content, and a conflict.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(pattern = "^[a-z0-9.]{1,32}$")]
    pub format: Option<String>,
    /// Whether it stays when memory is wanted. By default, a new one doesn't.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep: Option<bool>,
}

/// What there is of the image, and what the client does next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GoldenOffer {
    /// The image.
    pub image: GoldenImage,
    /// The number under which this client is to send the content. Absent if the image is present,
    /// or if another client is fetching it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fetch: Option<u64>,
}

/// Changes of a golden image. Its content never changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct GoldenPatch {
    /// Whether it can't be removed until that is changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protected: Option<bool>,
}
