//! The options of `ramblk run`, as plain data and after they were checked.

use std::num::NonZeroU16;
use std::path::{Path, PathBuf};

use crate::daemon::disks::settings::valid::ValidDisk;
use crate::daemon::error::{Error, MAX_SOCKET_PATH_BYTES};
use crate::daemon::host::limit::MemoryLimit;
use crate::daemon::host::owner::Giver;
use crate::daemon::host::sandbox::mode::SandboxMode;
use crate::daemon::host::socket::SocketAccess;
use crate::daemon::host::workers;
use crate::image::{About, ImageReader};
use crate::model::{DiskSettings, Problem, Sanitize, Share};
use crate::store::SectorSize;
use crate::vhost_user::WorkerOptions;

/// Options of `ramblk run`, as they were given.
#[derive(Debug)]
pub struct RunOptions {
    /// Size in bytes; without it, the image's.
    pub size_bytes: Option<u64>,
    /// Path of the socket to listen on.
    pub socket_path: Option<PathBuf>,
    /// The number of an inherited socket, listening or connected.
    pub fd: Option<i32>,
    /// Permission bits of that path.
    pub socket_mode: u32,
    /// The group that owns it, by name or number; without it, the process's.
    pub socket_group: Option<String>,
    /// The user and the group that own it, as `USER`, `USER:GROUP` or `:GROUP`; without it, the
    /// process's.
    pub socket_owner: Option<String>,
    /// Logical block size in bytes.
    pub block_bytes: u64,
    /// Request queues.
    pub queues: u16,
    /// Whether guests can only read.
    pub read_only: bool,
    /// The serial, which GET_ID returns; without it, the disk's name.
    pub serial: Option<String>,
    /// The image with the disk's first content.
    pub image: Option<Box<dyn ImageReader>>,
    /// How many front ends may use the disk at the same time.
    pub share: Share,
    /// The most memory that the disk may take; without it, a default that is safe for the host.
    pub memory_limit_bytes: Option<u64>,
    /// Whether fully used memory moves to huge pages.
    pub huge_pages: bool,
    /// Whether zeros that a guest writes take no memory.
    pub detect_zeroes: bool,
    /// What the disk does about requests that a correct guest wouldn't make.
    pub sanitize: Sanitize,
    /// Whether guests may rely on requests being completed in order (VIRTIO_F_IN_ORDER).
    pub in_order: bool,
    /// Threads that serve queues; without it, one per processor, but no more than queues.
    pub workers: Option<u16>,
    /// How long a queue that has run dry is looked at before its worker sleeps, at most, in
    /// microseconds.
    pub poll_us: u32,
    /// Processors to pin workers to, one each, by number.
    pub cpus: Vec<usize>,
    /// Faults on command, as texts.
    pub faults: Vec<String>,
    /// How far the process confines itself; never the command.
    pub sandbox: SandboxMode,
    /// A command to run beside the disk; `{socket}` in it stands for the socket's path.
    pub command: Vec<String>,
}

impl Default for RunOptions {
    /// The defaults of `ramblk run`, without a size and a socket.
    fn default() -> Self {
        Self {
            size_bytes: None,
            socket_path: None,
            fd: None,
            socket_mode: 0o660,
            socket_group: None,
            socket_owner: None,
            block_bytes: 512,
            queues: crate::model::USUAL_QUEUES,
            read_only: false,
            serial: None,
            image: None,
            share: Share::None,
            memory_limit_bytes: None,
            huge_pages: true,
            detect_zeroes: false,
            sanitize: Sanitize::Off,
            in_order: false,
            workers: None,
            poll_us: workers::DEFAULT_POLL_US,
            cpus: Vec::new(),
            faults: Vec::new(),
            sandbox: SandboxMode::default(),
            command: Vec::new(),
        }
    }
}

/// How front ends connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// They connect to this path.
    Path(PathBuf),
    /// They connect to a socket in a new private directory, whose path only the command gets.
    Private,
    /// They come through an inherited descriptor.
    Fd(i32),
}

/// Options that were checked, together and with the machine.
#[derive(Debug)]
pub struct RunConfig {
    pub(crate) name: String,
    pub(crate) disk: ValidDisk,
    pub(crate) endpoint: Endpoint,
    pub(crate) access: SocketAccess,
    pub(crate) image: Option<Box<dyn ImageReader>>,
    pub(crate) sandbox: SandboxMode,
    pub(crate) command: Vec<String>,
    pub(crate) limit: MemoryLimit,
    pub(crate) huge_pages: bool,
    pub(crate) workers: WorkerOptions,
}

impl RunConfig {
    /// The options for the threads that will serve the disk.
    pub fn workers(&self) -> &WorkerOptions {
        &self.workers
    }

