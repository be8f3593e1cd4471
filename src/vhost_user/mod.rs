//! The wire: vhost-user sessions, guest memory, rings, and the threads that serve them.
//!
//! [`Server`] offers one [`crate::device::BlockDevice`] to front ends that come, go, crash and come
//! again; any number of servers share the threads of one [`Hub`]. The names of the vhost, vm-memory
//! and epoll crates stay in this room.
//!
//! | file | what it holds |
//! |---|---|
//! | `wire` | what comes over a front end's socket: messages and descriptors |
//! | `memory` | guest memory: what front ends share with us, mapped |
//! | `queue` | a split virtqueue: its memory, its requests, and a turn of serving them |
//! | `workers` | the threads that serve rings |
//! | `sessions` | servers, their connections, and what each front end negotiated |
//! | `log_limit` | bounds on lines in the log |
//! | `fuzz` | rings and sessions for the fuzz targets, with feature `test-fuzz` only |
//! | `mod` | what ends a session |

#[cfg(ramblk_hooks)]
pub mod fuzz;
mod log_limit;
mod memory;
mod queue;
mod sessions;
mod wire;
mod workers;

pub use queue::crash;
pub use sessions::claims::Share;
pub use sessions::connection::FrontEnd;
pub use sessions::events::{Departure, ServerEvent};
pub use sessions::hub::Hub;
pub use sessions::server::{Server, ServerOptions};
pub use wire::peek::Peer;
#[cfg(ramblk_schedules)]
pub use workers::mail;
pub use workers::pool::WorkerOptions;

/// Set by the fuzz targets.
#[cfg(ramblk_hooks)]
static IS_IN_A_HURRY: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);

/// How long a front end may keep us waiting: with the rest of a message, with room for a reply, at
/// the other end of a pipe, or with a disk that another one wants.
fn patience() -> std::time::Duration {
    #[cfg(ramblk_hooks)]
    if IS_IN_A_HURRY.load(std::sync::atomic::Ordering::Relaxed) {
        return std::time::Duration::from_millis(1);
    }
    std::time::Duration::from_secs(5)
}

/// Why a session ended, or a server could not start. A session's error is logged, with the
/// session's number, and is told to the front end only where the protocol has a way.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The connection failed.
    #[error("socket: {0}")]
    Socket(std::io::Error),
    /// The system has no thread or descriptor left.
    #[error("can't start a thread for the disk: {0}")]
    Thread(std::io::Error),
    /// A connection could not be taken; it waits.
    #[error("can't accept a connection, trying again: {0}")]
    Accept(std::io::Error),
    /// The server was closed.
    #[error("the disk is served no more")]
    Closed,
    /// No more front ends are taken.
    #[error("{limit} front ends are connected, which is the most; close one of them first")]
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
    /// The front end took away memory that it had shared.
    #[error("the front end took memory away that it had shared (truncated its file)")]
    MemoryLost,
    /// What the protocol layer refuses.
    #[error("message {request}: {reason}")]
    Protocol {
        /// The request code.
        request: u32,
        /// Why.
        reason: String,
    },
}
