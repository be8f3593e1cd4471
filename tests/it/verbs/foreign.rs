//! Files in formats that are not read: refused with a command that works.

use std::fs;
use std::process::{Command, Stdio};

use super::{Daemon, text};
use crate::driver::data::pattern;

/// The size of the disk that all of these hold.
const BYTES: usize = 1 << 20;

/// A command that makes a file from `disk`, a raw image; the file's name; the name of its format.
const MADE: [(&str, &str, &str); 17] = [
    ("qemu-img convert -O qcow disk a.qcow", "a.qcow", "qcow "),
    ("qemu-img convert -O qed disk a.qed", "a.qed", "QED"),
    ("qemu-img convert -O vmdk disk a.vmdk", "a.vmdk", "VMDK"),
    (
        "qemu-img convert -O vmdk -o subformat=streamOptimized disk s.vmdk",
        "s.vmdk",
        "VMDK",
    ),
    (
        "qemu-img convert -O vmdk -o subformat=monolithicFlat disk f.vmdk",
        "f.vmdk",
        "VMDK",
    ),
    ("qemu-img convert -O vdi disk a.vdi", "a.vdi", "VDI"),
    (
        "qemu-img convert -O vpc -o force_size=on disk a.vhd",
        "a.vhd",
        "VHD",
    ),
    (
        "qemu-img convert -O vpc -o subformat=fixed,force_size=on disk f.vhd",
        "f.vhd",
        "VHD",
    ),
    ("qemu-img convert -O vhdx disk a.vhdx", "a.vhdx", "VHDX"),
    (
        "qemu-img convert -O parallels disk a.hds",
        "a.hds",
        "Parallels",
    ),
    ("bzip2 -c disk > 'my disk.bz2'", "my disk.bz2", "bzip2"),
    ("xz -kf --format=lzma disk", "disk.lzma", "lzma"),
    ("lz4 -qf disk disk.lz4", "disk.lz4", "lz4"),
    ("lzip -kf disk", "disk.lz", "lzip"),
    ("tar -cf disk.tar disk", "disk.tar", "tar"),
    ("python3 -m zipfile -c disk.zip disk", "disk.zip", "zip"),
    (
        "echo disk | cpio --quiet -o -H newc -F disk.cpio",
        "disk.cpio",
        "cpio",
    ),
];

/// The quoted command in a message.
fn command(said: &str) -> String {
    let (_, rest) = said.split_once("run '").unwrap_or_else(|| panic!("{said}"));
    let (command, _) = rest
        .split_once("' (package ")
        .unwrap_or_else(|| panic!("{said}"));
    command.replace("MEMBER", "disk")
}

