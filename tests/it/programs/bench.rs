//! `ramblk bench` as its users see it: against ramblk, and against QEMU's back end, which can be
//! told to lose everything.

use std::fs;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use serde_json::Value;
use tempfile::TempDir;

use crate::harness::{Ramblk, eventually};

/// 0.1 s on 16 MiB, unless `words` say otherwise.
fn short(words: &str) -> String {
    let mut all = words.to_owned();
    for (option, value) in [
        ("--seconds", "0.1"),
        ("--warm-up", "0.02"),
        ("--span", "16M"),
    ] {
        if !words.contains(option) {
            all += &format!(" {option} {value}");
        }
    }
    all
}

fn bench(socket: &Path, words: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ramblk"))
        .arg("bench")
        .arg(socket)
        .args(words.split_whitespace())
        .output()
        .unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// A run that must succeed. Returns its results.
fn results(socket: &Path, words: &str) -> Value {
    let words = short(words) + " -o json";
    let output = bench(socket, &words);
    assert!(output.status.success(), "{words}: {}", stderr(&output));
    assert!(output.stderr.is_empty(), "{words}: {}", stderr(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn number(results: &Value, key: &str) -> f64 {
    results.pointer(key).and_then(Value::as_f64).unwrap()
}

/// A run that must fail with this exit code. Returns its one line.
fn failure(socket: &Path, words: &str, code: i32) -> String {
    let output = bench(socket, words);
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(code), "{words}: {text}");
    assert!(output.stdout.is_empty(), "{words}");
    assert_eq!(text.lines().count(), 1, "{words}: {text}");
    text
}

#[test]
fn each_operation_is_made_and_counted() {
    let ramblk = Ramblk::run(&[]);
    for op in ["read", "write", "mixed", "discard", "write-zeroes", "flush"] {
        let found = results(ramblk.socket(), &format!("--op {op}"));
        assert_eq!(found["op"], op);
        assert!(number(&found, "/requests") > 30.0, "{op}: {found}");
        assert_eq!(found["errors"], 0);
        let rate = number(&found, "/requests") / number(&found, "/seconds");
        let ratio = number(&found, "/iops") / rate;
        assert!((0.99..1.01).contains(&ratio), "{op}: {found}");
        let order = ["min", "p50", "p90", "p99", "p99_9", "max"];
        let latency = order.map(|key| number(&found, &format!("/latency_ns/{key}")));
        assert!(latency.is_sorted() && latency[0] > 0.0, "{op}: {found}");
    }
}

#[test]
fn results_have_their_units_in_their_names() {
    let ramblk = Ramblk::run(&[]);
    let found = results(ramblk.socket(), "--op mixed --queues 2 --seed 7");
    for key in [
        "socket",
        "op",
        "read_percent",
        "pattern",
        "block_bytes",
        "depth",
        "queues",
        "driver",
        "span_bytes",
        "seed",
        "seconds",
        "requests",
        "errors",
        "iops",
        "bandwidth_bytes_per_s",
        "latency_ns",
        "driver_cpu_ns_per_request",
        "back_end",
        "kicks_per_request",
        "calls_per_request",
        "verified",
    ] {
        assert!(found.get(key).is_some(), "{key} is missing in {found}");
    }
    assert_eq!(found["back_end"]["pid"], ramblk.pid());
    assert!(
        number(&found, "/back_end/cpu_ns_per_request") > 0.0,
        "{found}"
    );
    assert_eq!(found["span_bytes"], 16 << 20);
    assert_eq!(found["seed"], 7);
    let bytes = number(&found, "/bandwidth_bytes_per_s") / number(&found, "/iops");
    assert!((4095.0..4097.0).contains(&bytes), "{found}");
}

#[test]
fn people_get_a_few_lines() {
    let ramblk = Ramblk::run(&[]);
    let output = bench(ramblk.socket(), &short(""));
    assert!(output.status.success(), "{}", stderr(&output));
    let text = String::from_utf8(output.stdout).unwrap();
    let words: Vec<&str> = text.lines().filter_map(|line| line.get(..8)).collect();
    let wanted = [
        "load    ", "requests", "rate    ", "latency ", "driver  ", "back end",
    ];
    assert_eq!(words, wanted, "{text}");
}

#[test]
fn everything_that_is_written_is_read_again() {
    let ramblk = Ramblk::run(&[]);
    let ways = [
        "--op mixed --depth 8 --queues 2",
        "--op mixed --depth 8 --queues 2 --driver sleep --no-event-idx",
        "--op mixed --indirect --block-size 32K --segment-size 4K --pattern sequential",
        "--op write-zeroes --fill",
        "--op discard --fill --queues 3 --driver sleep",
        "--op read --fill --block-size 512 --span 1M",
    ];
    for way in ways {
        let found = results(ramblk.socket(), &format!("{way} --verify"));
        assert_eq!(found["verified"], true);
        assert!(number(&found, "/requests") > 30.0, "{way}: {found}");
        // The content of discarded sectors is unknown.
        let verified = number(&found, "/verified_sectors");
        assert!(
            verified > 100.0 || way.contains("discard"),
            "{way}: {found}"
        );
    }
}

#[test]
fn a_driver_that_sleeps_is_called_and_one_that_polls_is_not() {
    let ramblk = Ramblk::run(&[]);
    for event_idx in ["", "--no-event-idx"] {
        let found = results(
            ramblk.socket(),
            &format!("--driver sleep --depth 1 {event_idx}"),
        );
        let calls = number(&found, "/calls_per_request");
        assert!((0.01..=1.1).contains(&calls), "{event_idx}: {found}");
        let found = results(
            ramblk.socket(),
            &format!("--driver poll --depth 1 {event_idx}"),
        );
        let calls = number(&found, "/calls_per_request");
        assert!(calls < 0.01, "{event_idx}: {found}");
    }
}

#[test]
fn a_number_of_requests_and_a_rate_are_kept() {
    let ramblk = Ramblk::run(&[]);
    let socket = ramblk.socket();
    for way in ["", "--driver sleep", "--burst", "--queues 3", "--depth 1"] {
        let words = format!("{way} --warm-up 0.05 --requests 1001 --span 1M -o json");
        let output = bench(socket, &words);
        assert!(output.status.success(), "{words}: {}", stderr(&output));
        let found: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(found["requests"], 1001, "{words}");
    }
    for way in ["", "--driver sleep", "--burst --depth 4", "--queues 2"] {
        // A busy machine may fall behind, but not each time.
        let is_kept = (0..5).any(|_| {
            let found = results(socket, &format!("{way} --rate 2000 --seconds 0.3"));
            let iops = number(&found, "/iops");
            assert!(iops < 3000.0, "{way}: {found}");
            iops > 1000.0
        });
        assert!(is_kept, "{way}");
    }
}

#[test]
fn intervals_add_up_to_the_whole_measurement() {
    let ramblk = Ramblk::run(&[]);
    let socket = ramblk.socket();
    assert_eq!(results(socket, "")["intervals"], Value::Null);
    for way in ["", "--driver sleep --queues 2"] {
        let words = format!("{way} --warm-up 0 --seconds 0.3 --interval 0.08");
        let found = results(socket, &words);
        let intervals = found["intervals"].as_array().unwrap();
        let until: Vec<f64> = intervals
            .iter()
            .map(|each| number(each, "/until_seconds"))
            .collect();
        // On a busy machine, one may last as long as two.
        assert!((2..=4).contains(&until.len()), "{way}: {found}");
        assert!(until[0] >= 0.08 && until.is_sorted(), "{way}: {found}");
        assert!(until[until.len() - 1] >= 0.3, "{way}: {found}");
        let sum: f64 = intervals.iter().map(|each| number(each, "/requests")).sum();
        // The queues count from when they notice the start until they notice the end.
        let ratio = sum / number(&found, "/requests");
        assert!((0.8..1.2).contains(&ratio), "{way}: {found}");
    }
}

#[test]
fn words_that_can_not_be_are_refused_with_advice() {
    let ramblk = Ramblk::run(&["--block-size", "4096"]);
    let socket = ramblk.socket();
    for (words, advice) in [
        ("--block-size 1000", "multiple of 512"),
        ("--block-size 0", "multiple of 512"),
        ("--block-size 10GB", "write 10G"),
        ("--depth 0", "at least 1"),
        ("--queues 0", "at least 1"),
        ("--read-percent 101", "use 0 to 100"),
        ("--rate 0", "above 0"),
        ("--rate inf", "above 0"),
        ("--interval 0", "above 0"),
        ("--seconds x", "number of seconds"),
        ("--seconds -1", "bench --help"),
        ("--verify", "add --fill"),
        ("--cpu 0 --queues 2", "one for each queue"),
        ("--cpu 100000", "see nproc"),
        ("--op erase", "bench --help"),
    ] {
        let text = failure(socket, words, 2);
        assert!(text.contains(advice), "{words}: {text}");
    }
    for (words, advice) in [
        ("--block-size 512", "disk's blocks of 4096"),
        ("--span 65M", "use at most 67108864"),
        ("--span 4096 --queues 2", "larger --span"),
        ("--queues 129", "use at most 128"),
        ("--depth 20000", "smaller --depth"),
        ("--block-size 1M --segment-size 4K", "larger --segment-size"),
        ("--op mixed --verify --span 64K", "larger --span"),
    ] {
        let text = failure(socket, words, 1);
        assert!(text.contains(advice), "{words}: {text}");
    }
    let missing = Path::new("/nonexistent/socket");
    assert!(failure(missing, "", 1).contains("start the back end first"));
    let ramblk = Ramblk::run(&["--read-only"]);
    for words in ["--op write", "--op mixed", "--op discard", "--fill"] {
        let text = failure(ramblk.socket(), words, 1);
        assert!(text.contains("read-only"), "{words}: {text}");
    }
}

#[test]
fn requests_that_fail_are_counted_and_said() {
    let ramblk = Ramblk::run(&["--memory-limit", "8M"]);
    let words = short("--op write --fill -o json");
    let output = bench(ramblk.socket(), &words);
    assert_eq!(output.status.code(), Some(1));
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(number(&found, "/errors") > 0.0, "{found}");
    assert_eq!(found["errors"], found["errors_by_kind"]["io"]);
    assert!(stderr(&output).contains("requests failed"));
}

/// QEMU's back end on a disk that keeps nothing.
struct NullDisk {
    child: Child,
    socket: PathBuf,
    _folder: TempDir,
}

impl NullDisk {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let socket = folder.path().join("null.sock");
        let export = format!(
            "vhost-user-blk,id=e,node-name=d,writable=on,num-queues=2,addr.type=unix,addr.path={}",
            socket.display()
        );
        let child = Command::new("qemu-storage-daemon")
            .args([
                "--blockdev",
                "null-co,node-name=d,size=67108864,read-zeroes=on",
            ])
            .args(["--export", &export])
            .stdin(Stdio::null())
            .spawn()
            .expect("qemu-storage-daemon; scripts/setup installs it");
        eventually("QEMU listens", || socket.exists());
        Self {
            child,
            socket,
            _folder: folder,
        }
    }
}

impl Drop for NullDisk {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().unwrap();
    }
}

#[test]
fn another_back_end_is_driven_too() {
    let null = NullDisk::new();
    for way in [
        "--op read",
        "--op mixed --driver sleep --queues 2",
        "--op flush --indirect",
        "--op write --no-event-idx",
    ] {
        let found = results(&null.socket, &format!("{way} --seconds 0.5"));
        assert!(number(&found, "/requests") > 30.0, "{way}: {found}");
    }
}

#[test]
fn a_disk_that_forgets_is_found_out() {
    let null = NullDisk::new();
    let text = failure(
        &null.socket,
        "--op mixed --verify --span 1M --seconds 1 --warm-up 0",
        1,
    );
    assert!(text.contains("holds zeros, and must hold write"), "{text}");
    // Nothing is read before the end.
    let words = "--op write --verify --span 1M --seconds 0.1 --warm-up 0";
    let text = failure(&null.socket, words, 1);
    assert!(text.contains("the back end lost data"), "{text}");
}

#[test]
fn a_back_end_that_dies_is_an_error_at_once() {
    for driver in ["poll", "sleep"] {
        let mut null = NullDisk::new();
        let socket = null.socket.clone();
        let bench = thread::spawn(move || {
            let began = Instant::now();
            let text = failure(&socket, &format!("--seconds 60 --driver {driver}"), 1);
            (text, began.elapsed())
        });
        // The one that listens has the path too.
        let path = null.socket.to_str().unwrap();
        eventually("the driver is connected", || {
            let sockets = fs::read_to_string("/proc/net/unix").unwrap();
            sockets.lines().filter(|it| it.ends_with(path)).count() > 1
        });
        thread::sleep(Duration::from_millis(300));
        null.child.kill().unwrap();
        let (text, took) = bench.join().unwrap();
        assert!(text.contains("closed the connection"), "{driver}: {text}");
        assert!(took < Duration::from_secs(5), "{driver}: {took:?}");
    }
}

#[test]
fn an_interrupted_run_says_what_it_has() {
    let ramblk = Ramblk::run(&[]);
    let child = Command::new(env!("CARGO_BIN_EXE_ramblk"))
        .arg("bench")
        .arg(ramblk.socket())
        .args(["--seconds", "60", "--warm-up", "0", "-o", "json"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // Only then does the signal not end it at once.
    eventually("the measurement catches SIGINT", || {
        let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
        let caught = status
            .lines()
            .find_map(|line| line.strip_prefix("SigCgt:"))
            .unwrap();
        u64::from_str_radix(caught.trim(), 16).unwrap() & 1 << (Signal::INT.as_raw() - 1) != 0
    });
    thread::sleep(Duration::from_millis(300));
    rustix::process::kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(number(&found, "/seconds") < 10.0, "{found}");
    assert!(number(&found, "/requests") > 100.0, "{found}");
}

#[test]
fn what_hangs_up_is_no_back_end() {
    let folder = TempDir::new().unwrap();
    let socket = folder.path().join("s");
    let listener = UnixListener::bind(&socket).unwrap();
    let hang_up = thread::spawn(move || drop(listener.accept().unwrap()));
    let text = failure(&socket, "", 1);
    assert!(text.contains("failed at"), "{text}");
    hang_up.join().unwrap();
}
