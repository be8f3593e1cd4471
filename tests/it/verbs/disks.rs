//! `create`, `list`, `show`, `destroy`, `resize`, `set`, and every exit code.

use std::process::Command;

use serde_json::json;

use super::{Daemon, RAMBLK, text};
use crate::driver::disk::{ALL, Disk};
use crate::driver::status::IOERR;

#[test]
fn a_disk_is_made_found_changed_and_destroyed() {
    let daemon = Daemon::start();
    let line = "create scratch --size 1G --quota 100M --on-full stall --label vm=web-1 --queues 2 \
                --serial S1 --detect-zeroes --iops 1000 --read-bps 10M";
    let socket = daemon.socket_of_new(line);
    assert!(socket.ends_with("scratch/vhost.sock"), "{socket}");
    assert_eq!(daemon.ok(line), "scratch exists already, as asked\n");
    let disk = daemon.json("show scratch");
    for (key, value) in [
        ("name", json!("scratch")),
        ("size_bytes", json!(1 << 30)),
        ("quota_bytes", json!(100 << 20)),
        ("on_full", json!("stall")),
        ("labels", json!({"vm": "web-1"})),
        ("queues", json!(2)),
        ("serial", json!("S1")),
        ("detect_zeroes", json!(true)),
        ("read_only", json!(false)),
        ("attached", json!(false)),
        ("socket", json!(socket)),
        ("state", json!("ok")),
    ] {
        assert_eq!(disk[key], value, "{key}");
    }
    assert_eq!(disk["limits"]["total"]["iops"], 1000);
    assert_eq!(disk["limits"]["read"]["bytes_per_second"], 10 << 20);
    let shown = daemon.ok("show scratch");
    assert!(
        shown.contains("size           1G (1073741824 bytes)\n"),
        "{shown}"
    );

    daemon.ok("set scratch --quota none --on-full error --label vm- --label owner=me");
    let disk = daemon.json("show scratch");
    assert_eq!(disk["quota_bytes"], json!(null));
    assert_eq!(disk["on_full"], "error");
    assert_eq!(disk["labels"], json!({"owner": "me"}));
    daemon.refused("set scratch", 2);

    daemon.ok("destroy scratch");
    assert_eq!(daemon.json("list"), json!([]));
    assert!(!std::path::Path::new(&socket).exists());
}

impl Daemon {
    /// Create a disk, and return the socket at the end of the output.
    fn socket_of_new(&self, line: &str) -> String {
        let said = self.ok(line);
        said.trim_end().rsplit(' ').next().unwrap().to_owned()
    }
}

