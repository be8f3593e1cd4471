//! `snapshot`, `snapshots`, `fork`, `reset`.

use clap::Args;
use clap::builder::NonEmptyStringValueParser;

use crate::cli::error::Error;
use crate::cli::print::output::OutputArgs;
use crate::cli::print::tables::{self, pairs};
use crate::cli::values::label::{parse_label, unique};
use crate::cli::values::size::human_and_exact;
use crate::cli::values::target::parse_target;
use crate::client::{Client, Method, StatusCode, path};
use crate::model::{Disk, ForkRequest, ProblemKind, ResetRequest, Snapshot, Target};

#[derive(Debug, Args)]
pub(in crate::cli) struct Take {
    /// The disk's name.
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    name: String,

    /// The snapshot's name.
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    snapshot: String,

    #[command(flatten)]
    output: OutputArgs,
}

impl Take {
    pub(in crate::cli) fn run(self, client: &Client) -> Result<(), Error> {
        let path = path::snapshot(&self.name, &self.snapshot);
        let (status, made): (_, Snapshot) = client.put(&path)?;
        let what = match status {
            StatusCode::CREATED => "is taken",
            _ => "exists already",
        };
        self.output.print(&made, |made| {
            format!("{}@{} {what}\n", made.disk, made.name)
        })
    }
}

#[derive(Debug, Args)]
pub(in crate::cli) struct List {
    /// The disk's name.
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    name: String,

    #[command(flatten)]
    output: OutputArgs,
}

impl List {
    pub(in crate::cli) fn run(self, client: &Client) -> Result<(), Error> {
        let path = format!("{}/snapshots", path::disk(&self.name));
        let snapshots: Vec<Snapshot> = client.get(&path)?;
        self.output
            .print(&snapshots, |snapshots| tables::snapshots(snapshots))
    }
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Fork {
    /// The disk to fork as it is now, or a snapshot of it.
    #[arg(value_name = "NAME[@SNAPSHOT]", value_parser = parse_target)]
    from: Target,

    /// The new disk's name.
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    new: String,

    /// Label of the new disk; may be given more than once.
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = parse_label)]
    labels: Vec<(String, String)>,

    /// Serial that guests see. The default is the name.
    #[arg(long)]
    serial: Option<String>,

    /// Whether the new disk is read-only. The default is that of the forked disk.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    read_only: Option<bool>,

    /// The most request queues that a front end may use. The default is that of the forked disk.
    #[arg(long)]
    queues: Option<u16>,

    #[command(flatten)]
    output: OutputArgs,
}

impl Fork {
    pub(in crate::cli) fn run(self, client: &Client) -> Result<(), Error> {
        let path = format!("{}/forks", path::disk(&self.from.disk));
        let request = ForkRequest {
            snapshot: self.from.snapshot,
            serial: self.serial,
            read_only: self.read_only,
            queues: self.queues,
            labels: unique(&self.labels)?,
            ..ForkRequest::new(&self.new)
        };
        let (_, disk): (_, Disk) = client.send(Method::POST, &path, &request)?;
        self.output.print(&disk, |disk| {
            format!("{} is at {}\n", disk.name, disk.socket)
        })
    }
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Reset {
    /// The disk's name.
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    name: String,

    /// One of the disk's snapshots. The default is the content that the disk was forked from.
    #[arg(long, value_name = "SNAPSHOT")]
    to: Option<String>,

    /// Reset the disk even if a front end uses it; its guest sees the content change at once.
    #[arg(long)]
    force: bool,

    #[command(flatten)]
    output: OutputArgs,
}

impl Reset {
    pub(in crate::cli) fn run(self, client: &Client) -> Result<(), Error> {
        let path = format!("{}/reset", path::disk(&self.name));
        let request = ResetRequest {
            to: self.to,
            force: self.force,
        };
        let answer = client.send(Method::POST, &path, &request);
        let (_, disk): (_, Disk) = answer.map_err(|error| {
            Error::from(error).advise(ProblemKind::Attached, |_| {
                "stop its guest, or use --force: the guest would see the content change at once"
                    .into()
            })
        })?;
        self.output
            .print(&disk, |disk| format!("{} is reset\n", disk.name))
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
    pairs(&lines)
}
