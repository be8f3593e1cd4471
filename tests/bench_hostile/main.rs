//! What an honest front end notices of a hostile one: its longest stall, its p99, and the share of
//! throughput it keeps.
//!
//! For each attack of `tests/hostile/attacks.rs` the built program serves a disk of 1 TiB to an
//! honest front end. It writes and reads back its own part, one request at a time, on two queues in
//! turn: first alone, then beside the attack. The program prints a Markdown table and always exits
//! with 0: it is a report, not a test. `scripts/bench hostile` builds and runs it. Further words
//! select rows by the beginning of their names; `--quick` takes one second per row instead of five.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::print_stdout,
    reason = "a report is printed, what goes wrong is a line in it, and its numbers are small"
)]

#[path = "../hostile/attacks.rs"]
#[allow(
    dead_code,
    reason = "shared with the tests, of which not all is wanted here"
)]
mod attacks;
#[path = "../it/driver/mod.rs"]
#[allow(dead_code, reason = "as above")]
mod driver;
#[path = "../it/harness.rs"]
#[allow(dead_code, reason = "as above")]
mod harness;
#[path = "../hostile/honest.rs"]
#[allow(dead_code, reason = "as above")]
mod honest;
#[path = "../hostile/victim.rs"]
#[allow(dead_code, reason = "as above")]
mod victim;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use attacks::{ATTACKS, Attack};
use harness::Ramblk;
use honest::Honest;
use victim::attack_for;

/// No honest front end may wait longer for a hostile one.
const BAR: Duration = Duration::from_millis(100);

fn main() -> ExitCode {
    let mut time = Duration::from_secs(5);
    let mut wanted = Vec::new();
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--quick" => time = Duration::from_secs(1),
            // Cargo passes this to every benchmark.
            "--bench" => {}
            name => wanted.push(name.to_owned()),
        }
    }
    let chosen: Vec<&Attack> = ATTACKS
        .iter()
        .filter(|attack| wanted.is_empty() || wanted.iter().any(|w| attack.name.starts_with(w)))
        .collect();
    if chosen.is_empty() {
        let names: Vec<&str> = ATTACKS.iter().map(|attack| attack.name).collect();
        println!("no such row; there are: {}", names.join(", "));
        return ExitCode::SUCCESS;
    }
    println!(
        "{} cores; {} s alone and {} s beside each attack\n",
        std::thread::available_parallelism().map_or(1, usize::from),
        time.as_secs(),
        time.as_secs()
    );
    println!(
        "| attack | longest stall, ms | p99, ms | longest alone, ms | p99 alone, ms | \
         throughput left | bar | met |\n|---|---|---|---|---|---|---|---|"
    );
    for attack in chosen {
        let row = catch_unwind(AssertUnwindSafe(|| measure(attack, time)));
        let name = attack.name;
        match row {
            Ok(row) => println!("| {name} | {row} |"),
            Err(panic) => println!("| {name} | failed: {} | | | | | | no |", said(&*panic)),
        }
    }
    ExitCode::SUCCESS
}

/// The message of a panic.
fn said(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    let text = text.or_else(|| panic.downcast_ref::<&str>().map(|&text| text.to_owned()));
    text.unwrap_or_default()
}

/// The cells of a row after its name.
fn measure(attack: &Attack, time: Duration) -> String {
    let ramblk = Ramblk::sized("1T", &["--share", "rw", "--memory-limit", "512M"]);
    let honest = Honest::start(ramblk.socket(), attack.parts, Duration::ZERO);
    std::thread::sleep(time / 10);
    let (first, start) = (honest.requests(), Instant::now());
    std::thread::sleep(time);
    let (second, alone) = (honest.requests(), start.elapsed());
    let start = Instant::now();
    attack_for(attack, ramblk.socket(), time);
    // A front end that is stalled now must recover, too.
    honest.gets_on(attack.name);
    let (third, beside) = (honest.requests(), start.elapsed());
    let record = honest.finish();
    let at = |index: u64| index as usize;
    let quiet = sorted(&record.latencies[at(first)..at(second)]);
    let loud = sorted(&record.latencies[at(second)..at(third)]);
    let rate = |count: u64, time: Duration| count as f64 / time.as_secs_f64();
    let left = rate(third - second, beside) / rate(second - first, alone);
    let longest = loud[loud.len() - 1];
    format!(
        "{:.1} | {:.2} | {:.1} | {:.2} | {:.0} % | <= {} ms | {}",
        millis(longest),
        millis(p99(&loud)),
        millis(quiet[quiet.len() - 1]),
        millis(p99(&quiet)),
        100.0 * left,
        BAR.as_millis(),
        if longest <= BAR { "yes" } else { "no" }
    )
}

fn sorted(latencies: &[Duration]) -> Vec<Duration> {
    let mut sorted = latencies.to_vec();
    sorted.sort_unstable();
    sorted
}

fn p99(sorted: &[Duration]) -> Duration {
    sorted[sorted.len() * 99 / 100]
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
