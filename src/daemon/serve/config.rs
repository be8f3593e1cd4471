//! The options of `ramblk serve`, as plain data and after they were checked.

use std::path::PathBuf;
use std::time::Duration;

use crate::daemon::error::Error;
use crate::daemon::host::limit::MemoryLimit;
use crate::daemon::host::socket::SocketAccess;
use crate::daemon::host::state_dir::{self, Location, StateOption};
use crate::daemon::host::{paths, workers};
use crate::model::Declaration;
use crate::store::Bytes;
use crate::vhost_user::WorkerOptions;

/// Options of `ramblk serve`, as they were given.
#[derive(Clone, Debug)]
pub struct ServeOptions {
    /// The directory of sockets; by default [`paths::default_run_dir`].
    pub run_dir: Option<PathBuf>,
    /// The path of the API's socket; by default `api.sock` in the directory of sockets.
    pub api_socket: Option<PathBuf>,
    /// Where to keep disks.
    pub state: StateOption,
    /// Whether to lock the disks' memory, so that it isn't swapped out.
    pub lock_memory: bool,
    /// The most memory of all disks together; without it, a default that is safe for the host.
    pub memory_limit_bytes: Option<u64>,
    /// Whether fully used memory moves to huge pages.
    pub huge_pages: bool,
    /// Threads that serve queues; without it, one per processor.
    pub workers: Option<u16>,
    /// How long a queue that has run dry is looked at before its worker sleeps, at most, in
    /// microseconds.
    pub poll_us: u32,
    /// Processors to pin workers to, one each, by number.
    pub cpus: Vec<usize>,
    /// Permission bits of all sockets.
    pub socket_mode: u32,
    /// The group that owns all sockets, by name or number; without it, the process's.
    pub socket_group: Option<String>,
    /// How long a disk is importing while no client sends content, before it is destroyed.
    pub import_timeout: Duration,
    /// Disks that the daemon starts with.
    pub declaration: Declaration,
}

impl Default for ServeOptions {
    /// The defaults of `ramblk serve`.
    fn default() -> Self {
        Self {
            run_dir: None,
            api_socket: None,
            state: StateOption::Default,
            lock_memory: false,
            memory_limit_bytes: None,
            huge_pages: true,
            workers: None,
            poll_us: workers::DEFAULT_POLL_US,
            cpus: Vec::new(),
            socket_mode: 0o660,
            socket_group: None,
            import_timeout: Duration::from_secs(60),
            declaration: Declaration::default(),
        }
    }
}

/// Options that were checked, together and with the machine.
#[derive(Debug)]
pub struct ServeConfig {
    pub(super) run_dir: PathBuf,
    pub(super) api_socket: PathBuf,
    pub(super) location: Location,
    pub(super) lock_memory: bool,
    pub(super) limit: MemoryLimit,
    pub(super) huge_pages: bool,
    pub(super) workers: WorkerOptions,
    pub(super) access: SocketAccess,
    pub(super) import_timeout: Duration,
    pub(super) declaration: Declaration,
    /// Whether the user set this limit.
    pub(super) limit_is_asked: bool,
}

impl ServeConfig {
    /// Check `options`. This creates the state directory, and changes nothing else.
    ///
    /// # Errors
    /// [`Error::Usage`] for wrong options, and what is wrong with the state directory.
    pub fn new(options: ServeOptions) -> Result<Self, Error> {
        let workers = workers::options(options.workers, options.poll_us, options.cpus)?;
        let location = state_dir::choose(&options.state, options.run_dir.as_deref())?;
        let limit = memory_limit(options.memory_limit_bytes, &location)?;
        let run_dir = match options.run_dir {
            Some(run_dir) => run_dir,
            None => paths::default_run_dir()?,
        };
        let api_socket = options.api_socket;
        Ok(Self {
            api_socket: api_socket.unwrap_or_else(|| run_dir.join(paths::API_SOCKET)),
            run_dir,
            location,
            lock_memory: options.lock_memory,
            limit,
            huge_pages: options.huge_pages,
            workers,
            access: SocketAccess::new(options.socket_mode, options.socket_group.as_deref())?,
            import_timeout: import_timeout(options.import_timeout)?,
            declaration: options.declaration,
            limit_is_asked: options.memory_limit_bytes.is_some(),
        })
    }
}

/// The memory limit: the user's, if there is room for it, or the default.
fn memory_limit(asked_bytes: Option<u64>, location: &Location) -> Result<MemoryLimit, Error> {
    let room_bytes = location.room_bytes()?;
    match (asked_bytes, location) {
        (Some(asked_bytes), Location::Directory(path)) if asked_bytes > room_bytes => {
            Err(Error::StateDirectory {
                path: path.clone(),
                reason: format!(
                    "has room for {}, and the memory limit is {}: enlarge it (mount -o \
                     remount,size=...), or give a smaller --memory-limit or another --state-dir",
                    Bytes(room_bytes),
                    Bytes(asked_bytes)
                ),
            })
        }
        (Some(asked_bytes), _) => MemoryLimit::asked(asked_bytes).checked(),
        (None, _) => {
            let usual = MemoryLimit::usual();
            let room = MemoryLimit {
                bytes: room_bytes,
                from: "the room in the state directory".into(),
            };
            let least = if room.bytes < usual.bytes {
                room
            } else {
                usual
            };
            least.checked()
        }
    }
}

/// The longest import timeout.
const MOST_IMPORT_TIMEOUT: Duration = Duration::from_secs(7 * 24 * 3600);

/// Check the import timeout.
fn import_timeout(asked: Duration) -> Result<Duration, Error> {
    if asked < Duration::from_secs(1) || asked > MOST_IMPORT_TIMEOUT {
        return Err(Error::Usage(format!(
            "--import-timeout of {} s is not possible: give 1 to {} seconds",
            asked.as_secs(),
            MOST_IMPORT_TIMEOUT.as_secs()
        )));
    }
    Ok(asked)
}
