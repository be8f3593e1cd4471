//! `stats`: counters of a disk, or of all.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use clap::Args;
use clap::builder::NonEmptyStringValueParser;

use crate::cli::error::Error;
use crate::cli::print::figures;
use crate::cli::print::output::{OutputArgs, json, out};
use crate::cli::print::rates::{Rates, between};
use crate::cli::print::tables;
use crate::cli::values::label::parse_label;
use crate::cli::verbs::select::labelled;
use crate::client::{Client, path};
use crate::model::Stats;

/// Lines of rates between two headings.
const LINES: usize = 20;

#[derive(Debug, Args)]
pub(in crate::cli) struct StatsVerb {
    /// The disk. The default is a table of all disks.
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    name: Option<String>,

    /// Only disks with this label; may be given more than once.
    #[arg(long = "label", short = 'l', visible_alias = "selector")]
    #[arg(value_name = "KEY=VALUE", value_parser = parse_label)]
    #[arg(conflicts_with = "name")]
    labels: Vec<(String, String)>,

    /// Print rates in each interval, until interrupted.
    #[arg(long)]
    watch: bool,

    /// Length of an interval in seconds, with --watch.
    #[arg(long, value_name = "SECONDS", default_value_t = 1)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    interval: u64,

    #[command(flatten)]
    output: OutputArgs,
}

impl StatsVerb {
    pub(in crate::cli) fn run(self, client: &Client) -> Result<(), Error> {
        match &self.name {
            Some(name) if self.watch => self.watch(client, name),
            Some(name) => {
                let stats: Stats = client.get(&of(name))?;
                self.output.print(&stats, tables::stats)
            }
            None if self.watch => self.watch_all(client),
            None => {
                let stats = self.all(client)?;
                self.output.print(&stats, |all| figures::counters(all))
            }
        }
    }

    fn all(&self, client: &Client) -> Result<Vec<Stats>, Error> {
        Ok(client.get(&labelled("/v1/stats", &self.labels))?)
    }

    fn watch(&self, client: &Client, name: &str) -> Result<(), Error> {
        let path = of(name);
        let mut before: Stats = client.get(&path)?;
        let mut then = Instant::now();
        let mut lines = 0;
        loop {
            self.pause();
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

    fn watch_all(&self, client: &Client) -> Result<(), Error> {
        let (mut before, mut then) = (by_name(self.all(client)?), Instant::now());
        loop {
            self.pause();
            let after = self.all(client)?;
            let now = Instant::now();
            if self.output.is_json() {
                out(&(json(&after)? + "\n"))?;
            } else {
                let seconds = (now - then).as_secs_f64();
                let rates = |stats: &Stats| match before.get(&stats.disk) {
                    Some(before) => between(before, stats, seconds),
                    // It was just created.
                    None => Rates::default(),
                };
                let rows: Vec<_> = after.iter().map(|stats| (rates(stats), stats)).collect();
                out(&(figures::rates(&rows) + "\n"))?;
            }
            (before, then) = (by_name(after), now);
        }
    }

    fn pause(&self) {
        std::thread::sleep(Duration::from_secs(self.interval));
    }
}

fn of(name: &str) -> String {
    format!("{}/stats", path::disk(name))
}

fn by_name(all: Vec<Stats>) -> HashMap<String, Stats> {
    let named = all.into_iter().map(|stats| (stats.disk.clone(), stats));
    named.collect()
}
