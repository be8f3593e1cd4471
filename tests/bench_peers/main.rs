//! ramblk's data path beside other vhost-user-blk back ends, and beside the machine's own copying.
//!
//! Each measurement is one run of `ramblk bench`. A row starts its back ends, measures them in
//! turn, round after round, and compares medians. The program prints Markdown tables and exits
//! with 0 if it could run: it is a report, not a test. `scripts/bench peers` builds and runs it.
//!
//! There are rows with bars (`rows`), with the driver on processor 0 and the back end on
//! processor 1, and rows of back ends as users start them (`rounds`).
//!
//! | words | meaning |
//! |---|---|
//! | `ROW...` | rows with this name, or whose names begin like this; a `*` stands for anything |
//! | `--list` | print the names of all rows |
//! | `--quick` | fewer and shorter rounds |
//! | `--save` | write the table of rows with bars into `docs/performance.md`, and the plot |
//! | `--ramblk '[NAME=]PATH [OPTION...]'` | compare another build too; only `rounds`, any number |
//! | `--other '[NAME=]PATH [WORD...]'` | compare another back end: see `scripts/bench` |
//! | `--peers LIST` | which back ends take part in `rounds` |
//! | `--rounds N`, `--seconds S` | how long `rounds` measure |
//! | `--unmoved PEERS RAMBLK` | this program and ramblk, built so that disks move no bytes |
//! | `--where` | print the paths of this program and its ramblk |
//! | `--stock`, `--copies`, `--spin` | modes in which this program starts itself |
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a report is printed, 64-bit sizes fit a usize, and its numbers are small"
)]

mod alone;
mod back_end;
mod compare;
mod copies;
mod document;
mod generator;
#[path = "../bench/measure.rs"]
#[allow(
    dead_code,
    reason = "shared with the store's benchmark, which needs more"
)]
mod measure;
mod place;
mod plot;
#[path = "../bench/report.rs"]
#[allow(dead_code, reason = "as above")]
mod report;
mod rounds;
mod rows;
mod stock;
mod table;
#[path = "../bench/yardstick.rs"]
#[allow(dead_code, reason = "as above")]
mod yardstick;

use std::path::PathBuf;
use std::process::ExitCode;

use copies::Copies;
use generator::SPAN_BYTES;
use measure::Failure;
use rounds::Row;
use rows::ROWS;
use table::Line;

/// What to measure, and for how long.
#[derive(Debug)]
pub(crate) struct Settings {
    quick: bool,
    save: bool,
    ramblk: PathBuf,
    unmoved: Option<Unmoved>,
    wanted: Vec<String>,
    list: bool,
    /// Whether to print where the programs are.
    place: bool,
    /// Other builds of ramblk.
    builds: Vec<rounds::Build>,
    /// Other back ends.
    others: Vec<rounds::Build>,
    /// Which back ends take turns; `None` for the usual ones.
    peers: Option<Vec<rounds::Kind>>,
    rounds_of_turns: Option<usize>,
    seconds_of_turns: Option<f64>,
}

/// Programs that move no bytes.
#[derive(Debug)]
pub(crate) struct Unmoved {
    peers: PathBuf,
    ramblk: PathBuf,
}

impl Settings {
    fn rounds(&self) -> usize {
        if self.quick { 3 } else { 5 }
    }

    fn seconds(&self) -> f64 {
        if self.quick { 0.5 } else { 2.0 }
    }

    /// Rounds in which back ends take turns.
    fn rounds_of_turns(&self) -> usize {
        self.rounds_of_turns
            .unwrap_or(if self.quick { 3 } else { 9 })
    }

    /// The time that each of those is measured.
    fn seconds_of_turns(&self) -> f64 {
        self.seconds_of_turns.unwrap_or(0.4)
    }

    /// Whether to measure the row with this name. A name that is given whole is that row alone,
    /// even if other names begin like it.
    fn wants(&self, name: &str, is_name: impl Fn(&str) -> bool) -> bool {
        self.wanted.is_empty()
            || self.wanted.iter().any(|word| match word.split_once('*') {
                Some((start, end)) => {
                    name.len() >= start.len() + end.len()
                        && name.starts_with(start)
                        && name.ends_with(end)
                }
                None if is_name(word) => name == word,
                None => name.starts_with(word),
            })
    }

