//! Signatures that take more than a few bytes to recognise.

/// Whether these bytes are at this offset.
pub(super) fn at(bytes: &[u8], offset: usize, mark: &[u8]) -> bool {
    bytes
        .get(offset..)
        .is_some_and(|rest| rest.starts_with(mark))
}

fn byte(bytes: &[u8], offset: usize) -> u8 {
    bytes.get(offset).copied().unwrap_or(0)
}

fn number<const N: usize>(bytes: &[u8], offset: usize) -> Option<[u8; N]> {
    bytes.get(offset..)?.first_chunk().copied()
}

fn le32(bytes: &[u8], offset: usize) -> Option<u32> {
    number(bytes, offset).map(u32::from_le_bytes)
}

fn be32(bytes: &[u8], offset: usize) -> Option<u32> {
    number(bytes, offset).map(u32::from_be_bytes)
}

/// Whether a disk was partitioned, or has a file system or volume behind a boot area: then it is
/// raw, whatever the boot area begins with.
pub(super) fn is_laid_out(head: &[u8]) -> bool {
    let gpt = |sector| at(head, sector, b"EFI PART\0\0\x01\0");
    let lvm = |sector| at(head, sector, b"LABELONE");
    // UEFI 2.10, 5.3.2; LVM2 looks for its label in the first four sectors; mkswap leaves room for
    // a boot sector, and Linux' software RAID 1.2 the first 4 KiB.
    gpt(512)
        || gpt(4096)
        || [0, 512, 1024, 1536].into_iter().any(lvm)
        || at(head, 4086, b"SWAPSPACE2")
        || at(head, 4096, b"\xfc\x4e\x2b\xa9\x01\0\0\0")
        || partitions(head)
        || ext(head)
}

/// A master boot record with a partition and a valid table.
fn partitions(head: &[u8]) -> bool {
    let Some(table) = head.get(446..510) else {
        return false;
    };
    let plausible = |entry: &[u8]| matches!(byte(entry, 0), 0 | 0x80);
    let used = |entry: &[u8]| byte(entry, 4) != 0 && le32(entry, 12).is_some_and(|it| it != 0);
    let mut entries = table.chunks(16);
    at(head, 510, b"\x55\xaa") && entries.clone().all(plausible) && entries.any(used)
}

/// The superblock of ext2, ext3 and ext4, behind the first 1024 bytes.
fn ext(head: &[u8]) -> bool {
    at(head, 1080, b"\x53\xef")
        && le32(head, 1024 + 24).is_some_and(|block_size| block_size <= 6)
        && le32(head, 1024 + 76).is_some_and(|revision| revision <= 1)
        && le32(head, 1024).is_some_and(|inodes| inodes != 0)
}

/// Sparse extents of VMware hosts, of ESX and of its snapshots, and a description of extents.
pub(super) fn vmdk(head: &[u8]) -> bool {
    head.starts_with(b"KDMV")
        || head.starts_with(b"COWD\x01\0\0\0")
        || head.starts_with(b"\xbe\xba\xfe\xca\0\0\0\0")
        || text(head, &["# disk descriptorfile"])
}

/// The last sector of a VHD: its cookie, version 1.0, and a valid type. A fixed
/// VHD has no other signature.
pub(super) fn vhd_footer(tail: &[u8]) -> bool {
    at(tail, 0, b"conectix")
        && be32(tail, 12) == Some(0x1_0000)
        && be32(tail, 60).is_some_and(|kind| matches!(kind, 2..=4))
}

/// The last sector of a DMG: its signature, version 4, and its own size.
pub(super) fn dmg_trailer(tail: &[u8]) -> bool {
    at(tail, 0, b"koly\0\0\0\x04\0\0\x02\0")
}

/// RFC 1952, 2.3.1: method 8 is the only one, and three flags are reserved.
pub(super) fn gzip(head: &[u8]) -> bool {
    head.starts_with(b"\x1f\x8b\x08") && head.len() > 9 && byte(head, 3) & 0xe0 == 0
}

/// Codes of 9 to 16 bits.
pub(super) fn compress(head: &[u8]) -> bool {
    head.starts_with(b"\x1f\x9d")
        && byte(head, 2) & 0x60 == 0
        && matches!(byte(head, 2) & 0x1f, 9..=16)
}

/// Blocks of 1 to 9 times 100 kB, and the digits of pi before the first, or of its root at an end.
pub(super) fn bzip2(head: &[u8]) -> bool {
    head.starts_with(b"BZh")
        && matches!(byte(head, 3), b'1'..=b'9')
        && (at(head, 4, b"\x31\x41\x59\x26\x53\x59") || at(head, 4, b"\x17\x72\x45\x38\x50\x90"))
}

