//! The handlers of all paths.
//!
//! | file | what it holds |
//! |---|---|
//! | `disks`, `snapshots`, `groups` | disks, snapshots, and groups with all disks together |
//! | `content` | content of disks: streams of it in and out, digests, differences |
//! | `golden` | golden images |
//! | `faults` | faults on command |
//! | `record` | recordings |
//! | `power` | power cuts |
//! | `events`, `wait` | server-sent events; waiting for something |
//! | `figures` | the figures of all disks |
//! | `nbd` | connections that become NBD's |
//! | `observe` | metrics, health, and the OpenAPI document |

pub(crate) mod content;
pub(crate) mod disks;
pub(crate) mod events;
pub(crate) mod faults;
pub(crate) mod figures;
pub(crate) mod golden;
pub(crate) mod groups;
pub(crate) mod nbd;
pub(crate) mod observe;
pub(crate) mod power;
pub(crate) mod record;
pub(crate) mod snapshots;
pub(crate) mod wait;
