//! The log of what changed a disk, in the format of dm-log-writes, and how it is read.
//!
//! A log is a superblock in one sector, and then the entries in the order in which they reached
//! the disk: a header in one sector, and behind it the data of a write. `replay-log` of xfstests
//! and QEMU's `blklogwrites` know the format, in which an entry has no time at all. ramblk's own
//! entries keep what it lacks at the end of the header's sector, where other programs don't look:
//! both moments of the request, and what it was (`format`).
//!
//! | file | what it holds |
//! |---|---|
//! | `request` | a request of a log |
//! | `format` | the sectors of a log, to and from bytes |
//! | `read` | reading a log of any program |
//! | `tests` | logs that are written and read again, and damaged ones |

mod format;
mod read;
mod request;
#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests;

pub use format::{MOST_MARK_BYTES, OWN_SECTOR_BYTES, OwnSector, Totals, data_sectors, header};
pub use read::{Log, LogError, ReadAt};
pub use request::{NEVER, Request, What};
