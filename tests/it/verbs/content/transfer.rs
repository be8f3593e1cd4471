//! `map`, `import`, `export`.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::driver::data::pattern;
use crate::driver::disk::{ALL, Disk};
use crate::verbs::{Daemon, text};

/// A file of 100 MiB with two stretches of data: at 0 and further back.
fn sparse(daemon: &Daemon, name: &str) -> Vec<u8> {
    let file = File::create(daemon.path(name)).unwrap();
    file.set_len(100 << 20).unwrap();
    let bytes = pattern(3 << 20, 5);
    file.write_all_at(&bytes, 0).unwrap();
    file.write_all_at(&bytes[..4096], 40 << 20).unwrap();
    bytes
}

#[test]
fn holes_stay_holes_in_both_directions() {
    let daemon = Daemon::start();
    daemon.ok("create a --size 100M");
    let bytes = sparse(&daemon, "in");
    daemon.ok("import a in");
    let stretch = |start: u64, length: u64, mapped: bool| {
        let mut stretch = json!({ "mapped": mapped });
        (stretch["start_bytes"], stretch["length_bytes"]) = (start.into(), length.into());
        stretch
    };
    let end = (40 << 20) + 4096;
    assert_eq!(
        daemon.json("map a"),
        json!([
            stretch(0, 3 << 20, true),
            stretch(3 << 20, 37 << 20, false),
            stretch(40 << 20, 4096, true),
            stretch(end, (100 << 20) - end, false),
        ])
    );
    assert_eq!(daemon.ok("map a").lines().count(), 5);
    daemon.ok("export a out");
    let out = fs::metadata(daemon.path("out")).unwrap();
    assert_eq!(out.len(), 100 << 20);
    assert!(out.blocks() * 512 < 4 << 20, "{} blocks", out.blocks());
    let same = fs::read(daemon.path("in")).unwrap() == fs::read(daemon.path("out")).unwrap();
    assert!(same);
    assert_eq!(&fs::read(daemon.path("out")).unwrap()[..bytes.len()], bytes);
}

#[test]
fn stdin_and_stdout_carry_whole_images() {
    let daemon = Daemon::start();
    daemon.ok("create a --size 5M");
    let mut image = vec![0; 5 << 20];
    image[1 << 20..][..100_000].copy_from_slice(&pattern(100_000, 3));
    let fed = daemon.feed("import a -", &image);
    assert!(fed.status.success(), "{}", text(&fed.stderr));
    assert!(daemon.json("show a")["mapped_bytes"].as_u64() < Some(128 << 10));
    let out = daemon.run("export a -");
    assert!(out.status.success() && out.stdout == image);
    assert!(out.stderr.is_empty(), "a progress bar without a terminal");
}

#[test]
fn an_import_replaces_all_that_was_there() {
    let daemon = Daemon::start();
    daemon.ok("create a --size 1M");
    let full = daemon.feed("import a -", &pattern(1 << 20, 1));
    assert!(full.status.success(), "{}", text(&full.stderr));
    // An incomplete last sector is padded.
    fs::write(daemon.path("short"), pattern(5000, 2)).unwrap();
    daemon.ok("import a short");
    let mut wanted = pattern(5000, 2);
    wanted.resize(1 << 20, 0);
    assert!(daemon.run("export a -").stdout == wanted);
    fs::write(daemon.path("empty"), b"").unwrap();
    let said = daemon.refused("import a empty", 1);
    assert!(said.contains("no bytes"), "{said}");
    assert!(daemon.run("export a -").stdout == wanted);
}

