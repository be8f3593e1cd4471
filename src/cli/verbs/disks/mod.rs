//! Verbs that create and change disks and groups.
//!
//! | file | verbs |
//! |---|---|
//! | `create` | `create` |
//! | `manage` | `list`, `show`, `destroy` |
//! | `change` | `resize`, `set`, `limit`, `repair` |
//! | `snapshots` | `snapshot`, `snapshots`, `fork`, `reset` |
//! | `groups` | `group` |
//! | `limits` | the options for limits that `create`, `limit` and `group set` share |
//! | `each` | how a verb treats several names |

pub(super) mod change;
pub(super) mod create;
mod each;
pub(super) mod groups;
mod limits;
pub(super) mod manage;
pub(super) mod snapshots;
