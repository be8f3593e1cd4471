//! `--ttl`, `--on-detach`, `--grace`; `protect`, `unprotect`, `children`; selectors, and verbs
//! that don't mind.

use ramblk::client::{Client, Method};
use serde_json::{Value, json};

use crate::harness::eventually;
use crate::verbs::{Daemon, text};

#[test]
fn a_fleet_with_an_end_is_shown_with_its_time_left_and_ends() {
    let daemon = Daemon::start();
    daemon.ok("create golden --size 1M");
    assert!(!daemon.ok("list").contains("ENDS"));
    daemon.ok("fork golden vm-{1..3} --ttl 2s --label fleet=ci");
    daemon.ok("fork golden kept --ttl 1h --on-detach destroy --grace 90s");
    let list = daemon.ok("list");
    assert!(list.contains("ENDS") && list.contains("1h"), "{list}");
    let shown = daemon.ok("show kept");
    for word in [
        "in 1h (ttl)",
        "destroyed 1h after it was set",
        "destroyed 1m 30s after",
    ] {
        assert!(shown.contains(word), "{word}: {shown}");
    }
    let kept = daemon.json("show kept");
    let life = json!({"ttl_ms": 3_600_000, "on_detach": "destroy", "grace_ms": 90_000});
    assert_eq!(kept["life"], life);
    daemon.ok("set kept --ttl none");
    assert_eq!(daemon.json("show kept")["life"]["ttl_ms"], json!(null));
    eventually("the fleet is over", || {
        daemon.json("list").as_array().unwrap().len() == 2
    });
    for (line, word) in [
        ("create x --size 1M --ttl 0s", "over at once"),
        ("create x --size 1M --ttl 30", "as in 90s"),
        ("create x --size 1M --ttl=-5s", "as in 90s"),
        ("create x --size 1M --grace 5s", "--on-detach"),
    ] {
        let output = daemon.run(line);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{line}: {stderr}");
        assert!(stderr.contains(word), "{line}: {stderr}");
    }
}

#[test]
fn what_is_protected_says_so_and_lists_its_children() {
    let daemon = Daemon::start();
    std::fs::write(daemon.path("in"), vec![7; 8192]).unwrap();
    daemon.ok("image pull in --name base");
    daemon.ok("create golden --size 1M");
    daemon.ok("snapshot golden v1");
    daemon.ok("fork golden@v1 b a");
    daemon.ok("fork image://base c");
    assert_eq!(daemon.ok("children golden@v1"), "a\nb\n");
    assert_eq!(daemon.ok("children golden"), "a\nb\n");
    assert_eq!(daemon.ok("children image://base"), "c\n");
    assert_eq!(daemon.json("children c"), json!([]));
    daemon.refused("children nothing", 3);
    let said = daemon.ok("protect golden golden@v1 image://base");
    assert_eq!(said.lines().count(), 3);
    assert_eq!(daemon.json("show golden@v1")["protected"], true);
    assert!(daemon.ok("show golden@v1").contains("protected"));
    for line in [
        "destroy --force --snapshots golden",
        "destroy --force golden@v1",
        "image rm --force base",
    ] {
        let refused = daemon.refused(line, 4);
        let advice = "take its protection away first; 'ramblk unprotect' does that";
        assert!(refused.contains(advice), "{refused}");
    }
    daemon.ok("unprotect golden golden@v1 image://base");
    daemon.ok("image rm --force base");
    daemon.ok("destroy --force --snapshots golden");
}

