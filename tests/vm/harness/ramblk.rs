//! The program under test as a process.

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tempfile::TempDir;

use super::process::{Process, command};
use super::{PATIENCE, poll};

/// How long ramblk may take to release memory, threads or descriptors.
const SETTLING: Duration = Duration::from_secs(5);

/// A running `ramblk run`; killed when dropped.
pub(crate) struct Ramblk {
    process: Process,
    /// The socket and the log.
    scratch: TempDir,
    socket: PathBuf,
}

impl Ramblk {
    /// Start `ramblk run` with a disk of `size`, and wait for its socket.
    pub(crate) fn run(size: &str, options: &[&str]) -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let socket = scratch.path().join("disk.sock");
        let mut command = Self::command(&socket, size);
        command.args(options);
        command.stderr(File::create(scratch.path().join("log")).unwrap());
        let process = Process::spawn(&mut command);
        let mut ramblk = Self {
            process,
            scratch,
            socket,
        };
        let ready = poll(PATIENCE, || {
            let ended = ramblk.process.wait(Duration::ZERO);
            (ended.is_some() || ramblk.socket.exists()).then_some(ended)
        });
        match ready {
            Some(None) => ramblk,
            Some(Some(status)) => panic!("ramblk ended at once with {status}"),
            None => panic!("ramblk made no socket"),
        }
    }

    /// The start of a `ramblk run` command line.
    pub(crate) fn command(socket: &Path, size: &str) -> Command {
        let mut command = command(env!("CARGO_BIN_EXE_ramblk"));
        command
            .args(["run", "--size", size, "--socket-path"])
            .arg(OsString::from(socket));
        command
    }

    /// Its vhost-user socket.
    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }

    /// Its memory now, in bytes, without the guest's: a vhost-user back end maps that too, and the
    /// pages it has touched there count as resident.
    pub(crate) fn resident(&self) -> u64 {
        let smaps = fs::read_to_string(self.proc("smaps")).unwrap();
        let mut guests = false;
        let mut kib = 0;
        for line in smaps.lines() {
            let mut words = line.split_whitespace();
            let first = words.next().unwrap_or_default();
            if first == "Rss:" && !guests {
                kib += words.next().unwrap().parse::<u64>().unwrap();
            } else if !first.ends_with(':') {
                // The first line of a mapping: its addresses, and at the end what is mapped.
                guests = line.contains("/memfd:memory-backend-memfd");
            }
        }
        kib * 1024
    }

    /// Its memory as soon as that is at most `limit`, or after a time in which it could have
    /// released the rest.
    pub(crate) fn resident_settled(&self, limit: u64) -> u64 {
        poll(SETTLING, || {
            Some(self.resident()).filter(|now| *now <= limit)
        })
        .unwrap_or_else(|| self.resident())
    }

    /// The number of its descriptors and threads, once it starts and ends no more of them.
    pub(crate) fn footprint(&self) -> (usize, usize) {
        let count = |dir| fs::read_dir(self.proc(dir)).unwrap().count();
        let count = || (count("fd"), count("task"));
        let mut before = count();
        poll(SETTLING, || {
            std::thread::sleep(Duration::from_millis(200));
            let now = count();
            (std::mem::replace(&mut before, now) == now).then_some(now)
        })
        .expect("ramblk starts and ends threads without end")
    }

    /// The number of its descriptors and threads once they are `wanted`, or after a timeout.
    pub(crate) fn footprint_settled(&self, wanted: (usize, usize)) -> (usize, usize) {
        poll(SETTLING, || {
            Some(self.footprint()).filter(|now| *now == wanted)
        })
        .unwrap_or_else(|| self.footprint())
    }

    /// Send SIGTERM, and return the exit status and how long that took.
    pub(crate) fn terminate(&mut self) -> (ExitStatus, Duration) {
        let start = Instant::now();
        self.process.signal(Signal::TERM);
        let status = self
            .process
            .wait(PATIENCE)
            .expect("ramblk outlives SIGTERM");
        (status, start.elapsed())
    }

    fn proc(&self, file: &str) -> PathBuf {
        Path::new("/proc")
            .join(self.process.id().to_string())
            .join(file)
    }
}

impl Drop for Ramblk {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = fs::read_to_string(self.scratch.path().join("log")).unwrap_or_default();
            eprintln!("--- ramblk's log ---\n{log}--- end ---");
        }
    }
}
