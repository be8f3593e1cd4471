//! The map of a disk, from sectors to pages: its tree and its locks.
//!
//! | file | what it holds |
//! |---|---|
//! | `span` | a byte range cut along leaves and pages |
//! | `locks` | the locks of one disk |
//! | `subtrees` | counting, cutting off and freeing what lies below an entry |
//! | `nodes` | a disk's nodes and pages: taken on its account, copied if they are shared |
//! | `tree` | the tree of one disk: looking up, growing, cutting |
//! | `unique` | counting the memory that only one disk names |
//! | `leaf` | operations on the pages of one leaf |
//! | `map` | the tree under its locks: read, write, zero, unmap, find |
//! | `batch` | several small reads and overwrites at once, whose waits for memory overlap |
//! | `diff` | the differences between two snapshots |
//!
//! Each imports only from those above it.

pub(super) mod batch;
pub(super) mod diff;
pub(super) mod leaf;
pub(super) mod locks;
pub(super) mod map;
pub(super) mod nodes;
pub(super) mod span;
pub(super) mod subtrees;
pub(super) mod tree;
pub(super) mod unique;
