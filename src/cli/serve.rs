//! `ramblk serve`: the options of a daemon, and how it is started.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::error::Error;
use super::file::{DaemonTable, File, Mistake, Mode, Pin, Sandbox, Size, examine_file, read_file};
use super::log::{ended, start_log};
use crate::cli::print::diagnoses::report;
use crate::cli::print::output::{OutputArgs, end};
use crate::cli::values::cpus::{Cpus, parse_cpus};
use crate::cli::values::mode::parse_mode;
use crate::cli::values::sandbox::parse_sandbox;
use crate::cli::values::size::parse_size;
use crate::daemon::{
    self, Diagnosis, ReadersOptions, Reread, SandboxMode, ServeConfig, ServeOptions, Severity,
    StateOption,
};

/// What `serve --check` says of the disks and groups of the file.
const DECLARED: &str = "declared";

/// Options of `ramblk serve`.
#[derive(Clone, Debug, Args)]
pub(super) struct Serve {
    /// Configuration file (TOML) with these options, and with disks and groups to create at the
    /// start. Options on the command line override the file. SIGHUP applies its disks and groups
    /// again.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Directory for sockets. Each disk's socket is DIR/NAME/vhost.sock. The default is
    /// $RUNTIME_DIRECTORY, or else /run/ramblk for root and $XDG_RUNTIME_DIR/ramblk for others.
    #[arg(long, value_name = "DIR")]
    run_dir: Option<PathBuf>,

    /// Path of the API's socket. The default is api.sock in the directory for sockets.
    #[arg(long, value_name = "PATH")]
    api_socket: Option<PathBuf>,

    #[command(flatten)]
    readers: Readers,

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

    /// Serve metrics over TCP too, as in 127.0.0.1:9111: /metrics and nothing else of the API, to
    /// every client that reaches the address. Off by default.
    #[arg(long, value_name = "ADDRESS")]
    metrics_listen: Option<SocketAddr>,

    /// Show this label of disks in the metric ramblk_disk_info, as label_KEY; may be given more
    /// than once.
    #[arg(long = "metrics-label", value_name = "KEY")]
    metrics_labels: Vec<String>,

    /// What the daemon can still do once it has started: everything (off), everything with a log
    /// of what the sandbox would refuse (log), what it needs (on, the default), or the same, or
    /// else no start where the system can't do all of it (strict).
    #[arg(long, value_name = "MODE", value_parser = parse_sandbox)]
    sandbox: Option<SandboxMode>,

    /// Only print what a start with these options would find: mistakes in the file, the places, the
    /// limits, and whether this version can take up the disks that are there, also while another
    /// daemon has them. Changes nothing. Exits with 9 if anything would keep a daemon from starting
    /// once that other one has stopped.
    #[arg(long)]
    check: bool,

    #[command(flatten)]
    output: OutputArgs,
}

/// Options of the socket for clients that only read.
#[derive(Clone, Debug, Args)]
struct Readers {
    /// Path of another socket of the API, at which clients read figures, settings and events,
    /// and change nothing and read no content. The default is api-ro.sock beside the API's socket;
    /// it is made if one of these three options is given.
    #[arg(long, value_name = "PATH")]
    api_ro_socket: Option<PathBuf>,

    /// Permissions of that socket, in octal; 0660 by default. 0666 lets every user of the host
    /// read.
    #[arg(long, value_name = "MODE", value_parser = parse_mode)]
    api_ro_mode: Option<u32>,

    /// Group of that socket, whose members may read: a name or a number.
    #[arg(long, value_name = "GROUP")]
    api_ro_group: Option<String>,
}

impl Readers {
    /// These options, or else those of the file.
    fn or(self, daemon: &DaemonTable) -> ReadersOptions {
        let mode = daemon.api_ro_mode.map(|Mode(bits)| bits);
        ReadersOptions {
            path: self.api_ro_socket.or(daemon.api_ro_socket.clone()),
            mode: self.api_ro_mode.or(mode),
            group: self.api_ro_group.or(daemon.api_ro_group.clone()),
        }
    }
}

