//! The process: names, sockets, signals, and the disks that it serves.
//!
//! The command line, or a program that embeds ramblk, speaks to this room only. [`Disks`] is the
//! registry: disks by name, each at a socket, which can be changed while guests use them.
//! [`serve()`] is that with an API, and [`run()`] the same with one disk and no API, until a
//! signal, its command or its front end ends it.
//!
//! [`Disks`]: disks::Disks
//!
//! | file | what it holds |
//! |---|---|
//! | `error` | why something can't be done |
//! | `host` | limits, signals, descriptors, sockets, and the place where disks lie |
//! | `disks` | the registry: disks by name, and what can be done with them |
//! | `run` | one disk's life: make, serve, wait for signal or command, end |
//! | `metrics` | figures of all disks, for Prometheus |
//! | `api` | the REST API of `ramblk serve` |
//! | `serve` | the life of a daemon |
//! | `salvage` | what no daemon uses, damaged or not: what is there, and what can be saved |

pub mod api;
pub mod disks;
mod error;
mod host;
mod metrics;
mod run;
mod salvage;
mod serve;

pub use crate::store::{Bytes, NewFile};
pub use error::{Error, MAX_SOCKET_PATH_BYTES};
pub use host::paths::{default_api_socket, default_run_dir};
pub use host::signals::survive_file_size_limits;
pub use host::socket::SocketAccess;
pub use host::state_dir::StateOption;
pub use host::unfinished::remove_at_signal;
pub use run::config::{Endpoint, RunConfig, RunOptions};
pub use run::{Ending, run};
pub use salvage::{Damage, Report, Salvage, SavedDisk};
pub use serve::config::{ServeConfig, ServeOptions};
pub use serve::serve;
