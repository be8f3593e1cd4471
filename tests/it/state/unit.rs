//! The systemd units that are shipped: without these lines a restart would lose disks.

use std::fs;
use std::io::{Write, stderr};
use std::path::PathBuf;
use std::process::Command;

use super::arena::scratch;
use super::home::RAMBLK;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/systemd")
}

/// The last value of a key, which is the one that systemd uses.
fn value<'a>(unit: &'a str, key: &str) -> &'a str {
    let lines = unit.lines().filter_map(|line| line.split_once('='));
    let mut of_key = lines
        .filter(|(name, _)| *name == key)
        .map(|(_, value)| value);
    of_key.next_back().unwrap_or_else(|| panic!("no {key}="))
}

#[test]
fn the_service_keeps_what_disks_lie_in() {
    let unit = fs::read_to_string(folder().join("ramblk.service")).unwrap();
    for (key, wanted) in [
        ("Type", "notify"),
        ("User", "ramblk"),
        ("RemoveIPC", "no"),
        ("RuntimeDirectory", "ramblk"),
        ("RuntimeDirectoryPreserve", "yes"),
        ("Restart", "always"),
        ("LimitMEMLOCK", "infinity"),
    ] {
        assert_eq!(value(&unit, key), wanted, "{key}");
    }
    let kept: u32 = value(&unit, "FileDescriptorStoreMax").parse().unwrap();
    assert!(kept > 0);
    // A user that is created at each start could not open what the last one left.
    assert!(!unit.contains("\nDynamicUser=yes"));
}

#[test]
fn the_socket_has_the_name_and_place_that_the_daemon_looks_for() {
    let unit = fs::read_to_string(folder().join("ramblk.socket")).unwrap();
    assert_eq!(value(&unit, "FileDescriptorName"), "api");
    assert_eq!(value(&unit, "ListenStream"), "/run/ramblk/api.sock");
    let unit = fs::read_to_string(folder().join("ramblk-ro.socket")).unwrap();
    assert_eq!(value(&unit, "FileDescriptorName"), "api-ro");
    assert_eq!(value(&unit, "ListenStream"), "/run/ramblk/api-ro.sock");
    assert_eq!(value(&unit, "Service"), "ramblk.service");
}

#[test]
fn systemd_understands_every_line() {
    let Ok(version) = Command::new("systemd-analyze").arg("--version").output() else {
        writeln!(stderr(), "SKIPPED: there is no systemd-analyze").unwrap();
        return;
    };
    let scratch = scratch();
    for name in ["ramblk.service", "ramblk.socket", "ramblk-ro.socket"] {
        let unit = fs::read_to_string(folder().join(name)).unwrap();
        // systemd checks that the program exists.
        let unit = unit.replace("/usr/bin/ramblk", RAMBLK);
        fs::write(scratch.path().join(name), unit).unwrap();
    }
    let output = Command::new("systemd-analyze")
        .args(["verify", "--man=no"])
        .arg(scratch.path().join("ramblk.service"))
        .arg(scratch.path().join("ramblk-ro.socket"))
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    let ours: Vec<_> = told
        .lines()
        .filter(|line| line.contains("ramblk"))
        .collect();
    assert!(ours.is_empty(), "{ours:#?} of {:?}", version.stdout);
}
