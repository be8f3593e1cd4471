//! Flags as plain data. Nothing here looks at the world.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::bench::Bench;
use super::serve::{Serve, parse_mode};
use super::verbs::ApiVerb;
use crate::cli::values::cpus::{Cpus, parse_cpus};
use crate::cli::values::size::parse_size;
use crate::daemon::{RunOptions, Sharing};
use crate::model::USUAL_QUEUES;

/// RAM disks for virtual machines, over vhost-user-blk.
#[derive(Debug, Parser)]
#[command(name = "ramblk", version)]
pub(super) struct Ramblk {
    /// Socket of the daemon's API; without it $RAMBLK_API, or else api.sock in
    /// $XDG_RUNTIME_DIR/ramblk or /run/ramblk.
    // Not clap's `env`: that would say where `serve` makes its own socket, too.
    #[arg(long, global = true, value_name = "PATH")]
    pub(super) api_socket: Option<PathBuf>,

    #[command(subcommand)]
    pub(super) verb: Verb,
}

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Serve one new disk until SIGTERM, or until the command after -- ends.
    Run(Run),
    /// Serve any number of disks, made and destroyed over an API, until SIGTERM.
    Serve(Serve),
    /// Make load for a vhost-user-blk back end, as a driver in a guest would, and measure it.
    Bench(Bench),
    #[command(flatten)]
    Api(ApiVerb),
}

#[derive(Debug, Args)]
pub(super) struct Run {
    #[command(flatten)]
    disk: DiskArgs,

    /// Raw image that the disk begins with; without --size the disk is as large as the image.
    #[arg(long, value_name = "FILE")]
    image: Option<PathBuf>,

    #[command(flatten)]
    format: FormatArg,

    /// How many front ends may use the disk at the same time: one, or any number that only read
    /// (which makes the disk read-only), or any number that write, at their own risk.
    #[arg(long, value_enum, default_value_t = Share::None)]
    share: Share,

    /// Memory that the disk may take, at most; a write beyond it fails in the guest. Without it:
    /// half of the host's memory, or three quarters of the cgroup's limit, whichever is less.
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    memory_limit: Option<u64>,

    /// Leave memory in small pages. Otherwise huge pages are made in the background of memory that
    /// is in full use, which costs processor time once and makes random access faster.
    #[arg(long)]
    no_huge_pages: bool,

    /// Take no memory for zeros that a guest writes: pages of zeros, and sectors of zeros where
    /// nothing was before. They stay mapped. Costs a look at what is written.
    #[arg(long)]
    detect_zeroes: bool,

    /// Command to run beside the disk; {socket} in it becomes the path of the socket, and ramblk
    /// ends with it and with its exit code.
    #[arg(last = true, value_name = "CMD")]
    command: Vec<String>,
}

/// What an image is, for those who know.
#[derive(Clone, Copy, Debug, Default, Args)]
pub(super) struct FormatArg {
    /// What the image is; without it, one that begins or ends like a compressed file, an archive or
    /// an image of another format is refused. A guest may have written such bytes: say raw.
    #[arg(long, value_enum, value_name = "FORMAT")]
    format: Option<ImageFormat>,
}

/// Formats of images that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ImageFormat {
    // Help is short as long as no value has a line of its own.
    Raw,
}

impl FormatArg {
    /// Whether bytes are to be taken as they are.
    pub(super) fn is_raw(self) -> bool {
        self.format == Some(ImageFormat::Raw)
    }
}

/// What both programs understand.
#[derive(Debug, Args)]
struct DiskArgs {
    /// Size of the disk: bytes, or with K, M, G, T (powers of 1024), as in 1G. Memory is taken only
    /// for what guests write.
    #[arg(long, value_parser = parse_size)]
    size: Option<u64>,

    /// Path of the socket that front ends connect to.
    #[arg(long, value_name = "PATH")]
    socket_path: Option<PathBuf>,

