//! What is answered when something can't be done (RFC 9457).

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Kinds of problems. Their names are stable; texts are not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ProblemKind {
    /// The request is no valid one.
    Invalid,
    /// There is no such disk, snapshot, group or path.
    NotFound,
    /// There is no such method for this path.
    MethodNotAllowed,
    /// It exists with other settings.
    Conflict,
    /// A front end uses it.
    Attached,
    /// It would lose data that was not meant to be lost.
    WouldLoseData,
    /// Memory, descriptors or a quota don't allow it.
    OverBudget,
    /// The body is too long.
    TooLarge,
    /// The body is of a type that isn't understood here.
    UnsupportedMediaType,
    /// Too many requests at the same time.
    Busy,
    /// It took too long.
    Timeout,
    /// Who asks may not.
    Forbidden,
    /// A fault of the daemon's.
    Internal,
}

/// A problem document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// `urn:ramblk:problem:` and the kind.
    #[serde(rename = "type")]
    pub type_uri: String,
    /// The kind in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What is wrong with this request, and what to do next.
    pub detail: String,
    /// The field or option at fault, if it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// Mapped bytes that would be lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost_bytes: Option<u64>,
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
            Self::TooLarge => 413,
            Self::UnsupportedMediaType => 415,
            Self::Internal => 500,
            Self::Busy => 503,
            Self::Timeout => 504,
            Self::OverBudget => 507,
        }
    }

    /// The kind in words.
    pub fn title(self) -> &'static str {
        match self {
            Self::Invalid => "the request is not valid",
            Self::NotFound => "there is no such thing",
            Self::MethodNotAllowed => "this can't be done here",
            Self::Conflict => "it exists with other settings",
            Self::Attached => "a front end uses it",
            Self::WouldLoseData => "data would be lost",
            Self::OverBudget => "there is no room for it",
            Self::TooLarge => "the body is too long",
            Self::UnsupportedMediaType => "the body is of another type",
            Self::Busy => "too much is asked at the same time",
            Self::Timeout => "it took too long",
            Self::Forbidden => "who asks may not",
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
            lost_bytes: None,
        }
    }

    /// Whether it is of this kind.
    pub fn is(&self, kind: ProblemKind) -> bool {
        self.type_uri.strip_prefix(Self::PREFIX) == Some(kind.name())
    }

    /// The same problem in other words.
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
