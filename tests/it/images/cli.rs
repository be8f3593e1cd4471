//! The command line with images that aren't raw: in, out, and wrong ones that leave nothing.

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;

use super::rig::{MIB, mixed};
use crate::verbs::{Daemon, text};

/// Run a shell line in the daemon's folder. Returns its stdout.
fn sh(daemon: &Daemon, line: &str) -> String {
    let program = Command::new("sh")
        .args(["-ec", line])
        .current_dir(daemon.path("."))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(
        program.status.success(),
        "{line}: {}",
        text(&program.stderr)
    );
    text(&program.stdout)
}

#[test]
fn a_disk_begins_with_an_image_of_any_format_from_a_file_or_a_pipe() {
    let daemon = Daemon::start();
    let content = mixed(2 * MIB);
    fs::write(daemon.path("raw"), &content).unwrap();
    sh(
        &daemon,
        "qemu-img convert -f raw -O qcow2 -c raw a.qcow2; gzip -k raw; xz -0k raw; zstd -q raw
         qemu-img create -q -f qcow2 -b raw -F raw top.qcow2; xz -0k a.qcow2",
    );
    for words in [
        "--image a.qcow2",
        "--image a.qcow2 --format qcow2",
        "--image raw.gz --size 2M",
        "--image raw.xz --size 2M",
        "--image raw.zst --size 2M --format zst",
        "--image a.qcow2.xz",
        "--image top.qcow2 --backing raw",
        "--image top.qcow2 --follow-backing",
    ] {
        daemon.ok(&format!("create a {words}"));
        assert!(daemon.run("export a -").stdout == content, "{words}");
        // The same again is no change.
        let said = daemon.ok(&format!("create a {words}"));
        assert!(said.contains("exists already"), "{words}: {said}");
        daemon.ok("destroy a");
    }
    daemon.refused("create a --image raw.gz", 2);
    daemon.refused("create a --image top.qcow2", 1);
    daemon.ok("create a --size 3M");
    for name in ["a.qcow2", "raw.gz", "raw.xz", "raw.zst", "a.qcow2.xz"] {
        let fed = daemon.feed("import a -", &fs::read(daemon.path(name)).unwrap());
        assert!(fed.status.success(), "{name}: {}", text(&fed.stderr));
        let out = daemon.run("export a -").stdout;
        assert!(out[..2 * MIB] == content, "{name}");
        daemon.ok("destroy a");
        daemon.ok("create a --size 3M");
    }
}

#[test]
fn a_wrong_digest_leaves_no_disk_and_what_was_there() {
    let daemon = Daemon::start();
    fs::write(daemon.path("raw"), mixed(2 * MIB)).unwrap();
    sh(
        &daemon,
        "qemu-img convert -f raw -O qcow2 raw a.qcow2; gzip -k raw",
    );
    daemon.ok("create old --size 2M");
    let old = vec![7; 2 * MIB];
    assert!(daemon.feed("import old -", &old).status.success());
    let wrong = format!("sha256:{}", "0".repeat(64));
    for name in ["raw", "a.qcow2", "raw.gz"] {
        let line = format!("create new --size 2M --image {name} --digest {wrong}");
        let said = daemon.refused(&line, 1);
        assert!(said.contains("has the digest sha256:"), "{said}");
        daemon.refused("show new", 3);
        daemon.refused(&format!("import old {name} --digest {wrong}"), 1);
        assert!(daemon.run("export old -").stdout == old, "{name}");
        daemon.refused(
            &format!("run --socket-path s --size 2M --image {name} --digest {wrong}"),
            1,
        );
        assert!(!daemon.path("s").exists());
        let sum = sh(&daemon, &format!("sha256sum {name}"));
        daemon.ok(&format!(
            "create new --size 2M --image {name} --digest sha256:{}",
            &sum[..64]
        ));
        daemon.ok("destroy new");
    }
    daemon.refused("create new --image raw --digest 0123", 2);
    daemon.refused(&format!("create new --size 2M --digest {wrong}"), 2);
}

#[test]
fn damaged_images_leave_no_disk_and_what_was_there() {
    let daemon = Daemon::start();
    fs::write(daemon.path("raw"), mixed(2 * MIB)).unwrap();
    sh(
        &daemon,
        "qemu-img convert -f raw -O qcow2 raw a.qcow2; truncate -s -128K a.qcow2
         gzip -c raw | head -c 20000 > raw.gz; zstd -qc raw | head -c 20000 > raw.zst
         truncate -s 8M big; gzip -c big > big.gz; qemu-img create -q -f qcow2 big.qcow2 8M",
    );
    daemon.ok("create old --size 2M");
    let old = vec![7; 2 * MIB];
    assert!(daemon.feed("import old -", &old).status.success());
    for name in ["a.qcow2", "raw.gz", "raw.zst", "big.gz", "big.qcow2"] {
        let output = daemon.run(&format!("create new --size 2M --image {name}"));
        let said = text(&output.stderr);
        assert!(
            !output.status.success() && said.lines().count() == 1,
            "{name}: {said}"
        );
        daemon.refused("show new", 3);
        daemon.refused(&format!("import old {name}"), 1);
        assert!(daemon.run("export old -").stdout == old, "{name}");
    }
}

