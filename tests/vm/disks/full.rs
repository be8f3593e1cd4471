//! Writes of guests when no memory is left.

use crate::harness::{Daemon, Guest, Machine};

#[test]
fn a_full_disk_fails_writes_until_the_guest_gives_memory_back() {
    let daemon = Daemon::serve(&[]);
    let socket = daemon.create("disk", "64M", &["--quota", "8M"]);
    let job = "
        ! dd if=/dev/urandom of=/dev/vda bs=64k count=512 oflag=direct || fail 'it all fits'
        host full
        blkdiscard /dev/vda
        dd if=/dev/urandom of=/tmp/data bs=1M count=6
        dd if=/tmp/data of=/dev/vda bs=64k oflag=direct
        cmp -n 6291456 /tmp/data /dev/vda
    ";
    let mut guest = Guest::start(&Machine::new(), &socket, job);
    guest.wait_for_request("full");
    daemon.await_field("disk", "state", "full");
    assert!(daemon.field("disk", "charged_bytes").as_u64().unwrap() <= 8 << 20);
    guest.answer("ok");
    guest.finish();
}

/// Writes more than fits, in the background, and reports when the writes wait.
const STALLS: &str = "
    dd if=/dev/urandom of=/tmp/data bs=1M count=16 2>/dev/null
    dd if=/tmp/data of=/dev/vda bs=64k oflag=direct 2>/tmp/dd &
    host stalls
";

#[test]
fn a_stalled_guest_goes_on_when_there_is_memory_again() {
    let daemon = Daemon::serve(&[]);
    let socket = daemon.create("disk", "64M", &["--quota", "8M", "--on-full", "stall"]);
    let job = format!(
        "{STALLS}
        # Reads and discards go on meanwhile.
        dd if=/dev/vda of=/dev/null bs=64k count=4 iflag=direct
        wait
        cat /tmp/dd
        cmp -n 16777216 /tmp/data /dev/vda
        "
    );
    let mut guest = Guest::start(&Machine::new(), &socket, &job);
    guest.wait_for_request("stalls");
    daemon.await_field("disk", "state", "stalled");
    guest.answer("ok");
    std::thread::sleep(std::time::Duration::from_secs(1));
    daemon.say(&["set", "disk", "--quota", "64M"]);
    guest.finish();
    daemon.await_field("disk", "state", "ok");
}

#[test]
fn a_stalled_guest_frees_memory_itself() {
    let daemon = Daemon::serve(&[]);
    let socket = daemon.create("disk", "64M", &["--quota", "8M", "--on-full", "stall"]);
    let job = "
        dd if=/dev/urandom of=/dev/vda bs=64k count=96 seek=512 oflag=direct
        dd if=/dev/urandom of=/dev/vda bs=64k count=64 oflag=direct &
        host stalls
        blkdiscard -o 33554432 -l 6291456 /dev/vda
        wait
    ";
    let mut guest = Guest::start(&Machine::new(), &socket, job);
    guest.wait_for_request("stalls");
    daemon.await_field("disk", "state", "stalled");
    guest.answer("ok");
    guest.finish();
}

#[test]
fn a_stalled_disk_holds_up_no_reset_no_resize_and_no_end_of_its_machine() {
    let daemon = Daemon::serve(&[]);
    let socket = daemon.create("disk", "64M", &["--quota", "8M", "--on-full", "stall"]);
    let job = format!(
        "host boot
        if [ \"$answer\" = first ]; then
            {STALLS}
            for _ in $(seq 100); do
                [ \"$(cat /sys/block/vda/size)\" = 262144 ] && break; sleep 0.1
            done
            check_eq size \"$(cat /sys/block/vda/size)\" 262144
            reboot -f
        fi
        {STALLS}
        sleep 1000
        "
    );
    let mut guest = Guest::start(&Machine::new().reboots(), &socket, &job);
    guest.wait_for_request("boot");
    guest.answer("first");
    guest.wait_for_request("stalls");
    daemon.await_field("disk", "state", "stalled");
    let text = daemon.say(&["resize", "disk", "128M"]);
    assert!(text.contains("notified"), "{text}");
    guest.answer("ok");
    guest.wait_for_request("boot");
    guest.answer("second");
    guest.wait_for_request("stalls");
    daemon.await_field("disk", "state", "stalled");
    guest.kill();
    daemon.await_field("disk", "attached", "false");
    daemon.say(&["destroy", "disk"]);
}
