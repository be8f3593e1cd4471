//! Where a sector of a qcow2 image is: a second reading of QEMU's docs/interop/qcow2.txt, which
//! looks at one sector at a time and assumes that the image is whole.

/// Where a sector is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Hole,
    Zero,
    Data(usize),
    Packed,
}

fn number(file: &[u8], at: u64, bytes: usize) -> u64 {
    let at = at as usize;
    file[at..at + bytes]
        .iter()
        .fold(0, |number, &byte| number << 8 | u64::from(byte))
}

/// The place of the sector at this byte of the disk.
pub(super) fn look(file: &[u8], at: u64) -> Place {
    let cluster = 1 << number(file, 20, 4);
    let extended = number(file, 4, 4) == 3 && number(file, 72, 8) & 16 != 0;
    let entry_bytes = if extended { 16 } else { 8 };
    let per_table = cluster / entry_bytes;
    let l1 = number(file, 40, 8) + at / cluster / per_table * 8;
    let table = number(file, l1, 8) & 0x00ff_ffff_ffff_fe00;
    if table == 0 {
        return Place::Hole;
    }
    let entry_at = table + at / cluster % per_table * entry_bytes;
    let entry = number(file, entry_at, 8);
    if entry >> 62 & 1 == 1 {
        return Place::Packed;
    }
    let data = entry & 0x00ff_ffff_ffff_fe00;
    let within = at % cluster;
    let (is_there, is_zero) = if extended {
        let bitmap = number(file, entry_at + 8, 8);
        let bit = within / (cluster / 32);
        (bitmap >> bit & 1 == 1, bitmap >> (32 + bit) & 1 == 1)
    } else {
        (data != 0, entry & 1 == 1)
    };
    match (is_there, is_zero) {
        (_, true) => Place::Zero,
        (true, false) => Place::Data((data + within) as usize),
        (false, false) => Place::Hole,
    }
}
