//! `ramblk serve` with disks on a tmpfs, which is killed and started again.

use std::fs::{File, OpenOptions, read_to_string};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::driver::ring::Ring;
use crate::driver::status;
use crate::harness::eventually;

const RAMBLK: &str = env!("CARGO_BIN_EXE_ramblk");

/// A daemon, running or ended.
pub(crate) struct Daemon {
    folder: TempDir,
    child: Child,
    /// Its program, and what comes before its own words.
    words: Vec<String>,
    /// Options after its own.
    more: Vec<String>,
    environment: Vec<(&'static str, String)>,
}

/// Start a daemon by `words`, a command line to which its own is added.
fn spawn_by(
    words: &[String],
    folder: &TempDir,
    after: &[String],
    environment: &[(&'static str, String)],
) -> Child {
    let path = folder.path();
    let mut log = OpenOptions::new();
    let log: File = log
        .create(true)
        .append(true)
        .open(path.join("log"))
        .unwrap();
    let (program, more) = words.split_first().unwrap();
    Command::new(program)
        .args(more)
        .args(["serve", "--memory-limit", "96M", "--workers", "2"])
        .arg("--run-dir")
        .arg(path)
        .arg("--state-dir")
        .arg(path.join("state"))
        .args(after)
        .envs(environment.iter().map(|(key, value)| (key, value)))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap()
}

fn spawn(folder: &TempDir, environment: &[(&'static str, String)]) -> Child {
    spawn_by(&[RAMBLK.to_owned()], folder, &[], environment)
}

impl Daemon {
    /// Start a daemon without disks, and wait for its API.
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    /// The same, with more options for it and those that are started after it.
    pub(crate) fn start_with(more: &[&str]) -> Self {
        let daemon = Self::begin(more, |_| vec![RAMBLK.to_owned()]);
        daemon.answers();
        daemon
    }

    /// Start a daemon without disks, in a folder for which `words` returns its program and what
    /// comes before its own words. It may not listen yet.
    pub(crate) fn begin(more: &[&str], words: impl FnOnce(&Path) -> Vec<String>) -> Self {
        // State must be on a tmpfs, and every system has this one.
        let folder = tempfile::tempdir_in("/dev/shm").unwrap();
        let words = words(folder.path());
        let more: Vec<String> = more.iter().map(|word| (*word).to_owned()).collect();
        let child = spawn_by(&words, &folder, &more, &[]);
        Self {
            folder,
            child,
            words,
            more,
            environment: Vec::new(),
        }
    }

    /// Start a daemon on a file that an older version left, and kill it while it converts the file.
    pub(crate) fn killed_while_it_carries_over(arena: &crate::arena::Arena, at: String) -> Self {
        let folder = tempfile::tempdir_in("/dev/shm").unwrap();
        std::fs::create_dir(folder.path().join("state")).unwrap();
        arena.store_at(&folder.path().join("state/arena"));
        let child = spawn(&folder, &[("RAMBLK_KILL_AT", at)]);
        let mut daemon = Self {
            folder,
            child,
            words: vec![RAMBLK.to_owned()],
            more: Vec::new(),
            environment: Vec::new(),
        };
        daemon.is_killed();
        daemon
    }

    /// Wait until the API answers.
    pub(crate) fn answers(&self) {
        eventually("the API answers", || self.verb(&["ping"]).is_some());
    }

    /// Set the only extra options of all daemons started from now on.
    pub(crate) fn set_words(&mut self, words: &[&str]) {
        self.more = words.iter().map(|word| (*word).to_owned()).collect();
    }

    /// Set the only extra environment variables of all daemons started from now on.
    pub(crate) fn set_environment(&mut self, environment: &[(&'static str, String)]) {
        self.environment = environment.to_vec();
    }

    /// Run a verb, and return its output if it succeeds.
    pub(crate) fn verb(&self, words: &[&str]) -> Option<String> {
        let output = Command::new(env!("CARGO_BIN_EXE_ramblk"))
            .args(words)
            .env("RAMBLK_API", self.folder.path().join("api.sock"))
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        output.status.success().then_some(text)
    }

    /// Run a verb that must succeed.
    pub(crate) fn say(&self, words: &[&str]) -> String {
        let said = self.verb(words);
        said.unwrap_or_else(|| panic!("{words:?} failed\n{}", self.log()))
    }

    /// A field of a disk as JSON.
    pub(crate) fn field(&self, disk: &str, field: &str) -> serde_json::Value {
        let text = self.say(&["show", disk, "-o", "json"]);
        let disk: serde_json::Value = serde_json::from_str(&text).unwrap();
        disk[field].clone()
    }

    /// Write all events from now on into a file of this name.
    pub(crate) fn events(&self, name: &str) -> Child {
        let file = File::create(self.folder.path().join(name)).unwrap();
        Command::new(env!("CARGO_BIN_EXE_ramblk"))
            .args(["events", "-o", "json"])
            .env("RAMBLK_API", self.folder.path().join("api.sock"))
            .stdout(file)
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    }

    /// The content of such a file.
    pub(crate) fn told(&self, name: &str) -> String {
        read_to_string(self.folder.path().join(name)).unwrap()
    }

    /// Where its disks lie.
    pub(crate) fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    /// Where the front ends of a disk connect.
    pub(crate) fn socket(&self, disk: &str) -> PathBuf {
        self.folder.path().join(disk).join("vhost.sock")
    }

    /// Where its API is.
    pub(crate) fn api(&self) -> PathBuf {
        self.folder.path().join("api.sock")
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn log(&self) -> String {
        read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Discard the log so far: what it says, panics included, was expected.
    pub(crate) fn clear_log(&self) {
        File::create(self.folder.path().join("log")).unwrap();
    }

    /// How it ended, if it has ended.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Make a request of this type, and wait until it is answered or the daemon has ended. Returns
    /// whether it was answered.
    pub(crate) fn answers_to(
        &mut self,
        ring: &mut Ring,
        kind: u32,
        sector: u64,
        out: &[u8],
    ) -> bool {
        let pieces = ring.lay_out(kind, sector, out, 0);
        let head = ring.direct(0, &pieces);
        ring.submit(head);
        // Not by its call: a daemon that is killed between the two makes none.
        loop {
            let ended = self.ended().is_some();
            if ring.pop().is_some() {
                assert_eq!(ring.status(), status::OK);
                return true;
            }
            if ended {
                return false;
            }
            std::thread::sleep(Duration::from_micros(100));
        }
    }

    /// Start a new daemon in place of one that ended. It may not listen yet.
    pub(crate) fn start_again(&mut self) {
        assert!(self.ended().is_some());
        self.child = spawn_by(&self.words, &self.folder, &self.more, &self.environment);
    }

    /// Kill it from another thread after a while.
    pub(crate) fn kill_after(&self, time: Duration) -> std::thread::JoinHandle<()> {
        let pid = Pid::from_child(&self.child);
        std::thread::spawn(move || {
            std::thread::sleep(time);
            // The number still belongs to it: it is reaped only after this thread ends.
            kill_process(pid, Signal::KILL).unwrap();
        })
    }

    /// Kill it at once.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.is_killed();
    }

    /// Its status in `/proc`, as far as a line of it is about this.
    pub(crate) fn status(&self, what: &str) -> String {
        let status = read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(what));
        line.unwrap_or_default().trim().to_owned()
    }

    /// Make it crash, by a signal from outside.
    pub(crate) fn abort(&mut self) {
        kill_process(Pid::from_child(&self.child), Signal::ABORT).unwrap();
        let status = self.child.wait().unwrap();
        assert_eq!(status.signal(), Some(6), "{status}\n{}", self.log());
    }

    /// Wait for its end, which must be a crash of its own.
    pub(crate) fn crashes(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(10);
        let status = loop {
            if let Some(status) = self.ended() {
                break status;
            }
            assert!(Instant::now() < deadline, "it lives on\n{}", self.log());
            std::thread::sleep(Duration::from_millis(1));
        };
        assert_eq!(status.signal(), Some(6), "{status}\n{}", self.log());
    }

    /// Stop it as a service manager does.
    pub(crate) fn stop(&mut self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}\n{}", self.log());
    }

    /// Wait for its end, which must be a kill.
    pub(crate) fn is_killed(&mut self) {
        let status = self.child.wait().unwrap();
        assert_eq!(status.signal(), Some(9), "{status}\n{}", self.log());
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
        let log = self.log();
        if std::thread::panicking() {
            let from = log.len().saturating_sub(6000);
            let end = log.get(from..).unwrap_or(&log);
            eprintln!("--- the daemon's log ends so ---\n{end}--- end ---");
        } else {
            assert!(!log.contains("panicked at"), "it panicked: {log}");
        }
    }
}
