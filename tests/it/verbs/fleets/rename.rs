//! `rename`: all that a disk has follows it, or it is refused with what to do.

use std::fs;
use std::process::Stdio;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::driver::disk::Disk as Guest;
use crate::harness::eventually;
use crate::verbs::{Daemon, text};

fn detached(daemon: &Daemon, disk: &str) {
    daemon.ok(&format!("wait {disk} --for detached"));
}

/// What a rename may change of what `show` says.
fn kept(mut shown: Value) -> Value {
    for field in ["name", "socket", "generation", "ending"] {
        shown.as_object_mut().unwrap().remove(field);
    }
    shown
}

/// A disk `old` with one of everything, and a fork of it, `child`.
fn rich(options: &[&str]) -> Daemon {
    let daemon = Daemon::start_with(options);
    daemon.ok("group create g --iops 1000000");
    daemon.ok(
        "create old --size 4M --label k=v --group g --quota 3M --sanitize log --iops 100000 \
         --fault delay=1ms,op=flush,id=slow --write-cache volatile --ttl 10h",
    );
    daemon.ok("history on old --keep 7");
    let mut guest = Guest::attach(&daemon.socket("old"));
    guest.q().write(0, &[1; 4096]).unwrap();
    guest.q().flush().unwrap();
    daemon.ok("snapshot old s");
    daemon.ok("protect old@s");
    daemon.ok("fork old@s child");
    daemon.ok("record start old");
    guest.q().write(8, &[2; 4096]).unwrap();
    daemon.ok("record stop old");
    drop(guest);
    detached(&daemon, "old");
    daemon
}

fn points(daemon: &Daemon, disk: &str) -> usize {
    let history = daemon.json(&format!("history list {disk}"));
    history["points"].as_array().unwrap().len()
}

#[test]
fn a_disk_keeps_all_that_it_has_under_its_new_name() {
    let daemon = rich(&[]);
    let before = daemon.json("show old");
    let digests = |name: &str| {
        ["", "@s", "@flush:1", "@recording"].map(|of| {
            let said = daemon.json(&format!("digest {name}{of}"));
            said["blake3"].clone()
        })
    };
    let content = digests("old");
    let socket = daemon.socket("old");

    let said = daemon.ok("rename old new");
    let shown = daemon.json("show new");
    let at = shown["socket"].as_str().unwrap();
    assert_eq!(said, format!("old is new now, at {at}\n"));
    assert!(at.ends_with("/new/vhost.sock"));
    assert!(!socket.parent().unwrap().exists());
    assert_eq!(shown["serial"], "old", "guests know it by that");
    let generation = |shown: &Value| shown["generation"].as_u64().unwrap();
    assert_eq!(generation(&shown), generation(&before) + 1);
    assert_eq!(shown["volatile"]["writes"], 1, "what is volatile stays so");
    assert_eq!(kept(shown), kept(before));
    assert_eq!(digests("new"), content);
    assert_eq!(daemon.json("show child")["parent"], "new@s");
    assert_eq!(daemon.json("children new@s"), json!(["child"]));
    assert_eq!(
        daemon.json("group show g")["disks"],
        json!(["child", "new"])
    );
    assert_eq!(daemon.json("record show new")["base"], "new@recording");
    assert_eq!(points(&daemon, "new"), 1);
    assert_eq!(daemon.json("fault list new")[0]["id"], "slow");
    daemon.refused("show old", 3);
    daemon.refused("show old@s", 3);
    daemon.ok("crash-explore new --at any -- true");
    daemon.ok("reset child");
    daemon.refused("destroy new --snapshots", 4);
    // What no flush covered is lost as before.
    daemon.ok("power-cut new");
    let content = daemon.run("export new -").stdout;
    assert_eq!((content[0], content[4096]), (1, 0));
}

