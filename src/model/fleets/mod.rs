//! Many disks at once, in one request or one declaration.
//!
//! | file | what it holds |
//! |---|---|
//! | `config` | all disks and groups at once, as the configuration file has them |
//! | `declared` | disks and groups as declared, and what a declaration changes |
//! | `fleet` | many disks at once: forks in numbers, snapshots and resets of one moment |

mod config;
mod declared;
mod fleet;

pub use config::{Config, ConfigDisk, ConfigGroup};
pub use declared::{
    Action, Applied, Changed, Declaration, DeclaredDisk, DeclaredGroup, FieldChange, LimitsPatch,
    RatePatch, field_changes,
};
pub use fleet::{ForkSettings, ForkSource, Forked, ForksRequest, ResetsRequest, SnapshotsRequest};
