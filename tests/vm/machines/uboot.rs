//! U-Boot on arm64 reads and writes the disk with its own virtio driver, on each bus of QEMU's
//! `virt` machine. It uses rings of the maximum size: 1024 entries on virtio-mmio.

use crate::harness::{Bus, Daemon, Guest, MIB, Machine, pattern};

/// The size of a block for U-Boot.
const BLOCK: usize = 512;
/// The blocks that it reads, and the target of its writes.
const READ_AT: usize = 16;
const WRITTEN_AT: usize = 0x8000;
const BLOCKS: usize = 0x800;

/// The CRC-32 of U-Boot, zlib and Ethernet.
fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for &byte in bytes {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ if crc & 1 == 1 { 0xedb8_8320 } else { 0 };
        }
    }
    !crc
}

fn reads_and_writes(bus: Bus) {
    let scratch = tempfile::tempdir().unwrap();
    let image = scratch.path().join("disk.raw");
    let content = pattern(4 << 20);
    std::fs::write(&image, &content).unwrap();
    let daemon = Daemon::serve(&[]);
    let socket = daemon.create("disk", "64M", &["--image", image.to_str().unwrap()]);

    let mut guest = Guest::boot_disk(&Machine::uboot(bus), &socket, "");
    // Any first input stops the boot, and a few more bytes may be lost with it, so spaces follow.
    // The rest waits in the serial port.
    let at = 0x4800_0000;
    guest.answer(&format!(
        "\n        virtio info\nvirtio read {at:x} {READ_AT:x} {BLOCKS:x}\ncrc32 {at:x} {len:x}\n\
         virtio write {at:x} {WRITTEN_AT:x} {BLOCKS:x}\npoweroff",
        len = BLOCKS * BLOCK
    ));
    let read = &content[READ_AT * BLOCK..][..BLOCKS * BLOCK];
    guest.wait_for(&format!(
        "            Capacity: 64.0 MB = 0.0 GB ({} x 512)",
        64 * MIB / 512
    ));
    guest.wait_for(&format!(
        "virtio read: device 0 block # {READ_AT}, count {BLOCKS} ... {BLOCKS} blocks read: OK"
    ));
    guest.wait_for(&format!(
        "crc32 for {at:x} ... {:x} ==> {:08x}",
        at + BLOCKS * BLOCK - 1,
        crc32(read)
    ));
    guest.wait_for(&format!(
        "virtio write: device 0 block # {WRITTEN_AT}, count {BLOCKS} ... {BLOCKS} blocks written: \
         OK"
    ));
    guest.wait_for("poweroff ...");
    guest.end();

    let after = daemon.content("disk");
    let (before_it, rest) = after.split_at(WRITTEN_AT * BLOCK);
    let (written, after_it) = rest.split_at(BLOCKS * BLOCK);
    assert!(
        before_it.starts_with(&content),
        "what it didn't write to has changed"
    );
    assert!(written == read, "U-Boot wrote something else");
    let mut others = before_it[content.len()..].iter().chain(after_it);
    assert!(others.all(|&byte| byte == 0), "it wrote elsewhere");
}

#[test]
fn uboot_reads_and_writes_a_disk_on_pci() {
    reads_and_writes(Bus::Pci);
}

#[test]
fn uboot_reads_and_writes_a_disk_on_virtio_mmio() {
    reads_and_writes(Bus::Mmio);
}

#[test]
fn uboot_reads_and_writes_a_disk_on_legacy_virtio_mmio() {
    reads_and_writes(Bus::LegacyMmio);
}
