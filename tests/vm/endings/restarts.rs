//! Guests and their machines restart, and the disk stays.

use crate::harness::{Guest, Machine, Ramblk};

#[test]
fn data_outlives_a_guests_reboot_and_its_whole_machine() {
    let ramblk = Ramblk::run("64M", &[]);
    let job = "
        host boot
        seq 1 500000 >/tmp/pattern
        if [ \"$answer\" = first ]; then
            dd if=/tmp/pattern of=/dev/vda bs=64k conv=fsync
            reboot -f
        fi
        cmp -n $(stat -c %s /tmp/pattern) /tmp/pattern /dev/vda
    ";
    let mut guest = Guest::start(&Machine::new().reboots(), ramblk.socket(), job);
    guest.wait_for_request("boot");
    guest.answer("first");
    guest.wait_for_request("boot");
    guest.answer("second");
    guest.finish();

    let mut guest = Guest::start(&Machine::new(), ramblk.socket(), job);
    guest.wait_for_request("boot");
    guest.answer("third");
    guest.finish();
}

/// Checks what the round before wrote, writes this round's data, and then keeps the disk busy until
/// the machine is killed.
const ROUND: &str = "
    host round
    pattern() {
        seq \"$1\" 3 300000
    }
    if [ \"$answer\" != 0 ]; then
        pattern \"$((answer - 1))\" >/tmp/before
        cmp -n $(stat -c %s /tmp/before) /tmp/before /dev/vda
    fi
    pattern \"$answer\" | dd of=/dev/vda bs=64k conv=fsync
    fio --name=busy --filename=/dev/vda --offset=32M --size=32M --rw=randrw --bs=4k --direct=1 \
        --ioengine=libaio --iodepth=32 --time_based --runtime=1000 --minimal &
    # The seventh figure counts the sectors written: wait for some thousands past the pattern's.
    start=$(awk '{ print $7 }' /sys/block/vda/stat)
    until [ $(($(awk '{ print $7 }' /sys/block/vda/stat) - start)) -gt 4000 ]; do sleep 0.1; done
    host busy
    wait
";

#[test]
fn machines_killed_amid_io_leave_synced_data_and_nothing_else_behind() {
    let ramblk = Ramblk::run("64M", &[]);
    let idle = ramblk.footprint();
    for round in 0..3 {
        let mut guest = Guest::start(&Machine::new().cpus(2), ramblk.socket(), ROUND);
        guest.wait_for_request("round");
        guest.answer(&round.to_string());
        guest.wait_for_request("busy");
        let serving = ramblk.footprint();
        assert_ne!(
            serving, idle,
            "descriptors and threads tell nothing about a guest being served"
        );
        guest.kill();
        let left = ramblk.footprint_settled(idle);
        eprintln!(
            "round {round}: (descriptors, threads) {idle:?}, {serving:?} serving, {left:?} after"
        );
        assert_eq!(
            left, idle,
            "descriptors or threads of the killed machine remain"
        );
    }
}
