//! Buffers, statuses and tables anywhere in memory: across pages, across the borders of adjacent
//! regions, in the first bytes of a region and in the last.

use crate::driver::data::pattern;
use crate::driver::disk::{ALL, DATA, Disk, HEADER, STATUS, all_ways, request_header};
use crate::driver::kind::{IN, OUT};
use crate::driver::memory::MIB;
use crate::driver::ring::{cut, readable_at, writable_at};
use crate::driver::status::{OK, UNTOUCHED};
use crate::harness::Ramblk;

/// Where the first region of memory ends and the second begins.
const BORDER: u64 = 64 * MIB;

fn attach() -> (Ramblk, Disk) {
    let ramblk = Ramblk::run(&[]);
    let disk = Disk::attach_with(ramblk.socket(), ALL, 1, 1024);
    (ramblk, disk)
}

#[test]
fn data_may_be_cut_at_every_byte_around_a_region_border() {
    let (_ramblk, mut disk) = attach();
    let q = disk.q();
    for at in 0..=512u32 {
        // The border is in the middle of the data, and the cut moves over all of it.
        let start = BORDER - 256;
        let data = pattern(512, at as u8);
        q.lay_out(OUT, 3, &[], 0);
        q.mem.write(start, &data);
        let mut pieces = vec![readable_at(q.area(HEADER), 16)];
        pieces.extend(cut(start, &[at, 512 - at], false));
        pieces.push(writable_at(q.area(STATUS), 1));
        let head = q.direct(0, &pieces);
        assert_eq!((q.complete(head), q.status()), (1, OK), "cut at {at}");
        q.lay_out(IN, 3, &[], 0);
        q.mem.fill(start, 512, 0);
        let mut pieces = vec![readable_at(q.area(HEADER), 16)];
        pieces.extend(cut(start, &[at, 512 - at], true));
        pieces.push(writable_at(q.area(STATUS), 1));
        let head = q.direct(0, &pieces);
        assert_eq!((q.complete(head), q.status()), (513, OK), "cut at {at}");
        assert_eq!(q.mem.read(start, 512), data, "cut at {at}");
    }
}

#[test]
fn data_may_begin_at_every_byte_around_a_page_border() {
    let (_ramblk, mut disk) = attach();
    let q = disk.q();
    for shift in (0..=64).chain(4096 - 520..=4096) {
        let start = q.area(DATA) + shift;
        let data = pattern(1024, shift as u8);
        q.lay_out(OUT, 3, &[], 0);
        q.mem.write(start, &data);
        let status = writable_at(q.area(STATUS), 1);
        let head = q.direct(
            0,
            &[
                readable_at(q.area(HEADER), 16),
                readable_at(start, 1024),
                status,
            ],
        );
        assert_eq!((q.complete(head), q.status()), (1, OK), "shift {shift}");
        q.lay_out(IN, 3, &[], 0);
        q.mem.fill(start - 1, 1026, 0xdd);
        let head = q.direct(
            0,
            &[
                readable_at(q.area(HEADER), 16),
                writable_at(start, 1024),
                status,
            ],
        );
        assert_eq!((q.complete(head), q.status()), (1025, OK), "shift {shift}");
        let expected = [&[0xdd], &data[..], &[0xdd]].concat();
        assert_eq!(q.mem.read(start - 1, 1026), expected, "shift {shift}");
    }
}

#[test]
fn a_header_may_cross_the_border_of_two_regions() {
    let (_ramblk, mut disk) = attach();
    let data = pattern(512, 6);
    let q = disk.q();
    q.write(77, &data).unwrap();
    for before in 0..=16 {
        q.lay_out(IN, 0, &[], 512);
        q.mem.write(BORDER - before, &request_header(IN, 77));
        let pieces = [
            readable_at(BORDER - before, 16),
            writable_at(q.area(DATA), 512),
            writable_at(q.area(STATUS), 1),
        ];
        all_ways(q, &pieces, |q, len, _| {
            assert_eq!(
                (q.status(), len),
                (OK, 513),
                "{before} bytes before the border"
            );
            assert_eq!(q.mem.read(q.area(DATA), 512), data);
        });
    }
}

