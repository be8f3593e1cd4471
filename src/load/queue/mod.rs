//! One queue's driver: which request is next, when it is due, and what comes back.
//!
//! | file | what it holds |
//! |---|---|
//! | `thread` | one queue's thread |
//! | `source` | which request is next |
//! | `pace` | when it is due |
//! | `content` | what the disk must hold |
//! | `tally` | what a thread counts |
//! | `mock` | the other side of a ring, for tests |

pub(super) mod content;
#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod mock;
pub(super) mod pace;
pub(super) mod source;
pub(super) mod tally;
pub(super) mod thread;
