//! The verbs that use a daemon's API. Each has its options and its work in one place.
//!
//! | file | verbs |
//! |---|---|
//! | `disks` | verbs that make and change disks and groups |
//! | `images` | `image` |
//! | `content` | `map`, `import`, `export`, `read`, `write`, `digest`, `diff`, `fsck` |
//! | `watch` | `stats`, `findings`, `pool`, `events`, `wait`, `top` |
//! | `crash` | `record`, `crash-states`, `crash-explore` |
//! | `config` | `apply`, `export-config` |
//! | `nbd` | `nbd`, `mount` |
//! | `attach` | `attach` |
//! | `about` | `ping`, `openapi` |
//! | `doctor` | `doctor`, which needs no daemon |
//! | `each` | how a verb treats several names |
//! | `select` | which disks a verb is about |
//! | `help` | `man`, which needs no daemon |

mod about;
mod attach;
mod config;
mod content;
mod crash;
mod disks;
mod doctor;
mod each;
mod help;
mod images;
mod nbd;
mod select;
mod watch;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Command, Subcommand};

use self::content::{look, salvage, write};
use self::disks::{
    change, create, faults, fork, groups, history, list, manage, power, protect, snapshots,
};
#[cfg(feature = "top")]
use self::watch::top;
use super::completion::{CompleteWords, Completions};
use super::error::Error;
use crate::client::Client;
use crate::daemon::default_api_socket;

/// How long a verb waits for a daemon that was started just before it, as in `ramblk serve &`.
const STARTS_WITHIN: Duration = Duration::from_secs(1);

#[derive(Debug, Subcommand)]
pub(super) enum ApiVerb {
    /// Create a disk, unless it exists with the same settings.
    Create(Box<create::Create>),
    /// List disks.
    List(list::List),
    /// Show the details of disks or snapshots.
    Show(manage::Show),
    /// Give a disk another name, whose socket moves then, or a snapshot.
    Rename(manage::Rename),
    /// Destroy disks or snapshots, with their content.
    Destroy(manage::Destroy),
    /// Resize a disk; guests notice at once if their VMM supports it.
    Resize(change::Resize),
    /// Change a disk's settings.
    Set(change::Set),
    /// Show a disk's limits, or change some of them at once.
    Limit(change::Limit),
    /// Serve a failed disk again, one of whose requests crashed ramblk.
    Repair(change::Repair),
    /// List the mapped extents and the holes of a disk.
    Map(content::MapVerb),
    /// Show the counters of a disk's requests, or of all disks.
    Stats(watch::stats::StatsVerb),
    /// Show what a disk's sanitizer has found.
    Findings(watch::FindingsVerb),
    /// Watch all disks live.
    #[cfg(feature = "top")]
    Top(top::Top),
    /// Take snapshots of disks, all of one moment; takes no time and no memory.
    Snapshot(snapshots::Take),
    /// List a disk's snapshots.
    Snapshots(snapshots::List),
    /// Keep points of a disk's content, to which it can go back.
    #[command(subcommand)]
    History(history::HistoryVerb),
    /// Create disks with the content of another disk, of a snapshot or of an image.
    ///
    /// All of them have the content of one moment, and either all are created or none. They take
    /// memory only for what is written to them. Disks that exist already as requested are left
    /// alone, so the same command can be run again.
    ///
    /// Inherited from the disk, unless given: size, block size, queues, read-only, share, in-order,
    /// detect-zeroes, on-full, sanitize, write-cache, log-limit, quota, limits and group. Not
    /// inherited: serial, labels, faults, snapshots, history, protection, the socket's owner and
    /// the end of life. Forks of an image have the defaults of 'ramblk create'.
    Fork(Box<fork::Fork>),
    /// Reset disks to a snapshot, or to what they were forked from.
    Reset(snapshots::Reset),
    /// Keep disks, snapshots or images from being destroyed.
    Protect(protect::Protect),
    /// Let protected disks, snapshots or images be destroyed again.
    Unprotect(protect::Protect),
    /// List the disks that were forked from a disk, a snapshot or an image.
    Children(protect::Children),
    /// Cut the power of disks, which may lose what no flush has made stable.
    PowerCut(power::Cut),
    /// Turn the power of disks on again, after a power-cut --off.
    PowerOn(power::On),
    /// Replace a disk's content with an image.
    Import(content::Import),
    /// Write the content of a disk or of a snapshot to an image.
    Export(content::export::Export),
    /// Serve a disk or a snapshot over NBD, for tools of the host.
    Nbd(nbd::Nbd),
    /// Show the content of a disk or a snapshot as a file, read-only.
    Mount(nbd::mount::Mount),
    /// Write bytes of a disk or of a snapshot to stdout.
    Read(look::Read),
    /// Write the bytes of stdin into a disk.
    Write(write::Write),
    /// Print the BLAKE3 digest of a disk's content, or of a snapshot's.
    Digest(look::DigestVerb),
    /// Compare the content of two disks or snapshots.
    Diff(look::Diff),
    /// Record everything that changes a disk.
    #[command(subcommand)]
    Record(crash::record::RecordVerb),
    /// Create disks with what a crash may have left of a recorded disk.
    CrashStates(Box<crash::states::States>),
    /// Run a check on each state that a crash may leave of a recorded disk.
    CrashExplore(Box<crash::explore::Explore>),
    /// Check the state directory of a stopped daemon; changes nothing.
    Fsck(salvage::Fsck),
    /// Look at images, and manage golden ones, from which disks are forked.
    #[command(subcommand)]
    Image(images::ImageVerb),
    /// Manage groups of disks that share limits.
    #[command(subcommand)]
    Group(groups::GroupVerb),
    /// Have requests of a disk fail, wait or go wrong, for tests.
    #[command(subcommand)]
    Fault(faults::FaultVerb),
    /// Show the memory of all disks, or what they take by label or group.
    Pool(watch::PoolVerb),
    /// Print events as they happen.
    Events(watch::events::Events),
    /// Wait until something is true of a disk.
    Wait(watch::wait::Wait),
    /// Create and change the disks and groups that a file declares.
    Apply(config::Apply),
    /// Print all disks and groups as a file for apply.
    ExportConfig(config::ExportConfig),
    /// Print how to attach a disk to a virtual machine.
    Attach(attach::Attach),
    /// Check that the daemon answers, and print its version.
    #[command(alias = "version")]
    Ping(about::Ping),
    /// Print the OpenAPI 3.1 document of the API.
    Openapi(about::Openapi),
    /// Look at the daemon, its disks, the machines that use them and this host: what is wrong or
    /// missing, and what to do.
    Doctor(doctor::Doctor),
    /// Print shell completions.
    Completions(Completions),
    /// Print what the last word of a command line may become, for the scripts of shells.
    #[command(name = "__complete", hide = true)]
    CompleteWords(CompleteWords),
    /// Print the manual page, or write the pages of all verbs.
    Man(help::Man),
}

