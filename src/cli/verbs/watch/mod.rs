//! Verbs that watch disks: `stats`, `findings`, `pool`, `events`, `top`.
//!
//! | file | verbs |
//! |---|---|
//! | `mod` | `stats`, `findings`, `pool`, `events` |
//! | `top` | `top` |

#[cfg(feature = "top")]
pub(super) mod top;

use std::time::{Duration, Instant};

use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use serde::{Deserialize, Serialize};

use crate::cli::error::Error;
use crate::cli::print::output::{OutputArgs, json, out};
use crate::cli::print::rates::between;
use crate::cli::print::tables;
use crate::client::{Client, path};
use crate::model::{Disk, Event, EventKind, Findings, Pool, ProblemKind, Stats};

/// Lines of rates between two headings.
const LINES: usize = 20;

#[derive(Debug, Args)]
pub(in crate::cli) struct StatsVerb {
    /// The disk. The default is all disks.
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    name: Option<String>,

    /// Print rates in each interval, until interrupted.
    #[arg(long, requires = "name")]
    watch: bool,

    /// Length of an interval in seconds, with --watch.
    #[arg(long, value_name = "SECONDS", default_value_t = 1)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    interval: u64,

    #[command(flatten)]
    output: OutputArgs,
}

fn stats_path(name: &str) -> String {
    format!("{}/stats", path::disk(name))
}

impl StatsVerb {
    pub(in crate::cli) fn run(self, client: &Client) -> Result<(), Error> {
        match &self.name {
            Some(name) if self.watch => self.watch(client, name),
            Some(name) => {
                let stats: Stats = client.get(&stats_path(name))?;
                self.output.print(&stats, tables::stats)
            }
            None => {
                let disks: Vec<Disk> = client.get("/v1/disks")?;
                let mut stats: Vec<Stats> = Vec::with_capacity(disks.len());
                for disk in &disks {
                    match client.get(&stats_path(&disk.name)) {
                        Ok(one) => stats.push(one),
                        // It was destroyed since the list was made.
                        Err(error) if error.is(ProblemKind::NotFound) => {}
                        Err(error) => return Err(error.into()),
                    }
                }
                self.output.print(&stats, |all| {
                    let each = all
                        .iter()
                        .map(|one| format!("{}\n{}", one.disk, tables::stats(one)));
                    each.collect::<Vec<_>>().join("\n")
                })
            }
        }
    }

    fn watch(&self, client: &Client, name: &str) -> Result<(), Error> {
        let path = stats_path(name);
        let mut before: Stats = client.get(&path)?;
        let mut then = Instant::now();
        let mut lines = 0;
        loop {
            std::thread::sleep(Duration::from_secs(self.interval));
            let after: Stats = client.get(&path)?;
            let now = Instant::now();
            if self.output.is_json() {
                out(&(json(&after)? + "\n"))?;
            } else {
                if lines % LINES == 0 {
                    out(tables::RATES_HEAD)?;
                }
                let rates = between(&before, &after, (now - then).as_secs_f64());
                out(&tables::rates(&rates, &after))?;
            }
            lines += 1;
            (before, then) = (after, now);
        }
    }
}

#[derive(Debug, Args)]
pub(in crate::cli) struct FindingsVerb {
    /// The disk's name.
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    name: String,

    #[command(flatten)]
    output: OutputArgs,
}

impl FindingsVerb {
    pub(in crate::cli) fn run(self, client: &Client) -> Result<(), Error> {
        let path = format!("{}/findings", path::disk(&self.name));
        let found: Findings = client.get(&path)?;
        self.output
            .print(&found, crate::cli::print::findings::findings)
    }
}

#[derive(Debug, Args)]
pub(in crate::cli) struct PoolVerb {
    #[command(flatten)]
    output: OutputArgs,
}

impl PoolVerb {
    pub(in crate::cli) fn run(self, client: &Client) -> Result<(), Error> {
        let pool: Pool = client.get("/v1/pool")?;
        self.output.print(&pool, crate::cli::print::pool::pool)
    }
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Events {
    /// Only events of this disk, until it is destroyed.
    #[arg(long, value_name = "NAME")]
    disk: Option<String>,

    #[command(flatten)]
    output: OutputArgs,
}

/// The number of events that came too fast.
#[derive(Debug, Serialize, Deserialize)]
struct Missed {
    missed: u64,
}

impl Events {
    /// Print a note about missed events, and ignore kinds that only a newer daemon has.
    fn other(&self, data: &str) -> Result<(), Error> {
        match serde_json::from_str::<Missed>(data) {
            Ok(missed) => self.output.print(&missed, |it| {
                format!("{} events came too fast and were missed\n", it.missed)
            }),
            Err(_) => Ok(()),
        }
    }

    pub(in crate::cli) fn run(self, client: &Client) -> Result<(), Error> {
        let mut gone = false;
        client.events(self.disk.as_deref(), |data| {
            match serde_json::from_str::<Event>(data) {
                Ok(event) => {
                    gone = event.kind == EventKind::Destroyed && event.disk == self.disk;
                    self.output.print(&event, tables::event)
                }
                Err(_) => self.other(data),
            }
        })?;
        if gone {
            return Ok(());
        }
        Err(Error::Other(
            "the stream of events ended, most likely because the daemon ended".into(),
        ))
    }
}
