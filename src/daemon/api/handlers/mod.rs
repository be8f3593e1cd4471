//! What each path does.
//!
//! | file | what it holds |
//! |---|---|
//! | `disks`, `snapshots`, `groups` | what can be done with disks, snapshots, and all at once |
//! | `download`, `upload` | content of disks, as streams |
//! | `events` | what happens, as it happens |
//! | `observe` | metrics, health, and the OpenAPI document |

pub(crate) mod disks;
pub(crate) mod download;
pub(crate) mod events;
pub(crate) mod groups;
pub(crate) mod observe;
pub(crate) mod snapshots;
pub(crate) mod upload;
