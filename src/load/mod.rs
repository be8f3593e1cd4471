//! `ramblk bench`: load for any vhost-user-blk back end, and the results.
//!
//! It is a front end and a virtio-blk driver in one process, so that no guest and no VMM stands
//! between the measurement and the back end. The driver must cost less than the back end that it
//! measures: one thread per queue, chains that are laid out once, everything in batches.
//!
//! | file | what it holds |
//! |---|---|
//! | `options` | options, and the plan for a disk |
//! | `virtqueue` | the memory, the rings and the eventfds that both sides share |
//! | `front` | the connection: features, configuration, starting rings |
//! | `queue` | one queue's driver |
//! | `control` | state that the threads share |
//! | `process` | the cost of the back end's process |
//! | `report` | the results |
//! | `run` | the main thread: stages, and back ends that end or stall |

mod control;
mod front;
mod options;
mod process;
mod queue;
mod report;
mod run;
mod virtqueue;

pub use options::{Driver, Op, Options, Pattern};
pub use report::{BackEnd, Errors, Interval, Latency, Report};
pub use run::run;

use std::path::PathBuf;

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Options that could never work.
    #[error("{0}")]
    Option(String),
    /// Options that don't fit this back end.
    #[error("{0}")]
    Device(String),
    /// Nothing listens at the socket.
    #[error("can't connect to {socket:?}: {source}; start the back end first")]
    Connect {
        /// Where.
        socket: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A message went wrong.
    #[error(
        "the back end behind {socket:?} failed at {message}: {reason}; see its log, and \
         check whether another front end uses it"
    )]
    Wire {
        /// The back end's socket.
        socket: PathBuf,
        /// The message.
        message: &'static str,
        /// What was wrong with it.
        reason: String,
    },
    /// A message was not answered.
    #[error(
        "the back end behind {socket:?} did not answer for 10 s; check whether another front end \
         uses it"
    )]
    Silent {
        /// The back end's socket.
        socket: PathBuf,
    },
    /// The connection ended.
    #[error("the back end behind {socket:?} closed the connection; see its log, and restart it")]
    Lost {
        /// The back end's socket.
        socket: PathBuf,
    },
    /// Requests don't complete.
    #[error(
        "no request completed for 10 s, and {in_flight} are in flight in a queue of {socket:?}; \
         see the back end's log, and restart it"
    )]
    Stalled {
        /// The back end's socket.
        socket: PathBuf,
        /// Requests that it has.
        in_flight: u64,
    },
    /// The used ring is invalid.
    #[error("the back end's used ring is invalid: {0}; this is a bug of the back end")]
    Ring(String),
    /// The content is wrong.
    #[error("sector {sector} holds {found}, and must hold {expected}; the back end lost data")]
    Mismatch {
        /// Number of the sector of 512 bytes.
        sector: u64,
        /// What was written there.
        expected: String,
        /// What was read.
        found: String,
    },
    /// Another thread gave up, and reports why.
    #[error("the run was aborted")]
    Aborted,
    /// The system refuses something that should work.
    #[error("can't {what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// The system's reason.
        source: std::io::Error,
    },
}

impl Error {
    /// Whether the request itself is wrong, so that trying again can't help (exit code 2).
    pub fn is_usage(&self) -> bool {
        matches!(self, Self::Option(_))
    }
}
