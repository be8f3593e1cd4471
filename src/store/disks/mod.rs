//! Disks by key: made, changed, forked, found again after a restart, ended.
//!
//! | file | what it holds |
//! |---|---|
//! | `table` | how a disk's record is replaced |
//! | `change` | changes that an owner may make to a record |
//! | `leftover` | what a change took from a disk and will be freed |
//! | `inner` | a disk itself, shared by its connections |
//! | `connection` | a disk as one of its users holds it |
//! | `extents` | a disk as a row of mapped and unmapped stretches |
//! | `disk` | everything that can be done to one disk |
//! | `recover` | an arena that was left by another process: mark and sweep |
//! | `arena_file` | the file of an arena: made, or opened and recovered |
//! | `store` | the disks by key: create, fork, reset, rename, destroy |
//! | `owner_words` | words that a store keeps for its owner |

pub(super) mod arena_file;
pub(super) mod change;
mod connection;
pub(super) mod disk;
pub(super) mod extents;
pub(super) mod inner;
pub(super) mod leftover;
pub(super) mod owner_words;
pub(super) mod recover;
pub(super) mod store;
pub(super) mod table;
