//! The verbs that speak to a daemon. Each has its words and its work in one place.
//!
//! | file | verbs |
//! |---|---|
//! | `disks` | verbs that make and change disks and groups |
//! | `content` | `map`, `import`, `export`, `fsck` |
//! | `watch` | `stats`, `pool`, `events`, `top` |
//! | `config` | `apply`, `export-config` |
//! | `attach` | `attach` |
//! | `about` | `ping`, `openapi` |
//! | `help` | `completions`, `man`, which need no daemon |

mod about;
mod attach;
mod config;
mod content;
mod disks;
mod help;
mod watch;

use std::path::PathBuf;

use clap::Subcommand;

use self::content::salvage;
use self::disks::{change, groups, manage, snapshots};
#[cfg(feature = "top")]
use self::watch::top;
use super::error::Error;
use crate::client::{Client, path};
use crate::daemon::{default_api_socket, disks::Target};

#[derive(Debug, Subcommand)]
pub(super) enum ApiVerb {
    /// Make a disk; one that is there just so is fine.
    Create(manage::Create),
    /// List disks.
    List(manage::List),
    /// Show all about disks or snapshots.
    Show(manage::Show),
    /// End disks or snapshots, with all that they hold.
    Destroy(manage::Destroy),
    /// Give a disk another size; guests see it at once where their VMM can tell them.
    Resize(change::Resize),
    /// Change settings of a disk.
    Set(change::Set),
    /// Show limits of a disk, or change some of them; they hold at once.
    Limit(change::Limit),
    /// Serve a disk again that has failed, since ramblk died of a request of it.
    Repair(change::Repair),
    /// List stretches of a disk that are mapped, and holes.
    Map(content::MapVerb),
    /// Show what guests did to a disk.
    Stats(watch::StatsVerb),
    /// Watch all disks live.
    #[cfg(feature = "top")]
    Top(top::Top),
    /// Keep a disk's content at this moment; takes no time and no memory.
    Snapshot(snapshots::Take),
    /// List snapshots of a disk.
    Snapshots(snapshots::List),
    /// Make a new disk with the content of another one or of a snapshot.
    Fork(snapshots::Fork),
    /// Bring a disk back to a snapshot, or to what it was forked from.
    Reset(snapshots::Reset),
    /// Replace a disk's content by a raw image.
    Import(content::Import),
    /// Write a disk's content, or a snapshot's, to a raw image.
    Export(content::Export),
    /// Check what a daemon that does not run left in its state directory; changes nothing.
    Fsck(salvage::Fsck),
    /// Disks that share limits.
    #[command(subcommand)]
    Group(groups::GroupVerb),
    /// Show the memory of all disks.
    Pool(watch::PoolVerb),
    /// Print what happens, as it happens.
    Events(watch::Events),
    /// Make and change disks and groups as a file says; those that it does not name stay.
    Apply(config::Apply),
    /// Print all disks and groups as a file for apply.
    ExportConfig(config::ExportConfig),
    /// Print how to give a disk to a virtual machine.
    Attach(attach::Attach),
    /// Ask whether the daemon answers, and which version it is.
    #[command(alias = "version")]
    Ping(about::Ping),
    /// Print the description of the API (OpenAPI 3.1).
    Openapi(about::Openapi),
    /// Print completions for a shell.
    Completions(help::Completions),
    /// Print the manual page, or write those of all verbs into a directory.
    Man(help::Man),
}

impl ApiVerb {
    /// Do it, at this socket or at the usual one.
    pub(super) fn run(self, api_socket: Option<PathBuf>) -> Result<(), Error> {
        let socket = || api_socket.or_else(named).unwrap_or_else(default_api_socket);
        let ask = || Client::new(socket()).map_err(Error::from);
        match self {
            Self::Create(verb) => verb.run(&ask()?),
            Self::List(verb) => verb.run(&ask()?),
            Self::Show(verb) => verb.run(&ask()?),
            Self::Destroy(verb) => verb.run(&ask()?),
            Self::Resize(verb) => verb.run(&ask()?),
            Self::Set(verb) => verb.run(&ask()?),
            Self::Limit(verb) => verb.run(&ask()?),
            Self::Repair(verb) => verb.run(&ask()?),
            Self::Map(verb) => verb.run(&ask()?),
            Self::Stats(verb) => verb.run(&ask()?),
            #[cfg(feature = "top")]
            Self::Top(verb) => verb.run(&ask()?),
            Self::Snapshot(verb) => verb.run(&ask()?),
            Self::Snapshots(verb) => verb.run(&ask()?),
            Self::Fork(verb) => verb.run(&ask()?),
            Self::Reset(verb) => verb.run(&ask()?),
            Self::Import(verb) => verb.run(&ask()?),
            Self::Export(verb) => verb.run_with(ask),
            Self::Fsck(verb) => verb.run(),
            Self::Group(verb) => verb.run(&ask()?),
            Self::Pool(verb) => verb.run(&ask()?),
            Self::Events(verb) => verb.run(&ask()?),
            Self::Apply(verb) => verb.run(&ask()?),
            Self::ExportConfig(verb) => verb.run(&ask()?),
            Self::Attach(verb) => verb.run(&ask()?),
            Self::Ping(verb) => verb.run(&ask()?),
            Self::Openapi(verb) => verb.run(&ask()?),
            Self::Completions(verb) => verb.run(),
            Self::Man(verb) => verb.run(),
        }
    }
}

/// The socket that the environment names.
fn named() -> Option<PathBuf> {
    let path = std::env::var_os("RAMBLK_API").map(PathBuf::from);
    path.filter(|path| !path.as_os_str().is_empty())
}

/// The snapshot for a query, if one is meant, after `mark`: `?` or `&`.
fn snapshot_query(target: &Target, mark: char) -> String {
    let snapshot = target.snapshot.as_deref().map(path::encode);
    snapshot.map_or_else(String::new, |name| format!("{mark}snapshot={name}"))
}
