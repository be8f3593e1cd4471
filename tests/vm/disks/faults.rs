//! Guests on disks with faults.

use crate::harness::{Daemon, Guest, Machine};

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
    daemon.say(&["fault", "release", "disk", "f2"]);
    guest.answer("ok");
    guest.finish();
    let log = daemon.say(&["fault", "log", "disk"]);
    assert!(log.contains("stall") && log.contains("1048576"), "{log}");
}
