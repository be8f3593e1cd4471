//! The options of both programs, as plain data.

use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand};

use super::bench::Bench;
use super::error::Error;
use super::helpers::{Fetching, fetched};
use super::serve::Serve;
use super::transfer::FormatArg;
use super::verbs::ApiVerb;
use crate::cli::values::cpus::{Cpus, parse_cpus};
use crate::cli::values::mode::parse_mode;
use crate::cli::values::sandbox::parse_sandbox;
use crate::cli::values::sanitize::Sanitize;
use crate::cli::values::share::Share;
use crate::cli::values::size::parse_size;
use crate::daemon::{RunOptions, SandboxMode};
use crate::image::{ImageReader, Opening, open_medium};
use crate::model::USUAL_QUEUES;

/// The widest line of a help text, on a terminal of any width.
const MOST_COLUMNS: usize = 80;

/// RAM disks for virtual machines, over vhost-user-blk.
#[derive(Debug, Parser)]
#[command(name = "ramblk", version, max_term_width = MOST_COLUMNS)]
pub(super) struct Ramblk {
    /// Socket of the daemon's API. The default is $RAMBLK_API, or else api.sock in
    /// $XDG_RUNTIME_DIR/ramblk or /run/ramblk.
    // Not clap's `env`, which would also set where `serve` creates its socket. Behind each verb's
    // own options, and before --help, which has number 999.
    #[arg(long, global = true, value_name = "PATH", display_order = 998)]
    pub(super) api_socket: Option<PathBuf>,

    #[command(subcommand)]
    pub(super) verb: Verb,
}

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Serve one new disk, until SIGTERM or as long as a command runs.
    Run(Run),
    /// Run a daemon that serves any number of disks, until SIGTERM.
    Serve(Serve),
    /// Measure a vhost-user-blk back end under the load of a driver.
    Bench(Bench),
    #[command(flatten)]
    Api(ApiVerb),
}

#[derive(Debug, Args)]
pub(super) struct Run {
    #[command(flatten)]
    disk: DiskArgs,

    /// Image with the disk's first content: a file, or a URL (http, https, s3, oci). Without --size
    /// the disk is as large as the image.
    #[arg(long, value_name = "FILE")]
    image: Option<PathBuf>,

    #[command(flatten)]
    format: FormatArg,

    /// Front ends that may use the disk at the same time: one (none), any number, read-only (ro),
    /// or any number, all writing at their own risk (rw).
    #[arg(long, value_enum, default_value_t = Share::None)]
    share: Share,

    /// The most memory that the disk may take. Beyond that the guest's writes fail. The default is
    /// half of the host's memory or three quarters of the cgroup's limit, whichever is less.
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    memory_limit: Option<u64>,

    /// Use small pages only. By default fully used memory moves to huge pages in the background,
    /// which costs processor time once and makes random access faster.
    #[arg(long)]
    no_huge_pages: bool,

    /// Take no memory for zeros that a guest writes: pages of zeros, and sectors of zeros in unused
    /// pages. These sectors count as mapped. Searching every write for zeros costs processor time.
    #[arg(long)]
    detect_zeroes: bool,

    /// What to do about reads of sectors that were never written or were discarded since, and about
    /// 256 MiB of writes without a flush.
    #[arg(long, value_enum, default_value_t = Sanitize::Off)]
    sanitize: Sanitize,
    /// Fault on command, as in 'error,op=write,range=1M+4K'; may be given more than once. See
    /// 'ramblk fault add --help'.
    #[arg(long = "fault", value_name = "RULE")]
    faults: Vec<String>,

    /// Command to run beside the disk. ramblk replaces {socket} in it with the socket's path, and
    /// exits when the command does, with its exit code.
    #[arg(last = true, value_name = "CMD")]
    command: Vec<String>,
}

/// Options of both programs.
#[derive(Debug, Args)]
struct DiskArgs {
    /// Size of the disk: bytes, or a number with K, M, G or T (powers of 1024), as in 1G. Only what
    /// guests write takes memory.
    #[arg(long, value_parser = parse_size)]
    size: Option<u64>,

    /// Path of the socket for front ends.
    #[arg(long, value_name = "PATH")]
    socket_path: Option<PathBuf>,

    /// Permissions of the socket, in octal.
    #[arg(long, value_name = "MODE", default_value = "0660", value_parser = parse_mode)]
    socket_mode: u32,

    /// Group of the socket, whose members may connect: a name or a number.
    #[arg(long, value_name = "GROUP")]
    socket_group: Option<String>,

    /// User and group that own the socket: USER, USER:GROUP or :GROUP, by names or numbers. Others
    /// than ramblk's own need CAP_CHOWN.
    #[arg(long, value_name = "OWNER")]
    socket_owner: Option<String>,

    /// Inherited Unix socket, listening or connected, to use instead of a path.
    #[arg(long, value_name = "FDNUM")]
    fd: Option<i32>,

    /// Logical block size in bytes: 512 or 4096.
    #[arg(long, value_name = "BYTES", default_value_t = 512)]
    block_size: u64,

    /// The most request queues that a front end may use.
    #[arg(long, default_value_t = USUAL_QUEUES)]
    queues: u16,

    /// Make the disk read-only.
    #[arg(long)]
    read_only: bool,

    /// Complete requests in the order in which they were made (VIRTIO_F_IN_ORDER), so that none is
    /// lost when cloud-hypervisor reconnects.
    #[arg(long)]
    in_order: bool,

    /// Threads that serve queues. The default is one per processor, but no more than queues.
    #[arg(long, value_name = "N")]
    workers: Option<u16>,

