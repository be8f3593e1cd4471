//! The errors of the client.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::model::{Missing, Problem, ProblemKind};

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No process listens at the socket.
    #[error("no daemon answers at {socket:?}: {source}")]
    NoDaemon {
        /// The socket.
        socket: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// This user may not connect to the socket.
    #[error("you may not use the daemon's socket {socket:?}: {source}")]
    NotAllowed {
        /// The socket.
        socket: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The daemon refused the request.
    #[error(transparent)]
    Problem(Box<Problem>),
    /// The daemon closed the connection early, or sent an invalid answer.
    #[error("the daemon at {socket:?} {what}; see what its log says")]
    Broken {
        /// The socket.
        socket: PathBuf,
        /// What the daemon did.
        what: String,
    },
    /// The daemon took too long.
    #[error(
        "the daemon at {socket:?} did not answer within {} s; see what its log says",
        .within.as_secs()
    )]
    Late {
        /// The socket.
        socket: PathBuf,
        /// How long the daemon had.
        within: Duration,
    },
    /// The client could not start.
    #[error("can't start the client: {0}")]
    Runtime(io::Error),
    /// The path or the body can't be sent.
    #[error("can't request {path}: {reason}")]
    Request {
        /// The path.
        path: String,
        /// What is wrong with it, or with the body.
        reason: String,
    },
}

impl Error {
    /// Whether the daemon refused the request with a problem of this kind.
    pub fn is(&self, kind: ProblemKind) -> bool {
        matches!(self, Self::Problem(problem) if problem.is(kind))
    }

    /// What the daemon didn't find, if that is why it refused the request.
    pub fn missing(&self) -> Option<Missing> {
        match self {
            Self::Problem(problem) => problem.missing,
            _ => None,
        }
    }
}

/// Whether the error is that the other side closed the connection.
pub(super) fn is_end(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), UnexpectedEof | ConnectionReset | BrokenPipe)
}
