//! What a disk under load notices of the API being hammered: its p99 with 64 connections that list,
//! scrape, create, fork and destroy without a pause, divided by its p99 without them.
//!
//! The built program serves; `ramblk bench` makes the load. Quiet and loud rounds alternate, and
//! medians are compared. The process that hammers yields to every other one (SCHED_IDLE), so that
//! its own processor time does not count against the daemon.
//!
//! There are two places. *With a processor to spare*, the driver and the daemon's one worker are
//! pinned to processor 0, and the client that hammers to processor 1; the daemon's other threads
//! may run on both. *With none*, nothing is pinned, and driver and worker may use both processors.
//! What is forked is another disk, but in the rows that say so: each write to a page that a fork
//! shares takes a new page, however calm the API is, so these have no bar.
//! `--ramblk PATH` measures another build, and words without dashes choose loads whose names
//! contain them.
//!
//! It also measures what a client that creates small disks notices of the destruction of a large
//! one: the longest create while a disk whose pages are spread over 64 GiB is destroyed
//! (`--destroy` measures only that). It prints a Markdown table and exits with 0: it is a report,
//! not a test. `scripts/bench control` builds and runs it; `--quick` takes fewer and shorter
//! rounds.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::cast_precision_loss,
    clippy::print_stdout,
    reason = "a report is printed, what goes wrong ends it, and its numbers are small"
)]

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// Number of connections that hammer.
const CONNECTIONS: usize = 64;
/// Where driver and daemon run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Driver and worker on processor 0, so that processor 1 is left.
    Spare,
    /// Anywhere.
    None,
}

impl Place {
    /// The words in the table, and how many times a quiet p99 a loud one may be.
    fn name_and_bar(self) -> (&'static str, f64) {
        match self {
            Self::Spare => ("a processor to spare", 1.25),
            Self::None => ("none to spare", 3.0),
        }
    }

    fn daemon_options(self) -> &'static [&'static str] {
        match self {
            Self::Spare => &["--pin", "0"],
            Self::None => &[],
        }
    }
}

const SLEEPS: &str = "--depth 1 --driver sleep";
const PACED: &str = "--depth 1 --driver sleep --rate 5000";

/// The disk under load, and one without any.
const LOADED: &str = "loaded";
const OTHER: &str = "other";

/// Loads of a disk: a name, what the clients fork, and options of `ramblk bench`. A driver that
/// polls takes a whole processor, so that none is to spare.
const LOADS: [(&str, Place, &str, &str); 8] = [
    ("QD1, sleeps", Place::Spare, OTHER, SLEEPS),
    ("QD1, 5000/s, sleeps", Place::Spare, OTHER, PACED),
    ("QD1, sleeps", Place::None, OTHER, SLEEPS),
    ("QD1, 5000/s, sleeps", Place::None, OTHER, PACED),
    ("QD1, polls", Place::None, OTHER, "--depth 1"),
    (
        "QD4, 20000/s, polls",
        Place::None,
        OTHER,
        "--depth 4 --rate 20000",
    ),
    ("QD1, sleeps, forked", Place::Spare, LOADED, SLEEPS),
    ("QD1, sleeps, forked", Place::None, LOADED, SLEEPS),
];

/// The option that makes this program the hammering client.
const HAMMER: &str = "--hammer";

fn main() {
    let words: Vec<String> = std::env::args().collect();
    if let [_, first, api, forked] = &words[..]
        && first == HAMMER
    {
        return crowd(Path::new(api), forked);
    }
    let words = Words::parse(std::env::args().skip(1));
    let (rounds, seconds) = if words.quick { (3, "1") } else { (7, "2") };
    if !words.destroy {
        hammer_all(&words, rounds, seconds);
    }
    if words.destroy || words.wanted.is_empty() {
        destroy_large(&words.ramblk, rounds);
    }
}

/// What the user wants.
struct Words {
    quick: bool,
    destroy: bool,
    ramblk: PathBuf,
    wanted: Vec<String>,
}

