//! Sockets, directories and files that are removed while the program runs, by programs that clean
//! up temporary files or by people.

use std::fs;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ramblk::daemon::disks::{describe, destroy};
use ramblk::model::{DiskState, EventKind};

use crate::disks::{World, until};
use crate::driver::data::pattern;
use crate::driver::disk::Disk;
use crate::harness::{Ramblk, eventually};
use crate::verbs::Daemon;

fn can_connect(socket: &Path) -> bool {
    UnixStream::connect(socket).is_ok()
}

#[test]
fn a_socket_that_was_removed_is_told_of_and_made_again_and_its_front_end_goes_on() {
    let world = World::new(64 << 20);
    let sockets = [world.create("one"), world.create("two")];
    let mut disk = Disk::attach(&sockets[0]);
    disk.q().write(7, &pattern(4096, 7)).unwrap();
    let mut events = world.disks.events().listen();
    for _ in 0..2 {
        fs::remove_file(&sockets[0]).unwrap();
        let gone = until(&mut events, EventKind::Unreachable);
        assert_eq!(gone.disk.as_deref(), Some("one"));
        let there = until(&mut events, EventKind::Reachable);
        assert_eq!(there.disk.as_deref(), Some("one"));
        let said = ramblk::model::Detail::Text(sockets[0].display().to_string());
        assert_eq!(there.details["socket"], said);
        assert!(can_connect(&sockets[0]));
        assert_eq!(disk.q().read(7, 4096), Ok(pattern(4096, 7)));
        assert_eq!(
            describe::get(&world.disks, "one").unwrap().state,
            DiskState::Ok
        );
    }
    // The socket of a destroyed disk is not reported.
    destroy::destroy(&world.disks, "two", Default::default()).unwrap();
    std::thread::sleep(Duration::from_millis(400));
    let kinds = std::iter::from_fn(|| events.try_recv().ok()).map(|event| event.kind);
    assert!(kinds.into_iter().all(|kind| kind != EventKind::Unreachable));
    assert!(!sockets[1].parent().unwrap().exists());
}

#[test]
fn what_somebody_put_in_the_place_of_a_socket_stays_and_is_said() {
    let daemon = Daemon::start();
    daemon.ok("create vm1 --size 8M");
    let socket = daemon.socket("vm1");
    fs::remove_file(&socket).unwrap();
    let other = UnixListener::bind(&socket).unwrap();
    eventually("it is said", || {
        let disk = daemon.json("show vm1");
        disk["state"] == "unreachable"
            && disk["unreachable"]
                .as_str()
                .unwrap()
                .contains("is another file now")
    });
    assert!(daemon.ok("show vm1").contains("unreachable: "));
    other.set_nonblocking(true).unwrap();
    assert!(
        can_connect(&socket) && other.accept().is_ok(),
        "it is still the other's"
    );
    drop(other);
    fs::remove_file(&socket).unwrap();
    eventually("it is ours again", || {
        daemon.json("show vm1")["state"] == "ok"
    });
    let mut disk = Disk::attach(&socket);
    disk.q().flush().unwrap();
    drop(disk);
    eventually("its front end is seen to be gone", || {
        daemon.run("destroy vm1").status.success()
    });
    assert!(!socket.parent().unwrap().exists());
}

#[test]
fn a_run_directory_that_was_removed_does_not_keep_disks_from_being_made_and_comes_back() {
    let daemon = Daemon::start();
    daemon.ok("create vm1 --size 8M");
    let socket = daemon.socket("vm1");
    fs::remove_dir_all(daemon.path("run")).unwrap();
    daemon.ok("create vm2 --size 8M");
    eventually("both can be connected to", || {
        can_connect(&socket) && can_connect(&daemon.socket("vm2"))
    });
    // The whole directory is moved away instead.
    fs::rename(daemon.path("run/vm1"), daemon.path("gone")).unwrap();
    eventually("it says so, or mends it", || {
        daemon.json("show vm1")["state"] == "unreachable" || can_connect(&socket)
    });
    fs::remove_dir_all(daemon.path("run")).unwrap();
    eventually("it comes back", || can_connect(&socket));
    fs::remove_file(daemon.path("api.sock")).unwrap();
    eventually("the API answers again", || {
        daemon.run("ping").status.success()
    });
    assert_eq!(daemon.json("list").as_array().map(Vec::len), Some(2));
}

