//! `fault`: faults on command.

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Subcommand};
use serde::Serialize;

use crate::cli::error::Error;
use crate::cli::print::faults as tables;
use crate::cli::print::output::OutputArgs;
use crate::cli::verbs::each::{Headings, each};
use crate::cli::verbs::select::{Disks, Selector};
use crate::client::{Client, Method, path};
use crate::model::{Fault, FaultLog, FaultRequest};

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum FaultVerb {
    /// Add a fault to a disk, for its requests from now on.
    Add(Box<Add>),
    /// List a disk's faults, and how often each has fired.
    List(OfDisks),
    /// Remove faults of a disk; the requests that they hold go on.
    Rm(Remove),
    /// Remove all faults of a disk.
    Clear(OfDisks),
    /// Let the requests go on that a fault holds now.
    Release(Release),
    /// Show which faults fired for which requests, the last 4096.
    Log(OfDisks),
}

#[derive(Debug, Args)]
#[command(
    override_usage = "ramblk fault add [OPTIONS] <NAME>... <KIND>\n       \
                            ramblk fault add [OPTIONS] -l <KEY=VALUE> <KIND>"
)]
pub(in crate::cli) struct Add {
    /// The disks, then what becomes of a request: error, unsupported, delay=5ms, delay=1ms..20ms,
    /// delay=p50:1ms,p99:40ms, stall (until the fault is released), torn or torn=K (K sectors are
    /// written, and then it fails), torn-silent (the same, and it succeeds), lost, lost-flush,
    /// misdirected=+8 (written 8 sectors further on), corrupt=N (N bits of a read are wrong), full
    /// (as without memory), disconnect, or personality=hdd-7200, sata-ssd, nvme, ebs-gp3 (as slow
    /// as such a device). Also rot=N: N bits of what is written go wrong at once. It may be a
    /// whole rule, as 'fault list' prints it.
    #[arg(required = true, value_names = ["NAME", "KIND"], num_args = 1..)]
    words: Vec<String>,

    #[command(flatten)]
    selector: Selector,

    /// What to call it. The default is f1, f2 and so on.
    #[arg(long)]
    id: Option<String>,

    /// Operations that it is about: read, write, flush, discard, write-zeroes. The default is all
    /// that the kind can be about.
    #[arg(long, value_name = "OP,...", value_delimiter = ',')]
    op: Vec<String>,

    /// Range that it is about, in whole sectors of 512 bytes, as in 1G+4K; may be given more than
    /// once.
    #[arg(long = "range", value_name = "START+LEN")]
    ranges: Vec<String>,

    /// Let this many of the requests pass first that it is about.
    #[arg(long, value_name = "N", conflicts_with_all = ["after_bytes", "after_flushes"])]
    after_requests: Option<String>,

    /// Let requests of this many bytes pass first.
    #[arg(long, value_name = "SIZE", conflicts_with = "after_flushes")]
    after_bytes: Option<String>,

    /// Wait for this many flushes of the disk first.
    #[arg(long, value_name = "N")]
    after_flushes: Option<String>,

    /// Fire only when a sector is asked for the N-th time.
    #[arg(long, value_name = "N", conflicts_with_all = ["every", "probability"])]
    nth: Option<String>,

    /// Fire each N-th time that a sector is asked for.
    #[arg(long, value_name = "N", conflicts_with = "probability")]
    every: Option<String>,

    /// Fire with this probability, as in 0.01.
    #[arg(long, value_name = "P")]
    probability: Option<String>,

    /// Fire at most this often.
    #[arg(long, value_name = "N")]
    times: Option<String>,

    /// Fire only for this long, as in 5s, from the first time on.
    #[arg(long = "for", value_name = "TIME")]
    lasts: Option<String>,

    /// Which requests chance picks: the same seed picks the same ones.
    #[arg(long, value_name = "N")]
    seed: Option<String>,

    #[command(flatten)]
    output: OutputArgs,
}

impl Add {
    /// The rule as text. The daemon refuses what is wrong with it.
    fn rule(&self, kind: &str) -> String {
        let mut rule = kind.to_owned();
        let mut add = |field: &str, value: &str| rule.push_str(&format!(",{field}={value}"));
        if !self.op.is_empty() {
            add("op", &self.op.join("+"));
        }
        self.ranges.iter().for_each(|range| add("range", range));
        let fields = [
            ("id", &self.id),
            ("after-requests", &self.after_requests),
            ("after-bytes", &self.after_bytes),
            ("after-flushes", &self.after_flushes),
            ("nth", &self.nth),
            ("every", &self.every),
            ("probability", &self.probability),
            ("times", &self.times),
            ("for", &self.lasts),
            ("seed", &self.seed),
        ];
        for (field, value) in fields {
            if let Some(value) = value {
                add(field, value);
            }
        }
        rule
    }
}

