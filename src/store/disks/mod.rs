//! Disks by key: creating, changing, forking, recovering and destroying them.
//!
//! | file | what it holds |
//! |---|---|
//! | `table` | how a disk's record is replaced |
//! | `change` | changes that an owner can make to a record |
//! | `leftover` | memory that a change took from a disk, to be freed |
//! | `inner` | a disk as its connections share it |
//! | `connection` | a connection, which a user closes or the end of the disk |
//! | `extents` | the extents of a disk |
//! | `disk` | the operations on a disk |
//! | `recover` | recovering an arena that another process left: mark and sweep |
//! | `arena_file` | the file of an arena: creating it, and opening it with recovery |
//! | `store` | the disks by key: create, fork, reset, rename, destroy |
//! | `absorb` | a disk gets the content of a fork, and pays for it |
//! | `transaction` | changes of several disks at one instant |
//! | `differences` | where two snapshots differ |
//! | `owner_words` | words that a store keeps for its owner |

mod absorb;
pub(super) mod arena_file;
pub(super) mod change;
mod connection;
pub(super) mod differences;
pub(super) mod disk;
pub(super) mod extents;
pub(super) mod inner;
pub(super) mod leftover;
pub(super) mod owner_words;
pub(super) mod recover;
pub(super) mod store;
pub(super) mod table;
pub(super) mod transaction;
