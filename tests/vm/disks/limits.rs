//! Guests on disks with limits.

use crate::harness::{Daemon, Guest, Machine};

#[test]
fn a_guest_stays_at_its_limit_which_can_be_changed_while_it_runs() {
    let daemon = Daemon::serve(&[]);
    let socket = daemon.create("disk", "64M", &["--iops", "200"]);
    let job = "
        rate() { # LEAST MOST
            fio --name=rate --filename=/dev/vda --size=32M --rw=randrw --bs=4k --direct=1 \
                --ioengine=libaio --iodepth=16 --time_based --runtime=5 --minimal >/tmp/out
            # The 8th and the 49th field of this format are the rates of reads and writes.
            rate=$(awk -F ';' '{ print $8 + $49 }' /tmp/out)
            echo \"rate $rate\"
            [ $rate -ge $1 ] && [ $rate -le $2 ] || fail \"$rate requests per second\"
        }
        rate 180 220
        host change
        rate 450 550
    ";
    let mut guest = Guest::start(&Machine::new(), &socket, job);
    guest.wait_for_request("change");
    daemon.say(&["limit", "disk", "--iops", "500"]);
    guest.answer("ok");
    guest.finish();
}

#[test]
fn a_disk_of_one_request_per_second_holds_up_no_reset_no_resize_and_no_end_of_its_machine() {
    let daemon = Daemon::serve(&[]);
    let socket = daemon.create("disk", "64M", &[]);
    let job = "
        host boot
        fio --name=busy --filename=/dev/vda --size=32M --rw=randrw --bs=4k --direct=1 \
            --ioengine=libaio --iodepth=32 --time_based --runtime=1000 --minimal >/tmp/out &
        sleep 1
        host busy
        if [ \"$answer\" = first ]; then
            for _ in $(seq 100); do
                [ \"$(cat /sys/block/vda/size)\" = 262144 ] && break; sleep 0.1
            done
            check_eq size \"$(cat /sys/block/vda/size)\" 262144
            reboot -f
        fi
        sleep 1000
    ";
    let mut guest = Guest::start(&Machine::new().reboots(), &socket, job);
    guest.wait_for_request("boot");
    guest.answer("ok");
    guest.wait_for_request("busy");
    daemon.say(&["limit", "disk", "--iops", "1", "--iops-burst", "1"]);
    daemon.say(&["resize", "disk", "128M"]);
    guest.answer("first");
    guest.wait_for_request("boot");
    // The driver first reads a partition table, one request at a time.
    daemon.say(&["limit", "disk", "--iops", "none"]);
    guest.answer("ok");
    guest.wait_for_request("busy");
    daemon.say(&["limit", "disk", "--iops", "1", "--iops-burst", "1"]);
    guest.kill();
    daemon.await_field("disk", "attached", "false");
    daemon.say(&["destroy", "disk"]);
}
