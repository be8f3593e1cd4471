//! A daemon that is killed while it renames a disk with snapshots and a history: after the restart
//! all of them have the old name, or all the new one. And one that can't serve the disk under its
//! new name.

use std::time::Duration;

use serde_json::json;

use crate::daemon::Daemon;
use crate::driver::disk::Disk as Guest;

/// The named points of a transaction, and whether it has taken effect there. It renames four: the
/// disk has two snapshots and a point.
const POINTS: [(&str, u64, bool); 8] = [
    ("record-written", 1, false),
    ("record-written", 4, false),
    ("intent-written", 1, false),
    ("intent-named", 1, true),
    ("intent-slot-set", 1, true),
    ("intent-slot-set", 3, true),
    ("intent-slot-set", 4, true),
    ("intent-done", 1, true),
];

/// What has to be the same under either name.
fn content(daemon: &Daemon, name: &str) -> [String; 4] {
    ["", "@s", "@t", "@flush:1"].map(|of| {
        let said = daemon.say(&["digest", &format!("{name}{of}")]);
        said.split(' ').next().unwrap().to_owned()
    })
}

#[test]
#[cfg_attr(not(ramblk_hooks), ignore = "there are no hooks in this build")]
fn a_disk_has_its_old_name_or_its_new_one_with_all_that_it_has_wherever_the_daemon_dies() {
    let mut daemon = Daemon::start();
    daemon.say(&["create", "old", "--size", "16M"]);
    daemon.say(&["history", "on", "old"]);
    let mut guest = Guest::attach(&daemon.socket("old"));
    for (byte, snapshot) in [(1, "s"), (2, "t")] {
        guest.q().write(0, &[byte; 4096]).unwrap();
        daemon.say(&["snapshot", "old", snapshot]);
    }
    guest.q().write(8, &[3; 4096]).unwrap();
    guest.q().flush().unwrap();
    drop(guest);
    daemon.say(&["wait", "old", "--for", "detached"]);
    let id = daemon.field("old", "id");
    let before = content(&daemon, "old");
    let state = daemon.state();
    let state = state.to_str().unwrap();
    for (point, count, renamed) in POINTS {
        let at = format!("{point}:{count}");
        daemon.stop();
        daemon.set_environment(&[("RAMBLK_KILL_AT", at.clone())]);
        daemon.start_again();
        daemon.answers();
        assert!(daemon.verb(&["rename", "old", "new"]).is_none(), "{at}");
        daemon.is_killed();
        daemon.say(&["fsck", state]);
        daemon.set_environment(&[]);
        daemon.start_again();
        daemon.answers();
        let (name, other) = if renamed {
            ("new", "old")
        } else {
            ("old", "new")
        };
        assert!(daemon.verb(&["show", other]).is_none(), "{at}");
        assert_eq!(daemon.field(name, "id"), id, "{at}");
        assert_eq!(content(&daemon, name), before, "{at}");
        if renamed {
            daemon.say(&["rename", "new", "old"]);
        }
        assert_eq!(content(&daemon, "old"), before, "{at}");
    }
}

#[test]
#[cfg_attr(not(ramblk_hooks), ignore = "there are no hooks in this build")]
fn a_disk_that_can_not_be_served_under_its_new_name_goes_on_under_its_old_one() {
    let mut daemon = Daemon::start();
    daemon.stop();
    daemon.set_environment(&[("RAMBLK_FAIL_AT", "rename-served:error".to_owned())]);
    daemon.start_again();
    daemon.answers();
    daemon.say(&["create", "first", "--size", "1M"]);
    // The time from which it fails begins here.
    daemon.say(&["rename", "first", "second"]);
    let volatile = ["--write-cache", "volatile", "--label", "k=v"];
    daemon.say(&[&["create", "old", "--size", "16M"], &volatile[..]].concat());
    daemon.say(&["history", "on", "old"]);
    let mut guest = Guest::attach(&daemon.socket("old"));
    for (byte, snapshot) in [(1, "s"), (2, "t")] {
        guest.q().write(0, &[byte; 4096]).unwrap();
        daemon.say(&["snapshot", "old", snapshot]);
    }
    daemon.say(&["fork", "old@s", "child"]);
    daemon.say(&["record", "start", "old"]);
    guest.q().write(8, &[3; 4096]).unwrap();
    guest.q().flush().unwrap();
    daemon.say(&["record", "stop", "old"]);
    drop(guest);
    daemon.say(&["wait", "old", "--for", "detached"]);
    std::thread::sleep(Duration::from_millis(600));
    let before = content(&daemon, "old");
    let shown = |daemon: &Daemon| {
        let fields = [
            "id",
            "serial",
            "labels",
            "snapshots",
            "socket",
            "history",
            "state",
        ];
        let fields = fields.map(|field| daemon.field("old", field));
        let points = daemon.say(&["history", "list", "old", "-o", "json"]);
        let points: serde_json::Value = serde_json::from_str(&points).unwrap();
        (fields, points["points"].as_array().unwrap().len())
    };
    let was = shown(&daemon);
    assert!(daemon.verb(&["rename", "old", "new"]).is_none());
    let log = daemon.log();
    assert!(log.contains("a renamed disk can't be served"), "{log}");
    assert!(!log.contains("it keeps its new name"), "{log}");
    assert!(daemon.verb(&["show", "new"]).is_none());
    assert_eq!(shown(&daemon), was);
    assert_eq!(content(&daemon, "old"), before);
    assert_eq!(daemon.field("child", "parent"), json!("old@s"));
    daemon.say(&["snapshot", "old", "u"]);
    // It is served, its history goes on, and what is volatile is known.
    let mut guest = Guest::attach(&daemon.socket("old"));
    assert_eq!(guest.q().read(8, 512), Ok(vec![3; 512]));
    guest.q().write(16, &[4; 512]).unwrap();
    assert_eq!(daemon.field("old", "volatile")["writes"], json!(1));
    guest.q().flush().unwrap();
    assert!(shown(&daemon).1 > was.1);
    drop(guest);
    daemon.say(&["wait", "old", "--for", "detached"]);
    daemon.kill();
    daemon.set_environment(&[]);
    daemon.start_again();
    daemon.answers();
    assert_eq!(content(&daemon, "old")[1..], before[1..]);
    daemon.say(&["rename", "old", "new"]);
    assert_eq!(content(&daemon, "new")[1..], before[1..]);
    assert_eq!(daemon.field("child", "parent"), json!("new@s"));
}