impl Words {
    fn parse(mut words: impl Iterator<Item = String>) -> Self {
        let mut parsed = Self {
            quick: false,
            destroy: false,
            ramblk: env!("CARGO_BIN_EXE_ramblk").into(),
            wanted: Vec::new(),
        };
        while let Some(word) = words.next() {
            match word.as_str() {
                "--quick" => parsed.quick = true,
                "--destroy" => parsed.destroy = true,
                "--ramblk" => parsed.ramblk = words.next().expect("a path").into(),
                // Cargo passes it to every benchmark.
                "--bench" => {}
                _ => parsed.wanted.push(word),
            }
        }
        parsed
    }
}

/// Measure the load of one disk while others are created and destroyed.
fn hammer_all(words: &Words, rounds: usize, seconds: &str) {
    println!(
        "{} processors; {rounds} rounds of {seconds} s each way, {CONNECTIONS} connections; \
         medians, and the lowest and highest round\n",
        thread::available_parallelism().map_or(1, usize::from)
    );
    println!(
        "| load | place | p99 quiet, µs | p99 hammered, µs | ratio | API requests/s | bar | met |\n\
         |---|---|---|---|---|---|---|---|"
    );
    for (name, place, forked, options) in LOADS {
        let (where_it_runs, bar) = place.name_and_bar();
        let is_wanted = |word: &String| format!("{name}, {where_it_runs}").contains(word);
        if !words.wanted.is_empty() && !words.wanted.iter().any(is_wanted) {
            continue;
        }
        let daemon = Daemon::start(&words.ramblk, "1G", place.daemon_options());
        daemon.make(LOADED, 256 << 20);
        daemon.make(OTHER, 256 << 20);
        let (mut quiet, mut loud, mut rates) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..rounds {
            quiet.push(daemon.p99(place, options, seconds));
            let (p99, rate) =
                daemon.hammered(place, forked, || daemon.p99(place, options, seconds));
            loud.push(p99);
            rates.push(rate);
        }
        let ratio = median(loud.clone()) / median(quiet.clone());
        let bar = match (forked, ratio <= bar) {
            (LOADED, _) => String::from("| "),
            (_, true) => format!("<= {bar} | yes"),
            (_, false) => format!("<= {bar} | no"),
        };
        println!(
            "| {name} | {where_it_runs} | {} | {} | {ratio:.2} | {:.0} | {bar} |",
            spread_us(&quiet),
            spread_us(&loud),
            median(rates),
        );
    }
}

/// The median, and the lowest and highest.
fn spread_us(values_ns: &[f64]) -> String {
    let low = values_ns.iter().copied().fold(f64::INFINITY, f64::min);
    let high = values_ns.iter().copied().fold(0.0, f64::max);
    let [middle, low, high] = [median(values_ns.to_vec()), low, high].map(|ns| ns / 1e3);
    format!("{middle:.1} ({low:.1} to {high:.1})")
}

/// A command that runs on one processor only, if there is one to spare.
fn command(program: &Path, place: Place, cpu: usize) -> Command {
    if place == Place::None {
        return Command::new(program);
    }
    let mut command = Command::new("taskset");
    command.args(["-c", &cpu.to_string()]).arg(program);
    command
}

/// Leaves of the large disk, 2 MiB each: 64 GiB.
const LEAVES: u64 = 32 << 10;
/// Pages in each leaf: 2 GiB in all, and 128 MiB of nodes.
const PAGES: u64 = 16;
/// No create may take longer while the disk is destroyed.
const LONGEST: Duration = Duration::from_millis(10);

