//! A machine's firmware boots from the disk, without a kernel from QEMU.

use crate::harness::{Guest, Machine, Ramblk};

/// The sector with the text that the boot sector prints. It is far off, so that the firmware must
/// read the disk again, with its own virtio driver.
const TEXT_SECTOR: u16 = 2000;

/// The size of a sector for a BIOS.
const SECTOR: usize = 512;

/// Real-mode code for 0000:7c00, where a BIOS puts the boot sector, with the drive's number in dl.
/// It reads sector [`TEXT_SECTOR`] to 0000:7e00 and sends the text there to the first serial port.
#[rustfmt::skip]
const CODE: [u8; 0x33] = [
    0xfc,                   // 00        cld
    0x31, 0xc0,             // 01        xor  ax, ax
    0x8e, 0xd8,             // 03        mov  ds, ax
    0x8e, 0xd0,             // 05        mov  ss, ax
    0xbc, 0x00, 0x7c,       // 07        mov  sp, 0x7c00
    0xbe, 0x23, 0x7c,       // 0a        mov  si, 0x7c23      ; the request below
    0xb4, 0x42,             // 0d        mov  ah, 0x42        ; extended read
    0xcd, 0x13,             // 0f        int  0x13
    0x72, 0x0e,             // 11        jc   halt            ; the read failed
    0xbe, 0x00, 0x7e,       // 13        mov  si, 0x7e00
    0xba, 0xf8, 0x03,       // 16        mov  dx, 0x3f8       ; the port's data register
    0xac,                   // 19 next:  lodsb
    0x84, 0xc0,             // 1a        test al, al
    0x74, 0x03,             // 1c        jz   halt            ; the text's end
    0xee,                   // 1e        out  dx, al          ; QEMU's port is never busy
    0xeb, 0xf8,             // 1f        jmp  next
    0xfa,                   // 21 halt:  cli
    0xf4,                   // 22        hlt
    0x10, 0x00,             // 23        the request's own length
    0x01, 0x00,             //           one sector
    0x00, 0x7e, 0x00, 0x00, //           to 0000:7e00
    TEXT_SECTOR.to_le_bytes()[0], TEXT_SECTOR.to_le_bytes()[1], 0, 0, 0, 0, 0, 0,
];

#[test]
fn seabios_boots_a_boot_sector_that_lies_on_the_disk() {
    let text_at = SECTOR * usize::from(TEXT_SECTOR);
    let mut image = vec![0; text_at + SECTOR];
    image[..CODE.len()].copy_from_slice(&CODE);
    image[SECTOR - 2..SECTOR].copy_from_slice(&[0x55, 0xaa]);
    let text = b"booted from ramblk\r\n";
    image[text_at..][..text.len()].copy_from_slice(text);

    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("boot.raw");
    std::fs::write(&file, image).unwrap();
    let ramblk = Ramblk::run("64M", &["--image", file.to_str().unwrap()]);
    Guest::boot_disk(&Machine::new(), ramblk.socket(), "").wait_for("booted from ramblk");
}
