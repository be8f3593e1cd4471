//! The store's speed and cost, each figure beside what the machine itself can do at that moment.
//!
//! It prints a Markdown table and always exits with 0: it is a report, not a test. `scripts/bench
//! store` builds and runs it. Further words select rows by the beginning of their names; `--quick`
//! takes fewer rounds and smaller disks.
//!
//! Each row runs in its own process. So it begins with a fresh heap, its memory is free before the
//! next row starts, and a row that dies or hangs leaves a line in the table.
//!
//! | file | what it holds |
//! |---|---|
//! | `measure` | orders, passes, alternating rounds, latencies, memory of the process |
//! | `yardstick` | the C library's `memcpy` and `memset` on shared memory files |
//! | `report` | lines of the table |
//! | `copying` | reads and writes beside `memcpy` |
//! | `forking` | forks, under load and by the thousand |
//! | `discarding` | memory returned to the host, and what a neighbour notices |
//! | `space` | metadata, whole-disk requests, opening an arena again |
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::print_stdout,
    reason = "a report is printed, 64-bit sizes fit a usize, and its numbers are small"
)]

mod copying;
mod discarding;
mod forking;
mod measure;
mod report;
mod space;
mod yardstick;

use std::process::{Command, ExitCode, ExitStatus};
use std::time::{Duration, Instant};

use measure::{Failure, Plan};
use report::Line;

/// Lines of the table that are measured together.
struct Row {
    name: &'static str,
    /// Free memory that the row needs, in GiB: on a full run and on a quick one.
    needs_gib: [u64; 2],
    run: fn(Plan) -> Result<Vec<Line>, Failure>,
}

const fn row(
    name: &'static str,
    needs_gib: [u64; 2],
    run: fn(Plan) -> Result<Vec<Line>, Failure>,
) -> Row {
    Row {
        name,
        needs_gib,
        run,
    }
}

const ROWS: [Row; 13] = [
    row("random-small", [2, 2], copying::random_small),
    row("random-large", [19, 5], copying::random_large),
    row("sequential", [2, 2], copying::sequential),
    row("threads", [2, 2], copying::threads),
    row("unmapped", [1, 1], copying::unmapped),
    row("first-write", [1, 1], copying::first_write),
    row("fork", [13, 6], forking::one),
    row("forks", [11, 5], forking::thousands),
    row("discard-sequential", [4, 1], discarding::sequential),
    row("discard-random", [4, 1], discarding::random),
    row("metadata", [3, 2], space::metadata),
    row("whole-range", [1, 1], space::whole_range),
    row("reopen", [11, 5], space::reopen),
];

/// A row that takes longer counts as hung.
const ROW_TIMEOUT: Duration = Duration::from_secs(300);

fn main() -> ExitCode {
    let mut plan = Plan { quick: false };
    let mut inside = false;
    let mut wanted = Vec::new();
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--quick" => plan.quick = true,
            "--inside" => inside = true,
            // Cargo passes this to every benchmark.
            "--bench" => {}
            name => wanted.push(name.to_owned()),
        }
    }
    // The row's own process gets its whole name.
    let means = |row: &Row, word: &String| match inside {
        true => row.name == word,
        false => row.name.starts_with(word),
    };
    let chosen: Vec<&Row> = ROWS
        .iter()
        .filter(|row| wanted.is_empty() || wanted.iter().any(|word| means(row, word)))
        .collect();
    if inside {
        chosen.iter().for_each(|row| run_here(row, plan));
    } else if chosen.is_empty() {
        let names: Vec<&str> = ROWS.iter().map(|row| row.name).collect();
        println!("no such row; there are: {}", names.join(", "));
    } else {
        println!("{}\n\n{}", report::machine(plan), Line::HEAD);
        chosen.iter().for_each(|row| run_apart(row, plan));
    }
    ExitCode::SUCCESS
}

/// Measure a row in this process.
fn run_here(row: &Row, plan: Plan) {
    let needs_gib = row.needs_gib[usize::from(plan.quick)];
    let free_gib = measure::available_bytes() >> 30;
    if free_gib < needs_gib {
        let why = format!("skipped: needs {needs_gib} GiB of free memory, there are {free_gib}");
        println!("{}", Line::note(row.name, &why, None));
        return;
    }
    match (row.run)(plan) {
        Ok(lines) => lines.iter().for_each(|line| println!("{line}")),
        Err(error) => {
            let why = format!("failed: {error}");
            println!("{}", Line::note(row.name, &why, Some(false)));
        }
    }
}

/// Measure a row in a process of its own.
fn run_apart(row: &Row, plan: Plan) {
    let why = match spawn(row, plan) {
        Ok(Some(status)) if status.success() => return,
        Ok(Some(status)) => format!("died: {status}"),
        Ok(None) => format!("hung: ended after {} s", ROW_TIMEOUT.as_secs()),
        Err(error) => format!("could not be started: {error}"),
    };
    println!("{}", Line::note(row.name, &why, Some(false)));
}

/// How the row's process ended; `None` if it was killed after the timeout.
fn spawn(row: &Row, plan: Plan) -> std::io::Result<Option<ExitStatus>> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args([row.name, "--inside"]);
    command.args(plan.quick.then_some("--quick"));
    let mut child = command.spawn()?;
    let start = Instant::now();
    while start.elapsed() < ROW_TIMEOUT {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    child.kill()?;
    child.wait()?;
    Ok(None)
}
