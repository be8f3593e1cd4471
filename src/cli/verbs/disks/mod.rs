//! Verbs that create and change disks and groups.
//!
//! | file | verbs |
//! |---|---|
//! | `create` | `create` |
//! | `list` | `list` |
//! | `manage` | `show`, `destroy` |
//! | `change` | `resize`, `set`, `limit`, `repair` |
//! | `power` | `power-cut`, `power-on` |
//! | `snapshots` | `snapshot`, `snapshots`, `reset` |
//! | `fork` | `fork` |
//! | `history` | `history` |
//! | `groups` | `group` |
//! | `faults` | `fault` |
//! | `protect` | `protect`, `unprotect`, `children` |
//! | `life` | the options for the end of a disk's life |
//! | `limits` | the options for limits that `create`, `fork`, `limit` and `group set` share |

pub(super) mod change;
pub(super) mod create;
pub(super) mod faults;
pub(super) mod fork;
pub(super) mod groups;
pub(super) mod history;
mod life;
mod limits;
pub(super) mod list;
pub(super) mod manage;
pub(super) mod power;
pub(super) mod protect;
pub(super) mod snapshots;
