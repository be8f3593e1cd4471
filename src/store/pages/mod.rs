//! Which page of a disk lies in which block: a disk's tree, and its locks.
//!
//! | file | what it holds |
//! |---|---|
//! | `mapped` | how many sectors of a tree are mapped |
//! | `subtree` | what hangs below an entry: counted, and freed |
//! | `tree` | the tree of one disk, copied along the path that changes |
//! | `leaf` | what happens to the pages of one leaf |
//! | `map` | the tree under its locks: read, write, zero, unmap, find |
//! | `batch` | several small reads and overwrites at once, whose waits for memory overlap |
//! | `diff` | what differs between two snapshots |

pub(super) mod batch;
pub(super) mod diff;
pub(super) mod leaf;
pub(super) mod map;
pub(super) mod mapped;
pub(super) mod subtree;
pub(super) mod tree;