    /// Permissions of that path, in octal.
    #[arg(long, value_name = "MODE", default_value = "0660", value_parser = parse_mode)]
    socket_mode: u32,

    /// Group that owns it, so that its members may connect: a name or a number.
    #[arg(long, value_name = "GROUP")]
    socket_group: Option<String>,

    /// Number of an inherited Unix socket, listening or connected, to use instead of a path.
    #[arg(long, value_name = "FDNUM")]
    fd: Option<i32>,

    /// Logical block size in bytes: 512 or 4096.
    #[arg(long, value_name = "BYTES", default_value_t = 512)]
    block_size: u64,

    /// Request queues that a front end may use, at most.
    #[arg(long, default_value_t = USUAL_QUEUES)]
    queues: u16,

    /// Refuse writes.
    #[arg(long)]
    read_only: bool,

    /// Promise guests that requests complete in the order in which they were made
    /// (VIRTIO_F_IN_ORDER): cloud-hypervisor then loses none when it reconnects.
    #[arg(long)]
    in_order: bool,

    /// Threads that serve queues; without it, as many as there are processors, but no more than
    /// queues.
    #[arg(long, value_name = "N")]
    workers: Option<u16>,

    /// Processors for these threads, each on one of its own, as in 2,4-7; as many threads then,
    /// unless --workers says otherwise.
    #[arg(long, value_name = "CPUS", value_parser = parse_cpus)]
    pin: Option<Cpus>,

    /// How long a queue that has run dry is looked at before its thread sleeps, in microseconds.
    /// The time adapts: it is 0 while requests are further apart than this.
    #[arg(long, value_name = "N", default_value_t = 32)]
    poll_us: u32,

    /// Serial that guests see, at most 20 bytes.
    #[arg(long)]
    serial: Option<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Share {
    None,
    Ro,
    Rw,
}

impl From<Share> for Sharing {
    fn from(share: Share) -> Self {
        match share {
            Share::None => Self::None,
            Share::Ro => Self::ReadOnly,
            Share::Rw => Self::ReadWrite,
        }
    }
}

impl From<Run> for RunOptions {
    fn from(run: Run) -> Self {
        Self {
            image: run.image,
            image_as_it_is: run.format.is_raw(),
            sharing: run.share.into(),
            memory_limit_bytes: run.memory_limit,
            huge_pages: !run.no_huge_pages,
            detect_zeroes: run.detect_zeroes,
            command: run.command,
            ..Self::from(run.disk)
        }
    }
}

impl From<DiskArgs> for RunOptions {
    fn from(disk: DiskArgs) -> Self {
        Self {
            size_bytes: disk.size,
            socket_path: disk.socket_path,
            fd: disk.fd,
            socket_mode: disk.socket_mode,
            socket_group: disk.socket_group,
            block_bytes: disk.block_size,
            queues: disk.queues,
            read_only: disk.read_only,
            serial: disk.serial,
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
#[command(name = "vhost-user-ramblk", version)]
pub(super) struct VhostUserRamblk {
    #[command(flatten)]
    disk: DiskArgs,

    /// Raw image that the disk begins with. It is copied into memory and never written.
    #[arg(long, value_name = "PATH")]
    blk_file: Option<PathBuf>,

    #[command(flatten)]
    format: FormatArg,

    /// Print what this back end can do, as JSON, and exit; all other options are ignored.
    #[arg(long)]
    print_capabilities: bool,
}

impl From<VhostUserRamblk> for RunOptions {
    fn from(args: VhostUserRamblk) -> Self {
        Self {
            image: args.blk_file,
            image_as_it_is: args.format.is_raw(),
            ..Self::from(args.disk)
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::{Command, CommandFactory};

    use super::*;

    /// Verbs without `-o json`, and why.
    const TEXT_ONLY: [(&str, &str); 5] = [
        ("run", "it prints nothing: what it has to say is its log"),
        ("serve", "it prints nothing: what it has to say is its log"),
        ("top", "a view for people; `stats` is the same for programs"),
        ("completions", "a script for a shell"),
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
