//! Changes in files: what `export --since` writes and `import --base` applies.

use std::fs;
use std::process::Command;

use crate::driver::data::pattern;
use crate::verbs::{Daemon, text};

fn write(daemon: &Daemon, disk: &str, at: &str, bytes: &[u8]) {
    let fed = daemon.feed(&format!("write {disk} {at}"), bytes);
    assert!(fed.status.success(), "{}", text(&fed.stderr));
}

fn qemu_img(daemon: &Daemon, line: &str) -> String {
    let output = Command::new("qemu-img")
        .args(line.split_whitespace())
        .current_dir(daemon.path("."))
        .output()
        .unwrap();
    assert!(output.status.success(), "{line}: {output:?}");
    text(&output.stdout)
}

/// A disk with three snapshots: data, then changes and zeros, then another size too.
fn with_history(daemon: &Daemon) {
    daemon.ok("create a --size 10M");
    write(daemon, "a", "0", &pattern(3 << 20, 1));
    write(daemon, "a", "8M", &pattern(1 << 20, 2));
    daemon.ok("snapshot a one");
    write(daemon, "a", "70000", &pattern(5000, 3));
    write(daemon, "a", "1M", &vec![0; 1 << 20]);
    write(daemon, "a", "9M", &[7; 512]);
    daemon.ok("snapshot a two");
    daemon.ok("resize a 12M");
    write(daemon, "a", "11M", &pattern(100_000, 4));
    write(daemon, "a", "0", &[0; 4096]);
    daemon.ok("snapshot a three");
}

#[test]
fn qemu_img_stacks_a_chain_of_changes() {
    let daemon = Daemon::start();
    with_history(&daemon);
    for (snapshot, since) in [
        ("one", ""),
        ("two", " --since one"),
        ("three", " --since a@two"),
    ] {
        daemon.ok(&format!("export a@{snapshot} {snapshot}.qcow2{since}"));
        daemon.ok(&format!("export a@{snapshot} {snapshot}.raw"));
        qemu_img(&daemon, &format!("check {snapshot}.qcow2"));
        qemu_img(&daemon, &format!("compare {snapshot}.qcow2 {snapshot}.raw"));
    }
    let info = qemu_img(&daemon, "info three.qcow2 --backing-chain");
    assert!(info.contains("backing file: two.qcow2") && info.contains("backing file: one.qcow2"));
    let change = fs::metadata(daemon.path("two.qcow2")).unwrap().len();
    assert!(change < 1 << 20, "{change} bytes of a change of 6 KiB");
    // Through a pipe, without a temporary file.
    let words = "export a@two - --since one --format qcow2";
    let words: Vec<&str> = words.split(' ').collect();
    let mut export = daemon.command(&words);
    let piped = export.env("TMPDIR", "/nowhere").output().unwrap();
    fs::write(daemon.path("piped.qcow2"), piped.stdout).unwrap();
    qemu_img(&daemon, "check piped.qcow2");
    qemu_img(&daemon, "compare piped.qcow2 two.raw");
    // On a raw base, by a name of its own, and compressed.
    daemon.ok("export a@two c.qcow2 --since one --backing-name one.raw --compress");
    qemu_img(&daemon, "compare c.qcow2 two.raw");
}

#[test]
fn a_change_is_held_to_the_quota_with_what_is_there() {
    let daemon = Daemon::start();
    daemon.ok("create a --size 64M");
    for (snapshot, at, seed) in [("one", "0", 1), ("two", "16M", 2)] {
        let bytes = pattern(8 << 20, seed);
        assert!(
            daemon
                .feed(&format!("write a {at}"), &bytes)
                .status
                .success()
        );
        daemon.ok(&format!("snapshot a {snapshot}"));
    }
    daemon.ok("export a@one one.zst");
    daemon.ok("export a@two two.zst --since one");
    daemon.ok("create d --size 64M --quota 10M");
    daemon.ok("import d one.zst");
    let had = daemon.ok("digest d");
    let said = daemon.refused("import d two.zst --base", 5);
    assert!(said.contains("quota"), "{said}");
    assert_eq!(daemon.ok("digest d"), had);
    daemon.ok("set d --quota 20M");
    daemon.ok("import d two.zst --base");
    assert_eq!(daemon.ok("digest d")[..64], daemon.ok("digest a@two")[..64]);
    let charged = daemon.json("show d")["charged_bytes"].as_u64().unwrap();
    assert!((16 << 20..17 << 20).contains(&charged), "{charged}");
}

#[test]
fn changes_go_from_host_to_host_in_files() {
    let (here, there) = (Daemon::start(), Daemon::start());
    with_history(&here);
    let send = |file: &str| fs::copy(here.path(file), there.path(file)).unwrap();
    for format in ["zst", "qcow2"] {
        there.ok(&format!("create {format} --size 10M"));
        for (snapshot, since) in [
            ("one", ""),
            ("two", "--since one"),
            ("three", "--since two"),
        ] {
            let file = format!("{format}-{snapshot}.{format}");
            here.ok(&format!("export a@{snapshot} {file} {since}"));
            send(&file);
            let base = if since.is_empty() { "" } else { "--base" };
            there.ok(&format!("import {format} {file} {base}"));
            let wanted = here.ok(&format!("digest a@{snapshot}"));
            let had = there.ok(&format!("digest {format}"));
            assert_eq!(had[..64], wanted[..64], "{file}");
            let id = here.json(&format!("show a@{snapshot}"))["content_id"].clone();
            assert_eq!(there.json(&format!("show {format}"))["content_id"], id);
        }
        // It was applied, and so the disk has other content now.
        let said = there.refused(&format!("import {format} {format}-two.{format} --base"), 4);
        assert!(said.contains("other content"), "{said}");
    }
    // The whole of it, which it isn't.
    there.refused("import zst zst-two.zst", 1);
    there.refused("import zst zst-one.zst --base", 1);
    there.refused("import zst zst-two.zst --base --force", 2);
    here.refused("export a@two x.raw --since one", 1);
    here.refused("export a@two x.zst --since four", 3);
    assert!(!here.path("x.raw").exists() && !here.path("x.zst").exists());
    // A disk that was written to since.
    there.ok("create d --size 10M");
    there.ok("import d zst-one.zst");
    write(&there, "d", "5M", b"x");
    let before = there.ok("digest d");
    there.refused("import d zst-two.zst --base", 4);
    assert_eq!(there.ok("digest d"), before);
}