    /// Check `options` for a disk called `name`. This changes nothing.
    ///
    /// # Errors
    /// [`Error::Usage`] for options that are wrong or don't fit together.
    pub fn new(name: &str, options: RunOptions) -> Result<Self, Error> {
        let sector_size = SectorSize::from_bytes(options.block_bytes)?;
        let image = options.image;
        let size_bytes = match (options.size_bytes, &image) {
            (Some(size_bytes), _) => size_bytes,
            (None, Some(image)) => image_size(image.about())?.next_multiple_of(sector_size.bytes()),
            (None, None) => {
                return Err(Error::Usage(
                    "a disk needs a size: give --size, as in --size 1G".into(),
                ));
            }
        };
        let asked = options.memory_limit_bytes.map(MemoryLimit::asked);
        let limit = asked.unwrap_or_else(MemoryLimit::usual).checked()?;
        let settings = DiskSettings {
            block_size: options.block_bytes,
            queues: options.queues,
            read_only: options.read_only,
            serial: options.serial,
            share: options.share,
            in_order: options.in_order,
            detect_zeroes: options.detect_zeroes,
            sanitize: options.sanitize,
            socket_owner: options.socket_owner,
            faults: options.faults,
            ..DiskSettings::new(size_bytes)
        };
        let disk =
            ValidDisk::new(name, settings, limit.bytes).map_err(|problem| usage(&problem))?;
        let (count, poll_us) = (options.workers, options.poll_us);
        let workers = workers(disk.queues, count, poll_us, options.cpus)?;
        let endpoint = endpoint(options.socket_path, options.fd, &options.command)?;
        let access = SocketAccess::new(options.socket_mode, options.socket_group.as_deref())?;
        check_owner(&disk.settings, &endpoint, access)?;
        Ok(Self {
            name: name.to_owned(),
            disk,
            endpoint,
            access,
            image,
            sandbox: options.sandbox,
            command: options.command,
            limit,
            huge_pages: options.huge_pages,
            workers,
        })
    }
}

/// Check that the socket can be given to its owner, if it has one.
fn check_owner(
    settings: &DiskSettings,
    endpoint: &Endpoint,
    access: SocketAccess,
) -> Result<(), Error> {
    let Some(owner) = &settings.socket_owner else {
        return Ok(());
    };
    if matches!(endpoint, Endpoint::Fd(_)) {
        return Err(Error::Usage(
            "--socket-owner is for a socket that ramblk makes: leave it out, and give the one of \
             --fd to its owner yourself"
                .into(),
        ));
    }
    Giver::of_process().access(access, owner).map(|_| ())
}

/// The size of an image, for a disk that has no other.
fn image_size(about: &About) -> Result<u64, Error> {
    about.size_bytes.ok_or_else(|| {
        Error::Usage(format!(
            "the size of image {:?} is known only when all of it was read: give --size",
            about.name
        ))
    })
}

/// A setting that can't be, with the option that names it here.
fn usage(problem: &Problem) -> Error {
    let option = match problem.field.as_deref() {
        Some("size_bytes") => " (--size)",
        Some("queues") => " (--queues)",
        Some("serial") => " (--serial)",
        Some("faults") => " (--fault)",
        Some("socket_owner") => " (--socket-owner)",
        _ => "",
    };
    Error::Usage(format!("{}{option}", problem.detail))
}

fn workers(
    queues: NonZeroU16,
    count: Option<u16>,
    poll_us: u32,
    cpus: Vec<usize>,
) -> Result<WorkerOptions, Error> {
    let mut options = workers::options(count, poll_us, cpus)?;
    // More would never have work.
    options.count = options.count.min(usize::from(queues.get()));
    Ok(options)
}

fn endpoint(path: Option<PathBuf>, fd: Option<i32>, command: &[String]) -> Result<Endpoint, Error> {
    match (path, fd) {
        (Some(_), Some(_)) => Err(Error::Usage(
            "--socket-path and --fd can't be combined: give one of them".into(),
        )),
        (Some(path), None) => {
            check_path(&path)?;
            Ok(Endpoint::Path(path))
        }
        (None, Some(fd)) if command.iter().any(|word| word.contains("{socket}")) => {
            Err(Error::Usage(format!(
                "with --fd {fd} there is no path that could replace {{socket}}"
            )))
        }
        (None, Some(fd)) => Ok(Endpoint::Fd(fd)),
        (None, None) if command.is_empty() => Err(Error::Usage(
            "there is no socket for front ends: give --socket-path PATH, or behind -- a command \
             in which {socket} stands for one"
                .into(),
        )),
        (None, None) => Ok(Endpoint::Private),
    }
}

fn check_path(path: &Path) -> Result<(), Error> {
    if path.as_os_str().is_empty() {
        return Err(Error::Usage("--socket-path is empty".into()));
    }
    if path.as_os_str().len() > MAX_SOCKET_PATH_BYTES {
        return Err(Error::PathTooLong {
            path: path.to_owned(),
        });
    }
    Ok(())
}
