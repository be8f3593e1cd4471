//! One queue's driver: which request is next, when it is due, and what completes.
//!
//! | file | what it holds |
//! |---|---|
//! | `thread` | one queue's thread |
//! | `requests` | the sequence of requests |
//! | `pace` | when requests are due at a fixed rate |
//! | `content` | the content that the disk must hold |
//! | `results` | the results of a thread |
//! | `mock` | the other side of a ring, for tests |

pub(super) mod content;
#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod mock;
pub(super) mod pace;
pub(super) mod requests;
pub(super) mod results;
pub(super) mod thread;
