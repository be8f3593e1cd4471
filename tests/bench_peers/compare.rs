//! One load on several peers in turn, and their medians.

use std::time::Duration;

use crate::Settings;
use crate::back_end::{BackEnd, Peer};
use crate::copies::{Copies, ROUTINES};
use crate::generator::{Figures, Load, Metric};
use crate::measure::{Failure, median, quantile};
use crate::table::{Column, Line, figure};

/// Loads that are measured together.
pub(crate) struct Row {
    pub(crate) what: &'static str,
    pub(crate) load: Load,
    /// The bars apply to the first peer.
    pub(crate) peers: &'static [Peer],
    /// Whether to measure the machine's own copying too.
    pub(crate) beside_copies: bool,
    /// One line of the table each.
    pub(crate) verdicts: [Option<Verdict>; 2],
}

/// A figure and its bar.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Verdict {
    pub(crate) metric: Metric,
    pub(crate) beside: Beside,
    pub(crate) bar: Bar,
}

/// The divisor of a figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Beside {
    Peer(Peer),
    /// The fastest of the machine's ways to copy.
    BestCopy,
    Nothing,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Bar {
    AtLeast(f64),
    AtMost(f64),
}

impl Bar {
    pub(crate) fn is_met_by(self, figure: f64) -> bool {
        match self {
            Self::AtLeast(bar) => figure >= bar,
            Self::AtMost(bar) => figure <= bar,
        }
    }
}

impl std::fmt::Display for Bar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::AtLeast(bar) => write!(f, ">= {bar}"),
            Self::AtMost(bar) => write!(f, "<= {bar}"),
        }
    }
}

/// A pause for back ends after their disks were filled.
const SETTLE: Duration = Duration::from_secs(2);

/// The results of a row's rounds.
struct Rounds {
    /// By peer, then by round.
    runs: Vec<Vec<Figures>>,
    /// By routine, then by round: bytes per second.
    copies: [Vec<f64>; 3],
}

pub(crate) fn run(row: &Row, settings: &Settings) -> Result<Vec<Line>, Failure> {
    let rounds = measure(row, settings)?;
    let verdicts = row.verdicts.iter().flatten();
    verdicts
        .map(|verdict| line(row, verdict, &rounds))
        .collect()
}

/// Measure every peer in turn, round after round, in alternating order.
fn measure(row: &Row, settings: &Settings) -> Result<Rounds, Failure> {
    let start = |&peer| BackEnd::start(peer, settings, &[]);
    let back_ends: Result<Vec<BackEnd>, Failure> = row.peers.iter().map(start).collect();
    let back_ends = back_ends?;
    let mut rounds = Rounds {
        runs: back_ends.iter().map(|_| Vec::new()).collect(),
        copies: Default::default(),
    };
    for back_end in back_ends.iter().filter(|back_end| back_end.wants_filling()) {
        row.load
            .run(&settings.ramblk, back_end.socket(), 0.1, true)?;
    }
    // What a back end does once with new memory is not part of a request's cost.
    std::thread::sleep(SETTLE);
    for round in 0..settings.rounds() {
        let backwards = round % 2 == 1;
        let mut order: Vec<usize> = (0..back_ends.len()).collect();
        if backwards {
            order.reverse();
        }
        if row.beside_copies && backwards {
            copy(row, settings, &back_ends[0], &mut rounds.copies)?;
        }
        for at in order {
            let back_end = &back_ends[at];
            let figures = row.load.run(
                &settings.ramblk,
                back_end.socket(),
                settings.seconds(),
                false,
            );
            let figures = figures.map_err(|error| format!("{:?}: {error}", row.peers[at]))?;
            rounds.runs[at].push(figures);
        }
        if row.beside_copies && !backwards {
            copy(row, settings, &back_ends[0], &mut rounds.copies)?;
        }
    }
    Ok(rounds)
}

fn copy(
    row: &Row,
    settings: &Settings,
    subject: &BackEnd,
    into: &mut [Vec<f64>; 3],
) -> Result<(), Failure> {
    let copies = Copies {
        writes: row.load.op == "write",
        block_kib: row.load.block_kib,
        depth: row.load.depth.into(),
        huge: subject.has_huge_pages()?,
        millis: if settings.quick { 200 } else { 600 },
    };
    for (list, figure) in into.iter_mut().zip(copies.measure()?) {
        list.push(figure);
    }
    Ok(())
}

fn line(row: &Row, verdict: &Verdict, rounds: &Rounds) -> Result<Line, Failure> {
    let metric = verdict.metric;
    let per_peer: Result<Vec<Vec<f64>>, Failure> = rounds
        .runs
        .iter()
        .map(|runs| runs.iter().map(|figures| figures.get(metric)).collect())
        .collect();
    let per_peer = per_peer?;
    let mut line = Line::new(row.what);
    let mut all = Vec::new();
    for (peer, figures) in row.peers.iter().zip(&per_peer) {
        let column = Column::of(*peer);
        line = line.with(column, figure(metric, median(figures)));
        all.push((column, median(figures)));
    }
    let best = (0..ROUTINES.len()).max_by(|&a, &b| {
        let [a, b] = [a, b].map(|at| median(&rounds.copies[at]));
        a.total_cmp(&b)
    });
    let best = best.filter(|_| row.beside_copies);
    if let Some(at) = best {
        let reached = median(&rounds.copies[at]);
        let text = format!("{} ({})", figure(metric, reached), ROUTINES[at].1);
        line = line.with(Column::Copy, text);
        all.push((Column::Copy, reached));
    }
    let beside = match verdict.beside {
        Beside::Peer(peer) => row
            .peers
            .iter()
            .position(|&other| other == peer)
            .map(|at| &per_peer[at]),
        Beside::BestCopy => best.map(|at| &rounds.copies[at]),
        Beside::Nothing => None,
    };
    let ours = &per_peer[0];
    let Some(theirs) = beside else {
        let reached = median(ours);
        let met = verdict.bar.is_met_by(reached);
        return Ok(line.judged(figure(metric, reached), verdict.bar.to_string(), met));
    };
    let ratio = median(ours) / median(theirs);
    let mut each: Vec<f64> = ours.iter().zip(theirs).map(|(a, b)| a / b).collect();
    let [low, high] = [0.0, 1.0].map(|part| quantile(&mut each, part));
    if matches!(metric, Metric::Iops | Metric::BytesPerS) {
        line.relative = all
            .iter()
            .map(|(column, reached)| (*column, reached / median(theirs)))
            .collect();
    }
    let beside = match verdict.beside {
        Beside::Peer(Peer::Stock | Peer::StockUnmoved) => " of stock",
        Beside::BestCopy => " of the copy",
        Beside::Peer(_) | Beside::Nothing => " of null-co",
    };
    let ratio_text = format!("{ratio:.3}{beside} ({low:.3} to {high:.3})");
    let met = verdict.bar.is_met_by(ratio);
    Ok(line.judged(ratio_text, verdict.bar.to_string(), met))
}
