//! An arena that no store has open: what it holds, what is wrong, what can still be read.
//!
//! Recovery refuses an arena at the first thing that does not add up. This goes on, and tells what
//! each one costs which disk. It changes nothing, takes no memory of the file's holes, and ends
//! with any file: each node is walked once, and no list is longer than the file has blocks with
//! memory.
//!
//! | file | what it holds |
//! |---|---|
//! | `blocks` | which blocks have memory, and their words |
//! | `claims` | what each block is used as |
//! | `findings` | what is wrong |
//! | `trees` | which entries can be followed, and to where |
//! | `judge` | what is below each node, and what of it is lost |
//! | `found` | the disks that the disk table names |
//! | `parts` | a disk's content, as far as it can be read |
//! | `inspection` | all of this for one file |
//!
//! Each imports only from those above it.
//!
//! What it can't find: bytes of pages that changed, and an entry whose number was changed into that
//! of another block which fits in its place. Pages and nodes carry no sums, since every write would
//! have to change them.

mod blocks;
mod claims;
mod findings;
mod found;
mod inspection;
mod judge;
mod parts;
mod trees;

pub use findings::Finding;
pub use found::FoundDisk;
pub use inspection::Inspection;
pub use parts::{Part, Parts};