#[test]
fn what_does_not_fit_is_refused_before_anything_is_written() {
    let daemon = Daemon::start();
    daemon.ok("create a --size 1M");
    daemon.feed("import a -", &pattern(1 << 20, 1));
    let before = daemon.run("export a -").stdout;
    fs::write(daemon.path("large"), vec![1; (1 << 20) + 1]).unwrap();
    let said = daemon.refused("import a large", 1);
    assert!(said.contains("'ramblk resize a 1049088'"), "{said}");
    fs::write(daemon.path("image.qcow2"), b"QFI\xfb\0\0\0\x03 and so on").unwrap();
    let said = daemon.refused("import a image.qcow2", 1);
    assert!(said.contains("is damaged: it has 18 bytes"), "{said}");
    let piped = daemon.feed("import a -", b"QFI\xfb\0\0\0\x03 and so on");
    assert_eq!(piped.status.code(), Some(1));
    daemon.refused("import a nothing", 1);
    daemon.refused("import b large", 3);
    assert!(daemon.run("export a -").stdout == before);
    // The length of a pipe can't be known beforehand.
    let long = daemon.feed("import a -", &vec![1; (1 << 20) + 1]);
    assert_eq!(long.status.code(), Some(1));
    assert!(
        text(&long.stderr).contains("more bytes than the disk"),
        "{}",
        text(&long.stderr)
    );
}

#[test]
fn an_import_that_finds_no_room_says_so() {
    let daemon = Daemon::start();
    daemon.ok("create a --size 64M --quota 1M");
    fs::write(daemon.path("in"), pattern(32 << 20, 1)).unwrap();
    daemon.refused("import a in", 5);
    daemon.refused("create b --image in --quota 1M", 5);
    daemon.refused("show b", 3);
}

#[test]
fn a_file_that_is_there_stays_unless_it_is_to_be_overwritten() {
    let daemon = Daemon::start();
    daemon.ok("create a --size 1M");
    fs::write(daemon.path("out"), b"precious").unwrap();
    let said = daemon.refused("export a out", 1);
    assert!(said.contains("--overwrite"), "{said}");
    daemon.refused("export b out --overwrite", 3);
    assert_eq!(fs::read(daemon.path("out")).unwrap(), b"precious");
    daemon.ok("export a out --overwrite");
    assert_eq!(fs::read(daemon.path("out")).unwrap(), vec![0; 1 << 20]);
    daemon.refused("export a no/such/out", 1);
    let left: Vec<_> = fs::read_dir(daemon.path(".")).unwrap().collect();
    assert_eq!(left.len(), 4, "no half images: {left:?}");
}

#[test]
fn a_terabyte_of_nothing_is_exported_at_once() {
    let daemon = Daemon::start();
    daemon.ok("create a --size 1T");
    let began = Instant::now();
    daemon.ok("export a out");
    assert!(
        began.elapsed() < Duration::from_secs(2),
        "{:?}",
        began.elapsed()
    );
    let out = fs::metadata(daemon.path("out")).unwrap();
    assert_eq!((out.len(), out.blocks()), (1 << 40, 0));
    daemon.ok("import a out");
}

#[test]
fn a_disk_in_use_is_imported_by_force_only() {
    let daemon = Daemon::start();
    daemon.ok("create a --size 1M");
    fs::write(daemon.path("in"), pattern(4096, 9)).unwrap();
    let mut disk = Disk::attach_with(&daemon.socket("a"), ALL, 1, 64);
    let said = daemon.refused("import a in", 4);
    assert!(said.contains("--force"), "{said}");
    daemon.ok("import a in --force");
    assert_eq!(disk.q().read(0, 4096), Ok(pattern(4096, 9)));
    // A guest's disk is exported as it is at one moment.
    disk.q().write(8, &[3; 4096]).unwrap();
    assert_eq!(daemon.run("export a -").stdout[4096..8192], [3; 4096]);
}

#[test]
fn a_disk_can_begin_with_an_image() {
    let daemon = Daemon::start();
    fs::write(daemon.path("image"), pattern(5000, 4)).unwrap();
    daemon.ok("create a --image image --read-only");
    assert_eq!(daemon.json("show a")["size_bytes"], 5120);
    assert_eq!(daemon.run("export a -").stdout[..5000], pattern(5000, 4));
    let again = daemon.ok("create a --image image --read-only");
    assert!(again.contains("exists already"), "{again}");
    daemon.refused("create b --image image --size 4K", 2);
    daemon.refused("create b --image -", 2);
    let long = daemon.feed("create b --size 4K --image -", &[1; 8192]);
    assert_eq!(long.status.code(), Some(1));
    daemon.refused("show b", 3);
}
