//! Why a request was refused (RFC 9457).

use serde::de::IntoDeserializer;
use serde::de::value::Error as ValueError;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

/// Kinds of problems. Their names are stable, their texts are not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ProblemKind {
    /// The request is not valid.
    Invalid,
    /// There is no such disk, snapshot, group or path.
    NotFound,
    /// The path does not have this method.
    MethodNotAllowed,
    /// It exists with other settings.
    Conflict,
    /// It has changed since: its entity tag is another one.
    Changed,
    /// A front end uses it.
    Attached,
    /// Data would be lost, and the request does not allow that.
    WouldLoseData,
    /// There is not enough memory, quota or descriptors.
    OverBudget,
    /// The body is too long.
    TooLarge,
    /// The body's media type is not supported here.
    UnsupportedMediaType,
    /// Too many requests are being served.
    Busy,
    /// It took too long.
    Timeout,
    /// The caller is not authorised.
    Forbidden,
    /// The daemon has a fault.
    Internal,
}

/// What was not found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Missing {
    /// A disk.
    Disk,
    /// A snapshot of a disk that exists.
    Snapshot,
    /// A point of the history of a disk that exists.
    Point,
    /// A saved state of a disk that exists.
    SavedState,
    /// What a disk was forked from: it was not, or that is gone.
    Parent,
    /// A fault of a disk that exists.
    Fault,
    /// The recording of a disk that exists.
    Recording,
    /// A group.
    Group,
    /// A golden image.
    Image,
    /// A path of the API.
    Path,
}

/// A problem document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// `urn:ramblk:problem:` and the kind.
    #[serde(rename = "type")]
    pub type_uri: String,
    /// The kind, as text.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What is wrong with this request, and what to do.
    pub detail: String,
    /// The field or parameter at fault, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// What was not found, if the status is 404.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[serde(deserialize_with = "known")]
    pub missing: Option<Missing>,
    /// Mapped bytes that would be lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost_bytes: Option<u64>,
}

/// What this version knows of what was not found. A later daemon may miss other things.
fn known<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Missing>, D::Error> {
    let name = Option::<String>::deserialize(from)?;
    let named = |name: String| -> Result<Missing, ValueError> {
        Missing::deserialize(name.into_deserializer())
    };
    Ok(name.and_then(|name| named(name).ok()))
}

impl Missing {
    /// In words.
    pub fn noun(self) -> &'static str {
        match self {
            Self::Disk => "disk",
            Self::Snapshot => "snapshot",
            Self::Point => "point",
            Self::SavedState => "saved state",
            Self::Parent => "parent",
            Self::Fault => "fault",
            Self::Recording => "recording",
            Self::Group => "group",
            Self::Image => "image",
            Self::Path => "path",
        }
    }
}

impl ProblemKind {
    /// The HTTP status.
    pub fn status(self) -> u16 {
        match self {
            Self::Invalid => 400,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::Conflict | Self::Attached | Self::WouldLoseData => 409,
            Self::Changed => 412,
            Self::TooLarge => 413,
            Self::UnsupportedMediaType => 415,
            Self::Internal => 500,
            Self::Busy => 503,
            Self::Timeout => 504,
            Self::OverBudget => 507,
        }
    }

    /// The kind, as text.
    pub fn title(self) -> &'static str {
        match self {
            Self::Invalid => "the request is not valid",
            Self::NotFound => "not found",
            Self::MethodNotAllowed => "the path does not have this method",
            Self::Conflict => "it exists with other settings",
            Self::Changed => "it has changed",
            Self::Attached => "a front end uses it",
            Self::WouldLoseData => "data would be lost",
            Self::OverBudget => "there are not enough resources",
            Self::TooLarge => "the body is too long",
            Self::UnsupportedMediaType => "the body's media type is not supported",
            Self::Busy => "too many requests are being served",
            Self::Timeout => "it took too long",
            Self::Forbidden => "the caller is not authorised",
            Self::Internal => "the daemon failed",
        }
    }

    /// The last part of the type's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::NotFound => "not-found",
            Self::MethodNotAllowed => "method-not-allowed",
            Self::Conflict => "conflict",
            Self::Changed => "changed",
            Self::Attached => "attached",
            Self::WouldLoseData => "would-lose-data",
            Self::OverBudget => "over-budget",
            Self::TooLarge => "too-large",
            Self::UnsupportedMediaType => "unsupported-media-type",
            Self::Busy => "busy",
            Self::Timeout => "timeout",
            Self::Forbidden => "forbidden",
            Self::Internal => "internal",
        }
    }
}

impl Problem {
    /// The type's name is `PREFIX` and the kind's name.
    pub const PREFIX: &'static str = "urn:ramblk:problem:";

    /// A problem of this kind.
    pub fn new(kind: ProblemKind, detail: impl Into<String>) -> Self {
        Self {
            type_uri: format!("{}{}", Self::PREFIX, kind.name()),
            title: kind.title().to_owned(),
            status: kind.status(),
            detail: detail.into(),
            field: None,
            missing: None,
            lost_bytes: None,
        }
    }

    /// Something of this kind was not found.
    pub fn missing(what: Missing, detail: impl Into<String>) -> Self {
        Self {
            missing: Some(what),
            ..Self::new(ProblemKind::NotFound, detail)
        }
    }

    /// Whether the problem is of this kind.
    pub fn is(&self, kind: ProblemKind) -> bool {
        self.type_uri.strip_prefix(Self::PREFIX) == Some(kind.name())
    }

    /// The same problem with another detail.
    #[must_use]
    pub fn with_detail(self, detail: String) -> Self {
        Self { detail, ..self }
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.detail)
    }
}

impl std::error::Error for Problem {}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn what_a_later_daemon_misses_is_still_a_problem() {
        let problem = Problem::missing(Missing::SavedState, "so it is");
        let mut json = serde_json::to_value(&problem).unwrap();
        assert_eq!(json["missing"], "saved-state");
        let read = |json: &serde_json::Value| Problem::deserialize(json).unwrap();
        assert_eq!(read(&json), problem);
        json["missing"] = "planet".into();
        assert_eq!(read(&json).missing, None);
        json.as_object_mut().unwrap().remove("missing");
        let read = read(&json);
        assert_eq!((read.missing, read.status), (None, 404));
    }
}