/// How often a thread of this name has gone to sleep.
fn sleeps(ramblk: &Ramblk, name: &str) -> String {
    let tasks = fs::read_dir(format!("/proc/{}/task", ramblk.pid())).unwrap();
    let mut tasks = tasks.map(|task| task.unwrap().path());
    let is_it = |task: &std::path::PathBuf| {
        fs::read_to_string(task.join("comm")).is_ok_and(|comm| comm.trim() == name)
    };
    let status = fs::read_to_string(tasks.find(is_it).unwrap().join("status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("voluntary"));
    line.unwrap().to_owned()
}

#[test]
fn the_socket_of_a_single_disk_comes_back_and_nobody_wakes_for_anything_else() {
    let ramblk = Ramblk::run(&[]);
    let socket = ramblk.socket().to_owned();
    let mut disk = Disk::attach(&socket);
    disk.q().write(7, &pattern(4096, 7)).unwrap();
    fs::remove_file(&socket).unwrap();
    eventually("it can be connected to", || can_connect(&socket));
    assert_eq!(disk.q().read(7, 4096), Ok(pattern(4096, 7)));
    drop(disk);
    // The thread may sleep once more after that.
    std::thread::sleep(Duration::from_millis(300));
    let before = sleeps(&ramblk, "ramblk-removal");
    for number in 0..20 {
        let other = socket.with_file_name(format!("other-{number}"));
        fs::write(&other, b"x").unwrap();
        fs::remove_file(&other).unwrap();
    }
    std::thread::sleep(Duration::from_millis(1200));
    assert_eq!(sleeps(&ramblk, "ramblk-removal"), before);
}

/// A failing test must leave no process behind.
struct KilledOnDrop(std::process::Child);

impl Drop for KilledOnDrop {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Serve a disk of 1 MiB without a daemon, at a socket in a new directory. Returns the process and
/// the socket once that can be connected to.
fn single_disk(
    directory: &Path,
    more: &[&str],
    stderr: std::process::Stdio,
) -> (KilledOnDrop, PathBuf) {
    fs::create_dir(directory).unwrap();
    let socket = directory.join("s");
    let child = std::process::Command::new(env!("CARGO_BIN_EXE_ramblk"))
        .args(["run", "--size", "1M", "--socket-path"])
        .arg(&socket)
        .args(more)
        .stdout(std::process::Stdio::null())
        .stderr(stderr)
        .spawn()
        .unwrap();
    let child = KilledOnDrop(child);
    eventually("it serves", || can_connect(&socket));
    (child, socket)
}

#[test]
fn the_directory_of_a_single_disk_comes_back_and_goes_with_it() {
    let folder = tempfile::TempDir::new().unwrap();
    let directory = folder.path().join("vm");
    let (mut child, socket) = single_disk(&directory, &[], std::process::Stdio::null());
    fs::remove_dir_all(&directory).unwrap();
    eventually("it comes back", || can_connect(&socket));
    let pid = rustix::process::Pid::from_child(&child.0);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert_eq!(child.0.wait().unwrap().code(), Some(0));
    assert!(
        !directory.exists(),
        "nothing is left of what was made again"
    );
}

/// The process that does for another one what its sandbox keeps that from.
fn broker_of(process: &std::process::Child) -> rustix::process::Pid {
    let own = process.id().to_string();
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let mut stats =
        processes.filter_map(|entry| fs::read_to_string(entry.path().join("stat")).ok());
    let found = stats.find_map(|stat| {
        let (number, rest) = stat.split_once(" (ramblk-broker) ")?;
        let parent = rest.split(' ').nth(1)?;
        (parent == own).then(|| number.parse().ok())?
    });
    rustix::process::Pid::from_raw(found.expect("a broker")).unwrap()
}

/// By itself it may not make its directory again.
#[test]
fn a_process_whose_broker_was_killed_serves_on_and_says_what_it_may_not_make_again() {
    let folder = tempfile::TempDir::new().unwrap();
    let directory = folder.path().join("vm");
    let log = folder.path().join("log");
    let stderr = fs::File::create(&log).unwrap();
    let (child, socket) = single_disk(&directory, &["--sandbox", "on"], stderr.into());
    let mut disk = Disk::attach(&socket);
    let broker = broker_of(&child.0);
    rustix::process::kill_process(broker, rustix::process::Signal::KILL).unwrap();
    fs::remove_dir_all(&directory).unwrap();
    eventually("it says so", || {
        let log = fs::read_to_string(&log).unwrap();
        log.contains("the broker of the sandbox is gone") && log.contains("restart this process")
    });
    disk.q().write(7, &pattern(4096, 7)).unwrap();
    assert_eq!(disk.q().read(7, 4096), Ok(pattern(4096, 7)));
    assert!(!directory.exists());
}
