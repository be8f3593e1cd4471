//! `snapshot`, `snapshots`, `reset`: moments of a disk, and going back to one.

use clap::Args;
use clap::builder::NonEmptyStringValueParser;

use crate::cli::error::Error;
use crate::cli::print::layout::pairs;
use crate::cli::print::output::OutputArgs;
use crate::cli::print::tables;
use crate::cli::values::size::human_and_exact;
use crate::cli::verbs::select::{Disks, Selector};
use crate::client::{Client, Method, path};
use crate::model::{Disk, ProblemKind, ResetsRequest, Snapshot, SnapshotsRequest};

#[derive(Debug, Args)]
#[command(
    override_usage = "ramblk snapshot [OPTIONS] <NAME>... <SNAPSHOT>\n       \
                            ramblk snapshot [OPTIONS] -l <KEY=VALUE> <SNAPSHOT>"
)]
pub(in crate::cli) struct Take {
    /// The disks, then the name of the snapshot that each of them gets; or one disk and the name as
    /// NAME@SNAPSHOT.
    #[arg(required = true, value_name = "NAME", num_args = 1..)]
    words: Vec<String>,

    #[command(flatten)]
    selector: Selector,

    #[command(flatten)]
    output: OutputArgs,
}

impl Take {
    fn request(&self, client: &Client) -> Result<SnapshotsRequest, Error> {
        // As the other verbs name a snapshot.
        let alone = match &*self.words {
            [only] if !self.selector.is_given() => only.split_once('@'),
            _ => None,
        };
        if let Some((disk, name)) = alone {
            return Ok(SnapshotsRequest {
                disks: vec![disk.to_owned()],
                name: name.to_owned(),
            });
        }
        match self.words.split_last() {
            Some((name, names)) if !names.is_empty() || self.selector.is_given() => {
                Ok(SnapshotsRequest {
                    disks: self.selector.names_or(client, names)?,
                    name: name.clone(),
                })
            }
            _ => Err(Error::Usage(format!(
                "{} gets no name for its snapshot: give one, as in 'ramblk snapshot {0} clean'",
                self.words.concat()
            ))),
        }
    }

    pub(in crate::cli) fn run(self, client: &Client) -> Result<(), Error> {
        let request = self.request(client)?;
        let (_, made): (_, Vec<Snapshot>) = client.send(Method::POST, "/v1/snapshots", &request)?;
        made.iter().try_for_each(|made| {
            self.output.print(made, |made| {
                format!("{}@{} is taken\n", made.disk, made.name)
            })
        })
    }
}

#[derive(Debug, Args)]
pub(in crate::cli) struct List {
    #[command(flatten)]
    disks: Disks,

    #[command(flatten)]
    output: OutputArgs,
}

impl List {
    pub(in crate::cli) fn run(self, client: &Client) -> Result<(), Error> {
        let mut snapshots: Vec<Snapshot> = Vec::new();
        for name in self.disks.names(client)? {
            let path = format!("{}/snapshots", path::disk(&name));
            snapshots.extend(client.get::<Vec<Snapshot>>(&path)?);
        }
        self.output
            .print(&snapshots, |snapshots| tables::snapshots(snapshots))
    }
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Reset {
    /// Disks, which are reset at one instant: all of them or none.
    #[arg(value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    names: Vec<String>,

    /// One of each disk's snapshots. The default is the content that the disk was forked from.
    #[arg(long, value_name = "SNAPSHOT")]
    to: Option<String>,

    /// Reset disks even if front ends use them; their guests see the content change at once.
    #[arg(long)]
    force: bool,

    #[command(flatten)]
    selector: Selector,

    #[command(flatten)]
    output: OutputArgs,
}

impl Reset {
    pub(in crate::cli) fn run(self, client: &Client) -> Result<(), Error> {
        let named = self.names.iter().find_map(|name| name.split_once('@'));
        if let Some((disk, snapshot)) = named {
            return Err(Error::Usage(format!(
                "{disk}@{snapshot} is a snapshot: use 'ramblk reset {disk} --to {snapshot}'"
            )));
        }
        let disks = self.selector.names_or(client, &self.names)?;
        let request = ResetsRequest {
            to: self.to.map(|to| snapshot_of(&disks, to)).transpose()?,
            disks,
            force: self.force,
        };
        let answer = client.send(Method::POST, "/v1/resets", &request);
        let (_, disks): (_, Vec<Disk>) = answer.map_err(|error| {
            Error::from(error).advise(ProblemKind::Attached, |_| {
                "stop its guest, or use --force: the guest would see the content change at once"
                    .into()
            })
        })?;
        let to = request.to.as_deref();
        disks.iter().try_for_each(|disk| {
            self.output.print(disk, |disk| match to {
                Some(to) => format!("{0} is reset to {0}@{to}\n", disk.name),
                None => format!("{} is reset\n", disk.name),
            })
        })
    }
}

/// The snapshot that `--to` names. With the disk in front of it, it must be the only disk's.
fn snapshot_of(disks: &[String], to: String) -> Result<String, Error> {
    match to.split_once('@') {
        None => Ok(to),
        Some((disk, snapshot)) if disks.iter().all(|it| it == disk) => Ok(snapshot.to_owned()),
        Some((disk, snapshot)) => Err(Error::Usage(format!(
            "--to can't be '{to}', which is of {disk} only: give a snapshot that each disk has, as \
             in --to {snapshot}"
        ))),
    }
}

/// `ramblk show` of a snapshot.
pub(super) fn shown(snapshot: &Snapshot) -> String {
    let id = snapshot.content_id.map(|id| ("content id", id.to_string()));
    let mut lines = vec![
        ("snapshot", snapshot.name.clone()),
        ("of", snapshot.disk.clone()),
        ("size", human_and_exact(snapshot.size_bytes)),
        ("mapped", human_and_exact(snapshot.mapped_bytes)),
        ("memory", human_and_exact(snapshot.charged_bytes)),
    ];
    lines.extend(id);
    let forks = snapshot.children.len();
    lines.extend((forks > 0).then(|| ("forks", forks.to_string())));
    lines.extend(snapshot.protected.then(|| ("protected", "yes".to_owned())));
    pairs(&lines)
}
