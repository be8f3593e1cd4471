//! What the guest's kernel sees of the disk: its size, serial, blocks and queues.

use crate::harness::{Guest, Machine, Ramblk};

/// Four jobs at once, each on its own part of the disk, verifying what it wrote.
const FOUR_JOBS: &str = "
    fio --name=jobs --filename=/dev/vda --numjobs=4 --size=8M --offset_increment=16M --bs=4k \
        --rw=randwrite --direct=1 --ioengine=libaio --iodepth=16 --verify=crc32c --do_verify=1 \
        --verify_fatal=1 --minimal
";

#[test]
fn one_queue_serves_four_jobs_and_the_guest_sees_serial_size_and_512_byte_blocks() {
    let ramblk = Ramblk::run(
        "64M",
        &["--queues", "1", "--serial", "the-serial-number-20"],
    );
    let job = format!(
        "check_eq serial \"$(cat /sys/block/vda/serial)\" the-serial-number-20
         check_eq size \"$(blockdev --getsize64 /dev/vda)\" $((64 << 20))
         check_eq 'block size' \"$(blockdev --getss /dev/vda)\" 512
         check_eq read-only \"$(blockdev --getro /dev/vda)\" 0
         check_eq queues \"$(ls /sys/block/vda/mq | wc -l)\" 1
         {FOUR_JOBS}"
    );
    Guest::start(&Machine::new(), ramblk.socket(), &job).finish();
}

#[test]
fn four_queues_serve_four_jobs_on_four_processors_and_the_default_serial_is_ramblk() {
    let ramblk = Ramblk::run("64M", &[]);
    let job = format!(
        "check_eq serial \"$(cat /sys/block/vda/serial)\" ramblk
         check_eq queues \"$(ls /sys/block/vda/mq | wc -l)\" 4
         {FOUR_JOBS}"
    );
    Guest::start(&Machine::new().cpus(4), ramblk.socket(), &job).finish();
}
