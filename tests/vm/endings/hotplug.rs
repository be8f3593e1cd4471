//! Devices that come and go while a guest works: its disk, and its memory.

use serde_json::{Value, json};

use crate::harness::{Daemon, Guest, MIB, Machine, numbers};

/// How often the disk is unplugged.
const ROUNDS: usize = 2;
/// The most that a round writes, in bytes.
const PART: usize = 96 << 20;

/// The numbers that a round writes begin at this one times the number of the round.
const FIRST: usize = 10_000_000;

/// Writes numbers in order, each request past the page cache, until the disk is unplugged. Every
/// block written by then must be there when the disk is plugged in again.
const WRITES: &str = "
    written() { # the blocks that the dd before this one has written
        awk -F+ '/records out/ { print $1 }' /tmp/dd
    }
    for round in 1 2; do
        seq \"${round}0000000\" 99999999 |
            dd of=/dev/vda bs=4k iflag=fullblock oflag=direct seek=$(((round - 1) * part)) \
                >/tmp/dd 2>&1 &
        start=$(awk '{ print $7 }' /sys/block/vda/stat)
        until [ $(($(awk '{ print $7 }' /sys/block/vda/stat) - start)) -gt 2000 ]; do
            sleep 0.1
        done
        echo \"@host: take it out $round\"
        wait || true
        # The kernel refuses the requests of a disk that goes before it removes its node.
        for _ in $(seq 100); do [ -b /dev/vda ] || break; sleep 0.1; done
        [ ! -b /dev/vda ] || fail \"the disk stayed, and dd said: $(cat /tmp/dd)\"
        blocks=$(written)
        host \"put it in again $blocks\"
        until [ -b /dev/vda ]; do sleep 0.1; done
        seq \"${round}0000000\" 99999999 | head -c $((blocks * 4096)) >/tmp/wanted
        dd if=/dev/vda bs=4k skip=$(((round - 1) * part)) count=\"$blocks\" iflag=direct |
            cmp - /tmp/wanted
        rm /tmp/wanted
    done
";

/// QEMU's options in the form that a monitor takes.
fn arguments(options: &str) -> Value {
    let (driver, options) = options.split_once(',').unwrap();
    let mut arguments = json!({ "driver": driver });
    for option in options.split(',') {
        let (name, value) = option.split_once('=').unwrap();
        arguments[name] = match value.parse::<u64>() {
            Ok(number) => number.into(),
            Err(_) if matches!(value, "true" | "false") => (value == "true").into(),
            Err(_) => value.into(),
        };
    }
    arguments
}

#[test]
fn a_disk_that_is_unplugged_amid_writes_and_plugged_in_again_has_all_that_was_written() {
    let daemon = Daemon::serve(&[]);
    // The writes last at least 24 seconds, and the disk is unplugged within about five.
    let socket = daemon.create("disk", "192M", &["--write-iops", "1000"]);
    let machine = Machine::new().cpus(2).unplugs();
    let job = format!("part={}\n{WRITES}", PART / 4096);
    let mut guest = Guest::start_monitored(&machine, &socket, &job);
    let mut monitor = guest.monitor();
    let mut blocks = Vec::new();
    for round in 1..=ROUNDS {
        guest.wait_for_request(&format!("take it out {round}"));
        monitor.execute("device_del", &json!({ "id": "disk" }));
        monitor.wait_for("DEVICE_DELETED", Some("disk"));
        blocks.push(guest.wait_for_figure("put it in again"));
        // QEMU keeps its connection, and sets up the new device over it.
        monitor.execute("device_add", &arguments(&machine.disk()));
        guest.answer("ok");
    }
    guest.finish();
    let content = daemon.content("disk");
    for (round, blocks) in (1..).zip(blocks) {
        eprintln!("round {round}: {blocks} blocks were written when the disk went");
        let written = usize::try_from(blocks).unwrap() * 4096;
        let (part, wanted) = (
            &content[(round - 1) * PART..],
            numbers(round * FIRST, written),
        );
        assert!(
            written > 0 && part[..written] == wanted,
            "round {round}: what was written is gone"
        );
    }
}

/// How much memory is added.
const MORE: u64 = 256 * MIB;

/// Reads and writes from memory that did not exist when the disk was attached: QEMU has told ramblk
/// of it since, while requests were outstanding.
const MEMORY: &str = "
    fio --name=busy --filename=/dev/vda --offset=128M --size=32M --rw=randrw --bs=4k --direct=1 \
        --ioengine=libaio --iodepth=16 --verify=crc32c --verify_backlog=64 --time_based \
        --runtime=1000 --minimal >/tmp/out 2>&1 &
    busy=$!
    until [ $(awk '{ print $7 }' /sys/block/vda/stat) -gt 2000 ]; do sleep 0.1; done
    before=$(ls -d /sys/devices/system/memory/memory* | wc -l)
    host more memory
    for _ in $(seq 300); do
        now=$(ls -d /sys/devices/system/memory/memory* | wc -l)
        [ $((now - before)) -lt 2 ] || break; sleep 0.1
    done
    # As movable: a program's own memory is taken from there first.
    for state in /sys/devices/system/memory/memory*/state; do
        [ \"$(cat $state)\" = online ] || echo online_movable >$state
    done
    seq 10000000 99999999 | head -c 8388608 >/tmp/part
    cat /tmp/part /tmp/part /tmp/part /tmp/part >/tmp/all
    dd if=/tmp/all of=/dev/vda bs=32M oflag=direct
    host written
    dd if=/dev/vda bs=32M count=1 iflag=direct | cmp - /tmp/all
    kill -INT $busy
    wait $busy || true
    ! grep -E 'verify:|error' /tmp/out || fail \"fio: $(cat /tmp/out)\"
";

#[test]
fn a_guest_reads_and_writes_from_memory_that_is_plugged_in_under_load() {
    let daemon = Daemon::serve(&[]);
    let socket = daemon.create("disk", "192M", &[]);
    let machine = Machine::new().cpus(2).memory("512M,slots=2,maxmem=1G");
    let mut guest = Guest::start_monitored(&machine, &socket, MEMORY);
    let mut monitor = guest.monitor();
    guest.wait_for_request("more memory");
    let memory =
        json!({ "qom-type": "memory-backend-memfd", "id": "more", "size": MORE, "share": true });
    monitor.execute("object-add", &memory);
    let dimm = json!({ "driver": "pc-dimm", "id": "dimm", "memdev": "more" });
    monitor.execute("device_add", &dimm);
    guest.answer("ok");
    guest.wait_for_request("written");
    // ramblk's own view: it has touched pages of the added memory.
    let touched = daemon.guest_memory_touched(MORE);
    eprintln!(
        "{} MiB of the new memory were read or written by ramblk",
        touched / MIB
    );
    assert!(
        touched >= 16 * MIB,
        "only {touched} bytes of the new memory were used"
    );
    assert!(daemon.content("disk")[..32 << 20] == numbers(FIRST, 8 << 20).repeat(4));
    guest.answer("ok");
    guest.finish();
}
