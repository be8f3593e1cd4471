//! ramblk's data path beside other vhost-user-blk back ends, and beside the machine's own copying.
//!
//! Each measurement is one run of `ramblk bench`, with the driver on processor 0 and the back end
//! on processor 1. A row starts its back ends, measures them in turn, round after round, and
//! compares medians. The program prints a Markdown table and exits with 0 if it could run: it is a
//! report, not a test. `scripts/bench peers` builds and runs it.
//!
//! | words | meaning |
//! |---|---|
//! | `ROW...` | rows whose names begin like this |
//! | `--quick` | fewer and shorter rounds |
//! | `--save` | write the table into `docs/performance.md`, and the plot beside it |
//! | `--ramblk PATH` | measure another build of ramblk |
//! | `--unmoved PEERS RAMBLK` | this program and ramblk, built so that disks move no bytes |
//! | `--where` | print the paths of this program and its ramblk |
//! | `--stock`, `--copies` | modes in which this program starts itself |
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
mod rows;
mod stock;
mod table;
#[path = "../bench/yardstick.rs"]
#[allow(dead_code, reason = "as above")]
mod yardstick;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use copies::Copies;
use generator::SPAN_BYTES;
use measure::Failure;
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

    fn parse(words: &[String]) -> Result<Self, Failure> {
        let mut settings = Self {
            quick: false,
            save: false,
            ramblk: env!("CARGO_BIN_EXE_ramblk").into(),
            unmoved: None,
            wanted: Vec::new(),
        };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let mut path = || {
                let path = words.next().map(PathBuf::from);
                path.ok_or_else(|| format!("{word} needs a path behind it"))
            };
            match word.as_str() {
                "--quick" => settings.quick = true,
                "--save" => settings.save = true,
                "--ramblk" => settings.ramblk = path()?,
                "--unmoved" => {
                    let (peers, ramblk) = (path()?, path()?);
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
        [mode, socket] if mode == "--stock" => stock::serve(Path::new(socket), SPAN_BYTES),
        [mode, words @ ..] if mode == "--copies" => {
            println!("{}", Copies::parse(words)?.here()?);
            Ok(())
        }
        [mode] if mode == "--where" => {
            let own = std::env::current_exe()?;
            println!("{}\n{}", own.display(), env!("CARGO_BIN_EXE_ramblk"));
            Ok(())
        }
        words => report(&Settings::parse(words)?, words),
    }
}

/// Measure everything that was selected, and print each row when it is ready.
fn report(settings: &Settings, words: &[String]) -> Result<(), Failure> {
    let is_wanted = |name: &str| {
        let wanted = &settings.wanted;
        wanted.is_empty() || wanted.iter().any(|word| name.starts_with(word))
    };
    let chosen: Vec<_> = ROWS.iter().filter(|(name, _)| is_wanted(name)).collect();
    if chosen.is_empty() {
        let names: Vec<&str> = ROWS.iter().map(|(name, _)| *name).collect();
        println!("no such row; there are: {}", names.join(", "));
        return Ok(());
    }
    let machine = document::machine(settings, words);
    println!("{machine}\n{}", Line::head());
    let mut lines = Vec::new();
    for (name, kind) in chosen {
        let measured = kind.run(settings);
        let measured = measured.unwrap_or_else(|error| vec![Line::failed(name, &error)]);
        measured.iter().for_each(|line| println!("{line}"));
        lines.extend(measured);
    }
    if settings.save {
        document::save(&machine, &lines)?;
    }
    Ok(())
}
