//! Snapshots, and what is made of them.
//!
//! | file | what it holds |
//! |---|---|
//! | `snapshots` | snapshots of a disk |
//! | `reset` | resetting a disk to a snapshot, or to what it was forked from |
//!
//! Each imports only from those above it.

pub mod reset;
pub mod snapshots;
