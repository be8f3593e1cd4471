//! `-l KEY=VALUE` in place of names: resize, history, map, digest, export, findings, attach, fault.

use std::fs;

use serde_json::{Value, json};

use crate::verbs::Daemon;

/// `data` and `log` with a label, and `other` without one.
fn labelled() -> Daemon {
    let daemon = Daemon::start();
    for name in ["data", "log"] {
        daemon.ok(&format!("create {name} --size 1M --label app=db"));
    }
    daemon.ok("create other --size 1M");
    daemon
}

/// The lines of JSON that a command prints.
fn lines(daemon: &Daemon, line: &str) -> Vec<Value> {
    let said = daemon.ok(&format!("{line} -o json"));
    let lines = said.lines().map(|line| serde_json::from_str(line).unwrap());
    lines.collect()
}

#[test]
fn labels_stand_for_the_disks_that_have_them_in_each_verb() {
    let daemon = labelled();
    for (line, member) in [
        ("resize -l app=db 2M", "/disk/name"),
        ("resize +1M -l app=db", "/disk/name"),
        ("resize -l app=db -1M --shrink", "/disk/name"),
        ("history on -l app=db --every 64K", "/name"),
        ("history list -l app=db", "/disk"),
        ("history off -l app=db", "/name"),
        ("map -l app=db", "/name"),
        ("digest -l app=db --range 0+4096", "/name"),
        ("export -l app=db {name}.raw", "/name"),
        ("findings -l app=db", "/disk"),
        ("attach -l app=db --print qemu", "/disk"),
        ("fault add -l app=db delay=1ms --id slow", "/disk"),
        ("fault list -l app=db", "/disk"),
        ("fault log -l app=db", "/disk"),
        ("fault clear -l app=db", "/disk"),
    ] {
        let found = lines(&daemon, line);
        let names: Vec<&Value> = found.iter().filter_map(|it| it.pointer(member)).collect();
        assert_eq!(names, [&json!("data"), &json!("log")], "{line}");
    }
    for (disk, bytes) in [("data", 2 << 20), ("log", 2 << 20), ("other", 1 << 20)] {
        assert_eq!(daemon.json(&format!("show {disk}"))["size_bytes"], bytes);
        let file = daemon.path(&format!("{disk}.raw"));
        assert_eq!(file.exists(), disk != "other");
    }
    assert_eq!(daemon.ok("fault list other").lines().count(), 1);
}

#[test]
fn labels_that_no_disk_or_each_disk_has_and_labels_beside_names_are_refused() {
    let daemon = Daemon::start();
    daemon.ok("create a --size 1M --label app=db");
    for verb in [
        "resize LABEL NAME 2M",
        "history on LABEL NAME",
        "history list LABEL NAME",
        "history off LABEL NAME",
        "map LABEL NAME",
        "digest LABEL NAME",
        "export LABEL NAME {name}.raw",
        "findings LABEL NAME",
        "attach LABEL NAME --print qemu",
        "fault add LABEL NAME lost",
        "fault list LABEL NAME",
        "fault clear LABEL NAME",
        "fault log LABEL NAME",
        "snapshots LABEL NAME",
        "children LABEL NAME",
    ] {
        let said = |label: &str, name: &str, code| {
            let line = verb.replace("LABEL", label).replace("NAME", name);
            daemon.refused(&line, code)
        };
        let none = said("-l app=none", "", 3);
        assert!(none.contains("no disk has label app=none"), "{none}");
        let every = said("-l app=db", "", 2);
        assert!(every.contains("1 in all: add --all"), "{every}");
        let both = said("-l app=db", "a", 2);
        assert!(both.contains("give one of them"), "{verb}: {both}");
        let neither = said("", "", 2);
        assert!(
            neither.contains("-l KEY=VALUE") || neither.contains("as in 'ramblk"),
            "{verb}: {neither}"
        );
        let line = verb.replace("LABEL", "--all").replace("NAME", "");
        daemon.ok(&line);
    }
    // Nothing was done where it was refused, and all of it where it wasn't.
    assert_eq!(daemon.json("show a")["size_bytes"], 2 << 20);
}

#[test]
fn several_disks_are_exported_to_a_file_each_and_never_to_one() {
    let daemon = labelled();
    for disk in ["data", "log"] {
        daemon.feed(&format!("write {disk} 0"), disk.repeat(1024).as_bytes());
        daemon.ok(&format!("snapshot {disk} s"));
        daemon.ok(&format!("snapshot {disk} t"));
    }
    let daemon = &daemon;
    daemon.ok("export -l app=db {name}-of-{name}.raw");
    for disk in ["data", "log"] {
        let file = fs::read(daemon.path(&format!("{disk}-of-{disk}.raw"))).unwrap();
        assert!(file.starts_with(disk.repeat(1024).as_bytes()));
    }
    daemon.ok("export data@s log@t {name}.qcow2");
    assert!(daemon.path("data.qcow2").exists() && daemon.path("log.qcow2").exists());
    daemon.ok("export data one-{name}.raw");
    assert!(daemon.path("one-data.raw").exists());
    for line in [
        "export -l app=db all.raw",
        "export -l app=db -",
        "export data log all.raw",
    ] {
        let refused = daemon.refused(line, 2);
        assert!(refused.contains("{name}"), "{refused}");
    }
    let refused = daemon.refused("export data@s data@t {name}.raw", 2);
    assert!(refused.contains("one by one"), "{refused}");
    let refused = daemon.refused("export -l app=db {name}.raw --state-dir state", 2);
    assert!(refused.contains("name the disks"), "{refused}");
    assert!(!daemon.path("data.raw").exists());
    // One that can't be exported doesn't keep the others from it.
    let output = daemon.run("export gone log {name}.x.raw");
    assert_eq!(output.status.code(), Some(3));
    assert!(daemon.path("log.x.raw").exists());
    // With its change, each file names its own base.
    daemon.ok("export -l app=db --since s --backing-name {name}-s.qcow2 {name}-d.qcow2");
    let about = daemon.json("image inspect log-d.qcow2");
    assert!(about.to_string().contains("log-s.qcow2"), "{about}");
}

#[test]
fn people_see_which_of_several_disks_a_table_is_about() {
    let daemon = labelled();
    daemon.ok("fault add data log lost --id x");
    for line in [
        "map -l app=db",
        "history list -l app=db",
        "findings -l app=db",
        "fault list data log",
        "fault log data log",
    ] {
        let said = daemon.ok(line);
        assert!(said.starts_with("data:\n"), "{line}: {said}");
        assert!(said.contains("\n\nlog:\n"), "{line}: {said}");
    }
    let said = daemon.ok("attach -l app=db --print libvirt");
    assert_eq!(said.matches("\n\n<!--").count(), 1, "{said}");
    let said = daemon.ok("digest data log");
    assert!(said.lines().next().unwrap().ends_with("  data"), "{said}");
}

#[test]
fn a_size_is_no_option_and_an_option_no_name() {
    let daemon = labelled();
    for (line, said) in [
        ("resize data", "as in 'ramblk resize vm1 20G'"),
        ("resize -l app=db big", "SIZE can't be 'big'"),
        ("resize --shrnik data 1M", "no such option"),
        ("resize -l app=db -9M", "has only 1M"),
        ("resize data log 2M", "2M"),
    ] {
        let output = daemon.run(line);
        let stderr = crate::verbs::text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{line}: {stderr}");
        assert!(stderr.contains(said), "{line}: {stderr}");
    }
    assert_eq!(daemon.json("show data")["size_bytes"], 1 << 20);
}
