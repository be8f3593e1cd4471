//! The handlers of all paths.
//!
//! | file | what it holds |
//! |---|---|
//! | `disks`, `snapshots`, `groups` | disks, snapshots, and groups with all disks together |
//! | `download`, `upload` | content of disks, as streams |
//! | `writing` | writing what has arrived while more arrives |
//! | `apart` | what is dropped on a work thread |
//! | `delta` | how content differs from a base, as a stream |
//! | `look`, `write` | digests and differences of content; writing a part of it |
//! | `golden` | golden images |
//! | `faults` | faults on command |
//! | `record` | recordings |
//! | `power` | power cuts |
//! | `events`, `wait` | server-sent events; waiting for something |
//! | `figures` | the figures of all disks |
//! | `nbd` | connections that become NBD's |
//! | `observe` | metrics, health, and the OpenAPI document |

mod apart;
pub(crate) mod delta;
pub(crate) mod disks;
pub(crate) mod download;
pub(crate) mod events;
pub(crate) mod faults;
pub(crate) mod figures;
pub(crate) mod golden;
pub(crate) mod groups;
pub(crate) mod look;
pub(crate) mod nbd;
pub(crate) mod observe;
pub(crate) mod power;
pub(crate) mod record;
pub(crate) mod snapshots;
pub(crate) mod upload;
pub(crate) mod wait;
pub(crate) mod write;
mod writing;
