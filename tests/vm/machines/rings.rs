//! Rings of several sizes and numbers, and requests as long as the guest's kernel makes them.

use crate::harness::{Guest, Machine, Ramblk};

/// Writes and reads back 1 MiB at a time past the guest's page cache, and checks every byte: once
/// in the simplest way, once from pages scattered over the guest's memory, so that the longest
/// requests have the maximum number of segments, and once with one job per queue.
const ONE_MIB: &str = "
    # As long as the device allows: what a request may have is left to its number of segments.
    cd /sys/block/vda/queue
    check_eq segments \"$(cat max_segments)\" 126
    cat max_hw_sectors_kb >max_sectors_kb
    dd if=/dev/urandom of=/tmp/data bs=1M count=8
    dd if=/tmp/data of=/dev/vda bs=1M seek=3 oflag=direct
    check_eq data \"$(dd if=/dev/vda bs=1M skip=3 count=8 iflag=direct | sum)\" \
        \"$(sum </tmp/data)\"

    long() { # MORE WORDS
        fio --name=long --filename=/dev/vda --bs=1M --rw=write --direct=1 --ioengine=libaio \
            --iodepth=4 --verify=crc32c --do_verify=1 --verify_fatal=1 --minimal \"$@\"
    }
    # Written in random order, a file's neighbours are no neighbours in memory.
    rm /tmp/data
    fio --name=scatter --filename=/tmp/data --size=8M --bs=4k --rw=randwrite --fallocate=none \
        --minimal
    # The fifth figure counts the writes: no more than 126 pages of 4 KiB fit into each.
    before=$(awk '{ print $5 }' ../stat)
    long --size=32M --iomem=mmapshared:/tmp/data
    writes=$(($(awk '{ print $5 }' ../stat) - before))
    [ $writes -gt 64 ] || fail \"32 MiB in $writes writes: their memory was not scattered\"
    rm /tmp/data
    long --numjobs=$jobs --size=$((64 / jobs))M --offset_increment=$((64 / jobs))M
";

/// A machine with one processor per queue, whose guest must see rings of this size.
fn long_requests(machine: Machine, queues: u32, requests: u16) {
    let ramblk = Ramblk::run("64M", &[]);
    let job = format!(
        "jobs={queues}
         echo none >/sys/block/vda/queue/scheduler
         check_eq queues \"$(ls /sys/block/vda/mq | wc -l)\" {queues}
         check_eq 'requests in a ring' \"$(cat /sys/block/vda/queue/nr_requests)\" {requests}
         {ONE_MIB}"
    );
    Guest::start(&machine.cpus(queues), ramblk.socket(), &job).finish();
}

#[test]
fn a_ring_of_128_entries_carries_requests_of_1_mib() {
    long_requests(Machine::new(), 1, 128);
}

#[test]
fn a_ring_of_128_entries_without_indirect_tables_carries_requests_of_1_mib() {
    // A request then uses the ring's own descriptors: one of seg_max segments needs all of them.
    long_requests(Machine::new().direct(), 2, 64);
}

#[test]
fn four_rings_of_1024_entries_carry_requests_of_1_mib() {
    long_requests(Machine::new().ring(1024), 4, 1024);
}

/// One queue per processor, QEMU's default.
#[test]
fn twenty_queues_on_twenty_processors_carry_requests_of_1_mib() {
    long_requests(Machine::new().ring(256), 20, 256);
}
