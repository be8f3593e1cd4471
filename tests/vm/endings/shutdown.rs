//! ramblk is told to stop while a guest uses the disk.

use std::time::Duration;

use crate::harness::{Guest, Machine, Ramblk};

#[test]
fn sigterm_amid_a_guests_io_ends_ramblk_soon_and_removes_its_socket() {
    let mut ramblk = Ramblk::run("64M", &[]);
    let job = "
        fio --name=busy --filename=/dev/vda --size=64M --rw=randrw --bs=4k --direct=1 \
            --ioengine=libaio --iodepth=32 --time_based --runtime=1000 --minimal &
        # The seventh figure counts the sectors written.
        until [ $(awk '{ print $7 }' /sys/block/vda/stat) -gt 4000 ]; do sleep 0.1; done
        host busy
        wait
    ";
    let mut guest = Guest::start(&Machine::new().cpus(2), ramblk.socket(), job);
    guest.wait_for_request("busy");
    assert!(
        ramblk.socket().exists(),
        "ramblk has no socket while it serves"
    );
    let (status, took) = ramblk.terminate();
    eprintln!("ramblk ended {took:?} after SIGTERM with {status}");
    // A few milliseconds, but for the guests and tests that share the processors.
    assert!(
        took < Duration::from_secs(3),
        "ramblk took {took:?} to end after SIGTERM"
    );
    assert!(status.success(), "ramblk ended with {status} after SIGTERM");
    assert!(!ramblk.socket().exists(), "ramblk left its socket behind");
}
