//! `ramblk serve` as a process, and the verbs that talk to it.

use std::path::PathBuf;
use std::process::{Child, Command, Output};
use std::time::{Duration, Instant};

pub(crate) const RAMBLK: &str = env!("CARGO_BIN_EXE_ramblk");

/// A daemon, stopped when dropped.
pub(crate) struct Daemon {
    process: Child,
    dir: tempfile::TempDir,
}

impl Daemon {
    /// Start a daemon whose disks end with it, and wait until it answers.
    pub(crate) fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let process = Command::new(RAMBLK)
            .args([
                "serve",
                "--state-dir",
                "none",
                "--memory-limit",
                "1G",
                "--run-dir",
            ])
            .arg(dir.path())
            .env("RAMBLK_LOG", "error")
            .spawn()
            .unwrap();
        let daemon = Self { process, dir };
        let deadline = Instant::now() + Duration::from_secs(10);
        while !daemon.verb(&["ping"]).status.success() {
            assert!(Instant::now() < deadline, "the daemon does not answer");
            std::thread::sleep(Duration::from_millis(20));
        }
        daemon
    }

    /// Run a verb.
    pub(crate) fn verb(&self, words: &[&str]) -> Output {
        Command::new(RAMBLK)
            .args(words)
            .env("RAMBLK_API", self.dir.path().join("api.sock"))
            .output()
            .unwrap()
    }

    /// Run a verb that must succeed.
    pub(crate) fn say(&self, words: &[&str]) {
        let output = self.verb(words);
        assert!(output.status.success(), "{words:?}: {output:?}");
    }

    /// Create a disk, and return its socket.
    pub(crate) fn create(&self, name: &str, options: &[&str]) -> PathBuf {
        self.say(&[&["create", name, "--size", "64M"], options].concat());
        self.dir.path().join(name).join("vhost.sock")
    }
}

impl Daemon {
    /// The socket of its API.
    pub(crate) fn api(&self) -> PathBuf {
        self.dir.path().join("api.sock")
    }

    /// A file of its process.
    pub(crate) fn proc(&self, file: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/{file}", self.process.id()))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
