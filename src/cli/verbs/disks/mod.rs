//! Verbs that create and change disks and groups.
//!
//! | file | verbs |
//! |---|---|
//! | `create` | `create` |
//! | `manage` | `list`, `show`, `destroy` |
//! | `change` | `resize`, `set`, `limit`, `repair` |
//! | `power` | `power-cut`, `power-on` |
//! | `snapshots` | `snapshot`, `snapshots`, `fork`, `reset` |
//! | `history` | `history` |
//! | `groups` | `group` |
//! | `faults` | `fault` |
//! | `limits` | the options for limits that `create`, `limit` and `group set` share |

pub(super) mod change;
pub(super) mod create;
pub(super) mod faults;
pub(super) mod groups;
pub(super) mod history;
mod limits;
pub(super) mod manage;
pub(super) mod power;
pub(super) mod snapshots;
