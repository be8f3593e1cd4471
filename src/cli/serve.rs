//! `ramblk serve`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::error::Error;
use super::file::{File, Mode, Pin, Size, read_file};
use super::log::log_to_stderr;
use crate::cli::print::output::{Output, end};
use crate::cli::values::cpus::{Cpus, parse_cpus};
use crate::cli::values::mode::parse_mode;
use crate::cli::values::size::parse_size;
use crate::daemon::{self, ServeConfig, ServeOptions, StateOption};

/// Options of `ramblk serve`.
#[derive(Debug, Args)]
pub(super) struct Serve {
    /// Configuration file (TOML) with these options, and with disks and groups to create at the
    /// start. Options on the command line override the file.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Directory for sockets. Each disk's socket is DIR/NAME/vhost.sock. The default is
    /// $RUNTIME_DIRECTORY, or else /run/ramblk for root and $XDG_RUNTIME_DIR/ramblk for others.
    #[arg(long, value_name = "DIR")]
    run_dir: Option<PathBuf>,

    /// Path of the API's socket. The default is api.sock in the directory for sockets.
    #[arg(long, value_name = "PATH")]
    api_socket: Option<PathBuf>,

    /// Where to keep disks across restarts of the daemon: a directory on a tmpfs, systemd (in its
    /// file descriptor store), or none. The default is systemd if it offers that, or else the
    /// directory for sockets if that is on a tmpfs, or else none.
    #[arg(long, value_name = "DIR")]
    state_dir: Option<String>,

    /// Lock the disks' memory, so that it is never swapped out.
    #[arg(long)]
    lock_memory: bool,

    /// The most memory that all disks together may take. The default is half of the host's memory
    /// or three quarters of the cgroup's limit, whichever is less.
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    memory_limit: Option<u64>,

    /// Use small pages only. By default fully used memory moves to huge pages in the background.
    #[arg(long)]
    no_huge_pages: bool,

    /// Threads that serve queues. The default is one per processor.
    #[arg(long, value_name = "N")]
    workers: Option<u16>,

    /// Processors to pin these threads to, one each, as in 2,4-7. Without --workers there is one
    /// thread for each of these processors.
    #[arg(long, value_name = "CPUS", value_parser = parse_cpus)]
    pin: Option<Cpus>,

    /// The longest time to poll an empty queue before its thread sleeps, in microseconds; 64 by
    /// default.
    #[arg(long, value_name = "N")]
    poll_us: Option<u32>,

    /// Permissions of all sockets, in octal; 0660 by default.
    #[arg(long, value_name = "MODE", value_parser = parse_mode)]
    socket_mode: Option<u32>,

    /// Destroy a disk whose first content is incomplete when no client has sent any of it for this
    /// long, in seconds; 60 by default.
    #[arg(long, value_name = "SECONDS")]
    import_timeout: Option<u64>,

    /// Group of all sockets, whose members may connect: a name or a number.
    #[arg(long, value_name = "GROUP")]
    socket_group: Option<String>,
}

impl Serve {
    /// Options of the command line, or else of the file, or else defaults.
    fn options(self) -> Result<ServeOptions, Error> {
        let file = self.config.as_deref().map(read_file).transpose()?;
        let File {
            daemon,
            declaration,
        } = file.unwrap_or_default();
        let usual = ServeOptions::default();
        let state_dir = self.state_dir.or(daemon.state_dir);
        let memory_limit = daemon.memory_limit.map(|Size(bytes)| bytes);
        let pin = self.pin.or(daemon.pin.map(|Pin(cpus)| cpus));
        let mode = self
            .socket_mode
            .or(daemon.socket_mode.map(|Mode(bits)| bits));
        let import_timeout = self.import_timeout.or(daemon.import_timeout);
        let huge_pages = daemon.huge_pages.unwrap_or(usual.huge_pages);
        Ok(ServeOptions {
            run_dir: self.run_dir.or(daemon.run_dir),
            api_socket: self.api_socket.or(daemon.api_socket),
            state: state_dir.map_or(StateOption::Default, |text| StateOption::parse(&text)),
            lock_memory: self.lock_memory || daemon.lock_memory.unwrap_or(usual.lock_memory),
            memory_limit_bytes: self.memory_limit.or(memory_limit),
            huge_pages: huge_pages && !self.no_huge_pages,
            workers: self.workers.or(daemon.workers),
            poll_us: self.poll_us.or(daemon.poll_us).unwrap_or(usual.poll_us),
            cpus: pin.map_or(usual.cpus, |Cpus(cpus)| cpus),
            socket_mode: mode.unwrap_or(usual.socket_mode),
            socket_group: self.socket_group.or(daemon.socket_group),
            import_timeout: import_timeout.map_or(usual.import_timeout, Duration::from_secs),
            declaration,
        })
    }
}

impl Serve {
    pub(super) fn run(self) -> ExitCode {
        let options = log_to_stderr("info").and_then(|()| self.options());
        let served = options.and_then(|options| Ok(daemon::serve(ServeConfig::new(options)?)?));
        end(served, Output::Human)
    }
}
