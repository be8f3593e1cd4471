//! `apply`, `export-config`.

use std::fs;

use serde_json::json;
use tempfile::TempDir;

use crate::verbs::{Daemon, text};

const FILE: &str = r#"
[daemon]
workers = 2

[[group]]
name = "tenants"
limits = { total = { bytes_per_second = "1G" } }

[[disk]]
name = "scratch"
size = "1G"
quota = "100M"
group = "tenants"
labels = { vm = "web-1" }

[[disk]]
name = "plain"
size_bytes = 1048576
"#;

#[test]
fn a_file_is_applied_once_and_then_there_is_nothing_to_do() {
    let daemon = Daemon::start();
    fs::write(daemon.path("disks.toml"), FILE).unwrap();
    let output = daemon.run("apply -f disks.toml --dry-run");
    assert_eq!(output.status.code(), Some(8), "{output:?}");
    let said = text(&output.stdout);
    assert!(said.contains("disk scratch: would be created"), "{said}");
    assert!(output.stderr.is_empty(), "{output:?}");
    assert_eq!(daemon.json("list"), json!([]));
    let applied = daemon.json("apply -f disks.toml");
    assert_eq!(applied["groups"], json!(["tenants"]));
    assert_eq!(applied["created"], json!(["plain", "scratch"]));
    assert_eq!(daemon.json("show scratch")["quota_bytes"], 100 << 20);
    let again = daemon.json("apply -f disks.toml");
    assert_eq!(again["unchanged"], json!(["plain", "scratch"]));
    assert_eq!(
        (&again["created"], &again["changed"]),
        (&json!([]), &json!([]))
    );

    assert!(
        daemon
            .ok("apply -f disks.toml --dry-run")
            .contains("unchanged")
    );

    let changed = FILE.replace("100M", "200M");
    let output = daemon.feed("apply -f -", changed.as_bytes());
    assert!(
        text(&output.stdout).contains("disk scratch: changed"),
        "{output:?}"
    );
    assert_eq!(daemon.json("show scratch")["quota_bytes"], 200 << 20);
}

#[test]
fn what_is_exported_makes_the_same_disks_elsewhere() {
    let (here, there) = (Daemon::start(), Daemon::start());
    fs::write(here.path("disks.toml"), FILE).unwrap();
    here.ok("apply -f disks.toml");
    here.ok("limit plain --read-iops 10 --write-bps 1000 --write-bps-burst 64K");
    let exported = here.ok("export-config");
    assert!(
        there
            .feed("apply -f -", exported.as_bytes())
            .status
            .success()
    );
    assert_eq!(there.ok("export-config"), exported);
    assert_eq!(there.json("export-config"), here.json("export-config"));
}

#[test]
fn the_daemon_starts_with_what_a_file_says() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    let file = FILE.replace("workers = 2", "workers = 1\nmemory_limit = \"300M\"");
    fs::write(path("disks.toml"), file).unwrap();
    let daemon = Daemon::start_with(&["--config", path("disks.toml").to_str().unwrap()]);
    let pool = daemon.json("pool");
    assert_eq!((&pool["workers"], &pool["disks"]), (&json!(1), &json!(2)));
    // Options of the command line take precedence.
    assert_eq!(pool["limit_bytes"], 1 << 30);
}