#[test]
fn a_status_may_be_the_last_byte_of_a_region_or_the_first() {
    let (_ramblk, mut disk) = attach();
    let q = disk.q();
    q.write(0, &pattern(512, 6)).unwrap();
    for status in [BORDER - 1, BORDER, 96 * MIB - 1, 4096 * MIB, 4112 * MIB - 1] {
        q.lay_out(IN, 0, &[], 512);
        q.mem.fill(status, 1, UNTOUCHED);
        let pieces = [
            readable_at(q.area(HEADER), 16),
            writable_at(q.area(DATA), 512),
            writable_at(status, 1),
        ];
        q.direct(0, &pieces);
        assert_eq!(
            (q.complete(0), q.mem.read(status, 1)),
            (513, vec![OK]),
            "{status:#x}"
        );
    }
    // In one descriptor with the data, and the border between them.
    q.mem.fill(BORDER - 512, 513, UNTOUCHED);
    q.direct(
        0,
        &[
            readable_at(q.area(HEADER), 16),
            writable_at(BORDER - 512, 513),
        ],
    );
    assert_eq!(q.complete(0), 513);
    assert_eq!(
        q.mem.read(BORDER - 512, 513),
        [&pattern(512, 6)[..], &[OK]].concat()
    );
}

#[test]
fn one_buffer_may_cross_three_regions() {
    let (_ramblk, mut disk) = attach();
    let q = disk.q();
    let (start, len) = (BORDER - 4096, 16 * MIB as usize + 8192);
    let data = pattern(len, 9);
    q.lay_out(OUT, 8, &[], 0);
    q.mem.write(start, &data);
    let status = writable_at(q.area(STATUS), 1);
    q.direct(
        0,
        &[
            readable_at(q.area(HEADER), 16),
            readable_at(start, len as u32),
            status,
        ],
    );
    assert_eq!((q.complete(0), q.status()), (1, OK));
    q.lay_out(IN, 8, &[], 0);
    q.mem.fill(start, len, 0);
    q.direct(
        0,
        &[
            readable_at(q.area(HEADER), 16),
            writable_at(start, len as u32),
            status,
        ],
    );
    assert_eq!((q.complete(0), q.status()), (len as u32 + 1, OK));
    assert!(q.mem.read(start, len) == data);
}

#[test]
fn an_indirect_table_may_lie_anywhere_in_memory() {
    let (_ramblk, mut disk) = attach();
    let data = pattern(512, 5);
    let q = disk.q();
    q.write(6, &data).unwrap();
    // Across the border between two descriptors, within one, at an odd address, above 4 GiB, and as
    // the last bytes of a region with nothing behind it.
    for table in [
        BORDER - 16,
        BORDER - 24,
        BORDER - 1,
        8 * MIB + 1,
        4096 * MIB,
        96 * MIB - 48,
    ] {
        let pieces = q.lay_out(IN, 6, &[], 512);
        let head = q.indirect(0, &[], table, &pieces, 0);
        assert_eq!(
            (q.complete(head), q.status()),
            (513, OK),
            "table at {table:#x}"
        );
        assert_eq!(q.mem.read(q.area(DATA), 512), data);
    }
}

#[test]
fn every_buffer_of_a_long_chain_may_cross_a_border() {
    let ramblk = Ramblk::run(&[]);
    for (size, buffers) in [(128, 126), (256, 254)] {
        let mut disk = Disk::attach_with(ramblk.socket(), ALL, 1, size);
        let q = disk.q();
        let data = pattern(512, 3);
        q.lay_out(OUT, 0, &[], 0);
        q.mem.write(BORDER - 256, &data);
        let mut pieces = vec![readable_at(q.area(HEADER), 16)];
        pieces.extend(vec![readable_at(BORDER - 256, 512); buffers]);
        pieces.push(writable_at(q.area(STATUS), 1));
        let head = q.direct(0, &pieces);
        assert_eq!((q.complete(head), q.status()), (1, OK), "{buffers} buffers");
        assert_eq!(q.read(0, 512 * buffers), Ok(data.repeat(buffers)));
    }
}
