//! Guests on disks of a daemon, while verbs change these disks.

use crate::harness::{Daemon, Guest, Machine};

#[test]
fn a_running_guest_sees_a_resize_by_the_command_line() {
    let daemon = Daemon::serve(&[]);
    let socket = daemon.create("disk", "64M", &[]);
    let job = "
        becomes() { # SECTORS, within ten seconds
            for _ in $(seq 100); do
                [ \"$(cat /sys/block/vda/size)\" = $1 ] && return; sleep 0.1
            done
            fail \"the size is $(cat /sys/block/vda/size), not $1\"
        }
        mkfs.ext4 -q /dev/vda
        mount -t ext4 /dev/vda /mnt
        host grow
        becomes 262144
        resize2fs /dev/vda
        dd if=/dev/zero of=/mnt/big bs=1M count=80
        umount /mnt
        host shrink
        becomes 65536
        dd if=/dev/vda of=/dev/null bs=1M count=32
    ";
    let mut guest = Guest::start(&Machine::new(), &socket, job);
    guest.wait_for_request("grow");
    let text = daemon.say(&["resize", "disk", "128M"]);
    assert!(text.contains("notified"), "{text}");
    guest.answer("ok");
    guest.wait_for_request("shrink");
    let refused = daemon.verb(&["resize", "disk", "32M"]);
    assert_eq!(refused.status.code(), Some(4), "{refused:?}");
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(text.contains("would be lost"), "{text}");
    daemon.say(&["resize", "disk", "32M", "--shrink"]);
    guest.answer("ok");
    guest.finish();
}

#[test]
fn a_guest_whose_disk_is_destroyed_by_force_gets_errors_and_does_not_hang() {
    let daemon = Daemon::serve(&[]);
    let socket = daemon.create("disk", "64M", &[]);
    let job = "
        dd if=/dev/urandom of=/dev/vda bs=1M count=8 conv=fsync
        host destroy
        start=$(date +%s)
        ! dd if=/dev/vda of=/dev/null bs=4k count=1 iflag=direct || fail 'a read succeeds'
        ! dd if=/dev/zero of=/dev/vda bs=4k count=1 oflag=direct || fail 'a write succeeds'
        [ $(($(date +%s) - start)) -lt 10 ] || fail 'errors take long'
    ";
    let mut guest = Guest::start(&Machine::new(), &socket, job);
    guest.wait_for_request("destroy");
    let refused = daemon.verb(&["destroy", "disk"]);
    assert_eq!(refused.status.code(), Some(4), "{refused:?}");
    daemon.say(&["destroy", "disk", "--force"]);
    guest.answer("ok");
    guest.finish();
    assert_eq!(daemon.verb(&["show", "disk"]).status.code(), Some(3));
}

#[test]
fn a_guest_notices_nothing_of_another_disk_that_comes_and_goes() {
    let daemon = Daemon::serve(&[]);
    let steady = daemon.create("steady", "64M", &[]);
    let job = "
        host begin
        fio --name=steady --filename=/dev/vda --size=32M --rw=randrw --bs=4k --direct=1 \
            --ioengine=libaio --iodepth=8 --verify=crc32c --time_based --runtime=20 --minimal \
            >/tmp/out || fail \"fio: $(cat /tmp/out)\"
    ";
    let mut guest = Guest::start(&Machine::new(), &steady, job);
    guest.wait_for_request("begin");
    guest.answer("ok");
    for round in 0..3 {
        let socket = daemon.create("passing", "64M", &[]);
        let job = "dd if=/dev/vda of=/tmp/x bs=1M count=4; cmp -n 4194304 /tmp/x /dev/zero
            dd if=/dev/urandom of=/dev/vda bs=1M count=16 conv=fsync; host done";
        let mut other = Guest::start(&Machine::new(), &socket, job);
        other.wait_for_request("done");
        if round == 1 {
            // Its machine is still running.
            daemon.say(&["destroy", "passing", "--force"]);
            other.kill();
        } else {
            other.kill();
            daemon.await_field("passing", "attached", "false");
            daemon.say(&["destroy", "passing"]);
        }
    }
    guest.finish();
    let pool = daemon.say(&["pool", "-o", "json"]);
    let pool: serde_json::Value = serde_json::from_str(&pool).unwrap();
    assert_eq!(pool["disks"], 1, "{pool}");
}
