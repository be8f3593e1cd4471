//! What an exploration found, for people and for programs.

use std::fmt::Write as _;

use serde::Serialize;

use crate::cli::print::counted;
use crate::cli::print::layout::{columns, folded};
use crate::cli::values::size::human_and_exact;
use crate::crash::log::{Log, What};
use crate::crash::{Choice, Fate, Window};

/// Where what goes on below a line of a state begins.
const BELOW: usize = 5;

/// What an exploration found.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) disk: String,
    /// Moments at which a crash was looked at.
    pub(super) points: usize,
    /// States that were made.
    pub(super) states: u64,
    /// Those of them that have other content than each one before.
    pub(super) distinct: u64,
    /// Those that the check found good.
    pub(super) good: u64,
    /// What a device promises to write whole.
    pub(super) tear_unit_bytes: u64,
    /// The seed of random states.
    pub(super) seed: u64,
    pub(super) seconds: f64,
    /// Whether it ended before all states were made.
    pub(super) stopped_early: bool,
    /// Whether a signal ended it.
    pub(super) interrupted: bool,
    pub(super) found: Vec<Found>,
}

/// A state that the check found bad.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Found {
    /// Its name, which `--state` makes again.
    pub(super) state: String,
    /// The name of the smallest part of its losses that is still bad.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) minimal: Option<String>,
    pub(super) moment: u64,
    /// How many flushes had completed.
    pub(super) flushes: u64,
    /// The last mark before the crash.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) last_mark: Option<String>,
    /// How many marks there were before it.
    pub(super) marks: usize,
    /// What the check did.
    pub(super) verdict: String,
    /// The end of what it wrote.
    pub(super) output: String,
    /// The writes that are lost or torn, after minimising if that was asked for.
    pub(super) losses: Vec<Lost>,
    /// Volatile writes at that moment.
    pub(super) volatile: usize,
}

/// A write that is not wholly there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Lost {
    /// Its place in the log.
    pub(super) entry: u64,
    pub(super) kind: &'static str,
    pub(super) sector: u64,
    pub(super) length_bytes: u64,
    /// `lost`, or which units of the tear unit are there.
    pub(super) fate: String,
    pub(super) submitted: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) completed: Option<u64>,
    /// When it reached the disk, in nanoseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) time_ns: Option<u64>,
    /// The last mark before it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) after_mark: Option<String>,
}

/// What of a window is not wholly there.
pub(super) fn losses(log: &Log, window: &Window, choice: &Choice) -> Vec<Lost> {
    let each = choice.losses(window).map(|loss| {
        let write = loss.write;
        let index = usize::try_from(write.number).unwrap_or(usize::MAX);
        let before = log.requests.get(..index).unwrap_or_default();
        let request = log.requests.get(index);
        let fate = match loss.fate {
            Fate::Kept => "kept".to_owned(),
            Fate::Lost => "lost".to_owned(),
            Fate::Garbage(_) => "garbage".to_owned(),
            Fate::Torn(runs) => {
                let runs = runs.iter().map(|run| format!("{}-{}", run.start, run.end));
                let units = choice.unit().count(write.range);
                format!(
                    "torn: units {} of {units}",
                    runs.collect::<Vec<_>>().join(",")
                )
            }
        };
        Lost {
            entry: write.number,
            kind: write.kind.name(),
            sector: write.range.start_bytes() / 512,
            length_bytes: write.range.len_bytes(),
            fate,
            submitted: write.submitted.0,
            completed: write.completed.map(|moment| moment.0),
            time_ns: request.map(|it| it.time_ns).filter(|&time_ns| time_ns > 0),
            after_mark: before
                .iter()
                .rev()
                .find_map(|it| it.mark())
                .map(str::to_owned),
        }
    });
    each.collect()
}

/// The marks that had been made by a moment.
pub(super) fn marks(log: &Log, moment: u64) -> Vec<&str> {
    let made = log.requests.iter().filter(|it| it.completed <= moment);
    made.filter(|it| matches!(it.what, What::Mark(_)))
        .filter_map(|it| it.mark())
        .collect()
}

impl Report {
    /// For people.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        for (index, found) in self.found.iter().enumerate() {
            let _ = writeln!(text, "{}: {} ({})", index + 1, found.state, found.verdict);
            let mark = match &found.last_mark {
                Some(mark) => format!("after mark {:?}", mark),
                None => "before any mark".into(),
            };
            let (flushes, volatile) = (found.flushes, found.volatile);
            let _ = writeln!(
                text,
                "   at moment {}, after {flushes} flushes, {mark}; {volatile} volatile writes",
                found.moment
            );
            if let Some(minimal) = &found.minimal {
                let _ = writeln!(text, "   smallest: {minimal}");
            }
            for lost in found.losses.iter().take(8) {
                let after = match &lost.after_mark {
                    Some(mark) => format!(", after mark {mark:?}"),
                    None => String::new(),
                };
                let line = format!(
                    "   entry {}: {} of {} at sector {}, submitted at {}{after}: {}",
                    lost.entry,
                    lost.kind,
                    human_and_exact(lost.length_bytes),
                    lost.sector,
                    lost.submitted,
                    lost.fate
                );
                let _ = writeln!(text, "{}", folded(&line, BELOW, columns()));
            }
            if found.losses.len() > 8 {
                let _ = writeln!(text, "   and {} more", found.losses.len() - 8);
            }
            if let Some(line) = found.output.lines().last() {
                let line = format!("   it said: {line}");
                let _ = writeln!(text, "{}", folded(&line, BELOW, columns()));
            }
        }
        text + &folded(&self.summary(), 0, columns()) + "\n"
    }

    fn summary(&self) -> String {
        let rate = self.states as f64 / self.seconds.max(0.001);
        format!(
            "{} at {}, {} of them distinct: {} good, {} bad; tear unit {}, seed {}; \
             {:.1} s, {rate:.0} states a second{}",
            counted(self.states, "state"),
            counted(self.points as u64, "moment"),
            self.distinct,
            self.good,
            self.found.len(),
            self.tear_unit_bytes,
            self.seed,
            self.seconds,
            match (self.interrupted, self.stopped_early) {
                (true, _) => "; interrupted",
                (false, true) => "; stopped early",
                (false, false) => "",
            }
        )
    }
}
