//! The actions on disks: functions over the registry, which leave other disks running.
//!
//! | file | what it holds |
//! |---|---|
//! | `ids` | the identifier of a disk's present content |
//! | `history` | the histories of disks, and their points |
//! | `describe` | describing disks and their figures |
//! | `groups` | limits that several disks share |
//! | `create` | creating a disk |
//! | `resize` | changing the size of a disk |
//! | `change` | changing the other settings of a disk |
//! | `rename` | giving a disk another name |
//! | `faults` | faults on command |
//! | `branch` | snapshots of a disk, and resetting disks to them |
//! | `content` | looking at the content of a disk, and changing a part of it |
//! | `power` | power cuts |
//! | `view` | views of a disk for NBD clients |
//! | `upload` | replacing the content of a disk at one instant |
//! | `record` | recording what changes a disk |
//! | `crash_state` | disks with what a crash may have left of a recorded disk |
//! | `golden` | golden images, and disks that are forked from them |
//! | `forks` | forks of disks, snapshots and golden images |
//! | `destroy` | destroying a disk |
//! | `apply` | applying a declaration of many disks and groups |

pub mod apply;
pub(crate) mod branch;
pub mod change;
pub mod content;
pub mod crash_state;
pub mod create;
pub mod describe;
pub mod destroy;
pub mod faults;
pub(crate) mod forks;
pub mod golden;
pub mod groups;
pub mod history;
pub(crate) mod ids;
pub mod power;
pub mod record;
pub mod rename;
pub(crate) mod resize;
pub mod upload;
pub mod view;