#[test]
fn verbs_take_selectors_and_do_not_mind_if_they_are_told_so() {
    let daemon = Daemon::start();
    daemon.ok("create golden --size 1M --label role=golden");
    daemon.ok("fork golden vm-{1..3} --label fleet=ci");
    daemon.ok("fork vm-1 of-vm --label fleet=ci");
    assert_eq!(daemon.ok("set -l fleet=ci --quota 4M").lines().count(), 4);
    assert_eq!(daemon.json("show vm-3")["quota_bytes"], 4 << 20);
    assert_eq!(daemon.ok("limit -l fleet=ci --iops 9").lines().count(), 4);
    assert_eq!(daemon.ok("show -l fleet=ci -o json").lines().count(), 4);
    daemon.ok("protect -l fleet=ci");
    daemon.ok("unprotect --all");
    for line in ["show", "set --quota 1M", "destroy", "protect", "power-on"] {
        let output = daemon.run(line);
        assert_eq!(output.status.code(), Some(2), "{line}");
        assert!(text(&output.stderr).contains("-l KEY=VALUE"), "{line}");
    }
    daemon.refused("destroy -l fleet=none", 3);
    assert_eq!(daemon.ok("destroy --if-exists -l fleet=none"), "");
    assert_eq!(
        daemon.ok("destroy --if-exists nothing vm-3"),
        "vm-3 is destroyed\n"
    );
    daemon.ok("create --if-not-exists golden --size 2M");
    assert_eq!(daemon.json("show golden")["size_bytes"], 1 << 20);
    daemon.ok("create --if-not-exists new --size 2M");
    daemon.refused("fork new vm-1", 4);
    daemon.ok("fork --if-not-exists new vm-1 vm-3");
    assert_eq!(daemon.json("show vm-1")["parent"], "golden");
    assert_eq!(daemon.json("show vm-3")["parent"], "new");
    let refused = daemon.refused("destroy golden", 4);
    assert!(
        refused.ends_with("its content; destroy these first, or use --force\n"),
        "{refused}"
    );
    // A fork goes before what it was forked from, so no force is needed.
    let gone = daemon.ok("destroy -l fleet=ci");
    assert_eq!(gone.lines().count(), 3, "{gone}");
}

#[test]
fn destroying_all_leaves_disks_with_snapshots_and_names_each_of_them() {
    let daemon = Daemon::start();
    for name in ["a", "b", "c", "d"] {
        daemon.ok(&format!("create {name} --size 1M"));
    }
    daemon.ok("snapshot b d s");
    daemon.ok("fork b@s child");
    let output = daemon.run("destroy --all --force");
    let (said, refused) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(4), "{refused}");
    assert_eq!(said, "child is destroyed\na is destroyed\nc is destroyed\n");
    let lines: Vec<&str> = refused.lines().collect();
    assert_eq!(lines.len(), 2, "{refused}");
    for (line, name) in lines.iter().zip(["b", "d"]) {
        let begins = format!("error: {name}: disk \"{name}\" has snapshots (s)");
        assert!(line.starts_with(&begins), "{line}");
        assert!(
            line.ends_with("; destroy these first, or all of them with it: --snapshots"),
            "{line}"
        );
    }
    assert_eq!(daemon.ok("list -o name"), "b\nd\n");
    daemon.ok("destroy --all --force --snapshots");
    assert_eq!(daemon.ok("list -o name"), "");
}

/// The memory of a process that is not a file's, in KiB.
fn anonymous_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|it| it.strip_prefix("RssAnon:"));
    let kib = line.and_then(|it| it.split_whitespace().next());
    kib.unwrap().parse().unwrap()
}

/// Fork that many disks, a hundred at a time, and end them.
fn churn(client: &Client, count: usize) {
    for first in (0..count).step_by(100) {
        let names: Vec<String> = (first..first + 100).map(|at| format!("vm-{at}")).collect();
        let request = json!({"sources": [{"disk": "golden", "names": names}]});
        let _: (_, Value) = client.send(Method::POST, "/v1/forks", &request).unwrap();
        for name in names {
            client.delete(&format!("/v1/disks/{name}")).unwrap();
        }
    }
}

#[test]
fn disks_that_have_ended_leave_no_memory_behind_in_the_daemon() {
    const MOST_KIB: u64 = 256;
    let daemon = Daemon::start();
    daemon.ok("create golden --size 1M");
    let client = Client::new(daemon.path("api.sock")).unwrap();
    // The last 4096 events are kept, two for each disk.
    churn(&client, 2200);
    let early = anonymous_kib(daemon.pid());
    churn(&client, 1000);
    let more = anonymous_kib(daemon.pid()).saturating_sub(early);
    assert!(
        more < MOST_KIB,
        "{more} KiB more after 1000 disks, beside {early} KiB"
    );
}
