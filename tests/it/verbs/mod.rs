//! The verbs of the command line, against a daemon that runs.

mod attach;
pub(crate) mod content;
mod disks;
mod fleets;
mod foreign;
mod output;
mod rig;
mod sight;

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use rustix::process::{Pid, Signal};
use serde_json::Value;
use tempfile::TempDir;

use crate::harness::eventually;

const RAMBLK: &str = env!("CARGO_BIN_EXE_ramblk");

/// A running `ramblk serve` with a gigabyte, in its own directory.
pub(crate) struct Daemon {
    child: Child,
    folder: TempDir,
}

impl Daemon {
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    pub(crate) fn start_with(more: &[&str]) -> Self {
        let folder = TempDir::new().unwrap();
        let child = serve(folder.path(), more);
        let daemon = Self { child, folder };
        eventually("the daemon answers", || daemon.run("ping").status.success());
        daemon
    }

    /// Kill it, and start another one with the same disks.
    pub(crate) fn kill_and_start(&mut self, more: &[&str]) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.child = serve(self.folder.path(), more);
        eventually("the daemon answers", || self.run("ping").status.success());
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A path in the daemon's directory outside its state.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(RAMBLK);
        command
            .args(words)
            .env("RAMBLK_API", self.path("api.sock"))
            .current_dir(self.folder.path())
            .stdin(Stdio::null());
        command
    }

    /// Run a command line.
    pub(crate) fn run(&self, line: &str) -> Output {
        let words: Vec<&str> = line.split_whitespace().collect();
        self.command(&words).output().unwrap()
    }

    /// Run a command that must succeed, and return its output.
    pub(crate) fn ok(&self, line: &str) -> String {
        let output = self.run(line);
        assert!(output.status.success(), "{line}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    /// Run a command that must succeed, and parse its output as JSON.
    pub(crate) fn json(&self, line: &str) -> Value {
        serde_json::from_str(&self.ok(&format!("{line} -o json"))).unwrap()
    }

    /// Run a command that must fail with this exit code, nothing on stdout, and one line on stderr,
    /// which is returned.
    pub(crate) fn refused(&self, line: &str, code: i32) -> String {
        let output = self.run(line);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{line}: {stderr}");
        assert_eq!(stderr.lines().count(), 1, "{line}: {stderr}");
        assert!(stderr.starts_with("error: "), "{line}: {stderr}");
        assert!(output.stdout.is_empty(), "{line}");
        stderr
    }

    /// Run a command with `bytes` on stdin.
    pub(crate) fn feed(&self, line: &str, bytes: &[u8]) -> Output {
        let words: Vec<&str> = line.split_whitespace().collect();
        let mut child = self
            .command(&words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // The command may end before it has read everything.
        child.stdin.take().unwrap().write_all(bytes).ok();
        child.wait_with_output().unwrap()
    }

    /// The socket of a disk.
    pub(crate) fn socket(&self, disk: &str) -> PathBuf {
        Path::new(
            self.json(&format!("show {disk}"))["socket"]
                .as_str()
                .unwrap(),
        )
        .to_owned()
    }
}

fn serve(folder: &Path, more: &[&str]) -> Child {
    Command::new(RAMBLK)
        .args(["serve", "--memory-limit", "1G", "--run-dir"])
        .arg(folder.join("run"))
        .arg("--api-socket")
        .arg(folder.join("api.sock"))
        .args(more)
        .env_remove("RAMBLK_API")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(File::create(folder.join("log")).unwrap())
        .spawn()
        .unwrap()
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let lived = self.child.try_wait().unwrap().is_none();
        rustix::process::kill_process(Pid::from_child(&self.child), Signal::TERM).ok();
        self.child.wait().unwrap();
        let log = std::fs::read_to_string(self.path("log")).unwrap();
        if !std::thread::panicking() {
            assert!(lived && !log.contains("panicked at"), "{log}");
        }
    }
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}
