//! What the commands of docs/guide/images.md leave is what the page says.

use std::fs;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::driver::data::pattern;
use crate::pages::blocks::of_page;
use crate::pages::shell;
use crate::remote::s3::Moto;
use crate::verbs::{Daemon, text};

/// The sections of the page that are run here, and nowhere else.
pub(crate) const CHECKED: [&str; 3] = [FLEET, BACKUP, ELSEWHERE];

const FLEET: &str = "From a golden image to a fleet";
const BACKUP: &str = "Backup and restore";
const ELSEWHERE: &str = "Pause here, resume there";

/// Run the commands of a section in a folder, with the daemons of two hosts.
fn run(title: &str, folder: &Path, [here, there]: [&Daemon; 2], more: &[(&str, String)]) {
    let sections = of_page("docs/guide/images.md");
    let section = sections.iter().find(|section| section.title == title);
    let script = shell::script(section.expect(title), "");
    let mut variables = more.to_vec();
    for (name, daemon) in [("HERE", here), ("THERE", there)] {
        variables.push((name, daemon.path("api.sock").display().to_string()));
    }
    if let Err(said) = shell::run(&script, folder, &variables) {
        panic!("{title}\n{said}");
    }
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
    run(FLEET, folder.path(), [&daemon, &daemon], &[]);
    let disks = daemon.json("list");
    let disks = disks.as_array().unwrap().iter();
    let names: Vec<_> = disks.map(|disk| disk["name"].clone()).collect();
    assert_eq!(names, ["vm1", "vm3"]);
}

#[test]
fn the_page_s_backups_are_what_the_disk_was() {
    let (folder, daemon) = (TempDir::new().unwrap(), Daemon::start());
    let mut content = make_image(folder.path());
    run(BACKUP, folder.path(), [&daemon, &daemon], &[]);
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
    run(ELSEWHERE, folder.path(), [&here, &there], &more);
    assert!(content_of(&there, "vm") == content);
}
