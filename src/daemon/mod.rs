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
//! | `check` | what would keep a daemon from starting on a host |
//! | `doctor` | what is missing or slow on a host where machines use disks |
//! | `salvage` | the state directory of a stopped daemon: what is in it, and what can be saved |

pub mod api;
mod check;
mod digest;
pub mod disks;
mod doctor;
mod error;
mod host;
mod metrics;
mod run;
mod salvage;
mod serve;

pub use crate::store::{Bytes, NewFile, is_zero};
pub use check::check;
pub use check::diagnosis::{Diagnosis, Severity};
pub use doctor::{Attached, doctor};
pub use error::{Error, MAX_SOCKET_PATH_BYTES};
pub use host::accounts::user_name;
pub use host::broker::broker_is;
pub use host::broker::process::serve_as_broker;
pub use host::inherit::keep_from_children;
pub use host::paths::{default_api_socket, default_run_dir};
pub use host::sandbox::broker::confine_broker;
pub use host::sandbox::client::confine_client;
pub use host::sandbox::mode::{Lack, SandboxMode};
pub use host::signals::{interruption, survive_file_size_limits};
pub use host::socket::SocketAccess;
pub(crate) use host::socket::SocketPath;
pub use host::state_dir::StateOption;
pub use host::unfinished::remove_at_signal;
pub(crate) use run::command::Command;
pub use run::config::{Endpoint, RunConfig, RunOptions};
pub(crate) use run::life::{Ender, Life};
pub use run::{Ending, run};
pub use salvage::{Damage, Report, Salvage, SavedDisk, SavedImage};
pub use serve::config::{ReadersOptions, ServeConfig, ServeOptions};
pub use serve::reload::Reread;
pub use serve::serve;
