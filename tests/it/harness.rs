//! The built program, serving one disk for one test.

use std::fs::{File, read_dir, read_to_string};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// A running `ramblk run` in a directory of its own, killed when dropped.
pub(crate) struct Ramblk {
    child: Child,
    socket: PathBuf,
    folder: TempDir,
}

impl Ramblk {
    /// Start with a disk of 64 MiB, and `more` arguments.
    pub(crate) fn run(more: &[&str]) -> Self {
        Self::sized("64M", more)
    }

    pub(crate) fn sized(size: &str, more: &[&str]) -> Self {
        let folder = TempDir::new().unwrap();
        let socket = folder.path().join("vhost.sock");
        let child = Command::new(env!("CARGO_BIN_EXE_ramblk"))
            .args(["run", "--size", size, "--socket-path"])
            .arg(&socket)
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(folder.path().join("stderr")).unwrap())
            .spawn()
            .unwrap();
        let mut ramblk = Self {
            child,
            socket,
            folder,
        };
        // A socket appears in the file system at bind, before it listens. So ask the kernel about
        // it: a connection would be one front end too many for tests that count them.
        eventually("ramblk listens", || {
            assert!(
                ramblk.child.try_wait().unwrap().is_none(),
                "{}",
                ramblk.stderr()
            );
            ramblk.listens()
        });
        ramblk
    }

    /// The kernel lists listening Unix sockets with the flag SO_ACCEPTCON.
    fn listens(&self) -> bool {
        let path = self.socket.to_str().unwrap();
        let table = read_to_string("/proc/net/unix").unwrap();
        table
            .lines()
            .any(|l| l.ends_with(path) && l.split_whitespace().nth(3) == Some("00010000"))
    }

    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }

    pub(crate) fn stderr(&self) -> String {
        read_to_string(self.folder.path().join("stderr")).unwrap()
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Number of open descriptors.
    pub(crate) fn fds(&self) -> usize {
        self.count("fd")
    }

    /// Number of threads.
    pub(crate) fn threads(&self) -> usize {
        self.count("task")
    }

    fn count(&self, what: &str) -> usize {
        read_dir(format!("/proc/{}/{what}", self.child.id()))
            .unwrap()
            .count()
    }

    /// Processor time used so far, in clock ticks (a hundredth of a second).
    pub(crate) fn ticks(&self) -> u64 {
        let stat = read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        // The name in parentheses is field 2; user and system time are fields 14 and 15.
        let fields = stat.rsplit_once(')').unwrap().1.split_whitespace();
        fields
            .skip(11)
            .take(2)
            .map(|text| text.parse::<u64>().unwrap())
            .sum()
    }

    /// Resident memory, in KiB.
    pub(crate) fn rss_kib(&self) -> u64 {
        let status = read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let number = line.and_then(|line| line.split_whitespace().next());
        number.unwrap().parse().unwrap()
    }

    /// Number of memory mappings.
    pub(crate) fn mappings(&self) -> usize {
        let maps = read_to_string(format!("/proc/{}/maps", self.child.id())).unwrap();
        maps.lines().count()
    }
}

impl Drop for Ramblk {
    fn drop(&mut self) {
        // The daemon must survive whatever a test does to it.
        let ended = self.child.try_wait().unwrap();
        self.child.kill().ok();
        self.child.wait().unwrap();
        let stderr = self.stderr();
        if std::thread::panicking() {
            return;
        }
        assert!(ended.is_none(), "ramblk ended with {ended:?}: {stderr}");
        assert!(!stderr.contains("panicked at"), "ramblk panicked: {stderr}");
    }
}

/// Wait up to ten seconds for a condition.
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A program of a package that `scripts/setup` unpacks, and doesn't install.
pub(crate) fn unpacked(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/programs");
    path.join(name)
}
