//! Why ramblk can't do what it was asked for.

use std::path::PathBuf;

use crate::{device, image, model, store, vhost_user};

/// Longest path of a Unix socket, in bytes (`sun_path` less its NUL).
pub const MAX_SOCKET_PATH_BYTES: usize = 107;

/// Why ramblk can't do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A request that could never work: the user must say something else.
    #[error("{0}")]
    Usage(String),
    /// The path is too long for a socket.
    #[error(
        "socket path {path:?} has {len} bytes, and a Unix socket can have {MAX_SOCKET_PATH_BYTES}: \
         use a shorter one",
        len = path.as_os_str().len()
    )]
    PathTooLong {
        /// The path at fault.
        path: PathBuf,
    },
    /// Somebody listens there.
    #[error(
        "socket {path:?} is in use by a running process; stop that or choose another --socket-path"
    )]
    PathInUse {
        /// The path at fault.
        path: PathBuf,
    },
    /// Something that is no socket is there.
    #[error("{path:?} exists and is no socket; remove it yourself or choose another --socket-path")]
    PathTaken {
        /// The path at fault.
        path: PathBuf,
    },
    /// What was ours is gone, and something else is there.
    #[error(
        "{path:?} is somebody else's now and is left as it is; remove it, and the socket is made \
         again"
    )]
    Replaced {
        /// The path at fault.
        path: PathBuf,
    },
    /// The socket can't be made.
    #[error("can't make socket {path:?}: {source}{hint}")]
    Socket {
        /// The path at fault.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
        /// What to do about it; may be empty.
        hint: &'static str,
    },
    /// A descriptor that isn't what it has to be.
    #[error("--fd {fd} is no Unix stream socket: {reason}")]
    Descriptor {
        /// Its number.
        fd: i32,
        /// What is wrong with it.
        reason: String,
    },
    /// A directory can't be made.
    #[error("can't make directory {path:?}: {source}; make it yourself or choose another")]
    Directory {
        /// The path at fault.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// Disks can't lie there.
    #[error("state directory {path:?} {reason}")]
    StateDirectory {
        /// The directory.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        reason: String,
    },
    /// What lies there can't be used.
    #[error("{path:?}: {source}")]
    State {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: store::Error,
    },
    /// What lies there is damaged.
    #[error("{path:?}: {source}; 'ramblk fsck {}' says what can be saved", directory.display())]
    StateDamaged {
        /// The file.
        path: PathBuf,
        /// The directory that it lies in.
        directory: PathBuf,
        /// What is wrong with it.
        source: store::Error,
    },
    /// Another daemon has the API's socket.
    #[error(
        "a daemon is serving at {path:?}; stop it, or choose another --run-dir and --api-socket"
    )]
    AlreadyServing {
        /// The socket.
        path: PathBuf,
    },
    /// Disks that are there can't be taken up.
    #[error("can't take up the disks that are there: {0}")]
    Disks(Box<model::Problem>),
    /// The disks that are there take more than they may.
    #[error(
        "the memory limit of {limit_bytes} bytes is less than the {charged_bytes} bytes that the \
         disks take already; start with a larger --memory-limit, and destroy or discard what is \
         not needed"
    )]
    LimitBelowCharge {
        /// The limit.
        limit_bytes: u64,
        /// What they take.
        charged_bytes: u64,
    },
    /// The configuration can't be applied.
    #[error("configuration: {0}")]
    Config(Box<model::Problem>),
    /// The command can't be run.
    #[error("can't run {program:?}: {source}")]
    Command {
        /// The program.
        program: String,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The system refuses something that should always work.
    #[error("can't {what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// The system's reason.
        source: std::io::Error,
    },
    /// From the store.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// From an image.
    #[error(transparent)]
    Image(#[from] image::Error),
    /// A serial that can't be one.
    #[error(transparent)]
    Serial(#[from] device::SerialError),
    /// From the transport.
    #[error(transparent)]
    Server(#[from] vhost_user::Error),
}

impl Error {
    /// What was tried when the system refused.
    pub(crate) fn system(what: &'static str) -> impl Fn(std::io::Error) -> Self {
        move |source| Self::System { what, source }
    }

    /// Whether another process uses what was asked for (exit code 4).
    pub fn is_busy(&self) -> bool {
        matches!(
            self,
            Self::AlreadyServing { .. }
                | Self::State {
                    source: store::Error::Busy,
                    ..
                }
        )
    }

    /// Whether memory doesn't allow it (exit code 5).
    pub fn is_over_budget(&self) -> bool {
        matches!(self, Self::LimitBelowCharge { .. })
    }

    /// Whether the request itself is wrong, so that trying again can't help (exit code 2).
    pub fn is_usage(&self) -> bool {
        matches!(
            self,
            Self::Usage(_)
                | Self::PathTooLong { .. }
                | Self::Serial(_)
                | Self::Config(_)
                | Self::Store(
                    store::Error::InvalidSize { .. }
                        | store::Error::InvalidKey { .. }
                        | store::Error::Unimplemented { .. }
                )
        )
    }
}
