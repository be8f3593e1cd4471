//! Guests on disks with faults.

use std::time::Duration;

use crate::harness::{Daemon, Guest, Machine, poll};

#[test]
fn a_guest_sees_an_error_at_just_the_sector_that_a_fault_names() {
    let daemon = Daemon::serve(&[]);
    let faults = [
        "--fault",
        "error,range=1M+512",
        "--fault",
        "stall,op=flush,times=1",
    ];
    let socket = daemon.create("disk", "64M", &faults);
    let job = "
        dd if=/dev/urandom of=/tmp/data bs=512 count=1
        # The kernel may read the whole page around a sector, so the next one is a page further on.
        for sector in 0 2047 2056; do
            dd if=/tmp/data of=/dev/vda bs=512 count=1 seek=$sector oflag=direct
            dd if=/dev/vda of=/tmp/found bs=512 count=1 skip=$sector iflag=direct
            cmp /tmp/data /tmp/found
        done
        ! dd if=/tmp/data of=/dev/vda bs=512 count=1 seek=2048 oflag=direct || fail 'it is written'
        ! dd if=/dev/vda of=/dev/null bs=512 count=1 skip=2048 iflag=direct || fail 'it is read'
        # A request that reaches into the sector fails too.
        ! dd if=/dev/vda of=/dev/null bs=4k count=1 skip=256 iflag=direct || fail 'it is read'
        dd if=/tmp/data of=/dev/vda bs=512 count=1 conv=fsync &
        host stalls
        dd if=/dev/vda of=/dev/null bs=4k count=8 iflag=direct
        host release
        wait
    ";
    let mut guest = Guest::start(&Machine::new(), &socket, job);
    guest.wait_for_request("stalls");
    guest.answer("ok");
    // Reads go on behind the flush that waits.
    guest.wait_for_request("release");
    // It may take longer than the read.
    let stalled = || {
        let log = daemon.say(&["fault", "log", "disk"]);
        log.contains("stall").then_some(())
    };
    poll(Duration::from_secs(60), stalled).expect("the flush waits");
    daemon.say(&["fault", "release", "disk", "f2"]);
    guest.answer("ok");
    guest.finish();
    let log = daemon.say(&["fault", "log", "disk"]);
    assert!(log.contains("stall") && log.contains("1048576"), "{log}");
}

#[test]
fn a_guest_goes_on_when_its_connection_ends_amid_a_request() {
    let daemon = Daemon::serve(&[]);
    let faults = [
        "--fault",
        "disconnect,op=write,range=1M+1M,times=3",
        "--fault",
        "disconnect,op=read,range=2M+4K,times=1",
    ];
    let socket = daemon.create("disk", "64M", &faults);
    // QEMU connects again after a second, and has the requests in flight served then.
    let job = "
        dd if=/dev/urandom of=/tmp/data bs=64k count=64
        dd if=/tmp/data of=/dev/vda bs=64k oflag=direct conv=fsync
        dd if=/dev/vda of=/tmp/found bs=64k count=64 iflag=direct
        cmp /tmp/data /tmp/found
        fio --name=busy --filename=/dev/vda --offset=32M --size=16M --rw=randwrite --bs=4k \
            --direct=1 --ioengine=libaio --iodepth=16 --verify=crc32c --verify_fatal=1 --minimal
    ";
    Guest::start(&Machine::new().cpus(2), &socket, job).finish();
    let log = daemon.say(&["fault", "log", "disk"]);
    let ends = log.lines().filter(|line| line.contains("disconnect"));
    assert_eq!(ends.count(), 4, "{log}");
}
