//! Guests whose disk loses its power.

use std::time::Duration;

use serde_json::Value;

use crate::harness::{Daemon, Guest, Machine};

/// Cut the power of `disk`, end the machine, which it was the machine's too, and return what was
/// lost.
fn cut(daemon: &Daemon, guest: Guest, policy: &[&str]) -> Value {
    let text = daemon.say(&[&["power-cut", "disk", "-o", "json"], policy].concat());
    guest.kill();
    let cut: Value = serde_json::from_str(&text).unwrap();
    cut["disks"][0].clone()
}

/// Files that were synced and acknowledged, and then some writes that nothing has synced.
const WORK: &str = "
    mkfs.ext4 -q -b 4096 /dev/vda
    mount -t ext4 /dev/vda /mnt
    i=1
    while [ $i -le 20 ]; do
        yes \"file $i\" | head -c 6000 | dd of=/mnt/f$i conv=fsync
        i=$((i + 1))
    done
    host acked
    # Past the guest's cache, and past no flush.
    dd if=/dev/zero of=/mnt/unsynced bs=64k count=8 oflag=direct
    yes 'in the cache' | head -c 6000 >/mnt/cached
    host written
    sleep 1000
";

const CHECK: &str = "
    # The journal first, as a boot does; then nothing is wrong any more.
    e2fsck -fp /dev/vda || [ $? -le 1 ] || fail 'the file system is broken'
    e2fsck -fn /dev/vda
    mount -t ext4 /dev/vda /mnt
    i=1
    while [ $i -le 20 ]; do
        yes \"file $i\" | head -c 6000 | cmp - /mnt/f$i
        i=$((i + 1))
    done
    umount /mnt
";

fn acknowledged_files_outlive(policy: &[&str]) {
    let daemon = Daemon::serve(&[]);
    let socket = daemon.create("disk", "64M", &["--write-cache", "volatile"]);
    let mut guest = Guest::start(&Machine::new().cpus(2), &socket, WORK);
    guest.wait_for_request("acked");
    guest.answer("ok");
    guest.wait_for_request("written");
    let lost = cut(&daemon, guest, policy);
    assert_eq!(lost["disconnected"], 1, "{lost}");
    let volatile = lost["volatile_writes"].as_u64().unwrap();
    assert!(volatile >= 8, "what no flush covers is volatile: {lost}");
    if policy.contains(&"none") {
        assert_eq!(lost["lost_writes"], volatile, "{lost}");
    }
    Guest::start(&Machine::new(), &socket, CHECK).finish();
}

#[test]
fn acknowledged_files_outlive_a_power_cut_that_loses_all_that_may_be_lost() {
    acknowledged_files_outlive(&["--keep", "none"]);
}

#[test]
fn acknowledged_files_outlive_a_power_cut_that_leaves_any_of_the_rest_in_any_order() {
    let policy = "--keep reorder --torn --tear-unit 4096 --seed 7";
    acknowledged_files_outlive(&policy.split(' ').collect::<Vec<_>>());
}

#[test]
fn writes_are_stable_at_once_while_the_guest_has_turned_writeback_off() {
    let daemon = Daemon::serve(&[]);
    let socket = daemon.create("disk", "64M", &["--write-cache", "volatile"]);
    let work = "
        put() { dd if=/tmp/data of=/dev/vda bs=64k seek=$1 count=1 oflag=direct conv=notrunc; }
        seq 1 20000 >/tmp/data
        put 0
        sync /dev/vda
        put 1
        host volatile
        echo 'write through' >/sys/block/vda/cache_type
        put 2
        host stable
        echo 'write back' >/sys/block/vda/cache_type
        put 3
        host volatile
        sleep 1000
    ";
    let mut guest = Guest::start(&Machine::new(), &socket, work);
    guest.wait_for_request("volatile");
    let writes = || daemon.field("disk", "volatile")["writes"].as_u64().unwrap();
    assert_eq!(writes(), 1);
    guest.answer("ok");
    guest.wait_for_request("stable");
    assert_eq!(
        daemon.field("disk", "volatile")["stable_by"],
        "write-through"
    );
    let before = writes();
    assert!(before <= 1, "{before}");
    guest.answer("ok");
    guest.wait_for_request("volatile");
    assert_eq!(daemon.field("disk", "volatile")["stable_by"], "flush");
    assert_eq!(writes(), before + 1);
    let lost = cut(&daemon, guest, &["--keep", "none"]);
    assert_eq!(lost["lost_writes"], before + 1, "{lost}");
    let content = daemon.content("disk");
    let is_there = |block: usize| content[block << 16..][..16].iter().any(|&byte| byte != 0);
    let expected = [true, before == 0, true, false];
    assert_eq!([0, 1, 2, 3].map(is_there), expected);
}

const OWED_SIZE: &str = "64M";
/// The place of each sector that the guest writes.
const PLACES: [usize; 3] = [0, 1 << 20, 2 << 20];

fn written(daemon: &Daemon) -> Vec<bool> {
    let content = daemon.content("disk");
    let places = PLACES.iter();
    places
        .map(|&at| content[at..at + 512] == [b'x'; 512])
        .collect()
}

/// QEMU connects again by itself, with its in-flight region: what it had in flight is owed to no
/// one, now or by the next daemon, until its machine has ended.
#[test]
fn what_a_machine_had_in_flight_when_its_disk_lost_power_is_never_served() {
    let mut daemon = Daemon::serve(&[]);
    // Writes to the last place stay in flight.
    let options = [
        "--write-cache",
        "volatile",
        "--fault",
        "stall,op=write,range=2M+4K",
    ];
    let socket = daemon.create("disk", OWED_SIZE, &options);
    let job = "
        head -c 512 /dev/zero | tr '\\0' x >/tmp/x
        put() { dd if=/tmp/x of=/dev/vda bs=512 count=1 seek=$1 oflag=direct ${2-} status=none; }
        put 0 conv=fsync
        put 2048
        put 4096 &
        host written
        wait
        host served
    ";
    let mut guest = Guest::start(&Machine::new(), &socket, job);
    guest.wait_for_request("written");
    for _ in 0..200 {
        if daemon.field("disk", "volatile")["writes"] == 1 {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let said = daemon.say(&["power-cut", "disk"]);
    for line in ["end it, and start it again", "(QEMU) is refused"] {
        assert!(said.contains(line), "{said}");
    }
    assert_eq!(written(&daemon), [true, false, false]);
    // Without the fault nothing but the cut stands between the request and the disk.
    daemon.say(&["fault", "clear", "disk"]);
    // QEMU tries once a second.
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(written(&daemon), [true, false, false]);
    daemon.restart();
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(written(&daemon), [true, false, false]);
    daemon.kill_and_restart();
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(written(&daemon), [true, false, false]);
    drop(guest);

    // Another machine has the disk as after any power cut.
    let job = "
        head -c 512 /dev/zero | tr '\\0' x >/tmp/x
        cmp -n 512 /tmp/x /dev/vda
        dd if=/tmp/x of=/dev/vda bs=512 count=1 seek=4096 oflag=direct conv=fsync status=none
    ";
    Guest::start(&Machine::new(), &socket, job).finish();
    assert_eq!(written(&daemon), [true, false, true]);
}
