//! `ramblk doctor`: it looks at this host as it is, with a daemon and without.

use std::fs;
use std::process::Command;

use serde_json::Value;

use crate::verbs::{Daemon, RAMBLK, text};

/// Its diagnoses, from the JSON. The lines for people are the same ones.
fn diagnoses(mut command: Command) -> Vec<Value> {
    let people = command.output().unwrap();
    let programs = command.args(["-o", "json"]).output().unwrap();
    let json: Value = serde_json::from_slice(&programs.stdout).unwrap();
    let found = json["diagnoses"].as_array().unwrap().clone();
    assert_eq!(text(&people.stdout).lines().count(), found.len());
    let has_problem = found.iter().any(|it| it["severity"] == "problem");
    let code = if has_problem { 9 } else { 0 };
    assert_eq!(programs.status.code(), Some(code), "{json}");
    found
}

fn of<'a>(found: &'a [Value], subject: &str) -> Vec<&'a Value> {
    found.iter().filter(|it| it["subject"] == subject).collect()
}

#[test]
fn a_host_without_a_daemon_is_looked_at_too() {
    let mut command = Command::new(RAMBLK);
    command.arg("doctor").env("RAMBLK_API", "/nowhere/api.sock");
    let found = diagnoses(command);
    assert_eq!(of(&found, "daemon")[0]["severity"], "note", "{found:#?}");
    for subject in [
        "kvm",
        "kernel",
        "landlock",
        "seccomp",
        "huge-pages",
        "memory",
        "cgroup",
        "ulimit",
        "monitor",
    ] {
        assert!(!of(&found, subject).is_empty(), "{subject}: {found:#?}");
    }
    for it in &found {
        let is_fine = it["severity"] == "ok" || it["subject"] == "daemon";
        assert!(is_fine || it["remedy"].is_string(), "what to do: {it}");
    }
}

#[test]
fn a_disk_that_no_machine_can_connect_to_is_a_problem() {
    let daemon = Daemon::start();
    daemon.ok("create a --size 1M");
    let found = diagnoses(daemon.command(&["doctor"]));
    assert_eq!(of(&found, "daemon")[0]["severity"], "ok", "{found:#?}");
    assert_eq!(of(&found, "sockets")[0]["severity"], "ok", "{found:#?}");
    // Something else takes the place of its socket.
    let socket = daemon.socket("a");
    fs::remove_file(&socket).unwrap();
    fs::write(&socket, "").unwrap();
    crate::harness::eventually("the daemon notices", || {
        daemon.json("show a")["state"] == "unreachable"
    });
    let found = diagnoses(daemon.command(&["doctor"]));
    assert_eq!(of(&found, "disk")[0]["severity"], "problem", "{found:#?}");
}
