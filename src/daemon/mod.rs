//! The process: sockets, signals, and the disks that it serves.
//!
//! The command line, or a program that embeds ramblk, uses only this room. [`Disks`] is the
//! registry: disks by name, each at a socket, which you can change while guests use them.
//! [`serve()`] runs it with an API. [`run()`] runs it with one disk and no API, until a signal, its
//! command or its front end ends it.
//!
//! [`Disks`]: disks::Disks
//!
//! | file | what it holds |
//! |---|---|
//! | `error` | the errors of this room |
//! | `host` | limits, signals, descriptors, sockets, and the place of the disks |
//! | `digest` | digests of content that is mostly zeros |
//! | `disks` | the registry: disks by name, and the actions on them |
//! | `run` | the life of one disk: create it, serve it, wait for a signal or the command |
//! | `metrics` | figures of all disks, for Prometheus |
//! | `api` | the REST API of `ramblk serve` |
//! | `serve` | the life of a daemon |
//! | `salvage` | the state directory of a stopped daemon: what is in it, and what can be saved |

pub mod api;
mod digest;
pub mod disks;
mod error;
mod host;
mod metrics;
mod run;
mod salvage;
mod serve;

pub use crate::store::{Bytes, NewFile, is_zero};
pub use error::{Error, MAX_SOCKET_PATH_BYTES};
pub use host::inherit::keep_from_children;
pub use host::paths::{default_api_socket, default_run_dir};
pub use host::signals::survive_file_size_limits;
pub use host::socket::SocketAccess;
pub(crate) use host::socket::SocketPath;
pub use host::state_dir::StateOption;
pub use host::unfinished::remove_at_signal;
pub(crate) use run::command::Command;
pub use run::config::{Endpoint, RunConfig, RunOptions};
pub(crate) use run::life::{Ender, Life};
pub use run::{Ending, run};
pub use salvage::{Damage, Report, Salvage, SavedDisk, SavedImage};
pub use serve::config::{ServeConfig, ServeOptions};
pub use serve::serve;
