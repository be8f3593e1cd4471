//! Transactions: changes of several disks at one instant.
//!
//! | file | what it holds |
//! |---|---|
//! | `step` | the changes that a transaction can have |
//! | `plan` | a change that is prepared: what to publish, and what to undo |
//! | `commit` | running a transaction |

mod commit;
mod plan;
pub(in crate::store) mod step;
