//! What can be done with disks, by name, while others run.
//!
//! | file | what it holds |
//! |---|---|
//! | `create` | a disk that is made, or found made just so |
//! | `change` | a disk's quota, limits and labels, changed while it runs |
//! | `resize` | its size, changed while it runs |
//! | `snapshots` | snapshots, forks, and the way back |
//! | `content` | a disk's bytes and map, for whoever is no guest |
//! | `upload` | new content for a disk, which takes its place at one instant |
//! | `groups` | limits that several disks share |
//! | `apply` | many disks at once, as a configuration has them |

pub(crate) mod apply;
pub(crate) mod change;
pub(crate) mod content;
pub(crate) mod create;
pub(crate) mod groups;
pub(crate) mod resize;
pub(crate) mod snapshots;
pub(crate) mod upload;
