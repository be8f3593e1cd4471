//! Restricted hosts: limits on files and descriptors, logs that can't be written, missing standard
//! descriptors.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal};
use tempfile::TempDir;

use crate::harness::{Ramblk, eventually};
use crate::verbs::Daemon;

const RAMBLK: &str = env!("CARGO_BIN_EXE_ramblk");
const VHOST_USER_RAMBLK: &str = env!("CARGO_BIN_EXE_vhost-user-ramblk");

/// Run `program` in `dir` from a shell that has run `first`.
fn after(first: &str, dir: &Path, program: &str, words: &str) -> Output {
    Command::new("sh")
        .args(["-c", &format!("{first}; exec \"$0\" \"$@\""), program])
        .args(words.split_whitespace())
        .current_dir(dir)
        .env_remove("RAMBLK_API")
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// Check for exit code 1 and one line on stderr that contains `hint`.
fn is_refused(output: &Output, hint: &str) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert!(stderr.starts_with("error: "), "{stderr}");
    assert!(stderr.contains(hint), "{stderr}");
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name();
    entries
        .map(|entry| name(entry).into_string().unwrap())
        .collect()
}

#[test]
fn a_limit_on_file_sizes_is_one_line_and_leaves_nothing() {
    let dir = TempDir::new().unwrap();
    let state = TempDir::new_in("/dev/shm").unwrap();
    let serve = format!(
        "serve --run-dir run --memory-limit 64M --state-dir {}",
        state.path().display()
    );
    for (program, words) in [
        (RAMBLK, "run --size 64M --memory-limit 64M --socket-path s"),
        (VHOST_USER_RAMBLK, "--size 64M --socket-path s"),
        (
            RAMBLK,
            "serve --run-dir run --memory-limit 64M --state-dir none",
        ),
        (RAMBLK, &serve),
    ] {
        let output = after("ulimit -f 1000", dir.path(), program, words);
        is_refused(&output, "ulimit -f");
        assert!(!dir.path().join("s").exists(), "{words}");
        assert!(names(state.path()).is_empty(), "{words}");
    }
}

#[test]
fn an_export_that_meets_a_limit_on_file_sizes_is_one_line_and_leaves_nothing() {
    let daemon = Daemon::start();
    daemon.ok("create vm1 --size 8M");
    let dir = daemon.path("images");
    fs::create_dir(&dir).unwrap();
    let api = daemon.path("api.sock");
    let words = format!("--api-socket {} export vm1 image", api.display());
    let output = after("ulimit -f 100", &dir, RAMBLK, &words);
    is_refused(&output, "File too large");
    assert!(names(&dir).is_empty());
}

#[test]
fn a_command_has_the_signals_and_limits_that_ramblk_was_started_with() {
    let dir = TempDir::new().unwrap();
    // The C library uses two signals itself, 32 and 33.
    let look =
        "ulimit -n; sed -n 's/^\\(Sig[BI]..:\\).*\\(.\\{7\\}\\)$/\\1 \\2/p' /proc/self/status";
    fs::write(dir.path().join("look"), look).unwrap();
    // The second one as `nohup` does it, and a shell without job control for what it starts with
    // `&`.
    for first in ["ulimit -Sn 64", "ulimit -Sn 64; trap '' HUP INT"] {
        let directly = after(first, dir.path(), "sh", "look");
        let beside = after(first, dir.path(), RAMBLK, "run --size 1M -- sh look");
        let text = |output: &Output| String::from_utf8(output.stdout.clone()).unwrap();
        assert!(text(&directly).starts_with("64\n"), "{directly:?}");
        assert_eq!(text(&beside), text(&directly), "{first}: {beside:?}");
    }
}

#[test]
fn a_signal_that_was_ignored_at_the_start_ends_nothing() {
    for words in [
        "run --size 1M --socket-path s",
        "serve --run-dir . --state-dir none --memory-limit 64M",
    ] {
        for (signals, goes_on) in [("ignore", true), ("default", false)] {
            let dir = TempDir::new().unwrap();
            let mut child = Command::new("env")
                .args([&format!("--{signals}-signal=HUP,INT"), RAMBLK])
                .args(words.split_whitespace())
                .current_dir(dir.path())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            let socket = dir.path().join(if words.starts_with("run") {
                "s"
            } else {
                "api.sock"
            });
            eventually("it serves", || UnixStream::connect(&socket).is_ok());
            let pid = Pid::from_child(&child);
            rustix::process::kill_process(pid, Signal::HUP).unwrap();
            if goes_on {
                rustix::process::kill_process(pid, Signal::INT).unwrap();
                std::thread::sleep(Duration::from_millis(300));
                assert_eq!(child.try_wait().unwrap(), None, "{words}");
                rustix::process::kill_process(pid, Signal::TERM).unwrap();
            }
            assert_eq!(child.wait().unwrap().code(), Some(0), "{words}");
        }
    }
}

