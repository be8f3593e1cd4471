//! Why ramblk can't do what it was asked for.

use std::path::PathBuf;

use crate::{device, image, model, store, vhost_user};

/// Longest path of a Unix socket, in bytes (`sun_path` less its NUL).
pub const MAX_SOCKET_PATH_BYTES: usize = 107;

/// Why ramblk can't do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The options or settings are wrong.
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
    /// Another process listens there.
    #[error(
        "socket {path:?} is in use by a running process; stop that or choose another --socket-path"
    )]
    PathInUse {
        /// The path at fault.
        path: PathBuf,
    },
    /// A file other than a socket is there.
    #[error("{path:?} exists and is not a socket; remove it or choose another --socket-path")]
    PathTaken {
        /// The path at fault.
        path: PathBuf,
    },
    /// Our socket is gone, and another file is there.
    #[error(
        "{path:?} is another file now, and is left as it is; remove it, and the socket is created \
         again"
    )]
    Replaced {
        /// The path at fault.
        path: PathBuf,
    },
    /// The socket can't be created.
    #[error("can't create socket {path:?}: {source}{hint}")]
    Socket {
        /// The path at fault.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
        /// What to do about it; may be empty.
        hint: &'static str,
    },
    /// An inherited descriptor is of the wrong kind.
    #[error("--fd {fd} is not a Unix stream socket: {reason}")]
    Descriptor {
        /// Its number.
        fd: i32,
        /// What is wrong with it.
        reason: String,
    },
    /// A directory can't be created.
    #[error("can't create directory {path:?}: {source}; create it yourself or choose another")]
    Directory {
        /// The path at fault.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The state directory can't be used.
    #[error("state directory {path:?} {reason}")]
    StateDirectory {
        /// The directory.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        reason: String,
    },
    /// The file with the disks can't be used.
    #[error("{path:?}: {source}")]
    State {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: store::Error,
    },
    /// The file with the disks is damaged.
    #[error("{path:?}: {source}; 'ramblk fsck {}' shows what can be saved", directory.display())]
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
    /// The existing disks can't be adopted.
    #[error("can't adopt the existing disks: {0}")]
    Disks(Box<model::Problem>),
    /// The existing disks take more than the memory limit.
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
    /// The sandbox must be whole, and can't be.
    #[error(
        "the sandbox can't be whole: {missing}; give --sandbox on to go on without what is missing"
    )]
    Sandbox {
        /// What the system lacks.
        missing: String,
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
    /// Make an error of the system's; `what` says what was tried.
    pub(crate) fn system(what: &'static str) -> impl Fn(std::io::Error) -> Self {
        move |source| Self::System { what, source }
    }

    /// Whether another process uses the file or socket (exit code 4).
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

    /// Whether there is not enough memory (exit code 5).
    pub fn is_over_budget(&self) -> bool {
        matches!(self, Self::LimitBelowCharge { .. })
    }

    /// Whether the options are wrong, so that trying again can't help (exit code 2).
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
