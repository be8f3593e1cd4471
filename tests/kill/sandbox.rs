//! Threads that make system calls which they must not make: the daemon ends, its disks are kept,
//! and the next one says why; processes that help it, which try the same; and systems that lack a
//! part of what the sandbox needs.

use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::daemon::Daemon;
use crate::driver::data::pattern;
use crate::driver::disk::Disk;

const RAMBLK: &str = env!("CARGO_BIN_EXE_ramblk");
/// A user that owns nothing.
const NOBODY: u32 = 65534;

/// Calls that end the process, whichever thread makes them.
const DEADLY: [&str; 9] = [
    "execve",
    "socket",
    "ptrace",
    "kill",
    "userfaultfd",
    "bpf",
    "tgkill",
    "mprotect",
    "unshare",
];
/// Points in threads of each kind, and the name of the kind.
const THREADS: [(&str, &str); 3] = [
    ("worker-waits", "worker"),
    ("session-asked", "session"),
    ("api-asked", "api"),
];

/// Keep threads of every kind busy until the daemon ends.
fn provoke(daemon: &mut Daemon, mut until: impl FnMut(&mut Daemon) -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    let socket = daemon.socket("disk");
    let guest = std::thread::spawn(move || {
        // It ends by a panic when the daemon does, and waits until that listens.
        while Instant::now() < deadline {
            if UnixStream::connect(&socket).is_err() {
                std::thread::sleep(Duration::from_millis(5));
                continue;
            }
            let mut disk = Disk::attach(&socket);
            let _ = disk.q().read(8, 512);
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    while !until(daemon) {
        assert!(Instant::now() < deadline, "it lives on\n{}", daemon.log());
        let _ = daemon.verb(&["ping"]);
        std::thread::sleep(Duration::from_millis(10));
    }
    // What is left of it ends with the daemon, or with its time.
    drop(guest);
}

fn with_a_disk(daemon: &Daemon) {
    daemon.answers();
    daemon.say(&["create", "disk", "--size", "1M"]);
    let mut disk = Disk::attach(&daemon.socket("disk"));
    disk.q().write(8, &pattern(512, 3)).unwrap();
}

fn every_call_ends_it_and_the_next_says_why(mut daemon: Daemon) {
    with_a_disk(&daemon);
    daemon.kill();
    let mut last: Option<(&str, &str)> = None;
    for (point, kind) in THREADS {
        for call in DEADLY {
            daemon.set_environment(&[("RAMBLK_FAIL_AT", format!("{point}:call-{call}"))]);
            daemon.clear_log();
            daemon.start_again();
            provoke(&mut daemon, |daemon| daemon.ended().is_some());
            let log = daemon.log();
            let refused = format!("the sandbox refused the system call {call} ");
            assert!(log.contains(&refused), "{point}: {log}");
            assert!(log.contains(&format!("kind {kind:?}")), "{point}: {log}");
            says_why(&log, last);
            last = Some((kind, call));
        }
    }
    daemon.clear_log();
    daemon.set_environment(&[]);
    daemon.start_again();
    daemon.answers();
    says_why(&daemon.log(), last);
    let told = daemon.say(&["events", "--since", "10m", "--no-follow", "-o", "json"]);
    assert!(told.contains("sandbox-ended"), "{told}");
    let back = Disk::attach(&daemon.socket("disk")).q().read(8, 512);
    assert_eq!(back, Ok(pattern(512, 3)));
    assert_eq!(daemon.field("disk", "state"), "ok");
}

/// The log of a daemon names the call that ended the one before it.
fn says_why(log: &str, last: Option<(&str, &str)>) {
    let Some((kind, call)) = last else {
        assert!(!log.contains("the sandbox ended the daemon"), "{log}");
        return;
    };
    let why = format!("a thread of the kind {kind:?} made the system call {call} ");
    assert!(log.contains(&why), "{why}: {log}");
}

#[test]
#[cfg_attr(not(ramblk_hooks), ignore = "there are no hooks in this build")]
fn a_call_that_a_thread_must_not_make_ends_the_daemon_and_the_next_one_says_why() {
    let daemon = Daemon::start_with(&["--sandbox", "on"]);
    assert_eq!(daemon.status("NoNewPrivs:"), "1");
    assert_eq!(daemon.status("Seccomp:"), "2");
    // CAP_CHOWN, for owners of sockets.
    assert_eq!(daemon.status("CapEff:"), "0000000000000001");
    every_call_ends_it_and_the_next_says_why(daemon);
}

/// Without the rights of root too, if this test has them to give up.
#[test]
#[cfg_attr(not(ramblk_hooks), ignore = "there are no hooks in this build")]
fn an_unprivileged_daemon_confines_itself_as_well() {
    if !rustix::process::geteuid().is_root() {
        // Then the other test has shown it.
        return;
    }
    let daemon = unprivileged();
    daemon.answers();
    every_call_ends_it_and_the_next_says_why(daemon);
}

fn unprivileged() -> Daemon {
    Daemon::begin(&["--sandbox", "on"], |folder| {
        std::os::unix::fs::chown(folder, Some(NOBODY), Some(NOBODY)).unwrap();
        // The folder of the build may be closed to others.
        let program = folder.join("ramblk");
        // By a process: a descriptor of this one that writes the program could be inherited by one
        // that another test starts just now, and then the system runs no such program.
        let copied = Command::new("cp")
            .arg(RAMBLK)
            .arg(&program)
            .status()
            .unwrap();
        assert!(copied.success());
        let program = program.to_str().unwrap();
        let words = [
            "setpriv",
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
            program,
        ];
        words.map(str::to_owned).to_vec()
    })
}

/// By landlock, and of a worker by its filter: neither ends the process.
#[test]
#[cfg_attr(not(ramblk_hooks), ignore = "there are no hooks in this build")]
fn a_file_that_is_not_the_daemons_is_refused() {
    let mut daemon = Daemon::start_with(&["--sandbox", "on"]);
    with_a_disk(&daemon);
    daemon.kill();
    for (point, _) in THREADS {
        daemon.set_environment(&[("RAMBLK_FAIL_AT", format!("{point}:call-open"))]);
        daemon.clear_log();
        daemon.start_again();
        provoke(&mut daemon, |daemon| daemon.log().contains("tried open:"));
        let log = daemon.log();
        assert!(
            log.contains("tried open: Permission denied"),
            "{point}: {log}"
        );
        daemon.answers();
        daemon.kill();
    }
}

#[test]
#[cfg_attr(not(ramblk_hooks), ignore = "there are no hooks in this build")]
fn a_log_says_what_would_be_refused_and_the_daemon_goes_on() {
    let mut daemon = Daemon::start();
    with_a_disk(&daemon);
    daemon.kill();
    for (mode, says) in [
        ("log", "--sandbox on would refuse"),
        ("off", "tried socket"),
    ] {
        daemon.set_words(&["--sandbox", mode]);
        daemon.set_environment(&[("RAMBLK_FAIL_AT", "worker-waits:call-socket".to_owned())]);
        daemon.clear_log();
        daemon.start_again();
        provoke(&mut daemon, |daemon| {
            let log = daemon.log();
            log.contains("tried socket: it succeeded") && log.contains(says)
        });
        daemon.answers();
        daemon.kill();
    }
}

/// It looks for its program and its symbols, which a worker may not open, and does without.
#[test]
#[cfg_attr(not(ramblk_hooks), ignore = "there are no hooks in this build")]
fn a_panic_in_a_confined_worker_is_a_crash_and_no_refusal() {
    let mut daemon = Daemon::start_with(&["--sandbox", "on"]);
    with_a_disk(&daemon);
    daemon.kill();
    daemon.set_environment(&[
        ("RAMBLK_FAIL_AT", "worker-waits:panic".to_owned()),
        ("RUST_BACKTRACE", "full".to_owned()),
    ]);
    daemon.clear_log();
    daemon.start_again();
    let mut status = None;
    provoke(&mut daemon, |daemon| {
        status = status.or(daemon.ended());
        status.is_some()
    });
    let log = daemon.log();
    let status = status.unwrap();
    assert_eq!(status.signal(), Some(6), "{status}\n{log}");
    assert!(log.contains("panicked at"), "{log}");
    assert!(log.contains("a vital thread has ended"), "{log}");
    assert!(!log.contains("the sandbox refused"), "{log}");
    daemon.clear_log();
}

/// Calls that end a helper. `clone` would make a copy of it, `packet` a raw socket, and `x32` is
/// `execve` by another number.
const DEADLY_TO_HELPERS: [&str; 16] = [
    "execve",
    "clone",
    "ptrace",
    "process_vm_readv",
    "process_vm_writev",
    "kill",
    "tgkill",
    "bpf",
    "userfaultfd",
    "io_uring_setup",
    "unshare",
    "mount",
    "packet",
    "x32",
    "socket",
    "mprotect",
];
/// Those of them that a process which reads from other hosts is not refused.
const OF_NETWORKS: [&str; 2] = ["socket", "mprotect"];
/// The signal that ends a helper.
const SIGSYS: i32 = rustix::process::Signal::SYS.as_raw();
/// An address at which nothing listens.
const NOWHERE: &str = "http://127.0.0.1:9/image.raw";

/// Have a helper try a call once it has confined itself.
fn helper_tries(words: &[&str], point: &str, call: &str) -> Output {
    Command::new(RAMBLK)
        .arg("--helper")
        .args(words)
        .env("RAMBLK_FAIL_AT", format!("{point}:call-{call}"))
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

const READER: (&[&str], &str) = (&["fetch", NOWHERE], "client-confined");
const BROKER: (&[&str], &str) = (&["broker"], "broker-confined");

/// The helper that reads images from other hosts, and the one that helps a confined daemon.
#[test]
#[cfg_attr(not(ramblk_hooks), ignore = "there are no hooks in this build")]
fn a_call_that_a_helper_must_not_make_ends_it() {
    for call in DEADLY_TO_HELPERS {
        for (words, point) in [READER, BROKER] {
            let ended = helper_tries(words, point, call);
            let text = String::from_utf8_lossy(&ended.stderr);
            if words == READER.0 && OF_NETWORKS.contains(&call) {
                assert_ne!(ended.status.signal(), Some(SIGSYS), "{call}: {text}");
                assert!(text.contains(&format!("tried {call}")), "{call}: {text}");
                continue;
            }
            let signal = ended.status.signal();
            assert_eq!(signal, Some(SIGSYS), "{point} {call}: {text}");
            assert!(!text.contains("tried"), "{point} {call}: {text}");
        }
    }
}

/// One that reads images gets an error, and goes on to its image. The broker only ever reads.
#[test]
#[cfg_attr(not(ramblk_hooks), ignore = "there are no hooks in this build")]
fn a_helper_can_write_to_no_foreign_file() {
    let (words, point) = READER;
    let ended = helper_tries(words, point, "write");
    let text = String::from_utf8_lossy(&ended.stderr);
    assert!(text.contains("tried write: Permission denied"), "{text}");
    assert_eq!(ended.status.code(), Some(1), "{text}");
    let (words, point) = BROKER;
    let ended = helper_tries(words, point, "write");
    assert_eq!(ended.status.signal(), Some(SIGSYS));
}

#[test]
#[cfg_attr(not(ramblk_hooks), ignore = "there are no hooks in this build")]
fn an_image_whose_reader_makes_such_a_call_becomes_no_disk_and_the_reason_is_said() {
    let folder = tempfile::tempdir_in("/dev/shm").unwrap();
    let socket = folder.path().join("s");
    let ended = Command::new(RAMBLK)
        .args(["run", "--image", NOWHERE, "--socket-path"])
        .arg(&socket)
        .env("RAMBLK_FAIL_AT", "client-confined:call-execve")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(1), "{text}");
    assert!(text.contains("was ended by its sandbox"), "{text}");
    assert!(!socket.exists());
}

/// A kernel without landlock, and one on which filters are forbidden, as in some containers.
#[test]
fn what_the_system_lacks_is_said_and_a_strict_sandbox_does_without_nothing() {
    let without = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kill/without.py");
    let without = without.to_str().unwrap();
    for (call, said) in [
        ("landlock", "landlock"),
        ("seccomp", "system calls can't be refused"),
        ("life", "let it allow seccomp"),
    ] {
        let words = |_: &Path| {
            ["python3", without, call, RAMBLK]
                .map(str::to_owned)
                .to_vec()
        };
        let daemon = Daemon::begin(&["--sandbox", "on"], words);
        daemon.answers();
        let log = daemon.log();
        assert!(log.contains("the sandbox is incomplete"), "{call}: {log}");
        assert!(log.contains(said), "{call}: {log}");
        drop(daemon);
        let folder = tempfile::tempdir_in("/dev/shm").unwrap();
        let refused = Command::new("python3")
            .args([
                without,
                call,
                RAMBLK,
                "serve",
                "--sandbox",
                "strict",
                "--run-dir",
            ])
            .arg(folder.path())
            .process_group(0)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let text = String::from_utf8(refused.stderr).unwrap();
        assert_eq!(refused.status.code(), Some(1), "{text}");
        assert!(text.contains("the sandbox can't be whole"), "{text}");
        assert!(text.contains(said), "{text}");
        assert!(!folder.path().join("api.sock").exists());
    }
}
