//! SIGHUP applies the file of `serve --config` again: all of it or nothing.

use std::fs;
use std::process::Command;

use rustix::process::Signal;
use serde_json::Value;

use super::home::{Home, Running};
use crate::harness::eventually;

const FIRST: &str = "[daemon]\npoll_us = 0\n[[disk]]\nname = \"a\"\nsize = \"1M\"\n";

/// A daemon with a file.
fn start(home: &Home, text: &str) -> Command {
    fs::write(home.path("ramblk.toml"), text).unwrap();
    home.serve(&["--config", home.path("ramblk.toml").to_str().unwrap()])
}

/// The events of this kind.
fn events(home: &Home, kind: &str) -> Vec<Value> {
    let told = home.ok("events --since 1h --no-follow -o json");
    let told = crate::verbs::text(&told);
    let events = told.lines().map(|line| serde_json::from_str(line).unwrap());
    events
        .filter(|event: &Value| event["type"] == kind)
        .collect()
}

/// Write the file, send the signal, and return the event that tells of it.
fn reload(home: &Home, daemon: &Running<'_>, text: &str, kind: &str) -> Value {
    let before = events(home, kind).len();
    fs::write(home.path("ramblk.toml"), text).unwrap();
    daemon.signal(Signal::HUP);
    eventually("the daemon tells of it", || {
        events(home, kind).len() > before
    });
    events(home, kind).pop().unwrap()
}

fn names(home: &Home) -> Vec<String> {
    let list = home.json("list");
    let disks = list.as_array().unwrap().iter();
    disks
        .map(|it| it["name"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn a_hangup_applies_the_file_and_names_what_needs_a_restart() {
    let home = Home::new();
    let daemon = home.start(start(&home, FIRST));
    home.ok("create by-hand --size 1M");
    let text = "[daemon]\npoll_us = 7\nworkers = 1\nmetrics_labels = [\"vm\"]\n\
                [[group]]\nname = \"fast\"\n\
                [[disk]]\nname = \"a\"\nsize = \"2M\"\ngroup = \"fast\"\nlabels = { vm = \"x\" }\n\
                [[disk]]\nname = \"b\"\nsize = \"1M\"\n";
    let event = reload(&home, &daemon, text, "reloaded");
    let details = &event["details"];
    assert_eq!(details["created"], 1, "{event}");
    assert_eq!(details["changed"], 1, "{event}");
    assert_eq!(details["groups"], 1, "{event}");
    assert_eq!(details["needs_restart"], "workers, poll_us", "{event}");
    assert_eq!(names(&home), ["a", "b", "by-hand"]);
    assert_eq!(home.json("show a")["size_bytes"], 2 << 20);
    assert_eq!(home.json("show a")["group"], "fast");
    // Again, it changes nothing.
    let event = reload(&home, &daemon, text, "reloaded");
    assert_eq!(event["details"]["created"], 0, "{event}");
    daemon.stop();
    assert!(home.log().contains("need a restart"), "{}", home.log());
}

#[test]
fn a_file_that_is_refused_changes_nothing_and_the_daemon_goes_on() {
    let home = Home::new();
    let daemon = home.start(start(&home, FIRST));
    let good = "[[disk]]\nname = \"good\"\nsize = \"1M\"\n";
    for (text, why) in [
        ("siez = 1\n".to_owned() + good, "siez"),
        (
            good.to_owned() + "[[disk]]\nname = \"a\"\nsize = \"4K\"\n",
            "would lose the data",
        ),
        (
            good.to_owned() + "[[disk]]\nname = \"c\"\nsize = \"1M\"\ngroup = \"none-such\"\n",
            "none-such",
        ),
        (
            "[daemon]\nmetrics_labels = [\"a b\"]\n".to_owned() + good,
            "a b",
        ),
    ] {
        let event = reload(&home, &daemon, &text, "reload-refused");
        let reason = event["details"]["reason"].as_str().unwrap();
        assert!(reason.contains(why), "{why}: {event}");
        assert_eq!(names(&home), ["a"], "{why}");
    }
    assert!(
        home.log().contains("ERROR the configuration is refused"),
        "{}",
        home.log()
    );
    fs::remove_file(home.path("ramblk.toml")).unwrap();
    daemon.signal(Signal::HUP);
    eventually("the daemon tells of it", || {
        events(&home, "reload-refused").len() == 5
    });
    // It isn't the last one.
    reload(&home, &daemon, good, "reloaded");
    assert_eq!(names(&home), ["a", "good"]);
    daemon.stop();
}

#[test]
fn without_a_file_a_hangup_ends_the_daemon_and_an_ignored_one_does_nothing() {
    let home = Home::new();
    let mut daemon = home.start(home.serve(&[]));
    daemon.signal(Signal::HUP);
    assert!(daemon.child.wait().unwrap().success());
    drop(daemon);
    let serve = start(&home, FIRST);
    let mut ignoring = Command::new("env");
    ignoring
        .arg("--ignore-signal=HUP")
        .arg(serve.get_program())
        .args(serve.get_args());
    home.surround(&mut ignoring);
    let daemon = home.start(ignoring);
    fs::write(home.path("ramblk.toml"), "siez = 1").unwrap();
    daemon.signal(Signal::HUP);
    home.ok("create b --size 1M");
    assert_eq!(events(&home, "reload-refused"), [] as [Value; 0]);
    daemon.stop();
}
