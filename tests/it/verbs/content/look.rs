//! `read`, `write`, `digest`, `diff`.

use std::fs;

use serde_json::json;

use crate::driver::data::pattern;
use crate::driver::disk::Disk;
use crate::verbs::{Daemon, text};

#[test]
fn bytes_are_written_and_read_where_they_were_named() {
    let daemon = Daemon::start();
    daemon.ok("create a --size 8M");
    let bytes = pattern(100_000, 3);
    let fed = daemon.feed("write a 1M", &bytes);
    assert!(fed.status.success(), "{}", text(&fed.stderr));
    assert_eq!(
        text(&fed.stdout),
        "a has 97K (100000 bytes) from stdin at 1048576\n"
    );
    daemon.ok("snapshot a s");
    let written: serde_json::Value =
        serde_json::from_slice(&daemon.feed("write a 1048577 -o json", b"xyz").stdout).unwrap();
    assert_eq!(
        written,
        json!({"disk": "a", "start_bytes": 1_048_577, "length_bytes": 3})
    );
    assert!(daemon.run("read a@s 1M 100000").stdout == bytes);
    let now = daemon.run("read a 1M 5").stdout;
    assert_eq!(now, [bytes[0], b'x', b'y', b'z', bytes[4]]);
    assert_eq!(daemon.run("read a 0 4K").stdout, [0; 4096]);
    assert!(daemon.run("read a 8M 0").stdout.is_empty());
    daemon.refused("read a 8M 1", 2);
    daemon.refused("read a 0 9M", 2);
    daemon.refused("read b 0 1", 3);
    assert_eq!(daemon.feed("write a 8M", b"x").status.code(), Some(2));
    assert_eq!(daemon.feed("write a 0", b"").status.code(), Some(2));
    let guest = Disk::attach(&daemon.path("run").join("a/vhost.sock"));
    let refused = daemon.feed("write a 0", &[1; 512]);
    assert_eq!(refused.status.code(), Some(4));
    assert!(text(&refused.stderr).contains("--force"), "{refused:?}");
    assert!(daemon.feed("write a 0 --force", &[1; 512]).status.success());
    drop(guest);
    assert_eq!(daemon.run("read a 0 512").stdout, [1; 512]);
}

#[test]
fn what_is_written_is_held_to_the_quota_with_all_that_the_disk_has() {
    let daemon = Daemon::start();
    daemon.ok("create q --size 1G --quota 10M");
    let charged = || daemon.json("show q")["charged_bytes"].as_u64().unwrap();
    let bytes = pattern(8 << 20, 3);
    assert!(daemon.feed("write q 0", &bytes).status.success());
    let had = charged();
    assert!((8 << 20..9 << 20).contains(&had), "{had}");
    let over = daemon.feed("write q 100M", &bytes);
    assert_eq!(over.status.code(), Some(5));
    let said = text(&over.stderr);
    assert!(said.contains("quota"), "{said}");
    assert_eq!(charged(), had);
    // In the same place it takes no more.
    assert!(
        daemon
            .feed("write q 0", &pattern(8 << 20, 4))
            .status
            .success()
    );
    assert_eq!(charged(), had);
    daemon.ok("snapshot q kept");
    assert_eq!(daemon.feed("write q 0", &bytes).status.code(), Some(5));
    assert!(daemon.run("read q 0 8M").stdout == pattern(8 << 20, 4));
    daemon.ok("destroy q@kept");
    assert!(daemon.feed("write q 0", &bytes).status.success());
    daemon.ok("set q --quota 20M");
    assert!(daemon.feed("write q 100M", &bytes).status.success());
    // The hidden disk with what is stable gets the new content too.
    daemon.ok("create v --size 1G --quota 10M --write-cache volatile");
    assert!(daemon.feed("write v 0", &bytes).status.success());
    assert!(daemon.feed("write v 0", &bytes).status.success());
    assert_eq!(daemon.feed("write v 100M", &bytes).status.code(), Some(5));
}

#[test]
fn a_digest_is_that_of_the_exported_file() {
    let daemon = Daemon::start();
    daemon.ok("create a --size 100M");
    assert!(
        daemon
            .feed("write a 60M", &pattern(5000, 1))
            .status
            .success()
    );
    daemon.ok("export a out");
    let whole = fs::read(daemon.path("out")).unwrap();
    let wanted = blake3::hash(&whole).to_hex().to_string();
    assert_eq!(daemon.ok("digest a"), format!("{wanted}  a\n"));
    daemon.ok("snapshot a s");
    let json = json!({
        "name": "a@s", "blake3": wanted, "start_bytes": 0, "length_bytes": 100 << 20,
    });
    assert_eq!(daemon.json("digest a@s"), json);
    let part = blake3::hash(&whole[60 << 20..][..3000])
        .to_hex()
        .to_string();
    assert_eq!(
        daemon.ok("digest a@s --range 60M+3000"),
        format!("{part}  a@s\n")
    );
    daemon.refused("digest a --range 100M+1", 2);
    daemon.refused("digest b", 3);
}

#[test]
fn a_comparison_exits_with_0_1_or_more_as_diff_does() {
    let daemon = Daemon::start();
    daemon.ok("create a --size 1M");
    assert!(
        daemon
            .feed("write a 64K", &pattern(8192, 1))
            .status
            .success()
    );
    daemon.ok("snapshot a s");
    assert_eq!(daemon.ok("diff a@s a"), "");
    let extents: [u8; 0] = [];
    assert_eq!(
        daemon.json("diff a@s a"),
        json!({"same": true, "from_bytes": 1 << 20, "to_bytes": 1 << 20, "extents": extents})
    );
    assert!(daemon.feed("write a 64K", &[0; 4096]).status.success());
    assert!(daemon.feed("write a 128K", &[1; 512]).status.success());
    let differs = daemon.run("diff a@s a");
    assert_eq!(differs.status.code(), Some(1));
    let lines: Vec<Vec<String>> = text(&differs.stdout)
        .lines()
        .map(|line| line.split_whitespace().map(str::to_owned).collect())
        .collect();
    let wanted = [
        ["START", "LENGTH", "NOW"],
        ["65536", "4096", "zero"],
        ["131072", "512", "data"],
    ];
    assert_eq!(lines, wanted);
    assert!(differs.stderr.is_empty(), "{differs:?}");
    daemon.ok("resize a 2M");
    daemon.ok("reset a --to s");
    daemon.ok("resize a 2M");
    let longer = daemon.run("diff a@s a");
    assert_eq!(longer.status.code(), Some(1));
    assert_eq!(
        text(&longer.stdout),
        "size: 1M (1048576 bytes) → 2M (2097152 bytes)\n"
    );
    daemon.refused("diff a b", 3);
    daemon.refused("diff a", 2);
    daemon.refused("diff a a@s --api-socket /nowhere", 6);
}
