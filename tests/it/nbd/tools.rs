//! What tools of others see over NBD is what guests wrote, and the other way round.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use serde_json::Value;

use super::{Serving, attach, ok};
use crate::driver::data::pattern;
use crate::driver::disk::segment;
use crate::verbs::{Daemon, text};

const MIB: usize = 1 << 20;

/// A daemon with a disk of 64 MiB, which has data in three places, and a snapshot from before the
/// last of them. The driver is still there.
fn daemon() -> (Daemon, crate::driver::disk::Disk) {
    let daemon = Daemon::start();
    daemon.ok("create vm1 --size 64M");
    let mut disk = attach(&daemon, "vm1");
    disk.q().write(0, &pattern(MIB, 1)).unwrap();
    disk.q().write(65536, &pattern(512, 2)).unwrap();
    daemon.ok("snapshot vm1 s1");
    disk.q().write(2048, &pattern(4096, 3)).unwrap();
    disk.q().discard(&[segment(1024, 8, 0)]).unwrap();
    (daemon, disk)
}

/// The content of that disk.
fn content() -> Vec<u8> {
    let mut content = vec![0; 64 * MIB];
    content[..MIB].copy_from_slice(&pattern(MIB, 1));
    content[65536 * 512..][..512].copy_from_slice(&pattern(512, 2));
    content[2048 * 512..][..4096].copy_from_slice(&pattern(4096, 3));
    content[1024 * 512..][..4096].fill(0);
    content
}

#[test]
fn nbdcopy_reads_one_moment_over_several_connections_while_a_guest_writes() {
    let (daemon, mut disk) = daemon();
    let serving = Serving::start(&daemon, "vm1");
    disk.q().write(4096, &pattern(MIB, 9)).unwrap();
    let out = daemon.path("out.img");
    let mut nbdcopy = Command::new("nbdcopy");
    nbdcopy.args(["--connections=4", "--requests=8"]);
    nbdcopy.arg(&serving.uri).arg(&out);
    assert!(nbdcopy.status().unwrap().success());
    assert!(fs::read(&out).unwrap() == content());
    // A snapshot is what it was.
    ok(&daemon, "vm1@s1", "nbdcopy \"$uri\" s1.img");
    let mut before = content();
    before[2048 * 512..][..4096].fill(0);
    before[..MIB].copy_from_slice(&pattern(MIB, 1));
    assert!(fs::read(daemon.path("s1.img")).unwrap() == before);
}

