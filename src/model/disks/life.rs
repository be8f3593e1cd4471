//! Lives that end: by time, or with the front end.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::model::present::named;

/// How long a disk waits for a front end to come back, if nothing else is said, in milliseconds.
pub const USUAL_GRACE_MS: u64 = 30_000;

/// What happens to a disk whose last front end has left and does not come back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnDetach {
    /// Nothing.
    #[default]
    Keep,
    /// It is reset to what it was forked from.
    Reset,
    /// It is destroyed.
    Destroy,
}

/// How the life of a disk ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Life {
    /// How long after this setting was made the disk is destroyed, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1000, maximum = 315_360_000_000_u64)]
    pub ttl_ms: Option<u64>,
    /// What happens when its last front end has left.
    #[serde(skip_serializing_if = "OnDetach::is_keep")]
    pub on_detach: OnDetach,
    /// How long it waits for a front end to come back before that happens, in milliseconds; 30 s by
    /// default.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(maximum = 86_400_000)]
    pub grace_ms: Option<u64>,
}

/// Changes of how the life of a disk ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LifePatch {
    /// How long from now on the disk is destroyed, in milliseconds, even if that was the setting
    /// before; `null` for no such end.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "named")]
    #[schema(value_type = Option<u64>, minimum = 1000, maximum = 315_360_000_000_u64)]
    pub ttl_ms: Option<Option<u64>>,
    /// What happens when its last front end has left.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_detach: Option<OnDetach>,
    /// How long it waits for a front end to come back, in milliseconds; `null` for the default.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "named")]
    #[schema(value_type = Option<u64>, maximum = 86_400_000)]
    pub grace_ms: Option<Option<u64>>,
}

/// Why a disk ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum EndsBy {
    /// Its time is over.
    Ttl,
    /// Its front end has left.
    Detach,
}

/// The next end of a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Ending {
    /// In how many milliseconds it ends.
    pub in_ms: u64,
    /// Why.
    pub by: EndsBy,
    /// What happens then: `reset` or `destroy`.
    pub action: OnDetach,
}

impl OnDetach {
    /// Whether nothing happens.
    pub fn is_keep(&self) -> bool {
        *self == Self::Keep
    }

    /// The name of what happens.
    pub fn name(self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::Reset => "reset",
            Self::Destroy => "destroy",
        }
    }
}

impl EndsBy {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ttl => "ttl",
            Self::Detach => "detach",
        }
    }
}

impl Life {
    /// Whether the disk has no end of its own.
    pub fn is_open(&self) -> bool {
        *self == Self::default()
    }

    /// How long the disk waits for a front end to come back, in milliseconds.
    pub fn grace(&self) -> u64 {
        self.grace_ms.unwrap_or(USUAL_GRACE_MS)
    }
}

impl LifePatch {
    /// Whether nothing changes.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// This end, changed.
    pub fn over(&self, had: Life) -> Life {
        let on_detach = self.on_detach.unwrap_or(had.on_detach);
        let grace_ms = self.grace_ms.unwrap_or(had.grace_ms);
        Life {
            ttl_ms: self.ttl_ms.unwrap_or(had.ttl_ms),
            on_detach,
            // A time to wait that is not named goes with what it waits for.
            grace_ms: grace_ms.filter(|_| self.grace_ms.is_some() || !on_detach.is_keep()),
        }
    }
}
