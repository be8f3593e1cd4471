//! Which page of a disk lies in which block: a disk's tree, and its locks.
//!
//! | file | what it holds |
//! |---|---|
//! | `span` | a byte range cut along leaves and pages |
//! | `locks` | the locks of one disk |
//! | `mapped` | how many sectors of a tree are mapped |
//! | `subtree` | what lies below an entry: counted, and freed |
//! | `detached` | parts of a tree that wait to be counted and freed |
//! | `nodes` | nodes and pages as one disk has them: taken on its account, copied where shared |
//! | `tree` | the tree of one disk: looked up, grown, cut |
//! | `unique` | how much memory only one disk names |
//! | `leaf` | what happens to the pages of one leaf |
//! | `map` | the tree under its locks: read, write, zero, unmap, find |
//! | `batch` | several small reads and overwrites at once, whose waits for memory overlap |
//! | `diff` | what differs between two snapshots |
//!
//! Each imports only from those above it.

pub(super) mod batch;
pub(super) mod detached;
pub(super) mod diff;
pub(super) mod leaf;
pub(super) mod locks;
pub(super) mod map;
pub(super) mod mapped;
pub(super) mod nodes;
pub(super) mod span;
pub(super) mod subtree;
pub(super) mod tree;
pub(super) mod unique;
