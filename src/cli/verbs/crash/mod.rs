//! Verbs that look at what a crash may leave of a disk.
//!
//! | file | verbs |
//! |---|---|
//! | `record` | `record` |
//! | `explore` | `crash-explore` |
//! | `states` | `crash-states` |

pub(super) mod explore;
pub(super) mod record;
pub(super) mod states;
