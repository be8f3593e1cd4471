//! NBD clients that mean harm, beside an honest front end of the same daemon and disk.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::driver::data::{Random, seed};
use crate::harness::eventually;
use crate::honest::{Honest, Part};
use crate::victim::{PARTS, PAUSE};

const RAMBLK: &str = env!("CARGO_BIN_EXE_ramblk");
const MIB: u64 = 1 << 20;
const READ: u16 = 0;
const WRITE: u16 = 1;
const TRIM: u16 = 4;
const WRITE_ZEROES: u16 = 6;
const BLOCK_STATUS: u16 = 7;
/// What clients may write, which leaves the honest front end's parts.
const OURS: (u64, u64) = (2 * MIB, 60 * MIB);
/// How long an attack goes on.
const A_WHILE: Duration = Duration::from_secs(1);
/// The bound on connections.
const MOST: usize = 64;

/// A daemon with a disk that is shared, and an honest front end on it.
struct Place {
    // Dropped first: it must end before the daemon does.
    honest: Honest,
    daemon: Daemon,
    before: (usize, usize),
}

struct Daemon {
    child: Child,
    folder: TempDir,
}

impl Place {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let at = |name: &str| folder.path().join(name);
        let child = Command::new(RAMBLK)
            .args(["serve", "--memory-limit", "256M", "--state-dir", "none"])
            .arg("--run-dir")
            .arg(at("run"))
            .arg("--api-socket")
            .arg(at("api.sock"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(at("log")).unwrap())
            .spawn()
            .unwrap();
        eventually("the daemon listens", || {
            UnixStream::connect(at("api.sock")).is_ok()
        });
        let mut create = Command::new(RAMBLK);
        let create = create
            .args(["create", "a", "--size", "64M", "--share", "rw"])
            .arg("--api-socket")
            .arg(at("api.sock"))
            .stdout(Stdio::null());
        assert!(create.status().unwrap().success());
        let parts: &[Part] = &PARTS;
        let honest = Honest::start(&at("run/a/vhost.sock"), parts, PAUSE);
        let mut place = Self {
            honest,
            daemon: Daemon { child, folder },
            before: (0, 0),
        };
        // The first connection leaves the API's work threads behind.
        drop(place.client("", 0));
        thread::sleep(Duration::from_millis(100));
        place.before = place.counts();
        place
    }

    /// Threads and descriptors of the daemon.
    fn counts(&self) -> (usize, usize) {
        let count = |what: &str| {
            let folder = format!("/proc/{}/{what}", self.daemon.child.id());
            fs::read_dir(folder).unwrap().count()
        };
        (count("task"), count("fd"))
    }

    fn api(&self) -> PathBuf {
        self.daemon.folder.path().join("api.sock")
    }

    /// A connection that was upgraded, and was sent `negotiation` bytes of a negotiation that goes
    /// on with the export.
    fn client(&self, query: &str, negotiation: usize) -> UnixStream {
        client(&self.api(), query, negotiation).expect("a connection")
    }

    fn is_unharmed(&self, by: &str) {
        self.honest.gets_on(by);
        // Work threads of the API end when they have had nothing to do for a while.
        eventually("threads and descriptors are as before", || {
            let (threads, fds) = self.counts();
            threads <= self.before.0 + 3 && fds <= self.before.1
        });
        let log = fs::read_to_string(self.daemon.folder.path().join("log")).unwrap();
        assert!(log.lines().count() < 200, "{by} filled the log");
        assert!(!log.contains("panicked at"), "{log}");
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let ended = self.child.try_wait().unwrap();
        self.child.kill().ok();
        self.child.wait().unwrap();
        if !thread::panicking() {
            assert!(ended.is_none(), "the daemon ended: {ended:?}");
        }
    }
}

/// Flags of the client, structured replies, base:allocation, GO.
fn negotiation() -> Vec<u8> {
    let option = |number: u32, data: &[u8]| {
        let len = u32::try_from(data.len()).unwrap().to_be_bytes();
        [b"IHAVEOPT".as_slice(), &number.to_be_bytes(), &len, data].concat()
    };
    let contexts = [
        &[0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 15][..],
        b"base:allocation",
    ]
    .concat();
    [
        &[0, 0, 0, 3][..],
        &option(8, &[]),
        &option(10, &contexts),
        &option(7, &[0; 6]),
    ]
    .concat()
}

fn client(api: &PathBuf, query: &str, negotiate: usize) -> Option<UnixStream> {
    let mut stream = UnixStream::connect(api).ok()?;
    let limit = Some(Duration::from_secs(20));
    stream.set_read_timeout(limit).unwrap();
    let ask = format!(
        "GET /v1/disks/a/nbd{query} HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\n\
         upgrade: nbd\r\n\r\n"
    );
    stream.write_all(ask.as_bytes()).ok()?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    if !head.starts_with(b"HTTP/1.1 101") {
        return None;
    }
    let all = negotiation();
    stream.write_all(&all[..negotiate.min(all.len())]).ok()?;
    Some(stream)
}

