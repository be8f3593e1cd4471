//! The process: names, sockets, signals, and the disks that it serves.
//!
//! The command line, or a program that embeds ramblk, speaks to this room only. [`run()`] is
//! `ramblk run`: one disk, until a signal, its command or its front end ends it. [`Export`] is
//! what it is made of: a disk on a socket, which can be resized while guests use it.
//!
//! | file | what it holds |
//! |---|---|
//! | `error` | why something can't be done |
//! | `host` | limits, signals, descriptors, sockets, and the place where disks lie |
//! | `disks` | the disks of a daemon, by name |
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
pub use run::export::Export;
pub use run::{Ending, run};
pub use salvage::{Damage, Report, Salvage, SavedDisk};
pub use serve::config::{ServeConfig, ServeOptions};
pub use serve::serve;
