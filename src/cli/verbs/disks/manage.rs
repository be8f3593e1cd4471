//! `show`, `rename`, `destroy`: all about a disk, its name, and its end.

use std::collections::HashMap;

use clap::Args;
use clap::builder::NonEmptyStringValueParser;

use super::snapshots;
use crate::cli::error::{Error, in_options};
use crate::cli::print::output::OutputArgs;
use crate::cli::print::tables;
use crate::cli::values::target::parse_target;
use crate::cli::verbs::each::{destroyed, each};
use crate::cli::verbs::select::Selector;
use crate::client::{Client, Method, path};
use crate::model::{Disk, ProblemKind, RenameRequest, Snapshot, SnapshotRenameRequest, Target};

#[derive(Debug, Args)]
pub(in crate::cli) struct Show {
    /// Disks, or snapshots as NAME@SNAPSHOT.
    #[arg(value_name = "NAME[@SNAPSHOT]", value_parser = parse_target)]
    targets: Vec<Target>,

    #[command(flatten)]
    selector: Selector,

    #[command(flatten)]
    output: OutputArgs,
}

impl Show {
    pub(in crate::cli) fn run(self, client: &Client) -> Result<(), Error> {
        let mut between = "";
        let targets = targets(client, &self.selector, &self.targets)?;
        each(&targets, self.output, |target| {
            let before = between;
            match &target.snapshot {
                Some(snapshot) => {
                    let path = path::snapshot(&target.disk, snapshot);
                    let snapshot: Snapshot = client.get(&path)?;
                    let text = |it: &_| before.to_owned() + &snapshots::shown(it);
                    self.output.print(&snapshot, text)?;
                }
                None => {
                    let disk: Disk = client.get(&path::disk(&target.disk))?;
                    let text = |it: &_| before.to_owned() + &tables::disk(it);
                    self.output.print(&disk, text)?;
                }
            }
            between = "\n";
            Ok(())
        })
    }
}

/// The disks and snapshots that are named, or the disks that the selector selects: forks before
/// what they were forked from.
fn targets(client: &Client, selector: &Selector, named: &[Target]) -> Result<Vec<Target>, Error> {
    if !selector.is_given() || !named.is_empty() {
        return selector.targets_or(client, named);
    }
    let disks = selector.disks(client)?;
    let parents: HashMap<&str, &str> = disks
        .iter()
        .filter_map(|disk| {
            let parent = disk.parent.as_deref()?;
            Some((disk.name.as_str(), parent.split('@').next()?))
        })
        .collect();
    let depth = |name: &str| {
        let up = |at: &&str| parents.get(at).copied();
        // No disk is its own ancestor, but two may have exchanged names meanwhile.
        std::iter::successors(Some(name), up)
            .take(disks.len() + 1)
            .count()
    };
    let mut names: Vec<&str> = disks.iter().map(|disk| disk.name.as_str()).collect();
    names.sort_unstable_by_key(|name| (std::cmp::Reverse(depth(name)), *name));
    let target = |name: &str| Target {
        disk: name.to_owned(),
        snapshot: None,
    };
    Ok(names.into_iter().map(target).collect())
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Rename {
    /// The disk, or a snapshot of it.
    #[arg(value_name = "NAME[@SNAPSHOT]", value_parser = parse_target)]
    target: Target,

    /// Its new name: of a snapshot what stands behind the @.
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    new: String,

    /// Rename it even if the daemon's configuration file declares it under the old name. The next
    /// start creates an empty disk of that name, unless the file was changed too.
    #[arg(long)]
    force: bool,

    #[command(flatten)]
    output: OutputArgs,
}

impl Rename {
    pub(in crate::cli) fn run(self, client: &Client) -> Result<(), Error> {
        let (target, name) = (self.target, self.new);
        let Some(snapshot) = &target.snapshot else {
            let request = RenameRequest {
                name,
                force: self.force,
            };
            let path = format!("{}/rename", path::disk(&target.disk));
            let (_, disk): (_, Disk) = client
                .send(Method::POST, &path, &request)
                .map_err(in_options)?;
            return self.output.print(&disk, |disk| {
                format!("{target} is {} now, at {}\n", disk.name, disk.socket)
            });
        };
        // NAME@NEW means the same.
        let own = name.strip_prefix(&format!("{}@", target.disk));
        let request = SnapshotRenameRequest {
            name: own.unwrap_or(&name).to_owned(),
        };
        let path = format!("{}/rename", path::snapshot(&target.disk, snapshot));
        let (_, renamed): (_, Snapshot) = client.send(Method::POST, &path, &request)?;
        self.output.print(&renamed, |renamed| {
            format!("{target} is {}@{} now\n", renamed.disk, renamed.name)
        })
    }
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Destroy {
    /// Disks, or snapshots as NAME@SNAPSHOT.
    #[arg(value_name = "NAME[@SNAPSHOT]", value_parser = parse_target)]
    targets: Vec<Target>,

    #[command(flatten)]
    selector: Selector,

    /// Destroy even disks that a front end uses, whose guest then gets errors, and disks or
    /// snapshots with forks, which then can't be reset.
    #[arg(long)]
    force: bool,

    /// Destroy the disks' snapshots too.
    #[arg(long)]
    snapshots: bool,

    /// Don't mind names that don't exist, or a selector that selects nothing.
    #[arg(long)]
    if_exists: bool,

    #[command(flatten)]
    output: OutputArgs,
}

impl Destroy {
    pub(in crate::cli) fn run(self, client: &Client) -> Result<(), Error> {
        let targets = match targets(client, &self.selector, &self.targets) {
            Err(error) if self.if_exists && error.is(ProblemKind::NotFound) => return Ok(()),
            targets => targets?,
        };
        each(&targets, self.output, |target| {
            match self.one(client, target) {
                Err(error) if self.if_exists && error.is(ProblemKind::NotFound) => Ok(()),
                done => done.and_then(|()| destroyed(self.output, target)),
            }
        })
    }

    fn one(&self, client: &Client, target: &Target) -> Result<(), Error> {
        let path = match &target.snapshot {
            Some(snapshot) => {
                let path = path::snapshot(&target.disk, snapshot);
                format!("{path}?force={}", self.force)
            }
            None => format!(
                "{}?force={}&snapshots={}",
                path::disk(&target.disk),
                self.force,
                self.snapshots
            ),
        };
        let name = &target.disk;
        client.delete(&path).map_err(|error| {
            let error = Error::from(error).advise(ProblemKind::Attached, |_| {
                format!("stop its guest, or use 'ramblk destroy --force {name}'")
            });
            error.advise_destroyer()
        })
    }
}
