//! Explorers that are killed or interrupted: nothing of theirs stays.

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::explore::{recorded, recorded_in};
use crate::harness::eventually;
use crate::verbs::{Daemon, text};

/// Start an exploration whose check waits, and wait until it does.
fn waiting(daemon: &Daemon, words: &str) -> Child {
    let mut words: Vec<&str> = words.split_whitespace().collect();
    words.extend([
        "--",
        "sh",
        "-c",
        "echo >>began; exec sleep 3",
        "check",
        "{socket}",
        "{file}",
    ]);
    let mut command = daemon.command(&words);
    command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    let child = command.spawn().unwrap();
    eventually("the check runs", || daemon.path("began").exists());
    child
}

fn disks(daemon: &Daemon) -> usize {
    daemon.json("list").as_array().unwrap().len()
}

#[test]
fn the_disks_of_an_explorer_that_is_killed_go_with_it_and_its_files_with_the_next_one() {
    let daemon = recorded(false);
    fs::create_dir(daemon.path("files")).unwrap();
    // What is no directory of an explorer stays, whatever it is called.
    fs::create_dir(daemon.path("files/ramblk-explore-mine")).unwrap();
    daemon.ok("create explore-1-0 --size 1M");
    let mut child = waiting(&daemon, "crash-explore a --jobs 2 --dir files");
    eventually("states are disks", || disks(&daemon) == 4);
    let shown = daemon.json(&format!("show explore-{}-0", child.id()));
    assert_eq!(shown["labels"]["crash-explore"], "a");
    // Someone took a snapshot of it, and attached to it.
    daemon.ok(&format!("snapshot explore-{}-0 s", child.id()));
    child.kill().unwrap();
    child.wait().unwrap();
    eventually("its disks are gone", || disks(&daemon) == 2);
    daemon.ok("show explore-1-0");
    let files = || fs::read_dir(daemon.path("files")).unwrap().count();
    assert_eq!(files(), 2);
    daemon.ok("crash-explore a --dir files -- true");
    assert_eq!(files(), 1, "the next one removes them");
}

#[test]
fn a_daemon_that_is_killed_leaves_no_state_of_an_explorer() {
    let state = TempDir::new_in("/dev/shm").unwrap();
    let options = ["--state-dir", state.path().to_str().unwrap()];
    let mut daemon = recorded_in(Daemon::start_with(&options), false);
    let mut child = waiting(&daemon, "crash-explore a --jobs 1");
    let name = format!("explore-{}-0", child.id());
    daemon.ok(&format!("snapshot {name} s"));
    daemon.ok(&format!("fork {name} mine"));
    // It would go on with the next daemon, from the state after this one.
    kill_process(Pid::from_child(&child), Signal::STOP).unwrap();
    daemon.kill_and_start(&options);
    daemon.refused(&format!("show {name}"), 3);
    daemon.ok("show mine");
    assert_eq!(disks(&daemon), 2);
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn an_explorer_that_is_interrupted_ends_its_checks_and_removes_what_it_made() {
    let daemon = recorded(false);
    fs::create_dir(daemon.path("files")).unwrap();
    let child = waiting(&daemon, "crash-explore a --jobs 1 --dir files");
    let began = Instant::now();
    let pid = Pid::from_child(&child);
    kill_process(pid, Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(
        began.elapsed() < Duration::from_secs(2),
        "{:?}",
        began.elapsed()
    );
    let (said, wrong) = (text(&output.stdout), text(&output.stderr));
    assert!(said.contains("; interrupted"), "{said}");
    assert!(wrong.contains("it was interrupted"), "{wrong}");
    assert_eq!(output.status.code(), Some(2), "{wrong}");
    assert_eq!(disks(&daemon), 1);
    assert_eq!(fs::read_dir(daemon.path("files")).unwrap().count(), 0);
}
