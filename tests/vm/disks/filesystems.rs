//! File systems on the disk: what fio writes it reads back, the checkers find no errors, and
//! `fstrim` returns the memory to the host.

use crate::harness::{Guest, MIB, Machine, Ramblk};

/// What fio writes, in MiB.
const FILE: u64 = 48;

/// The middle of a script: from the mounted, still empty file system to the unmounted one.
const FILL_AND_TRIM: &str = "
    sync
    host measure empty
    # The writes go past the guest's page cache, so that the verifying reads come from the disk.
    fio --name=fill --filename=/mnt/file --size=48M --bsrange=4k-64k --rw=randwrite --direct=1 \
        --ioengine=libaio --iodepth=8 --verify=crc32c --do_verify=1 --verify_fatal=1 --minimal
    sync
    host measure full
    rm /mnt/file
    sync
    fstrim -v /mnt
    sync
    host measure trimmed
    umount /mnt
";

/// Fill the file system that the script `make` makes and mounts, empty it, and run `check`.
fn fills_verifies_and_trims(size: &str, options: &[&str], make: &str, check: &str) {
    let ramblk = Ramblk::run(size, options);
    let job = format!("{make}\n{FILL_AND_TRIM}\n{check}\n");
    let mut guest = Guest::start(&Machine::new().cpus(2), ramblk.socket(), &job);

    guest.wait_for_request("measure empty");
    let empty = ramblk.resident();
    guest.answer("ok");

    guest.wait_for_request("measure full");
    let full = ramblk.resident();
    assert!(
        full >= empty + FILE * MIB * 9 / 10,
        "a file of {FILE} MiB took ramblk from {empty} bytes to only {full}"
    );
    guest.answer("ok");

    guest.wait_for_request("measure trimmed");
    let limit = full - FILE * MIB * 9 / 10;
    let trimmed = ramblk.resident_settled(limit);
    eprintln!(
        "{check}: ramblk held {} MiB with the file system empty, {} MiB full, {} MiB trimmed",
        empty / MIB,
        full / MIB,
        trimmed / MIB
    );
    assert!(
        trimmed <= limit,
        "fstrim took ramblk from {full} bytes to only {trimmed}"
    );
    guest.answer("ok");
    guest.finish();
}

#[test]
fn ext4_filled_by_fio_verifies_and_fstrim_gives_memory_back() {
    fills_verifies_and_trims(
        "64M",
        &[],
        "mkfs.ext4 -q -b 4096 /dev/vda; mount -t ext4 /dev/vda /mnt",
        "e2fsck -fn /dev/vda",
    );
}

#[test]
fn xfs_filled_by_fio_verifies_and_fstrim_gives_memory_back() {
    // mkfs.xfs needs at least 300 MiB.
    fills_verifies_and_trims(
        "320M",
        &[],
        "mkfs.xfs -q /dev/vda; mount -t xfs /dev/vda /mnt",
        "xfs_repair -n /dev/vda",
    );
}

#[test]
fn ext4_on_4096_byte_blocks_verifies_and_gives_memory_back() {
    fills_verifies_and_trims(
        "64M",
        &["--block-size", "4096"],
        "check_eq 'block size' \"$(cat /sys/block/vda/queue/logical_block_size)\" 4096
         mkfs.ext4 -q /dev/vda; mount -t ext4 /dev/vda /mnt",
        "e2fsck -fn /dev/vda",
    );
}
