//! `ramblk serve` as a process, and the verbs that talk to it.

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tempfile::TempDir;

use super::process::{Process, command};
use super::{PATIENCE, poll};

const RAMBLK: &str = env!("CARGO_BIN_EXE_ramblk");

/// A running daemon; killed when dropped.
pub(crate) struct Daemon {
    process: Process,
    /// Sockets, state and log, on a tmpfs.
    scratch: TempDir,
    options: Vec<String>,
    program: PathBuf,
}

impl Daemon {
    /// Start `ramblk serve` and wait until its API answers.
    pub(crate) fn serve(options: &[&str]) -> Self {
        Self::serve_by(Path::new(RAMBLK), options)
    }

    /// The same with another build of ramblk.
    pub(crate) fn serve_by(program: &Path, options: &[&str]) -> Self {
        // State must be on a tmpfs, and every system has this one.
        let scratch = tempfile::tempdir_in("/dev/shm").unwrap();
        let options: Vec<String> = options.iter().map(|&option| option.to_owned()).collect();
        let process = start(program, scratch.path(), &options);
        let daemon = Self {
            process,
            scratch,
            options,
            program: program.to_owned(),
        };
        daemon.await_api();
        daemon
    }

    fn await_api(&self) {
        let answers = || self.verb(&["ping"]).status.success().then_some(());
        assert!(poll(PATIENCE, answers).is_some(), "no API\n{}", self.log());
    }

    /// Run a verb.
    pub(crate) fn verb(&self, words: &[&str]) -> Output {
        verb(self.scratch.path(), words)
    }

    /// Run a verb that must succeed, and return its output.
    pub(crate) fn say(&self, words: &[&str]) -> String {
        let output = self.verb(words);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{words:?}: {text}{errors}");
        text
    }

    /// Create a disk, and return its socket.
    pub(crate) fn create(&self, name: &str, size: &str, options: &[&str]) -> PathBuf {
        self.say(&[&["create", name, "--size", size], options].concat());
        self.scratch.path().join(name).join("vhost.sock")
    }

    /// A field of `show`'s output for a disk, as JSON.
    pub(crate) fn field(&self, name: &str, field: &str) -> serde_json::Value {
        let text = self.say(&["show", name, "-o", "json"]);
        let disk: serde_json::Value = serde_json::from_str(&text).unwrap();
        disk[field].clone()
    }

    /// All bytes of a disk, as `export` writes them.
    pub(crate) fn content(&self, name: &str) -> Vec<u8> {
        let output = self.verb(&["export", name, "-"]);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "export {name}: {errors}");
        output.stdout
    }

    /// How many bytes of a guest's memory region of this size the daemon has read or written.
    pub(crate) fn guest_memory_touched(&self, region_bytes: u64) -> u64 {
        let path = format!("/proc/{}/smaps", self.process.id());
        let smaps = fs::read_to_string(path).unwrap();
        let (mut is_region, mut kib) = (false, 0);
        for line in smaps.lines() {
            let mut words = line.split_whitespace();
            match (words.next(), words.next()) {
                (Some(range), Some(_)) if !range.ends_with(':') => {
                    is_region = line.contains("/memfd:memory-backend-memfd");
                }
                (Some("Size:"), Some(size)) => {
                    is_region &= size.parse() == Ok(region_bytes / 1024);
                }
                (Some("Rss:"), Some(size)) if is_region => kib += size.parse::<u64>().unwrap(),
                _ => {}
            }
        }
        kib * 1024
    }

    /// Wait until a field of a disk has a value.
    pub(crate) fn await_field(&self, name: &str, field: &str, wanted: &str) {
        let is = || (self.field(name, field).to_string().trim_matches('"') == wanted).then_some(());
        let found = poll(PATIENCE, is).is_some();
        assert!(
            found,
            "{field} is {} and not {wanted}",
            self.field(name, field)
        );
    }

    /// Kill the daemon, and start it again on what is left. Returns the time from the kill to the
    /// first answer.
    pub(crate) fn kill_and_restart(&mut self) -> Duration {
        let started = Instant::now();
        self.process.signal(Signal::KILL);
        assert!(self.process.wait(PATIENCE).is_some(), "it survives SIGKILL");
        self.process = start(&self.program, self.scratch.path(), &self.options);
        self.await_api();
        started.elapsed()
    }

    /// Stop the daemon as a service manager does, and start it again.
    pub(crate) fn restart(&mut self) -> Duration {
        let started = Instant::now();
        self.process.signal(Signal::TERM);
        let status = self.process.wait(PATIENCE).expect("it outlives SIGTERM");
        assert!(status.success(), "{status}\n{}", self.log());
        self.process = start(&self.program, self.scratch.path(), &self.options);
        self.await_api();
        started.elapsed()
    }

    /// Stop the daemon, and start the program under test on its state.
    pub(crate) fn upgrade(&mut self) -> Duration {
        self.program = RAMBLK.into();
        self.restart()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.scratch.path().join("log")).unwrap_or_default()
    }
}

fn start(program: &Path, dir: &Path, options: &[String]) -> Process {
    let mut command = command(program);
    command.arg("serve").arg("--run-dir").arg(dir);
    command.args(["--memory-limit", "512M"]).args(options);
    let log = OpenOptions::new()
        .create(true)
        .append(true)
        .open(dir.join("log"));
    command.stderr(log.unwrap());
    Process::spawn(&mut command)
}

fn verb(dir: &Path, words: &[&str]) -> Output {
    Command::new(RAMBLK)
        .args(words)
        .env("RAMBLK_API", dir.join("api.sock"))
        .output()
        .unwrap()
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the daemon's log ---\n{}--- end ---", self.log());
        }
    }
}
