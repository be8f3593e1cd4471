//! The daemon is killed and restarted under guests, which notice only a pause.

use std::time::Duration;

use crate::harness::{Daemon, Guest, Machine};

/// Number of kills of each guest's daemon. `scripts/soak` sets more.
fn kills() -> usize {
    let asked = std::env::var("RAMBLK_TEST_KILLS").ok();
    asked.map_or(5, |kills| kills.parse().expect("a number"))
}

/// A file system under verified load until the host ends it.
fn job(make: &str, kind: &str, check: &str) -> String {
    format!(
        "
        {make} /dev/vda
        mount -t {kind} /dev/vda /mnt
        host ready
        fio --name=load --directory=/mnt --size=16M --rw=randrw --bs=4k --direct=1 \
            --ioengine=libaio --iodepth=16 --verify=crc32c --verify_backlog=256 \
            --time_based --runtime=1000 --minimal >/tmp/out 2>&1 &
        load=$!
        host loaded
        kill -INT $load
        is_over() {{ ! [ -d /proc/$load ] || grep -q '^State:.Z' /proc/$load/status; }}
        for second in $(seq 60); do is_over || sleep 1; done
        # Whether a request is lost, or fio hangs by itself.
        is_over || {{
            echo \"reads and writes at the disk: $(cat /sys/block/vda/inflight)\"
            echo w >/proc/sysrq-trigger
            for task in $(pidof fio); do cat /proc/$task/stat /proc/$task/stack; done || true
            fail 'fio does not end'
        }}
        wait $load || true
        ! grep -E 'verify:|error' /tmp/out || fail \"fio: $(cat /tmp/out)\"
        umount /mnt
        {check} /dev/vda
        ! dmesg | grep -iE 'i/o error|ext4-fs error|xfs.*(corrupt|shutdown)' || fail 'errors'
        "
    )
}

fn survives(make: &str, kind: &str, check: &str) {
    let mut daemon = Daemon::serve(&[]);
    let socket = daemon.create("disk", "384M", &["--label", "of=test", "--quota", "256M"]);
    daemon.say(&["snapshot", "disk", "empty"]);
    let machine = Machine::new().cpus(2);
    let mut guest = Guest::start(&machine, &socket, &job(make, kind, check));
    guest.wait_for_request("ready");
    guest.answer("ok");
    guest.wait_for_request("loaded");
    let before = daemon.say(&["list", "-o", "json", "--label", "of=test"]);
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    for kill in 0..kills() {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        // The front end reconnects after a second.
        std::thread::sleep(Duration::from_millis(1500 + random % 1500));
        // Sometimes the daemon is stopped as for an upgrade, and not with SIGKILL.
        let (what, stall) = match kill % 3 {
            2 => ("restart", daemon.restart()),
            _ => ("kill", daemon.kill_and_restart()),
        };
        eprintln!("{what} {kill}: answers again after {stall:?}");
    }
    std::thread::sleep(Duration::from_secs(2));
    guest.answer("enough");
    guest.finish();
    let after = daemon.say(&["list", "-o", "json", "--label", "of=test"]);
    let stays = [
        "name",
        "size_bytes",
        "quota_bytes",
        "labels",
        "snapshots",
        "socket",
        "serial",
    ];
    let (before, after): (serde_json::Value, serde_json::Value) = (
        serde_json::from_str(&before).unwrap(),
        serde_json::from_str(&after).unwrap(),
    );
    for field in stays {
        assert_eq!(before[0][field], after[0][field], "{field}");
    }
}

#[test]
fn ext4_survives_kills_of_the_daemon() {
    survives("mkfs.ext4 -q", "ext4", "e2fsck -fn");
}

#[test]
fn xfs_survives_kills_of_the_daemon() {
    survives("mkfs.xfs -q", "xfs", "xfs_repair -n");
}

/// From another build, if `scripts/upgrade` names one; otherwise the same build takes over.
#[test]
fn a_guest_notices_no_upgrade_under_load() {
    let old = std::env::var_os("RAMBLK_TEST_OLD").map(std::path::PathBuf::from);
    let mut daemon = match &old {
        Some(old) => Daemon::serve_by(old, &[]),
        None => Daemon::serve(&[]),
    };
    let socket = daemon.create("disk", "64M", &["--quota", "48M"]);
    daemon.say(&["snapshot", "disk", "before"]);
    let job = job("mkfs.ext4 -q", "ext4", "e2fsck -fn");
    let mut guest = Guest::start(&Machine::new().cpus(2), &socket, &job);
    guest.wait_for_request("ready");
    guest.answer("ok");
    guest.wait_for_request("loaded");
    for upgrade in 0..3 {
        std::thread::sleep(Duration::from_secs(2));
        let stall = daemon.upgrade();
        eprintln!("upgrade {upgrade} from {old:?}: answers again after {stall:?}");
    }
    std::thread::sleep(Duration::from_secs(2));
    guest.answer("enough");
    guest.finish();
    assert_eq!(daemon.field("disk", "snapshots")[0], "before");
}
