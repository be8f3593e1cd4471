//! `crash-states`: disks with what a crash may have left of a recorded disk.

use std::fs::File;
use std::str::FromStr;

use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use serde::Serialize;

use super::explore::{Folder, LogFile};
use super::record::fetch;
use crate::cli::error::Error;
use crate::cli::print::output::OutputArgs;
use crate::cli::values::label::{parse_label, unique};
use crate::cli::values::power::{self, parse_tear_unit};
use crate::client::{Client, Method, path};
use crate::crash::explore::{At, Point, Shape, StateName, Walk, points};
use crate::crash::log::Log;
use crate::crash::{Draws, Fate, Keep, Policy, TearUnit};
use crate::model::{Disk, Recording, Snapshot, StateRequest};

#[derive(Debug, Args)]
pub(in crate::cli) struct States {
    /// The disk, whose recording is used.
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    disk: String,

    /// How many disks to make.
    #[arg(long, value_name = "N", default_value_t = 1)]
    count: u64,

    /// The seed of what is chosen.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,

    /// When the crash is: any (a moment before a flush completes, or the end, for each disk another
    /// one), flush:K, mark:TEXT, write:K.
    #[arg(long, value_name = "MOMENT", default_value = "any")]
    at: At,

    /// Which of the volatile writes are there.
    #[arg(long, value_enum, default_value_t = power::Keep::Reorder)]
    keep: power::Keep,

    /// Tear writes that are there: with all and prefix, the last one.
    #[arg(long)]
    torn: bool,

    /// Leave random bytes in place of some writes.
    #[arg(long)]
    garbage: bool,

    /// What the device promises to write whole: 512 to 64K. The default is the disk's physical
    /// block.
    #[arg(long, value_name = "SIZE", value_parser = parse_tear_unit, default_value = "4096")]
    tear_unit: TearUnit,

    /// Names of the new disks, as in 'c-{0001..}'.
    #[arg(long, value_name = "PATTERN")]
    name: Pattern,

    /// Label of the new disks; may be given more than once.
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = parse_label)]
    labels: Vec<(String, String)>,

    #[command(flatten)]
    output: OutputArgs,
}

/// Names with a number.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Pattern {
    before: String,
    first: u64,
    digits: usize,
    after: String,
}

impl FromStr for Pattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} has no number: write one as in c-{{0001..}}");
        let (before, rest) = text.split_once('{').ok_or_else(wrong)?;
        let (digits, after) = rest.split_once("..}").ok_or_else(wrong)?;
        let is_short = digits.len() <= 9;
        let first = digits.parse().ok().filter(|_| is_short);
        Ok(Self {
            before: before.to_owned(),
            first: first.ok_or_else(wrong)?,
            digits: digits.len(),
            after: after.to_owned(),
        })
    }
}

impl Pattern {
    fn name(&self, index: u64) -> String {
        let (number, digits) = (self.first + index, self.digits);
        format!("{}{number:0digits$}{}", self.before, self.after)
    }
}

/// A disk that was made.
#[derive(Debug, Serialize)]
struct Made {
    disk: String,
    state: String,
    socket: String,
}

impl States {
    pub(in crate::cli) fn run(self, client: &Client) -> Result<(), Error> {
        let usage = |error: &dyn std::fmt::Display| Error::Usage(error.to_string());
        let labels = unique(&self.labels)?;
        let recording: Recording = client.get(&path::recording(&self.disk))?;
        let base = recording.base.rsplit('@').next().unwrap_or_default();
        let base: Snapshot = client.get(&path::snapshot(&self.disk, base))?;
        let (keep, unit) = (self.keep.into(), self.tear_unit);
        Policy::new(keep, self.torn, self.garbage, unit).map_err(|error| usage(&error))?;
        let folder = Folder::new(None)?;
        let at = folder.path().join("log");
        let mut options = File::options();
        options.read(true).write(true).create_new(true);
        let file = options.open(&at).map_err(|source| Error::File {
            what: "create",
            path: at.clone(),
            source,
        })?;
        let from = format!("{}/log", path::recording(&self.disk));
        fetch(client, &from, &file, &at)?;
        let log = Log::read(&LogFile(&file), base.size_bytes);
        let log = log.map_err(|error| Error::Other(error.to_string()))?;
        let points = points(&log, &self.at).map_err(|error| usage(&error))?;
        let volatile = volatile(&log, &points)?;
        let mut all = Vec::new();
        for index in 0..self.count {
            let state = self.state(index, keep, &points, &volatile);
            let request = StateRequest {
                name: self.name.name(index),
                state: state.to_string(),
                labels: labels.clone(),
            };
            let path = format!("{}/states", path::recording(&self.disk));
            let (_, made): (_, Disk) = client.send(Method::POST, &path, &request)?;
            all.push(Made {
                disk: made.name,
                state: request.state,
                socket: made.socket,
            });
        }
        self.output.print(&all, |all| {
            let lines = all.iter();
            let lines = lines.map(|made| format!("{} is {}\n", made.disk, made.state));
            let text: String = lines.collect();
            format!("{text}seed {}, tear unit {}\n", self.seed, unit.bytes())
        })
    }

    /// The state of the disk with this number.
    fn state(&self, index: u64, keep: Keep, points: &[Point], volatile: &[u64]) -> StateName {
        let mut draws = Draws::part(self.seed, index);
        let at = draws.below(points.len() as u64);
        let at = usize::try_from(at).unwrap_or(0);
        let count = volatile[at];
        let first = |count| Shape::First(usize::try_from(count).unwrap_or(0), Fate::Lost);
        let seed = draws.draw();
        let is_whole = !self.torn && !self.garbage;
        let shape = match keep {
            Keep::None => first(0),
            Keep::All if is_whole => first(count),
            Keep::Prefix if is_whole => first(draws.below(count + 1)),
            keep => Shape::Drawn {
                keep,
                is_torn: self.torn,
                is_garbage: self.garbage,
                seed,
            },
        };
        StateName {
            moment: points[at].moment,
            shape,
            unit: self.tear_unit,
        }
    }
}

/// How many volatile writes there are at each of these moments.
fn volatile(log: &Log, points: &[Point]) -> Result<Vec<u64>, Error> {
    let failed = |error: &dyn std::fmt::Display| Error::Other(error.to_string());
    let mut walk = Walk::new(log).map_err(|error| failed(&error))?;
    let each = points.iter().map(|point| {
        let (_, window) = walk.go_to(point.moment).map_err(|error| failed(&error))?;
        Ok(window.volatile().count() as u64)
    });
    each.collect()
}
