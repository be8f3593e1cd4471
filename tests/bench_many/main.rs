//! Ten thousand disks in one daemon, by `scripts/bench many`: the time to create, list and destroy
//! them over the API, and what they cost while unused; and a thousand forks by one request.
//!
//! It prints a Markdown table with the bar of each row.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a benchmark that can't be run ends, and its figures go to the terminal"
)]

#[allow(dead_code, reason = "shared with another benchmark")]
#[path = "../bench_limits/daemon.rs"]
mod daemon;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use daemon::Daemon;

const DISKS: usize = 10_000;
/// How many forks one request makes.
const FORKS: usize = 1000;
/// How long an idle daemon is measured.
const IDLE: Duration = Duration::from_secs(5);

/// A persistent connection.
struct Api(BufReader<UnixStream>);

impl Api {
    /// Return the status and the length of the body.
    fn ask(&mut self, method: &str, path: &str, body: &str) -> (u16, usize) {
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: ramblk\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        );
        self.0.get_mut().write_all(head.as_bytes()).unwrap();
        let (mut status, mut length) = (0, 0);
        loop {
            let mut line = String::new();
            self.0.read_line(&mut line).unwrap();
            let line = line.trim_end().to_ascii_lowercase();
            if let Some(rest) = line.strip_prefix("http/1.1 ") {
                status = rest[..3].parse().unwrap();
            } else if let Some(rest) = line.strip_prefix("content-length: ") {
                length = rest.parse().unwrap();
            } else if line.is_empty() {
                break;
            }
        }
        self.0.read_exact(&mut vec![0; length]).unwrap();
        (status, length)
    }

    fn all(&mut self, method: &str, body: &str, wanted: u16) -> f64 {
        let started = Instant::now();
        for number in 0..DISKS {
            let (status, _) = self.ask(method, &format!("/v1/disks/disk-{number}"), body);
            assert_eq!(status, wanted, "{method} disk-{number}");
        }
        started.elapsed().as_secs_f64()
    }

    fn timed(&mut self, path: &str) -> (f64, usize) {
        let started = Instant::now();
        let (status, length) = self.ask("GET", path, "");
        assert_eq!(status, 200, "{path}");
        (started.elapsed().as_secs_f64() * 1e3, length)
    }
}

/// A figure from the process's status file.
fn status(daemon: &Daemon, field: &str) -> f64 {
    let text = fs::read_to_string(daemon.proc("status")).unwrap();
    let line = text.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Processor time used by the daemon, in ticks.
fn ticks(daemon: &Daemon) -> u64 {
    let text = fs::read_to_string(daemon.proc("stat")).unwrap();
    let mut fields = text.rsplit(')').next().unwrap().split_whitespace().skip(11);
    let mut next = || fields.next().unwrap().parse::<u64>().unwrap();
    next() + next()
}

fn row(what: &str, figure: f64, unit: &str, bar: f64) {
    let met = if figure <= bar { "yes" } else { "no" };
    println!("| {what} | {figure:.2} {unit} | {bar} {unit} | {met} |");
}

/// Fork a disk in numbers by one request, and destroy the forks again. Beside it the same with a
/// request each.
fn forks(daemon: &Daemon, api: &mut Api) {
    let golden = api.ask("PUT", "/v1/disks/golden", r#"{"size_bytes": 1073741824}"#);
    assert_eq!(golden.0, 201);
    let before = status(daemon, "VmRSS");
    let names: Vec<String> = (0..FORKS).map(|at| format!("\"vm-{at:04}\"")).collect();
    let body = format!(
        r#"{{"sources": [{{"disk": "golden", "names": [{}]}}]}}"#,
        names.join(",")
    );
    for (what, wanted) in [("by one request", 201), ("by the same again", 200)] {
        let started = Instant::now();
        assert_eq!(api.ask("POST", "/v1/forks", &body).0, wanted);
        let ms = started.elapsed().as_secs_f64() * 1e3;
        row(&format!("{FORKS} forks {what}"), ms, "ms", 1000.0);
    }
    let kib = (status(daemon, "VmRSS") - before) / FORKS as f64;
    row("resident memory per fork", kib, "KiB", 64.0);
    let destroy = |api: &mut Api| {
        for at in 0..FORKS {
            let (status, _) = api.ask("DELETE", &format!("/v1/disks/vm-{at:04}"), "");
            assert_eq!(status, 204, "vm-{at:04}");
        }
    };
    destroy(api);
    let started = Instant::now();
    for at in 0..FORKS {
        let body = format!(r#"{{"name": "vm-{at:04}"}}"#);
        assert_eq!(api.ask("POST", "/v1/disks/golden/forks", &body).0, 201);
    }
    let ms = started.elapsed().as_secs_f64() * 1e3;
    println!("| {FORKS} forks, one request each | {ms:.0} ms | - | - |");
    destroy(api);
}

fn main() {
    let daemon = Daemon::start();
    let mut api = Api(BufReader::new(UnixStream::connect(daemon.api()).unwrap()));
    let (resident, threads) = (status(&daemon, "VmRSS"), status(&daemon, "Threads"));
    println!("| {DISKS} disks | figure | at most | met |\n|---|---|---|---|");
    let seconds = api.all("PUT", r#"{"size_bytes": 1073741824}"#, 201);
    row("create all, one request each", seconds, "s", 10.0);
    let (ms, _) = api.timed("/v1/disks");
    row("list", ms, "ms", 100.0);
    let (ms, bytes) = api.timed("/metrics");
    println!("| metrics, {} MiB | {ms:.0} ms | - | - |", bytes >> 20);
    let kib = (status(&daemon, "VmRSS") - resident) / DISKS as f64;
    row("resident memory per disk", kib, "KiB", 64.0);
    let more = status(&daemon, "Threads") - threads;
    row("threads more than without disks", more.max(0.0), "", 2.0);
    let before = ticks(&daemon);
    std::thread::sleep(IDLE);
    let used = (ticks(&daemon) - before) as f64 * 10.0;
    row("processor time while idle for 5 s", used, "ms", 0.0);
    let seconds = api.all("DELETE", "", 204);
    println!("| destroy all | {seconds:.2} s | - | - |");
    forks(&daemon, &mut api);
}
