//! `list`, `show`, `destroy`.

use clap::Args;

use super::snapshots;
use crate::cli::error::Error;
use crate::cli::print::output::OutputArgs;
use crate::cli::print::tables;
use crate::cli::values::label::parse_label;
use crate::cli::values::target::parse_target;
use crate::cli::verbs::each::{destroyed, each};
use crate::client::{Client, path};
use crate::model::{Disk, ProblemKind, Snapshot, Target};

#[derive(Debug, Args)]
pub(in crate::cli) struct List {
    /// Only disks with this label; may be given more than once.
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = parse_label)]
    labels: Vec<(String, String)>,

    #[command(flatten)]
    output: OutputArgs,
}

impl List {
    pub(in crate::cli) fn run(self, client: &Client) -> Result<(), Error> {
        let mut path = "/v1/disks".to_owned();
        for (at, (key, value)) in self.labels.iter().enumerate() {
            path.push(if at == 0 { '?' } else { '&' });
            path.push_str("label=");
            path.push_str(&path::encode(&format!("{key}={value}")));
        }
        let disks: Vec<Disk> = client.get(&path)?;
        self.output.print(&disks, |disks| tables::disks(disks))
    }
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Show {
    /// Disks, or snapshots as NAME@SNAPSHOT.
    #[arg(required = true, value_name = "NAME[@SNAPSHOT]", value_parser = parse_target)]
    targets: Vec<Target>,

    #[command(flatten)]
    output: OutputArgs,
}

impl Show {
    pub(in crate::cli) fn run(self, client: &Client) -> Result<(), Error> {
        let mut between = "";
        each(&self.targets, self.output, |target| {
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

#[derive(Debug, Args)]
pub(in crate::cli) struct Destroy {
    /// Disks, or snapshots as NAME@SNAPSHOT.
    #[arg(required = true, value_name = "NAME[@SNAPSHOT]", value_parser = parse_target)]
    targets: Vec<Target>,

    /// Destroy even disks that a front end uses, whose guest then gets errors, and disks or
    /// snapshots with forks, which then can't be reset.
    #[arg(long)]
    force: bool,

    /// Destroy the disks' snapshots too.
    #[arg(long)]
    snapshots: bool,

    #[command(flatten)]
    output: OutputArgs,
}

impl Destroy {
    pub(in crate::cli) fn run(self, client: &Client) -> Result<(), Error> {
        each(&self.targets, self.output, |target| {
            self.one(client, target)?;
            destroyed(self.output, target)
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
            match target.snapshot.is_some() || self.snapshots {
                true => error,
                false => error.advise(ProblemKind::Conflict, |_| "use --snapshots for that".into()),
            }
        })
    }
}
