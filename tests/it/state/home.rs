//! A daemon with a state directory, started, killed and started again.

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use serde_json::Value;
use tempfile::TempDir;

use super::arena::scratch;
use crate::harness::eventually;
use crate::verbs::text;

pub(super) const RAMBLK: &str = env!("CARGO_BIN_EXE_ramblk");

/// State, sockets and log of consecutive daemons.
pub(super) struct Home(TempDir);

impl Home {
    pub(super) fn new() -> Self {
        Self(scratch())
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(super) fn arena(&self) -> PathBuf {
        self.path("state/arena")
    }

    pub(super) fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// `ramblk serve` on the state, with more options.
    pub(super) fn serve(&self, words: &[&str]) -> Command {
        let state = self.path("state");
        self.serve_at(&[&["--state-dir", state.to_str().unwrap()], words].concat())
    }

    /// The same without an option for the state's place.
    pub(super) fn serve_at(&self, words: &[&str]) -> Command {
        let mut command = Command::new(RAMBLK);
        command.args(["serve", "--memory-limit", "64M", "--run-dir"]);
        command.arg(self.path("run")).args(words);
        self.surround(&mut command);
        command
    }

    /// Hide the environment of the tests, and add a log.
    pub(super) fn surround(&self, command: &mut Command) {
        for name in [
            "RAMBLK_API",
            "FDSTORE",
            "NOTIFY_SOCKET",
            "RUNTIME_DIRECTORY",
        ] {
            command.env_remove(name);
        }
        let mut log = OpenOptions::new();
        let log = log.create(true).append(true).open(self.path("log"));
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log.unwrap());
    }

    /// Start a daemon, and wait until it answers.
    pub(super) fn start(&self, mut command: Command) -> Running<'_> {
        let child = command.spawn().unwrap();
        let mut running = Running { child, home: self };
        eventually("the daemon answers", || {
            let ended = running.child.try_wait().unwrap();
            assert!(ended.is_none(), "{ended:?}: {}", self.log());
            self.run("ping").status.success()
        });
        running
    }

    /// Start a daemon that must fail. Returns its exit code and the last line of its log.
    pub(super) fn refused(&self, mut command: Command) -> (Option<i32>, String) {
        let mut child = command.spawn().unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            if Instant::now() > deadline {
                child.kill().unwrap();
                panic!("it serves: {}", self.log());
            }
            std::thread::sleep(Duration::from_millis(2));
        };
        let log = self.log();
        (status.code(), log.lines().last().unwrap_or("").to_owned())
    }

    /// Run a command line in the home.
    pub(super) fn run(&self, line: &str) -> Output {
        Command::new(RAMBLK)
            .args(line.split_whitespace())
            .env("RAMBLK_API", self.path("run/api.sock"))
            .current_dir(self.0.path())
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// Run a command that must succeed, and return its output.
    pub(super) fn ok(&self, line: &str) -> Vec<u8> {
        let output = self.run(line);
        assert!(output.status.success(), "{line}: {}", text(&output.stderr));
        output.stdout
    }

    pub(super) fn json(&self, line: &str) -> Value {
        serde_json::from_slice(&self.ok(&format!("{line} -o json"))).unwrap()
    }

    /// A sparse file with pages, each filled with one word.
    pub(super) fn image(&self, name: &str, size_bytes: u64, pages: &[(u64, u64)]) {
        use std::os::unix::fs::FileExt;
        let file = File::create(self.path(name)).unwrap();
        file.set_len(size_bytes).unwrap();
        for &(at_bytes, word) in pages {
            file.write_all_at(&word.to_le_bytes().repeat(512), at_bytes)
                .unwrap();
        }
    }
}

/// A running daemon, killed when dropped.
pub(super) struct Running<'a> {
    pub(super) child: Child,
    home: &'a Home,
}

impl Running<'_> {
    /// SIGKILL, and wait.
    pub(super) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(super) fn signal(&self, signal: Signal) {
        rustix::process::kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// SIGTERM, and wait for a successful end.
    pub(super) fn stop(mut self) {
        self.signal(Signal::TERM);
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}: {}", self.home.log());
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
        if !std::thread::panicking() {
            let log = self.home.log();
            assert!(!log.contains("panicked at"), "{log}");
        }
    }
}

/// Whether something listens at a socket, according to the kernel.
pub(super) fn listens(path: &Path) -> bool {
    let path = path.to_str().unwrap();
    // As root, a daemon that has confined itself has a network of its own.
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let daemons = processes.map(|entry| entry.path()).filter(|process| {
        fs::read_to_string(process.join("comm")).is_ok_and(|name| name.trim() == "ramblk")
    });
    let tables = daemons.filter_map(|process| fs::read_to_string(process.join("net/unix")).ok());
    tables.into_iter().any(|table| {
        let of_path = table.lines().filter(|line| line.ends_with(path));
        // The flag SO_ACCEPTCON.
        let mut flags = of_path.filter_map(|line| line.split_whitespace().nth(3));
        flags.any(|flags| flags == "00010000")
    })
}
