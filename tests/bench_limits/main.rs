//! How precisely limits are kept, by `scripts/bench limits`: a daemon with one disk for each row,
//! and `ramblk bench` as a driver that wants more than the limit.
//!
//! It prints a Markdown table. The bar is 5 % of the limit, either way.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a benchmark that can't be run ends, and its figures go to the terminal"
)]

#[allow(dead_code, reason = "shared with another benchmark")]
mod daemon;

use std::path::Path;
use std::process::{Child, Command, Stdio};

use daemon::{Daemon, RAMBLK};

/// How far from its limit a disk may be, in percent.
const BAR_PERCENT: f64 = 5.0;

/// A limit, and the load on it.
struct Row {
    name: &'static str,
    /// Options of `ramblk create`, or of the group of two disks.
    limits: &'static [&'static str],
    /// The limited rate, in requests or bytes per second.
    limit: f64,
    of_bytes: bool,
    grouped: bool,
    /// Options of `ramblk bench`.
    load: &'static [&'static str],
}

const ROWS: [Row; 10] = [
    row("iops-100", &["--iops", "100"], 100.0, &[]),
    row("iops-1k", &["--iops", "1000"], 1e3, &[]),
    row(
        "iops-1k-sleep",
        &["--iops", "1000"],
        1e3,
        &["--driver", "sleep"],
    ),
    row("iops-10k", &["--iops", "10000"], 1e4, &[]),
    row(
        "iops-10k-4-queues",
        &["--iops", "10000"],
        1e4,
        &["--queues", "4", "--driver", "sleep"],
    ),
    row("iops-100k", &["--iops", "100000"], 1e5, &[]),
    row(
        "write-iops-5k",
        &["--write-iops", "5000"],
        5e3,
        &["--op", "write"],
    ),
    Row {
        of_bytes: true,
        ..row("10M/s", &["--bps", "10M"], 10_485_760.0, &["--op", "mixed"])
    },
    Row {
        of_bytes: true,
        ..row(
            "1G/s",
            &["--bps", "1G"],
            1_073_741_824.0,
            &["--block-size", "64K"],
        )
    },
    Row {
        grouped: true,
        ..row(
            "group-of-2-iops-10k",
            &["--iops", "10000"],
            1e4,
            &["--driver", "sleep"],
        )
    },
];

const fn row(
    name: &'static str,
    limits: &'static [&'static str],
    limit: f64,
    load: &'static [&'static str],
) -> Row {
    Row {
        name,
        limits,
        limit,
        of_bytes: false,
        grouped: false,
        load,
    }
}

fn load(socket: &Path, seconds: &str, options: &[&str]) -> Child {
    Command::new(RAMBLK)
        .arg("bench")
        .arg(socket)
        .args(["--seconds", seconds, "--warm-up", "1", "-o", "json"])
        .args(options)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Requests or bytes per second of all loads together.
fn rate(loads: Vec<Child>, of_bytes: bool) -> f64 {
    let rates = loads.into_iter().map(|load| {
        let output = load.wait_with_output().unwrap();
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(report["errors"], 0, "{report}");
        let field = if of_bytes {
            "bandwidth_bytes_per_s"
        } else {
            "iops"
        };
        report[field].as_f64().unwrap()
    });
    rates.sum()
}

fn measure(row: &Row, seconds: &str) -> f64 {
    let daemon = Daemon::start();
    let names: &[&str] = if row.grouped { &["a", "b"] } else { &["a"] };
    if row.grouped {
        daemon.say(&[&["group", "create", "both"], row.limits].concat());
    }
    let limits: &[&str] = if row.grouped {
        &["--group", "both"]
    } else {
        row.limits
    };
    let sockets: Vec<_> = names
        .iter()
        .map(|name| daemon.create(name, limits))
        .collect();
    let loads = sockets.iter().map(|socket| load(socket, seconds, row.load));
    rate(loads.collect(), row.of_bytes)
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let seconds = if words.iter().any(|word| word == "--quick") {
        "2"
    } else {
        "6"
    };
    let wanted: Vec<&String> = words
        .iter()
        .filter(|word| !word.starts_with("--"))
        .collect();
    println!("| row | limit per second | measured | of the limit | within {BAR_PERCENT} % |");
    println!("|---|---|---|---|---|");
    for row in &ROWS {
        if !wanted.is_empty()
            && !wanted
                .iter()
                .any(|name| row.name.starts_with(name.as_str()))
        {
            continue;
        }
        let rate = measure(row, seconds);
        let percent = rate / row.limit * 100.0;
        let met = if (percent - 100.0).abs() <= BAR_PERCENT {
            "yes"
        } else {
            "no"
        };
        println!(
            "| {} | {:.0} | {rate:.0} | {percent:.1} % | {met} |",
            row.name, row.limit
        );
    }
}
