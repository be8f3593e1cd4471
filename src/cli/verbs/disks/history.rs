//! `history`: points to which a disk can go back.

use clap::{Args, Subcommand};

use crate::cli::error::Error;
use crate::cli::print::history;
use crate::cli::print::output::OutputArgs;
use crate::cli::print::states;
use crate::cli::values::every::{Every, parse_every};
use crate::cli::values::size::parse_size;
use crate::cli::verbs::each::{Headings, each};
use crate::cli::verbs::select::Disks;
use crate::client::{Client, Method, path};
use crate::model::{DiskPatch, History, HistorySettings, Patched, USUAL_POINTS};

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum HistoryVerb {
    /// Keep points of a disk's content from now on, or keep them in another way.
    On(On),
    /// List the points of a disk's history.
    List(List),
    /// End a disk's history, and drop all of its points.
    Off(Off),
}

#[derive(Debug, Args)]
pub(in crate::cli) struct On {
    #[command(flatten)]
    disks: Disks,

    /// When to take a point: at each flush, each time that so long has passed, as in 500ms, or each
    /// time that so much was written, as in 64M.
    #[arg(long, value_name = "WHEN", default_value = "flush", value_parser = parse_every)]
    every: Every,

    /// How many points to keep. Beyond that the oldest are dropped.
    #[arg(long, value_name = "N", default_value_t = USUAL_POINTS)]
    keep: u64,

    /// The most memory that only points may have. Beyond that the oldest are dropped. The default
    /// is a quarter of the memory limit.
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    limit: Option<u64>,

    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct List {
    #[command(flatten)]
    disks: Disks,

    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Off {
    #[command(flatten)]
    disks: Disks,

    #[command(flatten)]
    output: OutputArgs,
}

fn change(
    client: &Client,
    disks: &Disks,
    history: Option<HistorySettings>,
    output: OutputArgs,
) -> Result<(), Error> {
    let patch = DiskPatch {
        history: Some(history),
        ..DiskPatch::default()
    };
    each(&disks.names(client)?, output, |name| {
        let (_, patched): (_, Patched) = client.send(Method::PATCH, &path::disk(name), &patch)?;
        output.print(&patched.disk, |disk| {
            format!("{}: history {}\n", disk.name, states::history(disk))
        })
    })
}

impl HistoryVerb {
    pub(in crate::cli) fn run(self, client: &Client) -> Result<(), Error> {
        match self {
            Self::On(verb) => {
                let settings = HistorySettings {
                    keep: verb.keep,
                    limit_bytes: verb.limit,
                    ..verb.every.into()
                };
                change(client, &verb.disks, Some(settings), verb.output)
            }
            Self::List(verb) => {
                let names = verb.disks.names(client)?;
                let mut headings = Headings::of(names.len());
                each(&names, verb.output, |name| {
                    let path = format!("{}/history", path::disk(name));
                    let found: History = client.get(&path)?;
                    verb.output
                        .print(&found, |it| headings.next(name) + &history::points(it))
                })
            }
            Self::Off(verb) => change(client, &verb.disks, None, verb.output),
        }
    }
}