/// Run a shell line in the daemon's directory, where `ramblk` is this build.
fn shell(daemon: &Daemon, line: &str) -> std::process::Output {
    let ramblk = daemon.command(&[]).get_program().to_owned();
    let folder = std::path::Path::new(&ramblk).parent().unwrap();
    let path = std::env::var("PATH").unwrap();
    Command::new("sh")
        .args(["-c", line])
        .env("PATH", format!("{}:{path}", folder.display()))
        .env("RAMBLK_API", daemon.path("api.sock"))
        .current_dir(daemon.path("."))
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

#[track_caller]
fn works(daemon: &Daemon, line: &str) {
    let output = shell(daemon, line);
    assert!(output.status.success(), "{line}: {}", text(&output.stderr));
}

/// The line with which an image is refused: `words` are the verb's.
fn refused(daemon: &Daemon, words: &[&str]) -> String {
    let output = daemon.command(words).output().unwrap();
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{words:?}: {said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    said
}

#[test]
fn a_foreign_file_is_no_disk_of_garbage_and_the_line_that_is_said_makes_it_one() {
    let daemon = Daemon::start();
    daemon.ok("create a --size 1M");
    let disk = pattern(BYTES, 7);
    fs::write(daemon.path("disk"), &disk).unwrap();
    for (make, file, name) in MADE {
        works(&daemon, make);
        let said = refused(&daemon, &["import", "a", file]);
        assert!(said.contains(&format!(" {name}")), "{make}: {said}");
        assert_eq!(daemon.json("show a")["mapped_bytes"], 0, "{make}");
        let hint = command(&said);
        works(&daemon, &hint);
        if !hint.contains("ramblk import") {
            let made = format!("import a {file}.raw");
            daemon.ok(&made);
        }
        assert!(daemon.run("export a -").stdout == disk, "{make}: {hint}");
        // Nothing else accepts it as a raw image either.
        let said = refused(&daemon, &["create", "b", "--image", file]);
        assert!(said.contains(&format!(" {name}")), "{make}: {said}");
        daemon.refused("show b", 3);
        let run = ["run", "--socket-path", "s", "--image", file];
        let said = refused(&daemon, &run);
        assert!(said.contains(&format!(" {name}")), "{make}: {said}");
        assert!(!command(&said).contains("ramblk"), "{said}");
        works(&daemon, &command(&said));
        let raw = fs::read(daemon.path(&format!("{file}.raw"))).unwrap();
        assert!(raw == disk, "{make}: {said}");
        fs::remove_file(daemon.path(&format!("{file}.raw"))).unwrap();
        daemon.feed("import a -", b"");
        daemon.ok("destroy a");
        daemon.ok("create a --size 1M");
    }
}

#[test]
fn a_foreign_pipe_is_no_file_named_stdin_and_a_filter_mends_it() {
    let daemon = Daemon::start();
    daemon.ok("create a --size 1M");
    let disk = pattern(BYTES, 7);
    fs::write(daemon.path("disk"), &disk).unwrap();
    for (make, file, name) in MADE {
        works(&daemon, make);
        let said = shell(&daemon, &format!("ramblk import a - < '{file}'"));
        let said = (said.status.code(), text(&said.stderr));
        // The end of a pipe is known only when it comes, like that of a file that is too long: it
        // may be either error.
        assert_eq!(said.0, Some(1), "{make}: {}", said.1);
        let said = said.1;
        if file == "f.vhd" {
            continue;
        }
        assert!(
            said.contains(&format!(" {name}")) && !said.contains("stdin"),
            "{said}"
        );
        if let Some((_, rest)) = said.split_once("pipe it through '") {
            let (filter, _) = rest.split_once("' (package ").unwrap();
            let filter = filter.replace("MEMBER", "disk");
            works(&daemon, &format!("{filter} < '{file}' | ramblk import a -"));
            assert!(daemon.run("export a -").stdout == disk, "{make}");
        } else {
            assert!(said.contains("to a file first"), "{said}");
        }
    }
}

#[test]
fn a_fixed_vhd_out_of_a_pipe_is_refused_at_its_end() {
    let daemon = Daemon::start();
    fs::write(daemon.path("disk"), pattern(BYTES, 7)).unwrap();
    works(
        &daemon,
        "qemu-img convert -O vpc -o subformat=fixed,force_size=on disk f.vhd",
    );
    daemon.ok("create a --size 2M");
    for line in ["import a -", "create b --size 2M --image -"] {
        let fed = daemon.feed(line, &fs::read(daemon.path("f.vhd")).unwrap());
        let said = text(&fed.stderr);
        assert_eq!(fed.status.code(), Some(1), "{said}");
        assert!(
            said.contains("a VHD image") && said.contains("to a file first"),
            "{said}"
        );
    }
    daemon.refused("show b", 3);
}

#[test]
fn what_a_guest_may_have_written_goes_in_as_raw() {
    let daemon = Daemon::start();
    let mut disk = pattern(BYTES, 7);
    disk[..8].copy_from_slice(b"QFI\xfb\0\0\0\x03");
    disk[BYTES - 512..][..8].copy_from_slice(b"conectix");
    fs::write(daemon.path("disk"), &disk).unwrap();
    daemon.ok("create a --image disk --format raw");
    assert!(daemon.run("export a -").stdout == disk);
    daemon.ok("create b --size 1M");
    daemon.ok("import b disk --format raw");
    assert!(daemon.run("export b -").stdout == disk);
    let fed = daemon.feed("create c --size 1M --image - --format raw", &disk);
    assert!(fed.status.success(), "{}", text(&fed.stderr));
    assert!(daemon.run("export c -").stdout == disk);
    daemon.refused("create d --size 1M --format raw", 2);
    daemon.refused("run --size 1M --socket-path s --format raw", 2);
    daemon.refused("create d --image disk --format vmdk", 2);
}

#[test]
fn a_page_that_says_not_found_is_no_disk() {
    let daemon = Daemon::start();
    daemon.ok("create a --size 1M");
    let pages = [
        (
            "\n<!DOCTYPE HTML PUBLIC \"-//IETF//DTD HTML 2.0//EN\">\n<html>",
            "HTML",
        ),
        (
            "<?xml version=\"1.0\"?><Error><Code>NoSuchKey</Code></Error>",
            "XML",
        ),
        (
            "version https://git-lfs.github.com/spec/v1\noid sha256:",
            "Git LFS",
        ),
    ];
    for (page, name) in pages {
        fs::write(daemon.path("page"), page).unwrap();
        let said = daemon.refused("import a page", 1);
        assert!(said.contains(name), "{said}");
    }
}
