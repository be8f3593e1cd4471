//! The options of `ramblk serve`, as plain data and after they were checked.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::daemon::disks::settings::names::MAX_NAME_BYTES;
use crate::daemon::error::Error;
use crate::daemon::host::limit::MemoryLimit;
use crate::daemon::host::sandbox::mode::SandboxMode;
use crate::daemon::host::socket::SocketAccess;
use crate::daemon::host::state_dir::{self, Location, StateOption};
use crate::daemon::host::{paths, workers};
use crate::daemon::metrics::check_label;
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
    /// The socket for clients that only read, if there is one.
    pub readers: ReadersOptions,
    /// Where to keep disks.
    pub state: StateOption,
    /// Whether to lock the disks' memory, so that it isn't swapped out.
    pub lock_memory: bool,
    /// The most memory of all disks together; without it, a default that is safe for the host.
    pub memory_limit_bytes: Option<u64>,
    /// Whether that limit is from the file, for messages.
    pub memory_limit_of_file: bool,
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
    /// Where to serve metrics over TCP, if anywhere.
    pub metrics_listen: Option<SocketAddr>,
    /// Keys of labels that the metrics have.
    pub metrics_labels: Vec<String>,
    /// How far the daemon confines itself.
    pub sandbox: SandboxMode,
    /// The file that the options came from, if any.
    pub config_file: Option<PathBuf>,
    /// Disks that the daemon starts with.
    pub declaration: Declaration,
}

/// Options of the socket for clients that only read. It is made if any of them is given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReadersOptions {
    /// Its path; by default `api-ro.sock` beside the API's socket.
    pub path: Option<PathBuf>,
    /// Its permission bits; 0660 by default.
    pub mode: Option<u32>,
    /// The group that owns it, by name or number; by default the process's.
    pub group: Option<String>,
}

/// The socket for clients that only read.
#[derive(Clone, Debug)]
pub(crate) struct Readers {
    pub(super) path: PathBuf,
    pub(super) access: SocketAccess,
}

impl Readers {
    pub(crate) fn new(options: ReadersOptions, api_socket: &Path) -> Result<Option<Self>, Error> {
        if options == ReadersOptions::default() {
            return Ok(None);
        }
        let mode = options.mode.unwrap_or(SocketAccess::default().mode);
        let names = ["--api-ro-mode", "--api-ro-group"];
        let path = options.path;
        let path = path.unwrap_or_else(|| api_socket.with_file_name(paths::READERS_SOCKET));
        if path == api_socket {
            return Err(Error::Usage(format!(
                "--api-ro-socket {path:?} is the API's socket: choose another path"
            )));
        }
        Ok(Some(Self {
            path,
            access: SocketAccess::named(names, mode, options.group.as_deref())?,
        }))
    }
}

impl std::fmt::Display for Readers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (path, mode) = (&self.path, self.access.mode);
        write!(
            f,
            "clients that only read have {path:?}, with mode {mode:04o}"
        )
    }
}

impl Default for ServeOptions {
    /// The defaults of `ramblk serve`.
    fn default() -> Self {
        Self {
            run_dir: None,
            api_socket: None,
            readers: ReadersOptions::default(),
            state: StateOption::Default,
            lock_memory: false,
            memory_limit_bytes: None,
            memory_limit_of_file: false,
            huge_pages: true,
            workers: None,
            poll_us: workers::DEFAULT_POLL_US,
            cpus: Vec::new(),
            socket_mode: 0o660,
            socket_group: None,
            import_timeout: Duration::from_secs(60),
            metrics_listen: None,
            metrics_labels: Vec::new(),
            sandbox: SandboxMode::default(),
            config_file: None,
            declaration: Declaration::default(),
        }
    }
}

/// What the path of a disk's socket has at most behind the directory of sockets.
const SOCKET_BELOW_BYTES: usize = "/".len() + MAX_NAME_BYTES + "/vhost.sock".len();

impl ServeOptions {
    /// The same with whole paths, where sockets can have them.
    pub(crate) fn with_whole_paths(mut self) -> Self {
        let run_dir = self.run_dir.take();
        self.run_dir = run_dir.map(|path| paths::whole(path, SOCKET_BELOW_BYTES));
        self.api_socket = self.api_socket.map(|path| paths::whole(path, 0));
        self.readers.path = self.readers.path.map(|path| paths::whole(path, 0));
        if let StateOption::Directory(path) = &mut self.state {
            *path = paths::whole(std::mem::take(path), 0);
        }
        self
    }

    /// The memory limit that the user set, if any.
    pub(crate) fn asked_limit(&self) -> Option<MemoryLimit> {
        let asked = self.memory_limit_bytes.map(MemoryLimit::asked)?;
        Some(match self.memory_limit_of_file {
            true => MemoryLimit {
                from: "memory_limit of the file".to_owned(),
                ..asked
            },
            false => asked,
        })
    }

    /// The API's socket, by default in the directory of sockets.
    pub(crate) fn api_socket_in(&self, run_dir: Option<&Path>) -> Option<PathBuf> {
        let usual = run_dir.map(|dir| paths::whole(dir.join(paths::API_SOCKET), 0));
        self.api_socket.clone().or(usual)
    }

