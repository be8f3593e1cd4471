//! QEMU's `microvm`, whose disk is on virtio-mmio: there the driver uses a ring of 1024 entries,
//! whatever QEMU's own queue-size is.

use crate::harness::{Bus, Daemon, Guest, Machine, pattern, sha256};

/// Checks the image, and copies it further back with requests as long, and as many at a time, as
/// possible.
const JOB: &str = "
    echo none >/sys/block/vda/queue/scheduler
    check_eq 'requests in a ring' \"$(cat /sys/block/vda/queue/nr_requests)\" \"$ring\"
    dd if=/dev/vda of=/tmp/image bs=1M count=8 iflag=direct
    check_eq image \"$(sum </tmp/image)\" \"$sum\"
    dd if=/tmp/image of=/dev/vda bs=1M seek=16 oflag=direct
    fio --name=many --filename=/dev/vda --offset=32M --size=16M --rw=randrw --bs=4k --direct=1 \
        --ioengine=libaio --iodepth=256 --verify=crc32c --verify_fatal=1 --minimal
    blkdiscard -o 33554432 -l 16777216 /dev/vda
";

fn serves(bus: Bus) {
    let scratch = tempfile::tempdir().unwrap();
    let image = scratch.path().join("disk.raw");
    let content = pattern(8 << 20);
    std::fs::write(&image, &content).unwrap();
    let sum = sha256(&image);
    let daemon = Daemon::serve(&[]);
    let socket = daemon.create("disk", "64M", &["--image", image.to_str().unwrap()]);
    let job = format!("sum={sum}; ring=1024\n{JOB}");
    Guest::start(&Machine::microvm(bus), &socket, &job).finish();
    let mut wanted = content.clone();
    wanted.resize(64 << 20, 0);
    wanted[16 << 20..][..content.len()].copy_from_slice(&content);
    assert!(
        daemon.content("disk") == wanted,
        "the host sees other bytes"
    );
}

#[test]
fn a_microvm_has_its_disk_on_virtio_mmio() {
    serves(Bus::Mmio);
}

#[test]
fn a_microvm_as_qemu_has_it_by_default_has_its_disk_on_legacy_virtio_mmio() {
    serves(Bus::LegacyMmio);
}
