//! All disks and groups at once, as in the configuration file.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::model::{DiskSettings, Limits};

/// A disk with its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ConfigDisk {
    /// Its name.
    #[schema(pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    pub name: String,
    /// Its settings.
    #[serde(flatten)]
    pub settings: DiskSettings,
}

/// A group with its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ConfigGroup {
    /// Its name.
    #[schema(pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    pub name: String,
    /// Limits that its disks share.
    #[serde(default)]
    pub limits: Limits,
}

/// All disks and groups, as a configuration that creates them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Groups.
    #[serde(rename = "group", skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<ConfigGroup>,
    /// Disks.
    #[serde(rename = "disk", skip_serializing_if = "Vec::is_empty")]
    pub disks: Vec<ConfigDisk>,
}
