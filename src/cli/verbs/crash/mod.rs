//! Verbs that look at what a crash may leave of a disk.
//!
//! | file | verbs |
//! |---|---|
//! | `record` | `record` |

pub(super) mod record;
