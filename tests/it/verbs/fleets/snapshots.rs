//! `snapshot`, `snapshots`, `reset`, and forks of one disk.

use serde_json::json;

use crate::driver::disk::{ALL, Disk};
use crate::verbs::Daemon;

#[test]
fn a_disk_goes_back_to_a_snapshot_and_has_forks() {
    let daemon = Daemon::start();
    daemon.ok("create a --size 1M --label vm=x");
    let write = |disk: &str, byte: u8| {
        let mut disk = Disk::attach_with(&daemon.socket(disk), ALL, 1, 64);
        disk.q().write(0, &[byte; 512]).unwrap();
    };
    let first = |disk: &str| daemon.run(&format!("export {disk} -")).stdout[0];
    write("a", 1);
    daemon.ok("snapshot a clean");
    daemon.refused("snapshot a clean", 4);
    write("a", 2);
    daemon.ok("fork a now --label vm=y --serial N --queues 3 --read-only");
    daemon.ok("fork a@clean then");
    assert_eq!([first("a"), first("now"), first("then")], [2, 2, 1]);
    assert_eq!(first("a@clean"), 1);
    let now = daemon.json("show now");
    assert_eq!(now["labels"], json!({"vm": "y"}));
    assert_eq!(
        (&now["serial"], &now["queues"], &now["read_only"]),
        (&json!("N"), &json!(3), &json!(true))
    );
    let snapshots = daemon.json("snapshots a");
    assert_eq!(snapshots[0]["name"], "clean");
    assert!(daemon.ok("snapshots a").contains("a@clean"));

    daemon.eventually_detached("a");
    daemon.ok("reset a --to clean");
    assert_eq!(first("a"), 1);
    write("then", 3);
    daemon.eventually_detached("then");
    daemon.ok("reset then");
    assert_eq!(first("then"), 1, "back to what it was forked from");
    daemon.refused("reset a --to dirty", 3);
    daemon.refused("fork a@dirty x", 3);
    let refused = daemon.refused("fork a@clean now", 4);
    assert!(refused.contains("not forked from a@clean"), "{refused}");
    let refused = daemon.refused("destroy a", 4);
    assert!(refused.contains("--snapshots"), "{refused}");
    let children = daemon.json("show a")["children"].clone();
    let children = children.as_array().unwrap().len();
    assert!(children > 0);
    assert!(daemon.ok("show a").contains("forks"));
    let refused = daemon.refused("destroy a@clean", 4);
    assert!(refused.contains("forked from"), "{refused}");
    daemon.ok("destroy --force a@clean");
    daemon.refused("destroy a@clean", 3);
    daemon.ok("snapshot a again");
    daemon.ok("destroy --snapshots --force a");
}

#[test]
fn a_disk_in_use_is_reset_by_force_only() {
    let daemon = Daemon::start();
    daemon.ok("create a --size 1M");
    daemon.ok("snapshot a empty");
    let mut disk = Disk::attach_with(&daemon.socket("a"), ALL, 1, 64);
    disk.q().write(0, &[1; 512]).unwrap();
    let said = daemon.refused("reset a --to empty", 4);
    assert!(said.contains("--force"), "{said}");
    daemon.ok("reset a --to empty --force");
    assert_eq!(disk.q().read(0, 512), Ok(vec![0; 512]));
}

#[test]
fn disks_of_a_label_are_kept_forked_and_reset_as_one() {
    let daemon = Daemon::start();
    daemon.ok("create data --size 1M --label app=db");
    daemon.ok("create log --size 1M --label app=db");
    let refused = daemon.refused("snapshot -l app=db clean", 2);
    assert!(
        refused.contains("2 in all") && refused.contains("--all"),
        "{refused}"
    );
    daemon.ok("create other --size 1M --label app=web");
    let taken = daemon.ok("snapshot -l app=db clean");
    assert_eq!(taken, "data@clean is taken\nlog@clean is taken\n");
    daemon.ok("snapshot data log second");
    daemon.ok("snapshot --all third");
    daemon.refused("snapshot -l app=none clean", 3);
    daemon.refused("snapshot -l app=db clean", 4);
    daemon.refused("snapshot -l app=db data x", 2);
    daemon.refused("snapshot data", 2);
    let said = daemon.ok("fork -l app=db {name}-test --label app=test");
    assert_eq!(
        said,
        "data-test to log-test: 2 disks are forked from 2 disks\n"
    );
    let refused = daemon.refused("fork -l app=db copy", 2);
    assert!(refused.contains("{name}"), "{refused}");
    let said = daemon.ok("reset -l app=test");
    assert_eq!(said, "data-test is reset\nlog-test is reset\n");
    daemon.ok("reset data log --to second");
    daemon.refused("reset data other --to second", 3);
    daemon.refused("reset", 2);
    daemon.refused("reset -l app=none", 3);
    let list = daemon.ok("list -l app=db");
    assert!(list.contains("log") && !list.contains("other"), "{list}");
}

impl Daemon {
    /// The end of a front end is noticed soon, not at once.
    pub(crate) fn eventually_detached(&self, disk: &str) {
        crate::harness::eventually("the front end is gone", || {
            self.json(&format!("show {disk}"))["attached"] == false
        });
    }
}
