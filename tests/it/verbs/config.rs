//! `apply`, `export-config`.

use std::fs;

use serde_json::json;
use tempfile::TempDir;

use super::{Daemon, text};

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
    let said = daemon.ok("apply -f disks.toml --dry-run");
    assert!(said.contains("disk scratch: would be created"), "{said}");
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
    // What is said on the command line goes first.
    assert_eq!(pool["limit_bytes"], 1 << 30);
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
