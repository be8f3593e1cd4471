//! `limit` and `group`.

use serde_json::json;

use crate::verbs::Daemon;

#[test]
fn limits_are_shown_set_and_taken_away() {
    let daemon = Daemon::start();
    daemon.ok("create a --size 1M");
    assert_eq!(daemon.ok("limit a"), "a: none\n");
    assert_eq!(daemon.json("limit a"), json!({}));
    let said = daemon.ok("limit a --iops 500 --iops-burst 50 --write-bps 10M");
    assert_eq!(said, "a: 500 requests/s, burst 50 requests; write 10M/s\n");
    daemon.ok("limit a --iops none --read-iops 7");
    assert_eq!(
        daemon.json("limit a"),
        json!({"read": {"iops": 7}, "write": {"bytes_per_second": 10 << 20}})
    );
    daemon.refused("limit b --iops 1", 3);
    daemon.refused("limit a --bps 1GB", 2);
}

#[test]
fn a_burst_without_its_rate_is_not_dropped_in_silence() {
    let daemon = Daemon::start();
    daemon.ok("create a --size 1M --write-iops 5 --write-iops-burst 9");
    for line in [
        "create b --size 1M --iops-burst 9",
        "group create g --read-bps-burst 1M",
        "limit a --iops-burst 9",
        "limit a --write-iops none --write-iops-burst 9",
    ] {
        let refused = daemon.refused(line, 2);
        assert!(refused.contains("burst"), "{line}: {refused}");
    }
    assert_eq!(
        daemon.json("limit a"),
        json!({"write": {"iops": 5, "iops_burst": 9}})
    );
    // But an unnamed burst is removed with its rate.
    daemon.ok("limit a --write-iops none");
    assert_eq!(daemon.json("limit a"), json!({}));
}

#[test]
fn a_label_that_is_said_twice_is_refused() {
    let daemon = Daemon::start();
    daemon.ok("create a --size 1M");
    for line in [
        "create b --size 1M --label k=v --label k=w",
        "fork a b --label k=v --label k=v",
        "set a --label k=v --label k-",
    ] {
        let refused = daemon.refused(line, 2);
        assert!(refused.contains("\"k\" is given twice"), "{refused}");
    }
    assert_eq!(daemon.json("list").as_array().unwrap().len(), 1);
}

#[test]
fn groups_hold_disks_together() {
    let daemon = Daemon::start();
    let made = daemon.ok("group create g --bps 1G");
    assert_eq!(made, "group g is created: 1G/s\n");
    assert!(
        daemon
            .ok("group create g --bps 1G")
            .contains("exists already, as asked")
    );
    for other in ["", " --bps 2G", " --bps 1G --iops 5"] {
        let refused = daemon.refused(&format!("group create g{other}"), 4);
        assert!(refused.contains("exists with other limits"), "{refused}");
    }
    daemon.ok("create a --size 1M --group g");
    assert_eq!(
        daemon.json("group show g"),
        json!({
            "name": "g",
            "limits": {"total": {"bytes_per_second": 1 << 30}},
            "disks": ["a"],
        })
    );
    daemon.ok("group set g --iops 9");
    let listed = daemon.ok("group list");
    assert!(
        listed.contains("g          1  9 requests/s, 1G/s\n"),
        "{listed}"
    );
    let shown = daemon.ok("group show g");
    assert!(shown.contains("disks   a\n"), "{shown}");
    daemon.refused("group destroy g", 4);
    daemon.ok("set a --group none");
    daemon.ok("group destroy g");
    daemon.refused("group show g", 3);
    daemon.refused("group set g", 2);
}
