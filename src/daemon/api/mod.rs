//! The REST API: HTTP/1.1 and JSON over a Unix socket.
//!
//! Its event loop has one thread and calls [`Disks`] on three work threads. All have a lower
//! priority than the threads that serve queues. Connections, simultaneous requests, bodies and
//! times are bounded. `docs/guide/reference/api.md` says how to use the API, and `/openapi.json`
//! has all operations.
//!
//! | file | what it holds |
//! |---|---|
//! | `wire` | the caller, media types and JSON, problem documents |
//! | `state` | what requests share, and how they run work on other threads |
//! | `input` | checked input: names, queries and bodies |
//! | `handlers` | the handlers of all paths |
//! | `routes` | all paths in one table, and what is checked before any of them |
//! | `reading` | what a client of the socket for reading may ask for |
//! | `document` | the OpenAPI document |
//! | `derived` | the same, made from the routes |
//! | `scrapes` | metrics over TCP |
//! | `server` | the thread: connections, and how they end |

#[cfg(not(ramblk_kept_document))]
mod derived;
mod document;
mod handlers;
mod input;
mod reading;
mod routes;
mod scrapes;
mod server;
mod state;
mod wire;

pub use document::document;
pub use reading::READABLE;
pub use server::{FreshListeners, Listeners, Server};

use std::time::Duration;

/// The bounds of an API server. The defaults are for use; tests take smaller ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Connections at the same time. One more is answered with 503 and closed.
    pub most_connections: usize,
    /// Requests at the same time, without streams. One more is answered with 503.
    pub most_requests: usize,
    /// Uploads and downloads at the same time.
    pub most_transfers: usize,
    /// Listeners to events at the same time.
    pub most_listeners: usize,
    /// Connections of NBD at the same time.
    pub most_nbd: usize,
    /// Connections that hold a crash state at the same time.
    pub most_held: usize,
    /// The longest body in bytes, except for content of disks.
    pub most_body_bytes: usize,
    /// How long a request may take, except for streams.
    pub request_time: Duration,
    /// How long a connection may take to send a request's head, or be idle before it; and how long
    /// a negotiation of NBD may take.
    pub header_time: Duration,
    /// How long a transfer may move no bytes. An NBD client may take as long for each message that
    /// it has begun, or for each quarter of a megabyte of one.
    pub idle_time: Duration,
    /// How often a listener to events gets a comment, which keeps the connection alive.
    pub keep_alive_time: Duration,
}

impl Options {
    /// The bounds of the socket for reading, whose clients must not keep others from the API.
    #[must_use]
    pub fn of_readers(self) -> Self {
        Self {
            most_connections: self.most_connections / 4,
            most_requests: self.most_requests / 4,
            most_listeners: self.most_listeners / 2,
            most_transfers: 0,
            most_nbd: 0,
            most_held: 0,
            ..self
        }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            most_connections: 256,
            most_requests: 128,
            most_transfers: 8,
            most_listeners: 64,
            most_nbd: 64,
            most_held: 256,
            most_body_bytes: 1 << 20,
            request_time: Duration::from_secs(10),
            header_time: Duration::from_secs(30),
            idle_time: Duration::from_secs(30),
            keep_alive_time: Duration::from_secs(15),
        }
    }
}

#[cfg(doc)]
use super::disks::Disks;
