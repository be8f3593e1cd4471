//! Events of a server: front ends that connect and disconnect.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;

use crate::vhost_user::wire::peek::Peer;

/// Something happened to a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerEvent {
    /// A front end has connected.
    Attached {
        /// The number of its session.
        session: u64,
        /// Its process, if the system knows it.
        peer: Option<Peer>,
    },
    /// A front end has disconnected and its rings have stopped. It counts as connected until the
    /// function that receives this event has returned.
    Detached {
        /// The number that its session had.
        session: u64,
        /// The process that had connected, if the system knew it.
        peer: Option<Peer>,
        /// Why.
        reason: Departure,
    },
}

/// Why a front end disconnected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Departure {
    /// It closed the connection.
    Left,
    /// The server was closed.
    Closed,
    /// Something went wrong, as this text says: a wrong message, for example, or truncated memory.
    Failed(String),
}

type Tell = Box<dyn Fn(ServerEvent) + Send + Sync>;

/// The function that receives the events.
#[derive(Default)]
pub(super) struct Hook(OnceLock<Tell>);

impl Hook {
    /// Set the function. Returns `false` if one was set before.
    pub(super) fn set(&self, tell: Tell) -> bool {
        self.0.set(tell).is_ok()
    }

    /// Call the function. If it panics, the session still ends.
    pub(super) fn tell(&self, event: ServerEvent) {
        if let Some(tell) = self.0.get()
            && catch_unwind(AssertUnwindSafe(|| tell(event))).is_err()
        {
            tracing::error!("bug: reporting an event panicked");
        }
    }
}

impl fmt::Debug for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Hook")
            .field(&self.0.get().is_some())
            .finish()
    }
}