#[test]
fn a_renamed_disk_is_served_and_its_old_name_is_free_also_after_a_restart() {
    let state = TempDir::new_in("/dev/shm").unwrap();
    let options = ["--state-dir", state.path().to_str().unwrap()];
    let mut daemon = rich(&options);
    let before = daemon.json("show old");
    daemon.ok("rename old new");
    let mut guest = Guest::attach(&daemon.socket("new"));
    guest.q().write(16, &[3; 4096]).unwrap();
    guest.q().flush().unwrap();
    assert_eq!(guest.q().read(0, 4096).unwrap(), [1; 4096]);
    drop(guest);
    detached(&daemon, "new");
    assert_eq!(points(&daemon, "new"), 2);
    daemon.ok("create old --size 1M");
    assert_ne!(daemon.json("show old")["id"], before["id"]);

    daemon.kill_and_start(&options);
    let shown = daemon.json("show new");
    for field in ["id", "snapshots", "labels", "quota_bytes", "serial"] {
        assert_eq!(shown[field], before[field], "{field}");
    }
    assert_eq!(daemon.json("show child")["parent"], "new@s");
    assert_eq!(points(&daemon, "new"), 2);
    // Back under its first name its serial derives from that again.
    daemon.ok("destroy old");
    daemon.ok("rename new old");
    let shown = daemon.json("show old");
    assert_eq!(
        (&shown["serial"], &shown["id"]),
        (&json!("old"), &before["id"])
    );
}

#[test]
fn a_snapshot_keeps_its_forks_and_its_protection_under_another_name() {
    let state = TempDir::new_in("/dev/shm").unwrap();
    let options = ["--state-dir", state.path().to_str().unwrap()];
    let mut daemon = Daemon::start_with(&options);
    daemon.ok("create a --size 1M");
    daemon.feed("write a 0", &[1; 4096]);
    daemon.ok("snapshot a s");
    daemon.ok("snapshot a t");
    daemon.ok("protect a@s");
    daemon.ok("fork a@s child");
    let content = daemon.json("digest a@s")["blake3"].clone();
    assert_eq!(daemon.ok("rename a@s clean"), "a@s is a@clean now\n");
    let check = |daemon: &Daemon, name: &str| {
        assert_eq!(daemon.json(&format!("digest a@{name}"))["blake3"], content);
        assert_eq!(daemon.json("show child")["parent"], format!("a@{name}"));
        daemon.refused(&format!("destroy a@{name} --force"), 4);
        daemon.ok("reset child");
    };
    check(&daemon, "clean");
    daemon.refused("show a@s", 3);
    daemon.kill_and_start(&options);
    check(&daemon, "clean");
    assert_eq!(daemon.ok("rename a@clean a@s"), "a@clean is a@s now\n");
    check(&daemon, "s");
    let refused = daemon.refused("rename a@s t", 4);
    assert!(refused.contains("exists already"), "{refused}");
    daemon.refused("rename a@none t", 3);
    daemon.refused("rename a@s b@t", 2);
    daemon.refused("rename a@s flush:1", 2);
    daemon.refused("rename a@flush:1 x", 2);
    daemon.ok("record start a");
    let refused = daemon.refused("rename a@recording base", 4);
    assert!(refused.contains("recording"), "{refused}");
    daemon.refused("rename a@s recording", 4);
}

