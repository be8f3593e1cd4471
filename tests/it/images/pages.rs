//! The commands of docs/images.md, run as a reader would type them.
//!
//! Each section is one shell, in which its blocks of `sh` run in turn. A block behind
//! `<!-- on the other host -->` is for another daemon.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::driver::data::pattern;
use crate::remote::s3::Moto;
use crate::verbs::{Daemon, text};

const RAMBLK: &str = env!("CARGO_BIN_EXE_ramblk");

/// What stands before a block that is for another daemon.
const ELSEWHERE: &str = "<!-- on the other host -->";

/// The commands of a section, for a shell that has the daemons' sockets as $HERE and $THERE.
fn script(title: &str) -> String {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/images.md");
    let page = fs::read_to_string(page).unwrap();
    let (_, section) = page.split_once(&format!("\n## {title}\n")).expect(title);
    let section = section.split("\n## ").next().unwrap();
    let mut script = String::new();
    for (at, block) in section.match_indices("```sh\n") {
        let daemon = match section[..at].trim_end().ends_with(ELSEWHERE) {
            true => "THERE",
            false => "HERE",
        };
        let (commands, _) = section[at + block.len()..].split_once("```").unwrap();
        script += &format!("export RAMBLK_API=\"${daemon}\"\n{commands}");
    }
    assert!(!script.is_empty(), "{title} has no commands");
    script
}

/// Run the commands of a section in a folder, with `ramblk` in the PATH.
fn run(title: &str, folder: &Path, here: &Daemon, there: &Daemon, more: &[(&str, &str)]) {
    let programs = Path::new(RAMBLK).parent().unwrap().display();
    let path = std::env::var("PATH").unwrap_or_default();
    let output = Command::new("timeout")
        .args(["120", "bash", "-euxo", "pipefail", "-c", &script(title)])
        .current_dir(folder)
        .env("PATH", format!("{programs}:{path}"))
        .env("HERE", here.path("api.sock"))
        .env("THERE", there.path("api.sock"))
        .envs(more.iter().copied())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let (said, errors) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{title}\n{said}\n{errors}");
}

/// The image that the page begins with, and its raw content.
fn make_image(folder: &Path) -> Vec<u8> {
    let mut content = vec![0; 64 << 20];
    content[..1 << 20].copy_from_slice(&pattern(1 << 20, 3));
    content[40 << 20..][..3 << 20].copy_from_slice(&pattern(3 << 20, 7));
    fs::write(folder.join("debian.raw"), &content).unwrap();
    let made = Command::new("qemu-img")
        .args(["convert", "-c", "-O", "qcow2", "debian.raw", "debian.qcow2"])
        .current_dir(folder)
        .status()
        .unwrap();
    assert!(made.success(), "qemu-img (of qemu-utils)");
    content
}

fn content_of(daemon: &Daemon, disk: &str) -> Vec<u8> {
    let output = daemon.run(&format!("export {disk} -"));
    assert!(output.status.success(), "{}", text(&output.stderr));
    output.stdout
}

#[test]
fn the_page_s_way_from_a_golden_image_to_a_fleet_works() {
    let (folder, daemon) = (TempDir::new().unwrap(), Daemon::start());
    make_image(folder.path());
    run(
        "From a golden image to a fleet",
        folder.path(),
        &daemon,
        &daemon,
        &[],
    );
    let disks = daemon.json("list");
    let disks = disks.as_array().unwrap().iter();
    let names: Vec<_> = disks.map(|disk| disk["name"].clone()).collect();
    assert_eq!(names, ["vm1", "vm3"]);
}

#[test]
fn the_page_s_backups_are_what_the_disk_was() {
    let (folder, daemon) = (TempDir::new().unwrap(), Daemon::start());
    let mut content = make_image(folder.path());
    run("Backup and restore", folder.path(), &daemon, &daemon, &[]);
    let restored = content_of(&daemon, "restored");
    let by_qemu = fs::read(folder.path().join("restored.raw")).unwrap();
    assert!(restored == by_qemu && restored != content);
    let written = 8 << 20..9 << 20;
    content[written.clone()].copy_from_slice(&restored[written]);
    assert!(restored == content, "more has changed than was written");
}

#[test]
fn the_page_s_disk_that_pauses_here_is_the_same_there() {
    let folder = TempDir::new().unwrap();
    let (here, there, bucket) = (Daemon::start(), Daemon::start(), Moto::start());
    let content = make_image(folder.path());
    let more = bucket.variables();
    let more = more.each_ref().map(|(name, value)| (*name, value.as_str()));
    run(
        "Pause here, resume there",
        folder.path(),
        &here,
        &there,
        &more,
    );
    assert!(content_of(&there, "vm") == content);
}