impl ApiVerb {
    /// Run the verb of `program`, with the daemon at this socket or at the default one.
    pub(super) fn run(self, api_socket: Option<PathBuf>, program: Command) -> Result<(), Error> {
        let socket = || api_socket.or_else(named).unwrap_or_else(default_api_socket);
        let patience = match self {
            // They are asked whether there is a daemon now.
            Self::Ping(_) | Self::Doctor(_) => Duration::ZERO,
            _ => STARTS_WITHIN,
        };
        let ask = || Ok::<_, Error>(Client::new(socket())?.with_patience(patience));
        match self {
            Self::Create(verb) => verb.run(&ask()?),
            Self::List(verb) => verb.run(&ask()?),
            Self::Show(verb) => verb.run(&ask()?),
            Self::Rename(verb) => verb.run(&ask()?),
            Self::Destroy(verb) => verb.run(&ask()?),
            Self::Resize(verb) => verb.run(&ask()?),
            Self::Set(verb) => verb.run(&ask()?),
            Self::Limit(verb) => verb.run(&ask()?),
            Self::Repair(verb) => verb.run(&ask()?),
            Self::Map(verb) => verb.run(&ask()?),
            Self::Stats(verb) => verb.run(&ask()?),
            Self::Findings(verb) => verb.run(&ask()?),
            #[cfg(feature = "top")]
            Self::Top(verb) => verb.run(&ask()?),
            Self::Snapshot(verb) => verb.run(&ask()?),
            Self::Snapshots(verb) => verb.run(&ask()?),
            Self::History(verb) => verb.run(&ask()?),
            Self::Fork(verb) => verb.run(&ask()?),
            Self::Reset(verb) => verb.run(&ask()?),
            Self::Protect(verb) => verb.run(&ask()?, true),
            Self::Unprotect(verb) => verb.run(&ask()?, false),
            Self::Children(verb) => verb.run(&ask()?),
            Self::PowerCut(verb) => verb.run(&ask()?),
            Self::PowerOn(verb) => verb.run(&ask()?),
            Self::Import(verb) => verb.run(&ask()?),
            Self::Export(verb) => verb.run_with(ask),
            Self::Nbd(verb) => verb.run(&ask()?),
            Self::Mount(verb) => verb.run(&ask()?),
            Self::Read(verb) => verb.run(&ask()?),
            Self::Write(verb) => verb.run(&ask()?),
            Self::Digest(verb) => verb.run(&ask()?),
            Self::Diff(verb) => verb.run_with(ask),
            Self::Record(verb) => verb.run(&ask()?),
            Self::CrashStates(verb) => verb.run(&ask()?),
            Self::CrashExplore(verb) => verb.run_with(ask),
            Self::Fsck(verb) => verb.run(),
            Self::Image(verb) => verb.run_with(ask),
            Self::Group(verb) => verb.run(&ask()?),
            Self::Fault(verb) => verb.run(&ask()?),
            Self::Pool(verb) => verb.run(&ask()?),
            Self::Events(verb) => verb.run(&ask()?),
            Self::Wait(verb) => verb.run(&ask()?),
            Self::Apply(verb) => verb.run(&ask()?),
            Self::ExportConfig(verb) => verb.run(&ask()?),
            Self::Attach(verb) => verb.run(&ask()?),
            Self::Ping(verb) => verb.run(&ask()?),
            Self::Openapi(verb) => verb.run(&ask()?),
            Self::Doctor(verb) => verb.run_with(ask),
            Self::Completions(verb) => verb.run(program),
            Self::CompleteWords(verb) => verb.run(program),
            Self::Man(verb) => verb.run(&program),
        }
    }
}

/// The socket that the environment names.
fn named() -> Option<PathBuf> {
    let path = std::env::var_os("RAMBLK_API").map(PathBuf::from);
    path.filter(|path| !path.as_os_str().is_empty())
}
