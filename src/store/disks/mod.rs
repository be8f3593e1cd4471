//! Disks by key: made, changed, forked, found again after a restart, ended.
//!
//! | file | what it holds |
//! |---|---|
//! | `ledger` | how a disk's record is replaced |
//! | `change` | what of a record its owner may change |
//! | `leftover` | what a change took from a disk and is to be freed, without a lock |
//! | `core` | a disk itself, shared by its connections |
//! | `disk` | a connection to one disk |
//! | `seek` | a disk as a row of mapped and unmapped stretches |
//! | `recover` | an arena that was left by another process: mark and sweep |
//! | `catalog` | the disks by key: create, fork, reset, rename, destroy |
//! | `exchange` | all of a disk's content at one instant |
//! | `notes` | words that lie beside the disks for their owner |

pub(super) mod catalog;
pub(super) mod change;
pub(super) mod core;
pub(super) mod disk;
pub(super) mod exchange;
pub(super) mod ledger;
pub(super) mod leftover;
pub(super) mod notes;
pub(super) mod recover;
pub(super) mod seek;
