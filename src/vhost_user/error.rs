//! Why a session ends, and how long a session waits for its front end.

use std::io;
#[cfg(ramblk_rings)]
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Set by the fuzz targets.
#[cfg(ramblk_rings)]
pub(super) static IS_IN_A_HURRY: AtomicBool = AtomicBool::new(false);

/// How long a session waits for the rest of a message, for room for a reply, for the other end of a
/// pipe, or for a front end that uses the disk.
pub(super) fn patience() -> Duration {
    #[cfg(ramblk_rings)]
    if IS_IN_A_HURRY.load(Ordering::Relaxed) {
        return Duration::from_millis(1);
    }
    Duration::from_secs(5)
}

/// Why a session ended, or a server could not start. A session's error is logged, with the
/// session's number, and is told to the front end only where the protocol has a way.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The connection failed.
    #[error("socket: {0}")]
    Socket(io::Error),
    /// The system has no thread or descriptor left.
    #[error("can't start a thread for the disk: {0}")]
    Thread(io::Error),
    /// A connection could not be accepted. It waits.
    #[error("can't accept a connection, trying again: {0}")]
    Accept(io::Error),
    /// The server was closed.
    #[error("the disk is no longer served")]
    Closed,
    /// No more front ends are accepted.
    #[error("{limit} front ends are connected, which is the limit; disconnect one of them first")]
    TooManySessions {
        /// How many there can be.
        limit: usize,
    },
    /// The connection was closed in the middle of a message.
    #[error("the front end closed the connection {seen_bytes} bytes into a message")]
    CutOff {
        /// Bytes that had arrived.
        seen_bytes: usize,
    },
    /// A message stopped coming.
    #[error("a message stopped after {seen_bytes} of {wanted_bytes} bytes")]
    Stalled {
        /// Bytes that had arrived.
        seen_bytes: usize,
        /// Bytes that should have.
        wanted_bytes: usize,
    },
    /// More descriptors than any message has.
    #[error("a message with {count} or more file descriptors")]
    TooManyFds {
        /// How many were seen.
        count: usize,
    },
    /// A body longer than any message has.
    #[error("message {request} announces a body of {size_bytes} bytes")]
    TooLong {
        /// The request code.
        request: u32,
        /// The size it announced.
        size_bytes: usize,
    },
    /// Replies fill the socket.
    #[error("the front end does not read its replies")]
    Deaf,
    /// The front end truncated a file whose memory it had shared.
    #[error("the front end truncated a file whose memory it had shared")]
    MemoryLost,
    /// The message is wrong, or is not supported.
    #[error("message {request}: {reason}")]
    Protocol {
        /// The request code.
        request: u32,
        /// Why.
        reason: String,
    },
}
