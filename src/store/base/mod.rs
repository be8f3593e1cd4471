//! The basis of the store: units, errors, pieces of memory, locks.
//!
//! | file | what it holds |
//! |---|---|
//! | `limits` | bounds that callers may run into |
//! | `bytes` | formatting a number of bytes for messages |
//! | `error` | the errors of the store |
//! | `range` | sector size, capacity, and a byte range that is proven to lie inside it |
//! | `copy` | the routines that touch memory which a guest or another thread may change |
//! | `buf` | pieces of a caller's or a guest's memory |
//! | `sync` | the locks, here and in the workers' mail |
//! | `points` | named places at which tests kill the process |
//! | `new_file` | a file that gets its name when it is complete |

pub(super) mod buf;
pub(super) mod bytes;
pub(super) mod copy;
pub(super) mod error;
pub(super) mod limits;
pub(super) mod new_file;
pub(crate) mod points;
pub(super) mod range;
pub(crate) mod sync;