#[test]
fn nbdinfo_shows_what_is_mapped_and_what_has_changed() {
    let (daemon, _disk) = daemon();
    let all = ok(&daemon, "vm1", "nbdinfo --json {uri}");
    let all: Value = serde_json::from_str(&all).unwrap();
    let export = &all["exports"][0];
    assert_eq!(export["export-size"], 64 << 20);
    assert_eq!(export["is_read_only"], true);
    assert_eq!(export["can_multi_conn"], true);
    let contexts: Vec<&str> = export["contexts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it.as_str().unwrap())
        .collect();
    assert_eq!(contexts, ["base:allocation", "qemu:dirty-bitmap:s1"]);
    let map = |context: &str| {
        let json = ok(
            &daemon,
            "vm1",
            &format!("nbdinfo --json --map={context} {{uri}}"),
        );
        let json: Value = serde_json::from_str(&json).unwrap();
        let runs = json.as_array().unwrap().iter();
        let number = |run: &Value, key| run[key].as_u64().unwrap();
        runs.map(|it| {
            (
                number(it, "offset"),
                number(it, "length"),
                number(it, "type"),
            )
        })
        .collect::<Vec<_>>()
    };
    let (mib, page) = (1 << 20, 4096);
    assert_eq!(
        map("base:allocation"),
        [
            (0, mib / 2, 0),
            (mib / 2, page, 3),
            (mib / 2 + page, mib / 2, 0),
            (mib + page, 31 * mib - page, 3),
            (32 * mib, 512, 0),
            (32 * mib + 512, 32 * mib - 512, 3),
        ]
    );
    assert_eq!(
        map("qemu:dirty-bitmap:s1"),
        [
            (0, mib / 2, 0),
            (mib / 2, page, 1),
            (mib / 2 + page, mib / 2 - page, 0),
            (mib, page, 1),
            (mib + page, 63 * mib - page, 0),
        ]
    );
    let list = ok(&daemon, "vm1@s1", "nbdinfo --list {uri}");
    assert!(list.contains("export=\"vm1@s1\""), "{list}");
    assert!(!list.contains("dirty-bitmap"), "s1 is the oldest: {list}");
    let listed = ok(
        &daemon,
        "vm1",
        "PATH=$PATH:/sbin:/usr/sbin; s=$(printenv uri | sed s/.*socket=//); \
        nbd-client -l -unix \"$s\" 2>&1 || nbd-client -l 127.0.0.1 -unix \"$s\" 2>&1",
    );
    assert!(listed.lines().any(|line| line == "vm1"), "{listed}");
}

#[test]
fn qemu_img_converts_compares_and_maps() {
    let (daemon, _disk) = daemon();
    fs::write(daemon.path("image"), content()).unwrap();
    ok(
        &daemon,
        "vm1",
        "qemu-img compare -f raw -F raw \"$uri\" image",
    );
    ok(
        &daemon,
        "vm1",
        "qemu-img convert -f raw -O qcow2 \"$uri\" out.qcow2; \
         qemu-img compare -f qcow2 -F raw out.qcow2 image",
    );
    let map = ok(&daemon, "vm1", "qemu-img map --output=json -f raw \"$uri\"");
    let map: Value = serde_json::from_str(&map).unwrap();
    let data = map
        .as_array()
        .unwrap()
        .iter()
        .filter(|it| it["data"] == true);
    let data: u64 = data.map(|it| it["length"].as_u64().unwrap()).sum();
    assert_eq!(
        data,
        daemon.json("show vm1")["mapped_bytes"].as_u64().unwrap()
    );
    let options = "driver=nbd,server.type=unix,server.path=$(printenv uri | sed s/.*socket=//),\
                   x-dirty-bitmap=qemu:dirty-bitmap:s1";
    let map = format!("qemu-img map --output=json --image-opts \"{options}\"");
    let map: Value = serde_json::from_str(&ok(&daemon, "vm1", &map)).unwrap();
    // qemu shows what is dirty as no data.
    let dirty = map
        .as_array()
        .unwrap()
        .iter()
        .filter(|it| it["data"] == false);
    let dirty: Vec<u64> = dirty.map(|it| it["start"].as_u64().unwrap()).collect();
    assert_eq!(dirty, [524_288, 1_048_576]);
}

#[test]
fn what_is_written_over_nbd_is_what_a_guest_reads() {
    let daemon = Daemon::start();
    daemon.ok("create vm1 --size 64M");
    ok(
        &daemon,
        "vm1 --rw",
        "qemu-io -f raw -c 'write -P 7 1M 3M' -c 'write -f -P 8 8M 512' -c 'read -P 7 1M 3M' \
         -c 'write -z -u 2M 64k' -c 'write -z 3M 64k' -c 'discard 1M 4k' -c flush \"$uri\"",
    );
    let mut disk = attach(&daemon, "vm1");
    let mut wanted = vec![7; 3 * MIB];
    for (at, len) in [(0, 4096), (MIB, 65536), (2 * MIB, 65536)] {
        wanted[at..at + len].fill(0);
    }
    assert!(disk.q().read(2048, 3 * MIB).unwrap() == wanted);
    assert_eq!(disk.q().read(16384, 512).unwrap(), [8; 512]);
    let map = daemon.json("map vm1");
    let hole = |start: u64| {
        let mut extents = map.as_array().unwrap().iter();
        extents.any(|it| it["start_bytes"] == start && it["mapped"] == false)
    };
    assert!(hole(2 << 20), "unmapped: {map}");
    assert!(!hole(3 << 20), "zeroed, and still mapped: {map}");
    let stats = daemon.json("stats vm1");
    let writes = &stats["operations"]["write"];
    assert!(writes["completed"].as_u64().unwrap() >= 2, "{stats}");
}

#[test]
fn fio_and_nbdkit_verify_what_they_write() {
    let daemon = Daemon::start();
    daemon.ok("create vm1 --size 64M");
    ok(
        &daemon,
        "vm1 --rw",
        "fio --name=v --ioengine=nbd --uri=\"$uri\" --rw=randwrite --bsrange=512-128k \
         --size=32M --io_size=16M --iodepth=16 --verify=crc32c --verify_fatal=1 >fio.log || \
         { cat fio.log; exit 1; }",
    );
    // Through another server.
    ok(
        &daemon,
        "vm1 --rw",
        "nbdkit -U - nbd uri=\"$uri\" --run 'to=nbd+unix:///?socket=$unixsocket; \
         qemu-io -f raw -c \"write -P 5 0 1M\" -c \"read -P 5 0 1M\" \"$to\"'",
    );
    assert_eq!(
        attach(&daemon, "vm1").q().read(0, MIB).unwrap(),
        vec![5; MIB]
    );
}

#[test]
fn a_mounted_disk_is_a_file() {
    let (daemon, mut disk) = daemon();
    let folder = daemon.path("m");
    fs::create_dir(&folder).unwrap();
    for how_it_ends in ["a signal", "fusermount3"] {
        let mut child = daemon.command(&["mount", "vm1", "m", "-o", "json"]);
        let mut child = child.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        out.read_line(&mut line).unwrap();
        let said: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(said["file"], "m/vm1");
        disk.q().write(8192, &pattern(4096, 9)).unwrap();
        assert!(fs::read(folder.join("vm1")).unwrap() == content());
        assert!(fs::write(folder.join("vm1"), "x").is_err(), "read-only");
        disk.q().discard(&[segment(8192, 8, 0)]).unwrap();
        if how_it_ends == "fusermount3" {
            let mut unmount = Command::new("fusermount3");
            assert!(unmount.arg("-u").arg(&folder).status().unwrap().success());
        } else {
            let pid = rustix::process::Pid::from_child(&child);
            rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        }
        let ended = child.wait().unwrap();
        assert!(ended.success(), "{how_it_ends}: {ended}");
        assert!(fs::read_dir(&folder).unwrap().next().is_none(), "unmounted");
    }
    let refused = daemon.refused("mount vm1 nowhere", 2);
    assert!(refused.contains("make it first"), "{refused}");
    let mut without = daemon.command(&["mount", "vm1@s1", "m"]);
    let without = without.env("PATH", "/nowhere").output().unwrap();
    assert_eq!(without.status.code(), Some(1));
    let by_hand = text(&without.stdout);
    assert!(by_hand.contains("nbd-client -unix /run/nbd-vm1@s1.sock /dev/nbd0 -readonly"));
}

#[test]
fn one_disk_is_copied_to_another() {
    let (daemon, _disk) = daemon();
    daemon.ok("create vm2 --size 64M");
    let to = Serving::start(&daemon, "vm2 --rw");
    let script = format!("nbdcopy \"$uri\" '{}'", to.uri);
    ok(&daemon, "vm1", &script);
    drop(to);
    daemon.eventually_detached("vm2");
    ok(&daemon, "vm2", "nbdcopy \"$uri\" vm2.img");
    assert!(fs::read(daemon.path("vm2.img")).unwrap() == content());
}