#[derive(Debug, Args)]
pub(in crate::cli) struct OfDisks {
    #[command(flatten)]
    disks: Disks,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Remove {
    /// The disk's name.
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    name: String,
    /// Ids of faults.
    #[arg(required = true, value_name = "ID", value_parser = NonEmptyStringValueParser::new())]
    ids: Vec<String>,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Release {
    /// The disk's name.
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    name: String,
    /// The fault's id.
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    id: String,
    #[command(flatten)]
    output: OutputArgs,
}

/// A fault that was added.
#[derive(Debug, Serialize)]
struct Added {
    disk: String,
    #[serde(flatten)]
    fault: Fault,
}

/// The faults of one of several disks.
#[derive(Debug, Serialize)]
struct Listed {
    disk: String,
    faults: Vec<Fault>,
}

/// What a disk's faults did.
#[derive(Debug, Serialize)]
struct Logged {
    disk: String,
    #[serde(flatten)]
    log: FaultLog,
}

/// A fault that was removed.
#[derive(Debug, Serialize)]
struct Removed<'a> {
    id: &'a str,
    removed: bool,
}

/// A disk without faults.
#[derive(Debug, Serialize)]
struct Cleared<'a> {
    disk: &'a str,
    cleared: bool,
}

impl FaultVerb {
    pub(in crate::cli) fn run(self, client: &Client) -> Result<(), Error> {
        match self {
            Self::Add(verb) => verb.run(client),
            Self::List(verb) => verb.list(client),
            Self::Rm(verb) => each(&verb.ids, verb.output, |id| {
                client.delete(&path::fault(&verb.name, id))?;
                let removed = Removed { id, removed: true };
                verb.output
                    .print(&removed, |it| format!("fault {} is removed\n", it.id))
            }),
            Self::Clear(verb) => each(&verb.disks.names(client)?, verb.output, |disk| {
                client.delete(&path::faults(disk))?;
                let cleared = Cleared {
                    disk,
                    cleared: true,
                };
                verb.output
                    .print(&cleared, |it| format!("{} has no faults\n", it.disk))
            }),
            Self::Release(verb) => {
                let path = format!("{}/release", path::fault(&verb.name, &verb.id));
                let (_, fault): (_, Fault) = client.put(&path)?;
                verb.output.print(&fault, tables::released)
            }
            Self::Log(verb) => verb.log(client),
        }
    }
}

impl Add {
    fn run(&self, client: &Client) -> Result<(), Error> {
        let (kind, names) = match self.words.split_last() {
            Some((kind, names)) if !names.is_empty() || self.selector.is_given() => (kind, names),
            _ => {
                return Err(Error::Usage(
                    "give a disk and what becomes of its requests, as in 'ramblk fault add vm1 \
                     error'"
                        .into(),
                ));
            }
        };
        let request = FaultRequest {
            rule: self.rule(kind),
        };
        each(
            &self.selector.names_or(client, names)?,
            self.output,
            |name| {
                let (_, fault) = client.send(Method::POST, &path::faults(name), &request)?;
                let disk = name.clone();
                let added = Added { disk, fault };
                self.output
                    .print(&added, |it| tables::added(&it.disk, &it.fault))
            },
        )
    }
}

impl OfDisks {
    fn list(&self, client: &Client) -> Result<(), Error> {
        let names = self.disks.names(client)?;
        let mut headings = Headings::of(names.len());
        each(&names, self.output, |name| {
            let faults: Vec<Fault> = client.get(&path::faults(name))?;
            let mut text = |it: &[_]| headings.next(name) + &tables::list(it);
            if !self.disks.are_several() {
                return self.output.print(&faults, |it| text(it));
            }
            let disk = name.clone();
            let listed = Listed { disk, faults };
            self.output.print(&listed, |it| text(&it.faults))
        })
    }

    fn log(&self, client: &Client) -> Result<(), Error> {
        let names = self.disks.names(client)?;
        let mut headings = Headings::of(names.len());
        each(&names, self.output, |name| {
            let log = client.get(&format!("{}/fault-log", path::disk(name)))?;
            let disk = name.clone();
            let logged = Logged { disk, log };
            self.output
                .print(&logged, |it| headings.next(name) + &tables::log(&it.log))
        })
    }
}