    /// Processors to pin these threads to, one each, as in 2,4-7. Without --workers there is one
    /// thread for each of these processors.
    #[arg(long, value_name = "CPUS", value_parser = parse_cpus)]
    pin: Option<Cpus>,

    /// The longest time to poll an empty queue before its thread sleeps, in microseconds. The time
    /// adapts, and is 0 while requests are further apart.
    #[arg(long, value_name = "N", default_value_t = 64)]
    poll_us: u32,

    /// Serial that guests see, at most 20 bytes.
    #[arg(long)]
    serial: Option<String>,

    /// What the process can still do once it has started: everything (off), everything with a log
    /// of what the sandbox would refuse (log), what it needs (on), or the same, or else no start
    /// where the system can't do all of it (strict).
    #[arg(long, value_name = "MODE", default_value = "on", value_parser = parse_sandbox)]
    sandbox: SandboxMode,
}

impl Run {
    /// The options, with the image open.
    ///
    /// # Errors
    /// The image can't be opened.
    pub(super) fn options(self) -> Result<RunOptions, Error> {
        let image = open(self.image.as_deref(), &self.format, &self.disk)?;
        Ok(RunOptions {
            image,
            share: self.share.into(),
            memory_limit_bytes: self.memory_limit,
            huge_pages: !self.no_huge_pages,
            detect_zeroes: self.detect_zeroes,
            sanitize: self.sanitize.into(),
            faults: self.faults,
            command: self.command,
            ..RunOptions::from(self.disk)
        })
    }
}

/// Open the image of a disk.
fn open(
    path: Option<&Path>,
    format: &FormatArg,
    disk: &DiskArgs,
) -> Result<Option<Box<dyn ImageReader>>, Error> {
    let Some(path) = path else {
        return match format.is_given() {
            true => Err(Error::Usage(
                "--format needs --image: give an image, or leave it out".into(),
            )),
            false => Ok(None),
        };
    };
    let most_bytes = disk.size;
    // The process that serves has no network.
    if format.is_remote(path) {
        return Ok(Some(fetched(&Fetching {
            source: path,
            words: format.words(),
            most_bytes,
            not_inherited: disk.fd,
        })?));
    }
    let mut how = Opening {
        most_bytes,
        ..format.opening()?
    };
    let medium = format.medium(path, &mut how)?;
    Ok(Some(open_medium(medium, &how)?))
}

impl From<DiskArgs> for RunOptions {
    fn from(disk: DiskArgs) -> Self {
        Self {
            size_bytes: disk.size,
            socket_path: disk.socket_path,
            fd: disk.fd,
            socket_mode: disk.socket_mode,
            socket_group: disk.socket_group,
            socket_owner: disk.socket_owner,
            block_bytes: disk.block_size,
            queues: disk.queues,
            read_only: disk.read_only,
            serial: disk.serial,
            sandbox: disk.sandbox,
            in_order: disk.in_order,
            workers: disk.workers,
            poll_us: disk.poll_us,
            cpus: disk.pin.map(|Cpus(cpus)| cpus).unwrap_or_default(),
            ..Self::default()
        }
    }
}

/// A RAM disk as a vhost-user back-end program, by QEMU's conventions: --socket-path or --fd,
/// --print-capabilities, --blk-file, --read-only.
#[derive(Debug, Parser)]
#[command(name = "vhost-user-ramblk", version, max_term_width = MOST_COLUMNS)]
pub(super) struct VhostUserRamblk {
    #[command(flatten)]
    disk: DiskArgs,

    /// Image with the disk's first content. It is copied into memory and never written.
    #[arg(long, value_name = "PATH")]
    blk_file: Option<PathBuf>,

    #[command(flatten)]
    format: FormatArg,

    /// Print the capabilities of this back end as JSON and exit. All other options are ignored.
    #[arg(long)]
    print_capabilities: bool,
}

impl VhostUserRamblk {
    /// The options, with the image open.
    ///
    /// # Errors
    /// The image can't be opened.
    pub(super) fn options(self) -> Result<RunOptions, Error> {
        let image = open(self.blk_file.as_deref(), &self.format, &self.disk)?;
        Ok(RunOptions {
            image,
            ..RunOptions::from(self.disk)
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::{Command, CommandFactory};

    use super::*;

    /// Verbs without `-o json`, and why.
    const TEXT_ONLY: [(&str, &str); 6] = [
        ("run", "it prints nothing but its log"),
        ("top", "a view for people; `stats` is the same for programs"),
        ("read", "raw bytes"),
        ("completions", "a script for a shell"),
        ("__complete", "lines for a script of a shell"),
        ("man", "a page for man"),
    ];

    fn without_json(command: &Command, path: &str, found: &mut Vec<String>) {
        for verb in command.get_subcommands() {
            let path = format!("{path} {}", verb.get_name());
            if verb.has_subcommands() {
                without_json(verb, &path, found);
                continue;
            }
            let json = verb.get_arguments().any(|arg| {
                let values = arg.get_possible_values();
                arg.get_long() == Some("output")
                    && arg.get_short() == Some('o')
                    && values.iter().any(|value| value.get_name() == "json")
            });
            if !json {
                found.push(path.trim_start().to_owned());
            }
        }
    }

    #[test]
    fn every_verb_prints_json_or_is_listed_with_a_reason() {
        let mut found = Vec::new();
        without_json(&Ramblk::command(), "", &mut found);
        let mut listed = TEXT_ONLY.map(|(verb, _)| verb).to_vec();
        if !cfg!(feature = "top") {
            listed.retain(|verb| *verb != "top");
        }
        found.sort();
        listed.sort_unstable();
        assert_eq!(found, listed);
    }
}