#[test]
fn lists_are_sorted_and_filtered_by_labels() {
    let daemon = Daemon::start();
    for line in [
        "create b --size 1M --label vm=x --label env=a/b&c",
        "create a --size 1M --label vm=x",
        "create c --size 1M",
    ] {
        daemon.ok(line);
    }
    let names = |line: &str| -> Vec<String> {
        let disks = daemon.json(line);
        let disks = disks.as_array().unwrap().iter();
        disks
            .map(|disk| disk["name"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(names("list"), ["a", "b", "c"]);
    assert_eq!(names("list --label vm=x"), ["a", "b"]);
    assert_eq!(names("list --label vm=x --label env=a/b&c"), ["b"]);
    let table = daemon.ok("list");
    assert!(table.starts_with("NAME  SIZE"), "{table}");
    assert_eq!(table.lines().count(), 4);
    daemon.refused("list --label vm", 2);
}

#[test]
fn sizes_change_absolutely_and_relatively() {
    let daemon = Daemon::start();
    daemon.ok("create a --size 1G");
    let size = || daemon.json("show a")["size_bytes"].as_u64().unwrap();
    for (line, bytes) in [
        ("resize a 2G", 2 << 30),
        ("resize a +512M", 5 << 29),
        ("resize a -512M --shrink", 2 << 30),
        ("resize a --shrink -1G", 1 << 30),
    ] {
        daemon.ok(line);
        assert_eq!(size(), bytes, "{line}");
    }
    daemon.refused("resize a -1G", 2);
    daemon.refused("resize a +99999999P", 2);
    daemon.refused("resize a 1GB", 2);
    assert!(daemon.ok("resize a 1G").contains("a"));
}

#[test]
fn a_shrink_is_refused_with_the_line_that_does_it() {
    let daemon = Daemon::start();
    daemon.ok("create a --size 1M");
    let mut disk = Disk::attach_with(&daemon.socket("a"), ALL, 1, 64);
    disk.q().write(1024, &[7; 8192]).unwrap();
    let said = daemon.refused("resize a 512K", 4);
    assert!(
        said.contains("8K of data would be lost")
            && said.contains("'ramblk resize a 512K --shrink'"),
        "{said}"
    );
    let resized = daemon.json("resize a 512K --shrink");
    assert_eq!(resized["resized"]["lost_bytes"], 8192);
    assert_eq!(disk.q().read(1024, 512), Err(IOERR), "the end has moved");
}

#[test]
fn a_disk_in_use_is_destroyed_by_force_only() {
    let daemon = Daemon::start();
    daemon.ok("create a --size 1M");
    daemon.ok("create b --size 1M");
    let disk = Disk::attach_with(&daemon.socket("a"), ALL, 1, 64);
    assert_eq!(daemon.json("show a")["attached"], true);
    assert!(daemon.ok("show a").contains("in use"));
    // The other one is destroyed all the same.
    let output = daemon.run("destroy a b");
    assert_eq!(output.status.code(), Some(4), "{output:?}");
    assert!(text(&output.stderr).contains("--force"), "{output:?}");
    assert_eq!(daemon.json("list").as_array().unwrap().len(), 1);
    daemon.ok("destroy --force a");
    daemon.refused("show a", 3);
    drop(disk);
}

#[test]
fn each_refusal_has_its_exit_code() {
    let daemon = Daemon::start();
    daemon.ok("create a --size 1M");
    for (line, code, hint) in [
        (
            "create a --size 2M",
            4,
            "(size_bytes 1M, not 2M); change these, or destroy it first; 'ramblk resize' changes",
        ),
        (
            "create a --size 1M --ttl 7d --share rw --read-only",
            4,
            "life.ttl_ms none, not 7d",
        ),
        (
            "create a --size 1M --ttl 7d --read-only",
            4,
            "); read_only can't be changed: destroy it first",
        ),
        ("create _a --size 1M", 2, "_a"),
        ("create c --size 1000", 2, "512"),
        ("create c", 2, "--size"),
        ("create c --size 1M --iops 0", 2, "from 1 on"),
        ("create c --size 1M --group none-such", 3, "none-such"),
        ("create c --size 1G --quota 100G", 5, "memory limit"),
        ("show b", 3, "\"b\""),
        ("show ../../v1/pool", 2, ".."),
        ("destroy b", 3, "\"b\""),
        ("destroy a@s", 3, "a@s"),
        ("resize b 2M", 3, "\"b\""),
        ("resize b +2M", 3, "\"b\""),
        ("set a --group none-such", 3, "none-such"),
        ("attach b --print qemu", 3, "\"b\""),
        ("attach a --print vmware", 2, "cloud-hypervisor"),
        ("map a@b@c", 2, "NAME@SNAPSHOT"),
        ("frobnicate", 2, "frobnicate"),
    ] {
        let said = daemon.refused(line, code);
        assert!(said.contains(hint), "{line}: {said}");
    }
}

#[test]
fn without_a_daemon_it_is_said_where_one_was_looked_for() {
    let daemon = Daemon::start();
    for line in ["list", "create a --size 1M", "destroy a", "events", "pool"] {
        let said = daemon.refused(&format!("--api-socket nowhere.sock {line}"), 6);
        assert!(
            said.contains("nowhere.sock") && said.contains("ramblk serve"),
            "{said}"
        );
    }
    // The option may stand before or after the verb, and takes precedence over the variable.
    daemon.refused("list --api-socket nowhere.sock", 6);
    let mut command = Command::new(RAMBLK);
    let output = command
        .args(["ping", "--api-socket"])
        .arg(daemon.path("api.sock"))
        .env("RAMBLK_API", "nowhere.sock")
        .output()
        .unwrap();
    assert!(text(&output.stdout).contains("answers at"));
}

#[test]
fn a_socket_that_speaks_something_else_is_no_daemon_of_ours() {
    let daemon = Daemon::start();
    daemon.ok("create a --size 1M");
    let socket = daemon.socket("a");
    let said = daemon.refused(&format!("list --api-socket {}", socket.display()), 1);
    assert!(said.contains("broke off"), "{said}");
}
