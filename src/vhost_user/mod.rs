//! The wire: vhost-user sessions, guest memory, rings, and the threads that serve them.
//!
//! [`Server`] offers one [`crate::device::BlockDevice`] to front ends that come, go, crash and come
//! again; any number of servers share the threads of one [`Hub`]. The names of the vhost, vm-memory
//! and epoll crates stay in this room.
//!
//! | file | what it holds |
//! |---|---|
//! | `hub` | what all disks share: workers, and the thread that takes connections |
//! | `server` | one disk: the sessions it has, who may use it |
//! | `events` | front ends that come and go, told to whoever wants to know |
//! | `conversation` | a connection, message by message |
//! | `session` | one front end: what it negotiated, and its rings |
//! | `handler` | what each of its messages does |
//! | `transfer` | the device's state, saved to and loaded from a pipe |
//! | `unserved` | messages that are not served, and what becomes of them |
//! | `unshared` | guest memory that is not shared with us, and how it shows |
//! | `manner` | how a session's rings are served, for whoever asks |
//! | `vring` | one ring as a front end sets it up; when it starts and stops |
//! | `peek` | a look at the next message before the `vhost` crate reads it, and at who sent it |
//! | `channel` | the back-end request channel: telling a front end that the configuration changed |
//! | `hush` | a bound on lines in the log |
//! | `memory` | regions of guest memory |
//! | `mapping` | a front end's file, mapped |
//! | `guard` | what happens when such a file is truncated under us (SIGBUS) |
//! | `descriptor` | which kinds of descriptors are taken for what |
//! | `notifier` | a front end's eventfd that we signal |
//! | `ring` | a split virtqueue in that memory |
//! | `alarm` | wakes a worker at a moment |
//! | `aside` | requests of a ring that wait, while those behind them go on |
//! | `chain` | a walk along the descriptors of one request |
//! | `gather` | requests of the plainest shape, taken several at a time |
//! | `fault` | what makes a ring stop for good |
//! | `pieces` | the buffers of one request |
//! | `inflight` | requests that were taken and not returned, written down for after a crash |
//! | `job` | one ring's turn: batches of requests, and the call that follows |
//! | `parking` | what a ring does next when some of its requests must wait |
//! | `polling` | how long a ring that has run dry is looked at |
//! | `slice` | how long the scheduler lets a worker run |
//! | `slot` | one ring of a worker, hot or cold |
//! | `mail` | what workers are told, and how it finds a ring that moves |
//! | `worker` | a thread that serves rings: which are hot, and when it sleeps |
//! | `workers` | all of them, and where a new ring goes |
//! | `vital` | threads without which nothing goes on |
//! | `crash` | which request the process died of, for the one that comes after it |
//! | `watchdog` | frees a worker that hangs in a front end's descriptor |
//! | `fuzz` | rings and sessions for the fuzz targets, with feature `test-fuzz` only |
//! | `mod` | what ends a session |

mod alarm;
mod aside;
mod chain;
mod channel;
mod conversation;
pub mod crash;
mod descriptor;
mod events;
mod fault;
#[cfg(feature = "test-fuzz")]
pub mod fuzz;
mod gather;
mod guard;
mod handler;
mod hub;
mod hush;
mod inflight;
mod job;
#[cfg(not(feature = "test-schedules"))]
mod mail;
#[cfg(feature = "test-schedules")]
pub mod mail;
mod manner;
mod mapping;
mod memory;
mod notifier;
mod parking;
mod peek;
mod pieces;
mod polling;
mod ring;
mod server;
mod session;
mod slice;
mod slot;
mod transfer;
mod unserved;
mod unshared;
mod vital;
mod vring;
mod watchdog;
mod worker;
mod workers;

pub use events::{Departure, ServerEvent};
pub use hub::Hub;
pub use peek::Peer;
pub use server::{FrontEnd, Server, ServerOptions, Share};
pub use workers::WorkerOptions;

/// How long a front end may keep us waiting, wherever we wait for one that has begun something. A
/// fuzzer tries it out thousands of times.
const PATIENCE: std::time::Duration = if cfg!(feature = "test-fuzz") {
    std::time::Duration::from_millis(1)
} else {
    std::time::Duration::from_secs(5)
};

/// Why a session ended, or a server could not start. A session's error is logged, with the
/// session's number, and is told to the front end only where the protocol has a way.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The connection failed.
    #[error("socket: {0}")]
    Socket(std::io::Error),
    /// No thread or descriptor was to be had.
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
    /// Memory that the front end had shared is gone.
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