/// Measure creates during the destruction of a large disk.
fn destroy_large(ramblk: &Path, rounds: usize) {
    let daemon = Daemon::start(ramblk, "4G", &[]);
    let mut client = Client::connect(&daemon.api());
    let (mut quiet, mut beside, mut ends) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        daemon.make("large", LEAVES << 21);
        client.spread("/v1/disks/large/data");
        for _ in 0..200 {
            quiet.push(client.create());
        }
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            let ending = scope.spawn(|| {
                let began = Instant::now();
                let mut client = Client::connect(&daemon.api());
                assert_eq!(client.ask("DELETE", "/v1/disks/large", ""), 204);
                over.store(true, Ordering::Release);
                began.elapsed()
            });
            while !over.load(Ordering::Acquire) {
                beside.push(client.create());
            }
            ends.push(ending.join().unwrap().as_secs_f64());
        });
    }
    let longest = |of: &[Duration]| of.iter().max().unwrap().as_secs_f64() * 1e3;
    let met = beside.iter().all(|&took| took < LONGEST);
    println!(
        "\n| what | creates | longest create quiet, ms | longest create beside it, ms \
         | bar | met |\n\
         |---|---|---|---|---|---|\n\
         | the end of a disk over 64 GiB, {} pages in each 2 MiB, {:.0} ms | {} | {:.2} | {:.2} | \
         < {} | {} |",
        PAGES,
        median(ends) * 1e3,
        beside.len(),
        longest(&quiet),
        longest(&beside),
        LONGEST.as_millis(),
        if met { "yes" } else { "no" }
    );
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// A running `ramblk serve`, killed when dropped.
struct Daemon {
    child: Child,
    folder: TempDir,
}

impl Daemon {
    fn start(ramblk: &Path, limit: &str, options: &[&str]) -> Self {
        let folder = TempDir::new().unwrap();
        let child = Command::new(ramblk)
            .args(["serve", "--memory-limit", limit, "--run-dir"])
            .arg(folder.path())
            .args(options)
            .env("RAMBLK_LOG", "warn")
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let daemon = Self { child, folder };
        let deadline = Instant::now() + Duration::from_secs(10);
        while UnixStream::connect(daemon.api()).is_err() {
            assert!(Instant::now() < deadline, "the daemon does not listen");
            thread::sleep(Duration::from_millis(10));
        }
        daemon
    }

    fn api(&self) -> PathBuf {
        self.folder.path().join("api.sock")
    }

    fn make(&self, name: &str, size_bytes: u64) {
        let mut client = Client::connect(&self.api());
        let body = format!("{{\"size_bytes\": {size_bytes}}}");
        assert_eq!(client.ask("PUT", &format!("/v1/disks/{name}"), &body), 201);
    }

    /// In nanoseconds.
    fn p99(&self, place: Place, options: &str, seconds: &str) -> f64 {
        let output = command(Path::new(env!("CARGO_BIN_EXE_ramblk")), place, 0)
            .arg("bench")
            .arg(self.folder.path().join(LOADED).join("vhost.sock"))
            .args(["--op", "mixed", "--seconds", seconds, "-o", "json"])
            .args(options.split_whitespace())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        report["latency_ns"]["p99"].as_f64().unwrap()
    }

    /// The result of `measure` while the API is hammered and disk `forked` is forked, and the
    /// requests per second of the hammering.
    fn hammered(&self, place: Place, forked: &str, measure: impl FnOnce() -> f64) -> (f64, f64) {
        // The client yields to everything else: only what the daemon does about its requests is
        // measured.
        let mut crowd = command(Path::new("chrt"), place, 1)
            .args(["--idle", "0"])
            .arg(std::env::current_exe().unwrap())
            .arg(HAMMER)
            .arg(self.api())
            .arg(forked)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let began = Instant::now();
        let measured = measure();
        drop(crowd.stdin.take());
        let took = began.elapsed().as_secs_f64();
        let mut said = String::new();
        let mut stdout = crowd.stdout.take().unwrap();
        stdout.read_to_string(&mut said).unwrap();
        crowd.wait().unwrap();
        (measured, said.trim().parse::<f64>().unwrap() / took)
    }
}