    fn parse(words: &[String]) -> Result<Self, Failure> {
        let mut settings = Self {
            quick: false,
            save: false,
            ramblk: env!("CARGO_BIN_EXE_ramblk").into(),
            unmoved: None,
            wanted: Vec::new(),
            list: false,
            place: false,
            builds: Vec::new(),
            others: Vec::new(),
            peers: None,
            rounds_of_turns: None,
            seconds_of_turns: None,
        };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let mut next = || {
                let next = words.next();
                next.ok_or_else(|| format!("{word} needs a word behind it"))
            };
            match word.as_str() {
                "--quick" => settings.quick = true,
                "--save" => settings.save = true,
                "--list" => settings.list = true,
                "--where" => settings.place = true,
                "--ramblk" => settings.builds.push(rounds::Build::parse(next()?)?),
                "--other" => settings.others.push(rounds::Build::parse(next()?)?),
                "--peers" => settings.peers = Some(rounds::Kind::parse_list(next()?)?),
                "--rounds" => settings.rounds_of_turns = Some(next()?.parse()?),
                "--seconds" => settings.seconds_of_turns = Some(next()?.parse()?),
                "--unmoved" => {
                    let (peers, ramblk) = (next()?.into(), next()?.into());
                    settings.unmoved = Some(Unmoved { peers, ramblk });
                }
                name if !name.starts_with('-') => settings.wanted.push(name.to_owned()),
                flag => return Err(format!("there is no {flag}").into()),
            }
        }
        Ok(settings)
    }
}

fn main() -> ExitCode {
    // Cargo passes `--bench` to every benchmark.
    let words = std::env::args().skip(1).filter(|word| word != "--bench");
    let words: Vec<String> = words.collect();
    match run(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("peers: error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(words: &[String]) -> Result<(), Failure> {
    match words {
        [mode, sockets @ ..] if mode == "--stock" => stock::serve(sockets, SPAN_BYTES),
        [mode] if mode == rounds::SPIN => {
            rounds::spin();
            Ok(())
        }
        [mode, words @ ..] if mode == "--copies" => {
            println!("{}", Copies::parse(words)?.here()?);
            Ok(())
        }
        words => report(&Settings::parse(words)?, words),
    }
}

/// Measure everything that was selected, and print each row when it is ready.
fn report(settings: &Settings, words: &[String]) -> Result<(), Failure> {
    let turns = rounds::rows();
    let names: Vec<&str> = ROWS
        .iter()
        .map(|(name, _)| *name)
        .chain(turns.iter().map(|row| row.name.as_str()))
        .collect();
    let is_wanted = |name: &str| settings.wants(name, |word| names.contains(&word));
    let barred: Vec<_> = ROWS.iter().filter(|(name, _)| is_wanted(name)).collect();
    let turns: Vec<&Row> = turns.iter().filter(|row| is_wanted(&row.name)).collect();
    if settings.place {
        let own = std::env::current_exe()?;
        println!("{}\n{}", own.display(), settings.ramblk.display());
        return Ok(());
    }
    if settings.list {
        barred.iter().for_each(|(name, _)| println!("{name}"));
        for row in turns {
            println!("{}: {}", row.name, row.what());
        }
        return Ok(());
    }
    if barred.is_empty() && turns.is_empty() {
        return Err(format!("no such row; there are: {}", names.join(", ")).into());
    }
    let machine = document::machine(settings, words);
    print!("{machine}");
    let mut lines = Vec::new();
    let how = document::how(settings);
    if !barred.is_empty() {
        println!("{how}\n{}", Line::head());
    }
    for (name, kind) in barred {
        let measured = kind.run(settings);
        let measured = measured.unwrap_or_else(|error| vec![Line::failed(name, &error)]);
        measured.iter().for_each(|line| println!("{line}"));
        lines.extend(measured);
    }
    if settings.save {
        document::save(&(machine + &how), &lines)?;
    }
    take_turns(&turns, settings)
}

/// Measure the rows in which back ends take turns.
fn take_turns(rows: &[&Row], settings: &Settings) -> Result<(), Failure> {
    if rows.is_empty() {
        return Ok(());
    }
    println!("{}", rounds::phase()?);
    let mut all = Vec::new();
    for row in rows {
        let rounds = rounds::measure(row, settings)?;
        println!("{rounds}");
        all.push(rounds);
    }
    if all.len() > 1 {
        println!("{}", rounds::summary(&all, settings));
        println!("{}", rounds::phase()?);
    }
    Ok(())
}
