//! `ramblk serve`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::error::Error;
use super::file::{File, Mode, Pin, Size, read_file};
use super::{end, log_to_stderr};
use crate::cli::print::output::Output;
use crate::cli::values::cpus::{Cpus, parse_cpus};
use crate::cli::values::size::parse_size;
use crate::daemon::{self, ServeConfig, ServeOptions, StateOption};

/// What `ramblk serve` understands.
#[derive(Debug, Args)]
pub(super) struct Serve {
    /// Configuration file (TOML) with a table of these options, and disks and groups that are to be
    /// there from the start. What is said here goes before what it says.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Directory for sockets: each disk's is DIR/NAME/vhost.sock. Without it, what
    /// $RUNTIME_DIRECTORY says, /run/ramblk for root, $XDG_RUNTIME_DIR/ramblk for others.
    #[arg(long, value_name = "DIR")]
    run_dir: Option<PathBuf>,

    /// Path of the socket of the API; without it, api.sock in the directory for sockets.
    #[arg(long, value_name = "PATH")]
    api_socket: Option<PathBuf>,

    /// Directory on a tmpfs in which disks lie, so that a restart finds them; or none; or systemd,
    /// whose file descriptor store keeps them. Without it, the best of these that is there.
    #[arg(long, value_name = "DIR")]
    state_dir: Option<String>,

    /// Keep what disks take from being swapped out.
    #[arg(long)]
    lock_memory: bool,

    /// Memory that all disks together may take, at most. Without it: half of the host's memory, or
    /// three quarters of the cgroup's limit, whichever is less.
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    memory_limit: Option<u64>,

    /// Leave memory in small pages. Otherwise huge pages are made in the background of memory that
    /// is in full use.
    #[arg(long)]
    no_huge_pages: bool,

    /// Threads that serve queues; without it, as many as there are processors.
    #[arg(long, value_name = "N")]
    workers: Option<u16>,

    /// Processors for these threads, each on one of its own, as in 2,4-7; as many threads then,
    /// unless --workers says otherwise.
    #[arg(long, value_name = "CPUS", value_parser = parse_cpus)]
    pin: Option<Cpus>,

    /// How long a queue that has run dry is looked at before its thread sleeps, in microseconds; 32
    /// if not given.
    #[arg(long, value_name = "N")]
    poll_us: Option<u32>,

    /// Permissions of all sockets, in octal; 0660 if not given.
    #[arg(long, value_name = "MODE", value_parser = parse_mode)]
    socket_mode: Option<u32>,

    /// How long a disk whose first content is not whole waits while nobody sends it, in seconds;
    /// then it goes. 60 if not given.
    #[arg(long, value_name = "SECONDS")]
    import_timeout: Option<u64>,

    /// Group that owns all sockets, so that its members may connect: a name or a number.
    #[arg(long, value_name = "GROUP")]
    socket_group: Option<String>,
}

pub(super) fn parse_mode(text: &str) -> Result<u32, String> {
    u32::from_str_radix(text, 8).map_err(|_| "give octal digits, as in 0660".into())
}

impl Serve {
    /// What is said here, else what the file says, else what is usual.
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
