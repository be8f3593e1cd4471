//! What guests do with a disk, and what happens to it meanwhile.
//!
//! | file | what it is about |
//! |---|---|
//! | `filesystems` | file systems, and `fstrim` |
//! | `discard` | discard and write-zeroes |
//! | `cache` | the cache mode |
//! | `write_protection` | read-only disks |
//! | `full` | writes when no memory is left |
//! | `faults` | disks with faults |
//! | `power` | disks that lose their power |
//! | `limits` | disks with limits |
//! | `crash` | what crashes may leave |
//! | `images` | disks that begin with a published image |
//! | `resize` | a size that changes |
//! | `daemon` | verbs that change disks in use |

mod cache;
mod crash;
mod daemon;
mod discard;
mod faults;
mod filesystems;
mod full;
mod images;
mod limits;
mod power;
mod resize;
mod write_protection;