    /// The options that differ in `other`, and that a running daemon can't change.
    pub(super) fn need_restart(&self, other: &Self) -> Vec<&'static str> {
        let all = [
            ("run_dir", self.run_dir == other.run_dir),
            ("api_socket", self.api_socket == other.api_socket),
            ("api_ro_socket", self.readers.path == other.readers.path),
            ("api_ro_mode", self.readers.mode == other.readers.mode),
            ("api_ro_group", self.readers.group == other.readers.group),
            ("state_dir", self.state == other.state),
            ("lock_memory", self.lock_memory == other.lock_memory),
            (
                "memory_limit",
                self.memory_limit_bytes == other.memory_limit_bytes,
            ),
            ("huge_pages", self.huge_pages == other.huge_pages),
            ("workers", self.workers == other.workers),
            ("poll_us", self.poll_us == other.poll_us),
            ("pin", self.cpus == other.cpus),
            ("socket_mode", self.socket_mode == other.socket_mode),
            ("socket_group", self.socket_group == other.socket_group),
            (
                "import_timeout",
                self.import_timeout == other.import_timeout,
            ),
            (
                "metrics_listen",
                self.metrics_listen == other.metrics_listen,
            ),
            ("sandbox", self.sandbox == other.sandbox),
        ];
        let differ = all.iter().filter(|(_, is_same)| !is_same);
        differ.map(|(key, _)| *key).collect()
    }
}

/// Keys of labels that Prometheus can take.
pub(crate) fn metrics_labels(keys: Vec<String>) -> Result<Vec<String>, Error> {
    let refused = keys.iter().find_map(|key| check_label(key).err());
    refused.map_or(Ok(keys), |detail| Err(Error::Usage(detail)))
}

/// Options that were checked, together and with the machine.
#[derive(Debug)]
pub struct ServeConfig {
    pub(super) run_dir: PathBuf,
    pub(super) api_socket: PathBuf,
    pub(super) readers: Option<Readers>,
    pub(super) location: Location,
    pub(super) lock_memory: bool,
    pub(super) limit: MemoryLimit,
    pub(super) huge_pages: bool,
    pub(super) workers: WorkerOptions,
    pub(super) access: SocketAccess,
    pub(super) import_timeout: Duration,
    pub(super) metrics_listen: Option<SocketAddr>,
    pub(super) metrics_labels: Vec<String>,
    pub(super) sandbox: SandboxMode,
    pub(super) config_file: Option<PathBuf>,
    pub(super) declaration: Declaration,
    /// Whether the user set this limit.
    pub(super) limit_is_asked: bool,
    /// The options as they were given, without the declaration.
    pub(super) asked: ServeOptions,
}

impl ServeConfig {
    /// Check `options`. This creates the state directory, and changes nothing else.
    ///
    /// # Errors
    /// [`Error::Usage`] for wrong options, and what is wrong with the state directory.
    pub fn new(options: ServeOptions) -> Result<Self, Error> {
        let asked = ServeOptions {
            declaration: Declaration::default(),
            ..options.clone()
        };
        let options = options.with_whole_paths();
        let workers = workers::options(options.workers, options.poll_us, options.cpus.clone())?;
        let location = state_dir::choose(&options.state, options.run_dir.as_deref())?;
        let limit = memory_limit(options.asked_limit(), &location)?;
        let run_dir = match &options.run_dir {
            Some(run_dir) => run_dir.clone(),
            None => paths::default_run_dir()?,
        };
        let api_socket = options.api_socket_in(Some(&run_dir)).unwrap_or_default();
        Ok(Self {
            readers: Readers::new(options.readers, &api_socket)?,
            api_socket,
            run_dir,
            location,
            lock_memory: options.lock_memory,
            limit,
            huge_pages: options.huge_pages,
            workers,
            access: SocketAccess::new(options.socket_mode, options.socket_group.as_deref())?,
            import_timeout: import_timeout(options.import_timeout)?,
            metrics_listen: options.metrics_listen,
            metrics_labels: metrics_labels(options.metrics_labels)?,
            sandbox: options.sandbox,
            config_file: options.config_file,
            declaration: options.declaration,
            limit_is_asked: options.memory_limit_bytes.is_some(),
            asked,
        })
    }
}

/// The memory limit: the user's, if there is room for it, or the default.
pub(crate) fn memory_limit(
    asked: Option<MemoryLimit>,
    location: &Location,
) -> Result<MemoryLimit, Error> {
    let room_bytes = location.room_bytes()?;
    match (asked, location) {
        (Some(asked), Location::Directory(path)) if asked.bytes > room_bytes => {
            Err(Error::StateDirectory {
                path: path.clone(),
                reason: format!(
                    "has room for {}, and the memory limit is {}: enlarge it (mount -o \
                     remount,size=...), or give a smaller --memory-limit or another --state-dir",
                    Bytes(room_bytes),
                    Bytes(asked.bytes)
                ),
            })
        }
        (Some(asked), _) => asked.checked(),
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
pub(crate) fn import_timeout(asked: Duration) -> Result<Duration, Error> {
    if asked < Duration::from_secs(1) || asked > MOST_IMPORT_TIMEOUT {
        return Err(Error::Usage(format!(
            "--import-timeout of {} s is not possible: give 1 to {} seconds",
            asked.as_secs(),
            MOST_IMPORT_TIMEOUT.as_secs()
        )));
    }
    Ok(asked)
}
