//! `ramblk serve`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::cpus::{Cpus, parse_cpus};
use super::size::parse_size;
use super::{EXIT_ERROR, EXIT_USAGE, log_to_stderr, say};
use crate::daemon::{self, ServeConfig, ServeOptions, StateOption};

/// What `ramblk serve` understands.
#[derive(Debug, Args)]
pub(super) struct Serve {
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

    /// How long a queue that has run dry is looked at before its thread sleeps, in microseconds.
    #[arg(long, value_name = "N", default_value_t = 32)]
    poll_us: u32,

    /// Permissions of all sockets, in octal.
    #[arg(long, value_name = "MODE", default_value = "0660", value_parser = parse_mode)]
    socket_mode: u32,

    /// Group that owns all sockets, so that its members may connect: a name or a number.
    #[arg(long, value_name = "GROUP")]
    socket_group: Option<String>,
}

pub(super) fn parse_mode(text: &str) -> Result<u32, String> {
    u32::from_str_radix(text, 8).map_err(|_| "give octal digits, as in 0660".into())
}

impl From<Serve> for ServeOptions {
    fn from(serve: Serve) -> Self {
        Self {
            run_dir: serve.run_dir,
            api_socket: serve.api_socket,
            state: serve
                .state_dir
                .map_or(StateOption::Default, |text| StateOption::parse(&text)),
            lock_memory: serve.lock_memory,
            memory_limit_bytes: serve.memory_limit,
            huge_pages: !serve.no_huge_pages,
            workers: serve.workers,
            poll_us: serve.poll_us,
            cpus: serve.pin.map(|Cpus(cpus)| cpus).unwrap_or_default(),
            socket_mode: serve.socket_mode,
            socket_group: serve.socket_group,
            ..Self::default()
        }
    }
}

impl Serve {
    pub(super) fn run(self) -> ExitCode {
        log_to_stderr("info");
        match ServeConfig::new(self.into()).and_then(daemon::serve) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                say(&format!("error: {error}"));
                ExitCode::from(if error.is_usage() {
                    EXIT_USAGE
                } else {
                    EXIT_ERROR
                })
            }
        }
    }
}
