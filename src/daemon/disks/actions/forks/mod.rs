//! Forks of disks, snapshots and golden images, in any number.
//!
//! | file | what it holds |
//! |---|---|
//! | `source` | what disks are forked from |
//! | `fork` | creating disks with the content of others |

pub mod fork;
mod source;
