//! The actions on disks: functions over the registry, which leave other disks running.
//!
//! | file | what it holds |
//! |---|---|
//! | `describe` | describing disks and their figures |
//! | `groups` | limits that several disks share |
//! | `create` | creating a disk |
//! | `resize` | changing the size of a disk |
//! | `change` | changing the other settings of a disk |
//! | `snapshots` | snapshots of a disk |
//! | `fork` | creating a disk with the content of another one |
//! | `reset` | resetting a disk to a snapshot, or to what it was forked from |
//! | `content` | reading the content and map of a disk without a front end |
//! | `upload` | replacing the content of a disk at one instant |
//! | `destroy` | destroying a disk |
//! | `apply` | applying a declaration of many disks and groups |

pub mod apply;
pub mod change;
pub mod content;
pub mod create;
pub mod describe;
pub mod destroy;
pub mod fork;
pub mod groups;
pub mod reset;
pub(crate) mod resize;
pub mod snapshots;
pub mod upload;
