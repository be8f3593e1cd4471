//! A short hunt for what crashes may leave of a guest's disk: one program that syncs as it should,
//! and one that doesn't. `scripts/crash-hunt` is the long one.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::harness::{Daemon, Guest, Machine};

/// What the guest does. Each file is synced and then acknowledged; without `auto_da_alloc` ext4
/// doesn't write a file that is renamed over another one before the new name is stable.
const JOB: &str = r#"
    at=$(($(blockdev --getsize64 /dev/vda) / 4096 - 1))
    make() {
        yes "file $1" | head -c 6000 | dd of=/mnt/f$1 conv=fsync
        printf 'ramblk-mark: acked %d' $1 |
            dd of=/dev/vda bs=4096 seek=$at conv=sync,notrunc oflag=direct
    }
    replace() {
        yes "version $1" | head -c 6000 >/mnt/new
        mv /mnt/new /mnt/settings
    }
    mkfs.ext4 -q -b 4096 -E lazy_itable_init=0,lazy_journal_init=0 /dev/vda
    mount -t ext4 /dev/vda /mnt
    make 0
    replace 0
    sync
    host begin
    for i in 1 2 3 4 5 6; do
        replace $i
        make $i
    done
    host end
    umount /mnt
    mount -t ext4 -o noauto_da_alloc /dev/vda /mnt
    host begin
    for i in 7 8 9; do
        replace $i
        make $i
    done
    host end
"#;

/// Replays the journal, and compares what was acknowledged, and what was replaced.
const CHECK: &str = r#"
    file=$1
    e2fsck -fp "$file" >"$file.fsck" 2>&1
    if [ $? -ge 4 ]; then echo "broken: by e2fsck"; exit 2; fi
    acked=$(printf '%s\n' "$RAMBLK_MARKS" | tail -n 1 | cut -d ' ' -f 2)
    rm -f "$file".f* "$file.settings"
    {
        for i in $(seq 0 "${acked:-0}"); do echo "dump f$i $file.f$i"; done
        echo "dump settings $file.settings"
    } >"$file.ask"
    debugfs -f "$file.ask" "$file" >/dev/null 2>&1
    for i in $(seq 0 "${acked:-0}"); do
        yes "file $i" | head -c 6000 | cmp -s - "$file.f$i" && continue
        echo "lost: file $i of ${acked:-0}, which was acknowledged"
        exit 1
    done
    for i in $(seq 0 9); do
        if yes "version $i" | head -c 6000 | cmp -s - "$file.settings"; then exit 0; fi
    done
    echo "broken: the settings are no version, of $(wc -c <"$file.settings") bytes"
    exit 1
"#;

/// Takes a file out of an image, after its journal was replayed: else that brings the file back.
fn remove_file_in(image: &Path) {
    for words in [&["e2fsck", "-fp"][..], &["debugfs", "-w", "-R", "rm f0"]] {
        let mut command = Command::new("env");
        command.arg(format!("PATH={}", search_path())).args(words);
        let done = command.arg(image).output().unwrap();
        assert!(done.status.code().unwrap() < 4, "{done:?}");
    }
}

/// With what isn't in the path of every user.
fn search_path() -> String {
    std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin"
}

/// Explores what was recorded. Returns the report, after a good state and a damaged one.
fn explore(daemon: &Daemon, folder: &Path, options: &[&str]) -> Value {
    let (good, bad) = (folder.join("good"), folder.join("bad"));
    let (good_text, bad_text) = (good.display().to_string(), bad.display().to_string());
    daemon.say(&["export", "disk@recording", &good_text, "--format", "raw"]);
    std::fs::copy(&good, &bad).unwrap();
    remove_file_in(&bad);
    let known = ["--good", &good_text, "--bad", &bad_text];
    let path = format!("PATH={}", search_path());
    let check = ["--", "env", &path, "sh", "-c", CHECK, "check", "{file}"];
    let verb = ["crash-explore", "disk", "--tear-unit", "4096", "-o", "json"];
    let output = daemon.verb(&[&verb, &known[..], options, &check].concat());
    std::fs::remove_file(&good).unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{errors}"))
}

#[test]
fn what_is_synced_outlives_each_crash_and_a_hazard_is_found_and_made_small() {
    let daemon = Daemon::serve(&[]);
    let socket = daemon.create("disk", "64M", &[]);
    let folder = tempfile::tempdir_in("/dev/shm").unwrap();
    let mut guest = Guest::start(&Machine::new(), &socket, JOB);
    let record = |guest: &mut Guest| {
        guest.wait_for_request("begin");
        daemon.say(&["record", "start", "disk"]);
        guest.answer("ok");
        guest.wait_for_request("end");
        daemon.say(&["record", "stop", "disk"]);
    };

    record(&mut guest);
    let report = explore(&daemon, folder.path(), &["--random", "4"]);
    assert_eq!(report["found"], serde_json::json!([]), "{report:#}");
    assert!(report["good"].as_u64() > Some(100), "{report:#}");
    daemon.say(&["record", "rm", "disk"]);
    guest.answer("ok");

    record(&mut guest);
    let options = ["--stop-at", "1", "--minimize"];
    let report = explore(&daemon, folder.path(), &options);
    let found = &report["found"][0];
    let said = found["output"].as_str().unwrap_or_default();
    assert!(said.ends_with("no version, of 0 bytes"), "{report:#}");
    assert!(found["minimal"].is_string(), "{report:#}");
    guest.kill();
}
