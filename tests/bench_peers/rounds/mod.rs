//! Rows of many rounds, in which back ends take turns under one load: as users start them, with
//! nothing pinned, or with driver and back end on a processor each. Builds of ramblk take part
//! beside each other. What counts is a ratio within one row; the machine's own mood is printed
//! first.
//!
//! | file | what it holds |
//! |---|---|
//! | `shapes` | the rows |
//! | `contender` | the back ends that take part |
//! | `busy` | a process that only spins |
//! | `phase` | what a wake-up costs here and now |
//! | `run` | one run, and its figures |
//! | `print` | the tables |

mod busy;
mod contender;
mod phase;
mod print;
mod run;
mod shapes;

pub(crate) use busy::{SPIN, spin};
pub(crate) use contender::{Build, Kind};
pub(crate) use phase::phase;
pub(crate) use print::summary;
pub(crate) use shapes::{Row, rows};

use std::thread::sleep;
use std::time::Duration;

use crate::Settings;
use crate::back_end::BackEnd;
use crate::measure::Failure;
use contender::Contender;
use print::Rounds;
use run::{Sample, fill, idle, once};
use shapes::Measured;

/// A pause for back ends after their disks were filled: ramblk makes huge pages in that time.
const SETTLE: Duration = Duration::from_secs(3);

/// Measure a row.
pub(crate) fn measure(row: &Row, settings: &Settings) -> Result<Rounds, Failure> {
    let contenders = contender::chosen(row, settings)?;
    let samples = match row.measured {
        Measured::Idle => measure_idle(row, &contenders, settings)?,
        Measured::AfterFill => {
            let fresh = |contender: &Contender| {
                let back_end = contender.start(row)?;
                fill(&back_end, settings)?;
                once(row, &back_end, settings)
            };
            take_turns(row, &contenders, settings, |at| fresh(&contenders[at]))?
        }
        Measured::Rate | Measured::Paced => {
            let back_ends = start_all(row, &contenders)?;
            for back_end in &back_ends {
                fill(back_end, settings)?;
            }
            sleep(SETTLE);
            take_turns(row, &contenders, settings, |at| {
                once(row, &back_ends[at], settings)
            })?
        }
    };
    Ok(Rounds {
        row: row.clone(),
        names: contenders.into_iter().map(|one| one.name).collect(),
        samples,
    })
}

fn start_all(row: &Row, contenders: &[Contender]) -> Result<Vec<BackEnd>, Failure> {
    let start = |contender: &Contender| contender.start(row);
    contenders.iter().map(start).collect()
}

/// Round after round, in reverse order in every second one.
fn take_turns(
    row: &Row,
    contenders: &[Contender],
    settings: &Settings,
    mut turn: impl FnMut(usize) -> Result<Sample, Failure>,
) -> Result<Vec<Vec<Sample>>, Failure> {
    let mut samples: Vec<Vec<Sample>> = contenders.iter().map(|_| Vec::new()).collect();
    for round in 0..settings.rounds_of_turns() {
        let mut order: Vec<usize> = (0..contenders.len()).collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for at in order {
            let sample = turn(at);
            let sample = sample
                .map_err(|error| format!("{}, {}: {error}", row.name, contenders[at].name))?;
            samples[at].push(sample);
        }
    }
    Ok(samples)
}

/// All at the same time, since nothing happens.
fn measure_idle(
    row: &Row,
    contenders: &[Contender],
    settings: &Settings,
) -> Result<Vec<Vec<Sample>>, Failure> {
    let back_ends = start_all(row, contenders)?;
    for back_end in &back_ends {
        fill(back_end, settings)?;
        once(row, back_end, settings)?;
    }
    let samples = idle(row, &back_ends, settings)?;
    Ok(samples.into_iter().map(|sample| vec![sample]).collect())
}
