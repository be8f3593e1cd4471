//! `ramblk bench`: load for any vhost-user-blk back end, and what came of it.
//!
//! It is a front end and a virtio-blk driver in one process, so that no guest and no VMM stands
//! between the measurement and the back end. The driver must cost less than the back end that it
//! measures: one thread per queue, chains that are laid once, everything in batches.
//!
//! | file | what it holds |
//! |---|---|
//! | `options` | what is asked for, and what becomes of it on this disk |
//! | `virtqueue` | the memory, the rings and the eventfds that both sides share |
//! | `front` | the connection: features, configuration, starting rings |
//! | `queue` | one queue's driver |
//! | `control` | what threads have in common |
//! | `process` | what the back end's process spends |
//! | `report` | the numbers |
//! | `run` | the main thread: stages, and a back end that dies or stalls |

mod control;
mod front;
mod options;
mod process;
mod queue;
mod report;
mod run;
mod virtqueue;

pub use options::{Driver, Op, Options, Pattern};
pub use report::{BackEnd, Errors, Latency, Report};
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
    /// Nobody listens.
    #[error("can't connect to {socket:?}: {source}; start the back end first")]
    Connect {
        /// Where.
        socket: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A message went wrong.
    #[error(
        "the back end behind {socket:?} failed at {message}: {reason}; see what it says, and \
         whether another front end uses it"
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
        "the back end behind {socket:?} gave no answer for 10 s; see whether another front end \
         uses it"
    )]
    Silent {
        /// The back end's socket.
        socket: PathBuf,
    },
    /// The connection ended.
    #[error(
        "the back end behind {socket:?} closed the connection; see what it says, and restart it"
    )]
    Lost {
        /// The back end's socket.
        socket: PathBuf,
    },
    /// Requests don't come back.
    #[error(
        "no request completed for 10 s, and {in_flight} are in flight in a queue of {socket:?}; \
         see what the back end does, and restart it"
    )]
    Stalled {
        /// The back end's socket.
        socket: PathBuf,
        /// Requests that it has.
        in_flight: u64,
    },
    /// The used ring holds nonsense.
    #[error("the back end's used ring can't be followed: {0}; this is a bug of the back end")]
    Ring(String),
    /// Content is wrong.
    #[error("sector {sector} holds {found}, and must hold {expected}; the back end lost data")]
    Mismatch {
        /// Number of the sector of 512 bytes.
        sector: u64,
        /// What was written there.
        expected: String,
        /// What was read.
        found: String,
    },
    /// Another thread had to give up and says why.
    #[error("the run was given up")]
    Aborted,
    /// The system refuses something that should always work.
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