#[test]
fn a_disk_that_something_uses_keeps_its_name_and_goes_on() {
    let daemon = Daemon::start();
    daemon.ok("create a --size 8M --write-cache volatile");
    daemon.ok("create b --size 1M");
    let mut guest = Guest::attach(&daemon.socket("a"));
    let refused = daemon.refused("rename a c", 4);
    assert!(refused.contains("detach it first"), "{refused}");
    daemon.ok("record start a");
    guest.q().write(0, &[1; 4096]).unwrap();
    drop(guest);
    detached(&daemon, "a");
    let refused = daemon.refused("rename a c", 4);
    assert!(refused.contains("stop its recording"), "{refused}");
    daemon.ok("record stop a");
    let refused = daemon.refused("rename a b", 4);
    assert!(refused.contains("exists already"), "{refused}");
    daemon.refused("rename a @x", 2);
    daemon.refused("rename a x/y", 2);
    daemon.refused("rename a api.sock", 2);
    daemon.refused("rename c d", 3);
    daemon.refused(&format!("rename a {}", "x".repeat(65)), 2);
    let long = "x".repeat(60);
    let refused = daemon.refused(&format!("rename a {long}"), 2);
    assert!(refused.contains(&format!("{long}@recording")), "{refused}");
    daemon.ok("record rm a");
    daemon.ok("history on a");
    let refused = daemon.refused(&format!("rename a {}", "x".repeat(44)), 2);
    assert!(refused.contains("shorter name"), "{refused}");

    let nbd = daemon.command(&["nbd", "a", "--", "sh", "-c", "echo >began; exec sleep 100"]);
    let mut nbd = { nbd }.stdout(Stdio::null()).spawn().unwrap();
    eventually("it runs", || daemon.path("began").exists());
    nbd.kill().unwrap();
    nbd.wait().unwrap();
    // A client that writes content, which hasn't ended.
    let mut write = daemon.command(&["write", "a", "0"]);
    let mut write = write.stdin(Stdio::piped()).spawn().unwrap();
    let bytes = vec![5; 3 << 20];
    std::io::Write::write_all(write.stdin.as_mut().unwrap(), &bytes).unwrap();
    eventually("it is refused", || {
        // Which is refused anyway.
        let output = daemon.run("rename a b");
        text(&output.stderr).contains("content is being written")
    });
    drop(write.stdin.take());
    assert!(write.wait().unwrap().success());
    // Nothing can listen there, and it is served as before.
    fs::write(daemon.path("run/taken"), "").unwrap();
    let refused = daemon.refused("rename a taken", 1);
    assert!(refused.contains("taken"), "{refused}");
    let mut guest = Guest::attach(&daemon.socket("a"));
    assert_eq!(guest.q().read(0, 512).unwrap(), [5; 512]);
    drop(guest);
    detached(&daemon, "a");
    daemon.ok("rename a c");
    assert_eq!(daemon.json("rename c c")["name"], "c", "it has that name");
    assert_eq!(daemon.ok("list -o name"), "b\nc\n");
}

#[test]
fn a_rename_is_an_event_of_both_names_and_ends_what_follows_the_old_one() {
    let daemon = Daemon::start();
    daemon.ok("create a --size 1M");
    let events = |disk: &str| {
        let mut events = daemon.command(&["events", "--disk", disk, "-o", "json"]);
        events.stdout(Stdio::piped()).spawn().unwrap()
    };
    let follower = events("a");
    let waits = daemon.command(&["wait", "a", "--for", "attached", "--timeout", "60s"]);
    let waits = { waits }.stderr(Stdio::piped()).spawn().unwrap();
    eventually("both have come", || {
        daemon
            .run("events --disk a --since 1m --no-follow")
            .status
            .success()
    });
    std::thread::sleep(std::time::Duration::from_millis(300));
    daemon.ok("rename a b");
    let followed = follower.wait_with_output().unwrap();
    assert!(followed.status.success());
    let last: Value = serde_json::from_str(text(&followed.stdout).lines().last().unwrap()).unwrap();
    assert_eq!(
        (&last["type"], &last["disk"], &last["details"]["from"]),
        (&json!("renamed"), &json!("b"), &json!("a"))
    );
    assert_eq!(waits.wait_with_output().unwrap().status.code(), Some(3));
    for disk in ["a", "b"] {
        let past = daemon.ok(&format!("events --disk {disk} --since 1m --no-follow"));
        assert!(past.contains("renamed"), "{disk}: {past}");
    }
}

#[test]
fn a_disk_of_the_configuration_file_is_renamed_there_first() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("ramblk.toml");
    fs::write(&file, "[[disk]]\nname = \"a\"\nsize = \"1M\"\n").unwrap();
    let state = TempDir::new_in("/dev/shm").unwrap();
    let options = [
        "--config",
        file.to_str().unwrap(),
        "--state-dir",
        state.path().to_str().unwrap(),
    ];
    let mut daemon = Daemon::start_with(&options);
    daemon.ok("create mine --size 1M");
    daemon.ok("rename mine yours");
    let refused = daemon.refused("rename a b", 4);
    assert!(refused.contains("configuration file"), "{refused}");
    let id = daemon.json("show a")["id"].clone();
    fs::write(&file, "[[disk]]\nname = \"b\"\nsize = \"1M\"\n").unwrap();
    daemon.ok("rename a b --force");
    assert_eq!(daemon.json("show b")["id"], id);
    daemon.kill_and_start(&options);
    assert_eq!(daemon.ok("list -o name"), "b\nyours\n");
    assert_eq!(daemon.json("show b")["id"], id);
}
