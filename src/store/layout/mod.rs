//! What the words of an arena mean.
//!
//! | file | what it holds |
//! |---|---|
//! | `entry` | the 8 bytes of which trees are made |
//! | `spec` | what a disk is to be, and what it is |
//! | `record` | superblock, disk table, disk records |

pub(super) mod entry;
pub(super) mod record;
pub(super) mod spec;