#[test]
fn a_dry_run_shows_each_field_as_it_was_and_as_it_would_be() {
    let daemon = Daemon::start();
    fs::write(daemon.path("disks.toml"), FILE).unwrap();
    daemon.ok("apply -f disks.toml");
    daemon.ok("set scratch --on-full stall --label rack=7");
    daemon.ok("create other --size 1M");
    assert!(
        daemon
            .ok("apply -f disks.toml")
            .contains("disk scratch: unchanged")
    );
    assert_eq!(daemon.json("show scratch")["labels"]["rack"], "7");
    let some = r#"
        [[group]]
        name = "tenants"
        limits = { total = { bytes_per_second = "2G" } }
        [[disk]]
        name = "scratch"
        quota = "none"
        labels = { vm = false, tier = "gold" }
        limits = { read = { iops = 5 } }
    "#;
    let output = daemon.feed("apply -f - --dry-run", some.as_bytes());
    assert_eq!(output.status.code(), Some(8));
    assert_eq!(
        text(&output.stdout),
        "group tenants: would be changed\n  limits.total.bytes_per_second: 1G → 2G\n\
         disk scratch: would be changed\n  labels.tier: none → \"gold\"\n  \
         labels.vm: \"web-1\" → none\n  limits.read.iops: none → 5\n  \
         quota_bytes: 100M → none\n"
    );
    // --prune leaves how a disk's life ends.
    daemon.ok("set scratch --ttl 12h --on-detach destroy --grace 1min");
    daemon.ok("protect scratch");
    let before = daemon.json("export-config");
    let output = daemon.feed("apply -f - --dry-run --prune -o json", some.as_bytes());
    assert_eq!(output.status.code(), Some(8));
    let pruned: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(pruned["destroyed"], json!(["other", "plain"]));
    assert_eq!(daemon.json("export-config"), before);
    let output = daemon.feed("apply -f - --prune", some.as_bytes());
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let disks = daemon.json("list");
    assert_eq!(disks.as_array().unwrap().len(), 1);
    assert_eq!(disks[0]["labels"], json!({"tier": "gold"}));
    assert_eq!(disks[0]["on_full"], "error");
    assert_eq!(disks[0]["life"]["ttl_ms"], 43_200_000);
    assert_eq!(disks[0]["life"]["on_detach"], "destroy");
    assert_eq!(disks[0]["life"]["grace_ms"], 60_000);
    assert_eq!(disks[0]["protected"], true);
    let output = daemon.feed("apply -f - --prune --dry-run", some.as_bytes());
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

#[test]
fn a_start_with_a_file_does_not_strip_disks_that_are_there() {
    let folder = TempDir::new_in("/dev/shm").unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    fs::write(path("disks.toml"), FILE.replace("workers = 2", "")).unwrap();
    let words = [
        "--config",
        &path("disks.toml"),
        "--state-dir",
        &path("state"),
    ];
    let first = Daemon::start_with(&words);
    first.ok("set scratch --on-full stall --label rack=7 --quota 50M");
    first.ok("set plain --quota 1M --group tenants");
    first.ok("create other --size 1M");
    drop(first);
    let second = Daemon::start_with(&words);
    let scratch = second.json("show scratch");
    assert_eq!(
        (
            &scratch["on_full"],
            &scratch["labels"],
            &scratch["quota_bytes"]
        ),
        (
            &json!("stall"),
            &json!({"vm": "web-1", "rack": "7"}),
            &json!(100 << 20)
        )
    );
    let plain = second.json("show plain");
    assert_eq!(
        (&plain["quota_bytes"], &plain["group"]),
        (&json!(1 << 20), &json!("tenants"))
    );
    second.ok("show other");
}

#[test]
fn mistakes_in_a_file_change_nothing() {
    let daemon = Daemon::start();
    for (from, to, code, hint) in [
        ("quota", "quotum", 2, "disks.toml"),
        ("\"1G\"\nquota", "\"1GB\"\nquota", 2, "write 1G"),
        ("1048576", "1000", 2, "512"),
        ("group = \"tenants\"", "group = \"others\"", 3, "others"),
    ] {
        fs::write(daemon.path("disks.toml"), FILE.replace(from, to)).unwrap();
        let output = daemon.run("apply -f disks.toml");
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{from}: {said}");
        assert!(said.contains(hint), "{from}: {said}");
        assert_eq!(daemon.json("list"), json!([]), "{from}");
    }
    daemon.refused("apply -f nothing.toml", 1);
}
