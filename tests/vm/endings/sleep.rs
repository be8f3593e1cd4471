//! A guest that is suspended and resumed: its driver resets the rings and sets them up again.

use serde_json::json;

use crate::harness::{Daemon, Guest, Machine, numbers};

/// What it writes meanwhile, in bytes.
const WRITTEN: usize = 8 << 20;

/// Writes during which the machine is suspended to memory (S3).
const JOB: &str = "
    fio --name=busy --filename=/dev/vda --offset=32M --size=32M --rw=randrw --bs=4k --direct=1 \
        --ioengine=libaio --iodepth=8 --verify=crc32c --verify_backlog=64 --time_based \
        --runtime=1000 --minimal >/tmp/out 2>&1 &
    busy=$!
    seq 10000000 99999999 | head -c $written | dd of=/dev/vda bs=4k iflag=fullblock oflag=direct &
    writes=$!
    until [ $(awk '{ print $7 }' /sys/block/vda/stat) -gt 2000 ]; do sleep 0.1; done
    echo '@host: wake me'
    echo mem >/sys/power/state
    kill -0 $writes || fail 'all was written before it woke'
    wait $writes
    kill -INT $busy
    wait $busy || true
    ! grep -E 'verify:|error' /tmp/out || fail \"fio: $(cat /tmp/out)\"
    ! dmesg | grep -i 'i/o error' || fail 'errors'
    seq 10000000 99999999 | head -c $written >/tmp/wanted
    echo 3 >/proc/sys/vm/drop_caches
    cmp -n $written /tmp/wanted /dev/vda
";

#[test]
fn a_guest_that_sleeps_amid_writes_goes_on_with_them_when_it_wakes() {
    let daemon = Daemon::serve(&[]);
    let socket = daemon.create("disk", "64M", &[]);
    let job = format!("written={WRITTEN}\n{JOB}");
    let mut guest = Guest::start_monitored(&Machine::new().cpus(2), &socket, &job);
    let mut monitor = guest.monitor();
    guest.wait_for_request("wake me");
    // Only once: QEMU's status register would end the second sleep at once.
    monitor.wait_for("SUSPEND", None);
    monitor.execute("system_wakeup", &json!({}));
    monitor.wait_for("WAKEUP", None);
    guest.wait_for("@done 0");
    // After a suspend, powering off does not end an emulated machine.
    monitor.execute("quit", &json!({}));
    guest.end();
    let content = daemon.content("disk");
    assert!(
        content[..WRITTEN] == numbers(10_000_000, WRITTEN),
        "other bytes than were written"
    );
}
