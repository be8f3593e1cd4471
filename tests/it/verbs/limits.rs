//! `limit` and `group`.

use serde_json::json;

use super::Daemon;

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
fn groups_hold_disks_together() {
    let daemon = Daemon::start();
    let made = daemon.ok("group create g --bps 1G");
    assert_eq!(made, "group g is made: 1G/s\n");
    assert!(daemon.ok("group create g --bps 1G").contains("was there"));
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
        listed.contains("9 requests/s, 1G/s") && listed.contains("  a\n"),
        "{listed}"
    );
    daemon.refused("group destroy g", 4);
    daemon.ok("set a --group none");
    daemon.ok("group destroy g");
    daemon.refused("group show g", 3);
    daemon.refused("group set g", 2);
}
