//! The REST API: HTTP/1.1 and JSON over a Unix socket.
//!
//! It runs on one thread of its own, with a lower priority than those that serve queues, and asks
//! [`Disks`] on two more such threads. What can be asked is bounded: connections, requests at the
//! same time, bodies, times. `docs/api.md` says how to use it, `/openapi.json` what can be said.
//!
//! | file | what it holds |
//! |---|---|
//! | `wire` | the caller, media types and JSON, problem documents |
//! | `state` | what requests share, and how they get work done elsewhere |
//! | `input` | names, queries and bodies, checked |
//! | `handlers` | what each path does |
//! | `routes` | all paths in one table, and what is checked before any of them |
//! | `document` | the OpenAPI document |
//! | `server` | the thread: connections, and how they end |

mod document;
mod handlers;
mod input;
mod routes;
mod server;
mod state;
mod wire;

pub use document::document;
pub use server::{FreshListeners, Server};

use std::time::Duration;

/// Bounds of an API server. The defaults are meant for use; tests take smaller ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Connections at the same time; one more is answered 503 and closed.
    pub most_connections: usize,
    /// Requests at the same time, streams not counted; one more is answered 503.
    pub most_requests: usize,
    /// Uploads and downloads at the same time.
    pub most_transfers: usize,
    /// Listeners to events at the same time.
    pub most_listeners: usize,
    /// Longest body in bytes, but for contents of disks.
    pub most_body_bytes: usize,
    /// How long a request may take, streams not counted.
    pub request_time: Duration,
    /// How long a connection may take to send a request's head, or be idle before it.
    pub header_time: Duration,
    /// How long a transfer may move nothing.
    pub idle_time: Duration,
    /// How often a listener to events hears that the connection is alive.
    pub keep_alive_time: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            most_connections: 256,
            most_requests: 128,
            most_transfers: 8,
            most_listeners: 64,
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
