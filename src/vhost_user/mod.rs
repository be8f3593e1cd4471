//! The wire: vhost-user sessions, guest memory, rings, and the threads that serve them.
//!
//! [`Server`] offers one [`crate::device::BlockDevice`] to front ends that connect, disconnect,
//! crash and reconnect. Any number of servers share the threads of one [`Hub`]. Only this room
//! names the vhost and vm-memory crates.
//!
//! Sub-rooms and files import from those above them in this table only.
//!
//! | file | what it holds |
//! |---|---|
//! | `error` | why a session ends, and how long a session waits for its front end |
//! | `log_limit` | bounds on lines in the log |
//! | `wire` | what comes over a front end's socket: messages and descriptors |
//! | `memory` | guest memory: the files that front ends share, mapped |
//! | `queue` | a split virtqueue: its memory, its requests, and a turn of serving them |
//! | `workers` | the threads that serve rings |
//! | `sessions` | servers, their connections, and what each front end negotiated |
//! | `fuzz` | rings and sessions for the fuzz targets, with the switch `rings` only |

mod error;
#[cfg(ramblk_rings)]
pub mod fuzz;
mod log_limit;
mod memory;
mod queue;
mod sessions;
mod wire;
mod workers;

pub use error::Error;
#[cfg(feature = "daemon")]
pub(crate) use log_limit::LogLimit;
#[cfg(feature = "daemon")]
pub(crate) use memory::unshared::{look_by, maps_privately};
pub use queue::crash;
pub use sessions::claims::Share;
pub use sessions::connection::FrontEnd;
pub use sessions::events::{Departure, ServerEvent};
pub use sessions::hub::Hub;
pub use sessions::server::{Owed, Pause, Server, ServerOptions};
pub use sessions::visitor::{VisitError, Visitor};
pub use wire::peek::Peer;
#[cfg(ramblk_schedules)]
pub use workers::mail;
pub use workers::pool::WorkerOptions;