/// It has no magic number: the usual properties, a dictionary of 2^n or 2^n + 2^(n-1) bytes,
/// and a size that is unknown or below 256 GiB, as `xz` asks for.
pub(super) fn lzma(head: &[u8]) -> bool {
    let Some(dictionary) = le32(head, 1) else {
        return false;
    };
    let Some(size) = number(head, 5).map(u64::from_le_bytes) else {
        return false;
    };
    let whole =
        dictionary.is_power_of_two() || (dictionary % 3 == 0 && (dictionary / 3).is_power_of_two());
    byte(head, 0) == 0x5d
        && dictionary >= 4096
        && whole
        && (size == u64::MAX || size < 1 << 38)
        && byte(head, 13) == 0
}

/// What follows skippable frames, which zstd and lz4 share. Each has at least 8 bytes, so the head
/// bounds their number.
fn behind_skippable(head: &[u8]) -> Option<&[u8]> {
    let mut rest = head;
    while rest.len() >= 4 && (0x50..=0x5f).contains(&rest[0]) && at(rest, 1, b"\x2a\x4d\x18") {
        let length = usize::try_from(le32(rest, 4)?).ok()?;
        rest = rest.get(length.checked_add(8)?..)?;
    }
    Some(rest)
}

/// RFC 8878, 3.1.1. A skippable frame that is longer than the head counts as zstd, which
/// reads both.
pub(super) fn zstd(head: &[u8]) -> bool {
    match behind_skippable(head) {
        Some(rest) => rest.starts_with(b"\x28\xb5\x2f\xfd"),
        None => true,
    }
}

/// Frames, and those of the Linux kernel's older form.
pub(super) fn lz4(head: &[u8]) -> bool {
    behind_skippable(head).is_some_and(|rest| {
        rest.starts_with(b"\x04\x22\x4d\x18") || head.starts_with(b"\x02\x21\x4c\x18")
    })
}

/// POSIX and GNU headers, with their checksum.
pub(super) fn tar(head: &[u8]) -> bool {
    let Some(header) = head.get(..512) else {
        return false;
    };
    if !at(header, 257, b"ustar\0") && !at(header, 257, b"ustar ") {
        return false;
    }
    let digits = header[148..156].iter().filter(|b| b.is_ascii_digit());
    let said = digits.fold(0_u32, |sum, digit| {
        sum.wrapping_mul(8).wrapping_add(u32::from(digit - b'0'))
    });
    let with_spaces = |at| {
        if (148..156).contains(&at) {
            b' '
        } else {
            header[at]
        }
    };
    let sum: u32 = (0..512).map(|at| u32::from(with_spaces(at))).sum();
    said == sum
}

/// A member, an empty archive, or a part of a split one.
pub(super) fn zip(head: &[u8]) -> bool {
    [b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08"]
        .into_iter()
        .any(|mark| head.starts_with(mark))
}

/// Text headers, or the old binary one with a valid file type and a terminated name.
pub(super) fn cpio(head: &[u8]) -> bool {
    let text = [b"070701", b"070702", b"070707"];
    if text.into_iter().any(|mark| head.starts_with(mark)) {
        return byte(head, 6).is_ascii_hexdigit() && byte(head, 13).is_ascii_hexdigit();
    }
    let half = |at| number(head, at).map_or(0, u16::from_le_bytes);
    let (mode, name_bytes) = (half(6), usize::from(half(20)));
    head.starts_with(b"\xc7\x71")
        && matches!(mode >> 12, 1 | 2 | 4 | 6 | 8 | 10 | 12)
        && (2..=4096).contains(&name_bytes)
        && byte(head, 25 + name_bytes) == 0
        && byte(head, 26) != 0
}

/// A valid class, byte order and version.
pub(super) fn elf(head: &[u8]) -> bool {
    head.starts_with(b"\x7fELF")
        && matches!(byte(head, 4), 1 | 2)
        && matches!(byte(head, 5), 1 | 2)
        && byte(head, 6) == 1
}

/// Text that begins with one of these in any case, after white space or a byte order mark.
pub(super) fn text(head: &[u8], beginnings: &[&str]) -> bool {
    let head = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head);
    let head = head.trim_ascii_start();
    beginnings.iter().any(|beginning| {
        let start = head.get(..beginning.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(beginning.as_bytes()))
    })
}