impl Serve {
    /// Options of the command line, or else of the file, or else defaults.
    fn options(self, file: File) -> ServeOptions {
        let File {
            daemon,
            declaration,
        } = file;
        let usual = ServeOptions::default();
        let readers = self.readers.or(&daemon);
        let state_dir = self.state_dir.or(daemon.state_dir);
        let memory_limit = daemon.memory_limit.map(|Size(bytes)| bytes);
        let pin = self.pin.or(daemon.pin.map(|Pin(cpus)| cpus));
        let mode = self
            .socket_mode
            .or(daemon.socket_mode.map(|Mode(bits)| bits));
        let sandbox = daemon.sandbox.map(|Sandbox(mode)| mode);
        let import_timeout = self.import_timeout.or(daemon.import_timeout);
        let huge_pages = daemon.huge_pages.unwrap_or(usual.huge_pages);
        ServeOptions {
            run_dir: self.run_dir.or(daemon.run_dir),
            readers,
            api_socket: self.api_socket.or(daemon.api_socket),
            state: state_dir.map_or(StateOption::Default, |text| StateOption::parse(&text)),
            lock_memory: self.lock_memory || daemon.lock_memory.unwrap_or(usual.lock_memory),
            memory_limit_bytes: self.memory_limit.or(memory_limit),
            memory_limit_of_file: self.memory_limit.is_none(),
            huge_pages: huge_pages && !self.no_huge_pages,
            workers: self.workers.or(daemon.workers),
            poll_us: self.poll_us.or(daemon.poll_us).unwrap_or(usual.poll_us),
            cpus: pin.map_or(usual.cpus, |Cpus(cpus)| cpus),
            socket_mode: mode.unwrap_or(usual.socket_mode),
            socket_group: self.socket_group.or(daemon.socket_group),
            import_timeout: import_timeout.map_or(usual.import_timeout, Duration::from_secs),
            metrics_listen: self.metrics_listen.or(daemon.metrics_listen),
            metrics_labels: match self.metrics_labels.is_empty() {
                true => daemon.metrics_labels.unwrap_or_default(),
                false => self.metrics_labels,
            },
            // Not what a program has that embeds a daemon: it would confine itself.
            sandbox: self.sandbox.or(sandbox).unwrap_or(SandboxMode::On),
            config_file: self.config,
            declaration,
        }
    }
}

impl Serve {
    pub(super) fn run(self) -> ExitCode {
        if self.check {
            let output = self.output;
            return end(self.check(), output.kind());
        }
        let served = start_log("info").and_then(|()| {
            let file = self.config.as_deref().map(read_file).transpose()?;
            let reread = self.reread();
            let options = self.options(file.unwrap_or_default());
            Ok(daemon::serve(ServeConfig::new(options)?, reread)?)
        });
        ended(served)
    }

    /// How to read the file again. Without one, or if it was stdin, there is nothing to read.
    fn reread(&self) -> Option<Reread> {
        let path = self.config.as_deref().filter(|it| *it != Path::new("-"))?;
        // The daemon may change to another directory.
        let path = std::path::absolute(path).ok()?;
        let words = self.clone();
        Some(Box::new(move || {
            let file = read_file(&path).map_err(|error| error.to_string())?;
            Ok(words.clone().options(file))
        }))
    }

    /// `serve --check`.
    fn check(self) -> Result<(), Error> {
        let output = self.output;
        let (file, mut found) = match &self.config {
            Some(path) => examine(path),
            None => (File::default(), Vec::new()),
        };
        let is_sound = found.iter().all(|it| it.severity != Severity::Problem);
        let mut told = daemon::check(&self.options(file));
        // What a broken file declares is known in part, and none of it would be applied.
        told.retain(|it| is_sound || it.severity != Severity::Ok || it.subject != DECLARED);
        found.extend(told);
        report(&found, output)
    }
}

/// The file, as far as it can be read, and what is wrong with it.
fn examine(path: &Path) -> (File, Vec<Diagnosis>) {
    const CONFIG: &str = "config";
    let (file, mistakes) = match examine_file(path) {
        Ok(examined) => examined,
        Err(error) => return (File::default(), vec![Diagnosis::refused(CONFIG, &error)]),
    };
    if mistakes.is_empty() {
        let what = format!("{path:?} can be read");
        return (file, vec![Diagnosis::ok(CONFIG, what)]);
    }
    let diagnosis = |mistake: &Mistake| {
        let remedy = match mistake.is_unknown_key {
            true => "remove it, or use the version that knows it",
            false => "",
        };
        Diagnosis::problem(CONFIG, format!("{path:?}: {mistake}"), remedy)
    };
    (file, mistakes.iter().map(diagnosis).collect())
}