#[test]
fn a_bomb_is_given_up_where_the_disk_ends() {
    let daemon = Daemon::start();
    sh(
        &daemon,
        "head -c 64M /dev/zero | zstd -q > one; head -c 64M /dev/zero | gzip -c > two
         for i in $(seq 256); do cat one; done > bomb.zst
         for i in $(seq 64); do cat two; done > bomb.gz
         for i in $(seq 256); do cat bomb.zst; done | zstd -q > twice.zst.zst",
    );
    daemon.ok("create old --size 2M");
    let old = vec![7; 2 * MIB];
    assert!(daemon.feed("import old -", &old).status.success());
    for name in ["bomb.zst", "bomb.gz"] {
        let begun = Instant::now();
        let said = daemon.refused(&format!("import old {name}"), 1);
        assert!(said.contains("more bytes than the disk"), "{said}");
        assert!(begun.elapsed() < Duration::from_secs(20), "{name}");
        assert!(daemon.run("export old -").stdout == old, "{name}");
        let output = daemon.run(&format!("create new --size 2M --image {name}"));
        assert!(!output.status.success(), "{name}");
        daemon.refused("show new", 3);
    }
    // What is packed twice is unpacked once.
    let said = daemon.refused("import old twice.zst.zst", 1);
    assert!(said.contains("compressed with zstd"), "{said}");
}

#[test]
fn an_export_is_in_the_format_that_its_name_says() {
    let daemon = Daemon::start();
    let content = mixed(2 * MIB);
    fs::write(daemon.path("raw"), &content).unwrap();
    daemon.ok("create a --image raw");
    for (words, back) in [
        (
            "export a x.qcow2",
            "qemu-img convert -f qcow2 -O raw x.qcow2 back",
        ),
        (
            "export a c.qcow2 --compress",
            "qemu-img convert -f qcow2 -O raw c.qcow2 back",
        ),
        ("export a x.zst", "zstd -qdf x.zst -o back"),
        (
            "export a x.qcow2 --format raw --overwrite",
            "cp x.qcow2 back",
        ),
        ("export a x --format zst", "zstd -qdf x -o back"),
    ] {
        daemon.ok(words);
        sh(&daemon, back);
        assert!(fs::read(daemon.path("back")).unwrap() == content, "{words}");
    }
    let size = |name| fs::metadata(daemon.path(name)).unwrap().len();
    assert!(size("c.qcow2") < size("x.qcow2"));
    for (words, back) in [
        (
            "export a - --format qcow2",
            "qemu-img convert -f qcow2 -O raw piped back",
        ),
        (
            "export a - --format qcow2 --compress",
            "qemu-img check -q piped; qemu-img convert -f qcow2 -O raw piped back",
        ),
        ("export a - --format zst", "zstd -qdcf < piped > back"),
    ] {
        fs::write(daemon.path("piped"), daemon.run(words).stdout).unwrap();
        sh(&daemon, back);
        assert!(fs::read(daemon.path("back")).unwrap() == content, "{words}");
    }
    // Its tables come first, so there is no temporary file; only compressed it needs one.
    let export = |options: &[&str]| {
        let words = [&["export", "a", "-", "--format", "qcow2"], options].concat();
        let mut command = daemon.command(&words);
        command.env("TMPDIR", "/nowhere").output().unwrap()
    };
    fs::write(daemon.path("piped"), export(&[]).stdout).unwrap();
    sh(
        &daemon,
        "qemu-img check -q piped; qemu-img compare -q -f qcow2 -F raw piped raw",
    );
    let said = text(&export(&["--compress"]).stderr);
    assert!(said.contains("TMPDIR"), "{said}");
    daemon.refused("export a y --compress", 2);
    // What is exported goes in again, and its size is known.
    for name in ["c.qcow2", "x.zst"] {
        daemon.ok(&format!("export a {name} --overwrite"));
        daemon.ok(&format!("create b --image {name}"));
        assert!(daemon.run("export b -").stdout == content, "{name}");
        daemon.ok("destroy b");
    }
    daemon.refused("export a x.zst", 1);
    let left: Vec<_> = fs::read_dir(daemon.path(".")).unwrap().collect();
    assert!(left.len() < 14, "{left:?}");
}

#[test]
fn what_an_image_says_about_itself_is_printed_without_reading_it() {
    let daemon = Daemon::start();
    fs::write(daemon.path("raw"), mixed(2 * MIB)).unwrap();
    daemon.ok("create a --image raw");
    daemon.ok("export a a.zst");
    sh(
        &daemon,
        "qemu-img create -q -f qcow2 -b raw -F raw -o cluster_size=4k top.qcow2 2M
         qemu-io -c 'write -P 1 1M 8k' top.qcow2 >/dev/null; gzip -k raw",
    );
    let seen = daemon.json("image inspect top.qcow2");
    assert_eq!(seen["format"], "qcow2");
    assert_eq!(
        (&seen["size_bytes"], &seen["data_bytes"]),
        (&json!(2 << 20), &json!(8192))
    );
    assert_eq!(seen["backing"], json!({ "name": "raw", "format": "raw" }));
    assert_eq!(seen["properties"]["cluster_bytes"], "4096");
    let whole = daemon.json("image inspect top.qcow2 --follow-backing");
    assert!(whole["data_bytes"].as_u64() > Some(8192), "{whole}");
    let seen = daemon.json("image inspect a.zst");
    assert_eq!(
        (&seen["format"], &seen["size_bytes"]),
        (&json!("zst"), &json!(2 << 20))
    );
    let seen = daemon.json("image inspect raw.gz");
    assert_eq!(
        (&seen["format"], &seen["size_bytes"]),
        (&json!("gz"), &json!(null))
    );
    let text = daemon.ok("image inspect raw");
    assert!(
        text.contains("format  raw") && text.contains("(2097152 bytes)"),
        "{text}"
    );
    let wrong = format!("image inspect raw --digest sha256:{}", "0".repeat(64));
    assert!(daemon.refused(&wrong, 1).contains("has the digest"));
    daemon.refused("image inspect nothing", 1);
}
