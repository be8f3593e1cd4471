//! What can be done with disks, by name, while others run: functions over the registry.
//!
//! | file | what it holds |
//! |---|---|
//! | `describe` | disks and their figures, for callers that change nothing |
//! | `groups` | limits that several disks share |
//! | `create` | a disk that is made, or found made just so |
//! | `resize` | its size, changed while it runs |
//! | `change` | its quota, limits and labels, changed while it runs |
//! | `snapshots` | its snapshots |
//! | `fork` | a new disk with the content of another |
//! | `reset` | the way back, to a snapshot or to what it was forked from |
//! | `content` | its bytes and map, for callers that are no guest |
//! | `upload` | new content for it, which takes its place at one instant |
//! | `destroy` | its end |
//! | `apply` | many disks at once, as a configuration has them |

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
