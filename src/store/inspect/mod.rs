//! Inspecting an arena that no store has open: its content, what is wrong, and what can be read.
//!
//! Recovery refuses an arena at the first inconsistency. The inspection goes on, and finds out what
//! each one costs which disk. It changes nothing, takes no memory for the file's holes, and ends
//! with any file: each node is walked once, and no list is longer than the number of blocks with
//! memory.
//!
//! | file | what it holds |
//! |---|---|
//! | `blocks` | which blocks have memory, and their words |
//! | `claims` | the uses of each block |
//! | `findings` | what is wrong |
//! | `trees` | which entries can be followed, and to where |
//! | `judge` | what lies below each node, and how much of it is lost |
//! | `found` | the disks that the disk table names |
//! | `records` | what an arena says about itself and its disks |
//! | `parts` | a disk's content, as far as it can be read |
//! | `inspection` | all of this for one file |
//! | `inventory` | the disks alone, while a store may have the arena open |
//!
//! Each imports only from those above it.
//!
//! It can't find changed bytes of pages, nor an entry whose number was changed into that of another
//! block that fits. Pages and nodes have no sums, since every write would have to change them.

mod blocks;
mod claims;
mod findings;
mod found;
mod inspection;
mod inventory;
mod judge;
mod parts;
mod records;
mod trees;

pub use findings::Finding;
pub use found::FoundDisk;
pub use inspection::Inspection;
pub use inventory::Inventory;
pub use parts::{Part, Parts};