/// The client: hammers until its input ends, and prints how many requests it made.
fn crowd(api: &Path, forked: &str) {
    let (stop, asked) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        for number in 0..CONNECTIONS {
            let (stop, asked) = (&stop, &asked);
            scope.spawn(move || hammer(api, (number, forked), stop, asked));
        }
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        println!("{}", asked.load(Ordering::Relaxed));
        stop.store(true, Ordering::Relaxed);
    });
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Every operation that changes something, and the reads that take longest.
fn hammer(api: &Path, (number, forked): (usize, &str), stop: &AtomicBool, asked: &AtomicU64) {
    let mut client = Client::connect(api);
    let forks = format!("/v1/disks/{forked}/forks");
    let disk = format!("/v1/disks/hammer-{number}");
    let fork = format!("/v1/disks/fork-{number}");
    let forking = format!("{{\"name\": \"fork-{number}\"}}");
    while !stop.load(Ordering::Relaxed) {
        let answers = [
            client.ask("PUT", &disk, "{\"size_bytes\": 1073741824}"),
            client.ask("GET", "/v1/disks", ""),
            client.ask("POST", &forks, &forking),
            client.ask("GET", "/metrics", ""),
            client.ask("DELETE", &fork, ""),
            client.ask("DELETE", &disk, ""),
        ];
        assert_eq!(answers, [201, 200, 201, 200, 204, 204]);
        asked.fetch_add(answers.len() as u64, Ordering::Relaxed);
    }
}

/// A connection to the API.
struct Client(BufReader<UnixStream>);

impl Client {
    fn connect(api: &Path) -> Self {
        Self(BufReader::new(UnixStream::connect(api).unwrap()))
    }

    /// The time to create a disk, which is then destroyed.
    fn create(&mut self) -> Duration {
        let began = Instant::now();
        let made = self.ask("PUT", "/v1/disks/small", "{\"size_bytes\": 1048576}");
        let took = began.elapsed();
        assert_eq!(
            (made, self.ask("DELETE", "/v1/disks/small", "")),
            (201, 204)
        );
        took
    }

    /// Write a sector in each of the first `PAGES` pages of each leaf of a disk.
    fn spread(&mut self, path: &str) {
        let frames = LEAVES * PAGES;
        let length = frames * (16 + 512) + 16;
        let head = format!(
            "PUT {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: \
             application/vnd.ramblk.extents\r\ncontent-length: {length}\r\n\r\n"
        );
        let mut to = std::io::BufWriter::with_capacity(1 << 20, self.0.get_mut());
        to.write_all(head.as_bytes()).unwrap();
        for frame in 0..frames {
            let start = ((frame / PAGES) << 21) + ((frame % PAGES) << 12);
            to.write_all(&start.to_le_bytes()).unwrap();
            to.write_all(&512_u64.to_le_bytes()).unwrap();
            to.write_all(&[7; 512]).unwrap();
        }
        to.write_all(&(LEAVES << 21).to_le_bytes()).unwrap();
        to.write_all(&0_u64.to_le_bytes()).unwrap();
        to.flush().unwrap();
        drop(to);
        assert_eq!(self.answer(), 204);
    }

    /// Return the status of the answer; its body is read and dropped.
    fn ask(&mut self, method: &str, path: &str, body: &str) -> u16 {
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
             content-length: {length}\r\n\r\n{body}"
        );
        self.0.get_mut().write_all(request.as_bytes()).unwrap();
        self.answer()
    }

    fn answer(&mut self) -> u16 {
        let (mut status, mut length) = (0, 0);
        loop {
            let mut line = String::new();
            self.0.read_line(&mut line).unwrap();
            let line = line.trim_end();
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length: ") {
                length = value.parse().unwrap();
            } else if line.starts_with("HTTP/") {
                status = line.split(' ').nth(1).unwrap().parse().unwrap();
            }
        }
        let mut answer = (&mut self.0).take(length);
        std::io::copy(&mut answer, &mut std::io::sink()).unwrap();
        status
    }
}
