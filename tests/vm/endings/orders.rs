//! A guest that reboots, a machine that is killed and a daemon that is killed, in every order and
//! under load: synced data is intact, and no guest sees an error.

use crate::harness::{Daemon, Guest, Machine};

/// From boot to the end of the machine: checks everything synced in earlier rounds, syncs this
/// round's data, and keeps the disk busy until the host sends the next event.
const JOB: &str = "
    pattern() {
        seq \"$1\" 3 100000
    }
    host boot
    round=$answer
    while true; do
        echo 3 >/proc/sys/vm/drop_caches
        before=0
        while [ \"$before\" -lt \"$round\" ]; do
            pattern \"$before\" >/tmp/before
            dd if=/dev/vda bs=1M skip=\"$before\" count=1 2>/dev/null |
                cmp -n $(stat -c %s /tmp/before) /tmp/before -
            before=$((before + 1))
        done
        pattern \"$round\" | dd of=/dev/vda bs=64k seek=$((round * 16)) conv=fsync
        round=$((round + 1))
        fio --name=busy --filename=/dev/vda --offset=32M --size=32M --rw=randrw --bs=4k \
            --direct=1 --ioengine=libaio --iodepth=32 --time_based --runtime=1000 --minimal \
            >/tmp/out 2>&1 &
        busy=$!
        # The seventh figure counts the sectors written: by then fio can be told to end.
        start=$(awk '{ print $7 }' /sys/block/vda/stat)
        until [ $(($(awk '{ print $7 }' /sys/block/vda/stat) - start)) -gt 4000 ]; do
            sleep 0.1
        done
        host busy
        [ \"$answer\" != reboot ] || reboot -f
        kill -INT $busy
        wait $busy || true
        ! grep -E 'verify:|error' /tmp/out || fail \"fio: $(cat /tmp/out)\"
        ! dmesg | grep -i 'i/o error' || fail 'errors'
        [ \"$answer\" != end ] || break
    done
";

#[derive(Clone, Copy, Debug)]
enum Event {
    Daemon,
    Machine,
    Reboot,
}

/// Contains each order of the three.
const EVENTS: [Event; 9] = {
    use Event::{Daemon, Machine, Reboot};
    [
        Daemon, Machine, Reboot, Daemon, Machine, Daemon, Reboot, Machine, Daemon,
    ]
};

fn boots(guest: &mut Guest, round: usize) {
    guest.wait_for_request("boot");
    guest.answer(&round.to_string());
}

#[test]
#[ignore = "takes two minutes; scripts/soak runs it, and tests/kill has all orders without a guest"]
fn reboots_killed_machines_and_killed_daemons_are_survived_in_every_order() {
    let mut daemon = Daemon::serve(&[]);
    let socket = daemon.create("disk", "64M", &[]);
    let machine = Machine::new().cpus(2).reboots();
    let start = || Guest::start(&machine, &socket, JOB);
    let mut guest = start();
    boots(&mut guest, 0);
    for (round, event) in (1..).zip(EVENTS) {
        guest.wait_for_request("busy");
        match event {
            Event::Daemon => {
                daemon.kill_and_restart();
                guest.answer("more");
            }
            Event::Machine => {
                guest.kill();
                guest = start();
                boots(&mut guest, round);
            }
            Event::Reboot => {
                guest.answer("reboot");
                boots(&mut guest, round);
            }
        }
        eprintln!("{event:?}");
    }
    guest.wait_for_request("busy");
    guest.answer("end");
    guest.finish();
}