#[test]
fn a_log_that_can_not_be_written_harms_nobody() {
    let dir = TempDir::new().unwrap();
    for first in ["exec 2>/dev/full", "exec 2>&-", "exec <&- >&- 2>&-"] {
        let words = "run --size 1M -- sh -c exit\t7";
        let output = after(first, dir.path(), RAMBLK, &words.replace('\t', "${IFS}"));
        assert_eq!(output.status.code(), Some(7), "{first}: {output:?}");
        let output = after(first, dir.path(), RAMBLK, "run --size 1M --fd 99");
        assert_eq!(output.status.code(), Some(1), "{first}: {output:?}");
    }
    // A daemon that logs while it serves.
    let socket = dir.path().join("s");
    let mut child = Command::new(RAMBLK)
        .args(["run", "--size", "1M", "--socket-path"])
        .arg(&socket)
        .stderr(fs::File::create("/dev/full").unwrap())
        .spawn()
        .unwrap();
    eventually("it serves", || UnixStream::connect(&socket).is_ok());
    rustix::process::kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn too_few_descriptors_are_one_line() {
    let dir = TempDir::new().unwrap();
    for number in [4, 6, 8, 10, 12, 14] {
        let words = "run --size 1M --memory-limit 64M --fd 99";
        let output = after(&format!("ulimit -n {number}"), dir.path(), RAMBLK, words);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{number}: {stderr}");
        assert_eq!(stderr.lines().count(), 1, "{number}: {stderr}");
    }
    // A serving process reports what is missing when a front end connects, and goes on.
    drop(Ramblk::run(&[]));
}

#[test]
#[allow(
    clippy::print_stderr,
    reason = "a host where it can not be tried says so"
)]
fn a_full_run_directory_is_lack_of_room() {
    let daemon = Daemon::start();
    let run = daemon.path("run");
    // Room for the directory itself.
    let mut mount = Command::new("mount");
    mount.args(["-t", "tmpfs", "-o", "nr_inodes=1", "none"]);
    if !mount.arg(&run).status().unwrap().success() {
        eprintln!("not tried: nothing can be mounted here");
        return;
    }
    let output = daemon.run("create vm1 --size 1M");
    let umount = Command::new("umount").arg(&run).status().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("No space left"), "{stderr}");
    assert_eq!(output.status.code(), Some(5), "{stderr}");
    assert!(umount.success());
    daemon.ok("create vm1 --size 1M");
}

/// A control group with a memory limit, made for one test.
struct Group(std::path::PathBuf);

impl Group {
    /// A group with this limit, and its limit file; `None` where no group can be made.
    fn new(limit_bytes: u64) -> Option<(Self, std::path::PathBuf)> {
        let parents = ["/sys/fs/cgroup/memory", "/sys/fs/cgroup"];
        let parent = parents.iter().map(Path::new).find(|parent| {
            ["memory.limit_in_bytes", "memory.stat"]
                .iter()
                .any(|name| parent.join(name).exists())
        })?;
        let group = Self(parent.join(format!("ramblk-test-{}", std::process::id())));
        fs::create_dir(&group.0).ok()?;
        let names = ["memory.limit_in_bytes", "memory.high"];
        let file = names.map(|name| group.0.join(name));
        let file = file.into_iter().find(|file| file.exists())?;
        fs::write(&file, limit_bytes.to_string()).ok()?;
        Some((group, file))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        fs::remove_dir(&self.0).ok();
    }
}

#[test]
#[allow(
    clippy::print_stderr,
    reason = "a host where it can not be tried says so"
)]
fn a_limit_of_the_control_group_that_this_host_really_has_is_kept() {
    let Some((group, file)) = Group::new(300 << 20) else {
        eprintln!("not tried: no control group can be made here");
        return;
    };
    let dir = TempDir::new().unwrap();
    let first = format!("echo $$ > {}/cgroup.procs", group.0.display());
    let output = after(&first, dir.path(), RAMBLK, "run --size 1M --fd 99");
    assert_eq!(output.status.code(), Some(1), "the group can be entered");
    let words = "run --size 1M -- true";
    let first = format!("{first}; export RAMBLK_LOG=info");
    let output = after(&first, dir.path(), RAMBLK, words);
    let log = String::from_utf8(output.stderr).unwrap();
    let bytes = (300u64 << 20) / 4 * 3;
    assert!(
        log.contains(&format!("memory_limit_bytes={bytes}")),
        "{log}"
    );
    let from = format!("three quarters of {}", file.display());
    assert!(log.contains(&from), "{log}");
}