fn request(command: u16, flags: u16, at: u64, len: u32) -> Vec<u8> {
    let numbers = [
        &0x2560_9513_u32.to_be_bytes()[..],
        &flags.to_be_bytes(),
        &command.to_be_bytes(),
        &[7; 8],
        &at.to_be_bytes(),
        &len.to_be_bytes(),
    ];
    numbers.concat()
}

fn random_bytes(random: &mut Random, len: u64) -> Vec<u8> {
    let len = random.below(len);
    (0..len).map(|_| random.below(256) as u8).collect()
}

/// Call `work` again and again in this many threads.
fn attack(threads: u64, work: impl Fn(&mut Random) + Sync) {
    let (ends, seed) = (Instant::now() + A_WHILE, seed());
    thread::scope(|scope| {
        for number in 0..threads {
            let work = &work;
            scope.spawn(move || {
                let mut random = Random::new(seed + number);
                while Instant::now() < ends {
                    work(&mut random);
                }
            });
        }
    });
}

#[test]
fn nbd_connections_that_end_at_any_byte_leave_nothing() {
    let place = Place::new();
    let api = place.api();
    let whole = negotiation().len() as u64;
    attack(4, |random| {
        let until = random.below(whole + 1) as usize;
        let query = ["", "?view=v", "?rw=true"][random.below(3) as usize];
        if let Some(mut stream) = client(&api, query, until) {
            let tail = request(WRITE, 0, OURS.0, 4096);
            let _ = stream.write_all(&tail[..random.below(29) as usize]);
        }
    });
    place.is_unharmed("connections that end");
}

#[test]
fn bytes_at_random_over_nbd_harm_nobody() {
    let place = Place::new();
    let api = place.api();
    attack(4, |random| {
        let until = [0, 4, 1000][random.below(3) as usize];
        let Some(mut stream) = client(&api, "", until) else {
            return;
        };
        let _ = stream.write_all(&random_bytes(random, 300));
        // Requests with a right beginning, and nothing else.
        let command = random.below(9) as u16;
        let (at, len) = (random.below(u64::MAX), random.below(1 << 32) as u32);
        let _ = stream.write_all(&request(command, random.below(64) as u16, at, len));
        let _ = stream.write_all(&random_bytes(random, 3000));
        let _ = stream.shutdown(Shutdown::Write);
        let mut got = Vec::new();
        let _ = stream.take(1 << 20).read_to_end(&mut got);
    });
    place.is_unharmed("random bytes");
}

#[test]
fn as_many_deaf_nbd_clients_as_may_be_hold_nobody_up() {
    let place = Place::new();
    let mut deaf = Vec::new();
    for number in 0..MOST {
        let query = ["?view=v", "", "?rw=true"][number % 3];
        let mut stream = place.client(query, 1000);
        // Each asks for 32 MiB many times, and reads nothing.
        let all = request(READ, 0, OURS.0, 32 << 20).repeat(50);
        stream.write_all(&all).unwrap();
        deaf.push(stream);
    }
    assert!(client(&place.api(), "", 0).is_none(), "one too many");
    for _ in 0..20 {
        place.honest.gets_on("deaf clients");
        thread::sleep(A_WHILE / 20);
    }
    let status = fs::read_to_string(format!("/proc/{}/status", place.daemon.child.id())).unwrap();
    let peak = status.lines().find(|line| line.starts_with("VmHWM:"));
    let peak = peak.and_then(|line| line.split_whitespace().nth(1));
    let peak_kib: u64 = peak.unwrap().parse().unwrap();
    assert!(peak_kib < 200 << 10, "{peak_kib} KiB for 64 clients");
    drop(deaf);
    place.is_unharmed("deaf clients");
}

#[test]
fn giant_requests_over_nbd_hold_nobody_up() {
    let place = Place::new();
    let api = place.api();
    attack(6, |random| {
        let Some(mut stream) = client(&api, "?rw=true&view=w", 1000) else {
            return;
        };
        let mut replies = stream.try_clone().unwrap();
        let reader = thread::spawn(move || {
            let mut piece = vec![0; 1 << 20];
            while replies.read(&mut piece).is_ok_and(|count| count > 0) {}
        });
        let (start, end) = OURS;
        for _ in 0..40 {
            let at = start + random.below((end - start) / 8) / 512 * 512;
            let len = u32::try_from(end - at).unwrap();
            let command = [TRIM, WRITE_ZEROES, BLOCK_STATUS, WRITE_ZEROES];
            let command = command[random.below(4) as usize];
            let flags = if command == WRITE_ZEROES { 2 } else { 0 };
            let _ = stream.write_all(&request(command, flags, at, len));
            let _ = stream.write_all(&request(READ, 0, start, 32 << 20));
        }
        let long = vec![9; 8 << 20];
        let _ = stream.write_all(&request(WRITE, 0, start, 8 << 20));
        let _ = stream.write_all(&long);
        let _ = stream.shutdown(Shutdown::Both);
        reader.join().unwrap();
    });
    place.is_unharmed("giant requests");
}
