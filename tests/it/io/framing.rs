//! A request may be cut into descriptors in any way (virtio 1.3 §2.7.4): the same bytes mean the
//! same, whatever the pieces are and wherever in memory they lie.

use crate::driver::data::{Random, pattern, seed};
use crate::driver::disk::{
    ALL, DATA, Disk, HEADER, STATUS, TABLE, all_ways, encode, request_header, segment,
};
use crate::driver::kind::{DISCARD, FLUSH, GET_ID, IN, OUT};
use crate::driver::memory::MIB;
use crate::driver::ring::{INDIRECT, NEXT, Piece, WRITE, cut, readable_at, writable_at};
use crate::driver::status::{IOERR, OK};
use crate::harness::Ramblk;

/// Where the first region of memory ends and the second begins.
const BORDER: u64 = 64 * MIB;

fn attach() -> (Ramblk, Disk) {
    let ramblk = Ramblk::run(&[]);
    let disk = Disk::attach_with(ramblk.socket(), ALL, 1, 1024);
    (ramblk, disk)
}

/// Cuts of the 16 bytes of a header.
fn header_cuts() -> Vec<Vec<u32>> {
    let mut cuts = vec![
        vec![16],
        vec![8, 8],
        vec![4; 4],
        vec![1; 16],
        vec![0, 16, 0],
        vec![5, 0, 11],
    ];
    cuts.extend((1..16).map(|at| vec![at, 16 - at]));
    cuts
}

#[test]
fn a_header_may_be_split_anywhere() {
    let (_ramblk, mut disk) = attach();
    for (i, lens) in header_cuts().iter().enumerate() {
        let data = pattern(512, i as u8);
        let q = disk.q();
        q.lay_out(OUT, 9, &data, 0);
        let mut pieces = cut(q.area(HEADER), lens, false);
        pieces.push(readable_at(q.area(DATA), 512));
        pieces.push(writable_at(q.area(STATUS), 1));
        all_ways(q, &pieces, |q, len, way| {
            assert_eq!((q.status(), len), (OK, 1), "{lens:?} {way}")
        });
        q.lay_out(IN, 9, &[], 512);
        let mut pieces = cut(q.area(HEADER), lens, false);
        pieces.push(writable_at(q.area(DATA), 512));
        pieces.push(writable_at(q.area(STATUS), 1));
        all_ways(q, &pieces, |q, len, way| {
            assert_eq!((q.status(), len), (OK, 513), "{lens:?} {way}");
            assert_eq!(q.mem.read(q.area(DATA), 512), data, "{lens:?} {way}");
            q.mem.fill(q.area(DATA), 512, 0);
        });
    }
}

#[test]
fn header_and_data_may_share_a_descriptor() {
    let (_ramblk, mut disk) = attach();
    let data = pattern(1024, 3);
    let q = disk.q();
    let together = [request_header(OUT, 20), data.clone()].concat();
    q.mem.write(q.area(DATA), &together);
    for lens in [
        vec![1040],
        vec![17, 1023],
        vec![15, 1025],
        vec![8, 600, 432],
    ] {
        let mut pieces = cut(q.area(DATA), &lens, false);
        pieces.push(writable_at(q.area(STATUS), 1));
        all_ways(q, &pieces, |q, len, _| {
            assert_eq!((q.status(), len), (OK, 1), "{lens:?}")
        });
        assert_eq!(q.read(20, 1024), Ok(data.clone()));
        q.write(20, &[0; 1024]).unwrap();
        q.mem.write(q.area(DATA), &together);
    }
    q.write(20, &data).unwrap();
    let together = [request_header(DISCARD, 0), encode(&[segment(20, 2, 0)])].concat();
    q.mem.write(q.area(DATA), &together);
    let pieces = [
        readable_at(q.area(DATA), 32),
        writable_at(q.area(STATUS), 1),
    ];
    all_ways(q, &pieces, |q, len, _| {
        assert_eq!((q.status(), len), (OK, 1))
    });
    assert_eq!(q.read(20, 1024), Ok(vec![0; 1024]));
}

#[test]
fn the_status_may_share_a_descriptor_with_the_data() {
    let (_ramblk, mut disk) = attach();
    let data = pattern(512, 3);
    disk.q().write(4, &data).unwrap();
    let q = disk.q();
    q.lay_out(IN, 4, &[], 513);
    for lens in [
        vec![513],
        vec![1, 512],
        vec![511, 2],
        vec![512, 1],
        vec![0, 513, 0],
    ] {
        let mut pieces = vec![readable_at(q.area(HEADER), 16)];
        pieces.extend(cut(q.area(DATA), &lens, true));
        all_ways(q, &pieces, |q, len, way| {
            assert_eq!(len, 513, "{lens:?} {way}");
            assert_eq!(
                q.mem.read(q.area(DATA), 513),
                [&data[..], &[OK]].concat(),
                "{lens:?} {way}"
            );
            q.mem.fill(q.area(DATA), 513, 0xdd);
        });
    }
}

#[test]
fn the_status_of_a_failed_read_is_the_last_byte_even_when_it_shares_a_descriptor() {
    let (_ramblk, mut disk) = attach();
    let q = disk.q();
    q.lay_out(IN, u64::MAX, &[], 513);
    let pieces = [
        readable_at(q.area(HEADER), 16),
        writable_at(q.area(DATA), 513),
    ];
    all_ways(q, &pieces, |q, len, _| {
        assert_eq!(len, 0);
        assert_eq!(
            q.mem.read(q.area(DATA), 513),
            [&[0xdd; 512][..], &[IOERR]].concat()
        );
        q.mem.fill(q.area(DATA), 513, 0xdd);
    });
}

#[test]
fn every_descriptor_may_be_a_single_byte() {
    let (_ramblk, mut disk) = attach();
    let data = pattern(512, 6);
    let q = disk.q();
    q.lay_out(OUT, 1, &data, 0);
    let mut pieces = cut(q.area(HEADER), &[1; 16], false);
    pieces.extend(cut(q.area(DATA), &[1; 512], false));
    pieces.push(writable_at(q.area(STATUS), 1));
    all_ways(q, &pieces, |q, len, way| {
        assert_eq!((q.status(), len), (OK, 1), "{way}")
    });
    q.lay_out(IN, 1, &[], 512);
    let mut pieces = cut(q.area(HEADER), &[1; 16], false);
    pieces.extend(cut(q.area(DATA), &[1; 512], true));
    pieces.push(writable_at(q.area(STATUS), 1));
    all_ways(q, &pieces, |q, len, way| {
        assert_eq!((q.status(), len), (OK, 513), "{way}");
        assert_eq!(q.mem.read(q.area(DATA), 512), data, "{way}");
        q.mem.fill(q.area(DATA), 512, 0);
    });
}

#[test]
fn descriptors_without_a_byte_change_nothing_in_any_position() {
    let (_ramblk, mut disk) = attach();
    let data = pattern(1024, 6);
    disk.q().write(1, &data).unwrap();
    let q = disk.q();
    for at in 0..=6 {
        for count in [1, 3] {
            q.lay_out(IN, 1, &[], 1024);
            let mut pieces = cut(q.area(HEADER), &[8, 8], false);
            pieces.extend(cut(q.area(DATA), &[512, 512], true));
            pieces.push(writable_at(q.area(STATUS), 1));
            let at = at.min(pieces.len());
            // Readable before the header's end, writable after it: this keeps the order of
            // §2.7.4.2.
            let empty = Piece {
                addr: q.area(DATA),
                len: 0,
                writable: at >= 2,
            };
            pieces.splice(at..at, vec![empty; count]);
            all_ways(q, &pieces, |q, len, way| {
                assert_eq!((q.status(), len), (OK, 1025), "{count} at {at}, {way}");
                assert_eq!(
                    q.mem.read(q.area(DATA), 1024),
                    data,
                    "{count} at {at}, {way}"
                );
                q.mem.fill(q.area(DATA), 1024, 0);
            });
        }
    }
}

#[test]
fn any_number_of_direct_descriptors_may_come_before_an_indirect_one() {
    let (_ramblk, mut disk) = attach();
    let q = disk.q();
    for direct in [0, 1, 2, 15, 16, 17, 60, 100] {
        let data = pattern(512, direct as u8);
        q.lay_out(OUT, 2, &data, 0);
        let mut pieces = cut(q.area(HEADER), &[1; 16], false);
        pieces.extend(cut(q.area(DATA), &[8; 64], false));
        pieces.extend(cut(q.area(DATA), &[0; 40], false));
        pieces.push(writable_at(q.area(STATUS), 1));
        let (first, rest) = pieces.split_at(direct);
        let head = q.indirect(3, first, q.area(TABLE), rest, 0);
        assert_eq!((q.complete(head), q.status()), (1, OK), "{direct} before");
        assert_eq!(q.read(2, 512), Ok(data), "{direct} before");
    }
}

#[test]
fn a_chain_may_use_the_descriptors_of_the_table_in_any_order() {
    let (_ramblk, mut disk) = attach();
    let data = pattern(512, 5);
    let q = disk.q();
    let pieces = q.lay_out(OUT, 6, &data, 0);
    q.set_desc(1023, pieces[0].addr, 16, NEXT, 500);
    q.set_desc(500, pieces[1].addr, 512, NEXT, 0);
    q.set_desc(0, pieces[2].addr, 1, WRITE, 0);
    assert_eq!((q.complete(1023), q.status()), (1, OK));
    // The same in an indirect table: it starts at entry 0 and continues backwards.
    let pieces = q.lay_out(IN, 6, &[], 512);
    let table = q.area(TABLE);
    q.write_desc(table, pieces[0].addr, 16, NEXT, 9);
    q.write_desc(table + 16 * 9, pieces[1].addr, 512, NEXT | WRITE, 4);
    q.write_desc(table + 16 * 4, pieces[2].addr, 1, WRITE, 0xffff);
    q.set_desc(4, table, 160, INDIRECT, 0xffff);
    assert_eq!((q.complete(4), q.status()), (513, OK));
    assert_eq!(q.mem.read(q.area(DATA), 512), data);
}

#[test]
fn the_serial_is_spread_over_small_buffers() {
    let ramblk = Ramblk::run(&["--serial", "abcdefghijklmnopqrst"]);
    let mut disk = Disk::attach(ramblk.socket());
    let q = disk.q();
    for lens in [
        vec![1; 20],
        vec![7, 7, 6],
        vec![19, 1],
        vec![0, 20],
        vec![21],
        vec![3, 18],
    ] {
        // The status is the last byte, in a descriptor of its own or at the end of the data.
        let total: u32 = lens.iter().sum();
        q.lay_out(GET_ID, 0, &[], 21);
        let mut pieces = vec![readable_at(q.area(HEADER), 16)];
        pieces.extend(cut(q.area(DATA), &lens, true));
        if total == 20 {
            pieces.push(writable_at(q.area(DATA) + 20, 1));
        }
        all_ways(q, &pieces, |q, len, _| {
            assert_eq!(len, 21, "{lens:?}");
            assert_eq!(
                q.mem.read(q.area(DATA), 21),
                b"abcdefghijklmnopqrst\0",
                "{lens:?}"
            );
        });
    }
}

#[test]
fn a_flush_needs_no_more_than_a_header_and_a_status() {
    let (_ramblk, mut disk) = attach();
    let q = disk.q();
    q.lay_out(FLUSH, 0, &[], 0);
    for lens in header_cuts() {
        let mut pieces = cut(q.area(HEADER), &lens, false);
        pieces.push(writable_at(q.area(STATUS), 1));
        all_ways(q, &pieces, |q, len, _| {
            assert_eq!((q.status(), len), (OK, 1), "{lens:?}")
        });
    }
}

#[test]
fn discard_segments_may_be_cut_like_everything_else() {
    let (_ramblk, mut disk) = attach();
    let q = disk.q();
    let segments: Vec<_> = (0..20).map(|i| segment(2 * i, 1, 0)).collect();
    let payload = encode(&segments);
    for lens in [vec![1; 320], vec![7; 45], vec![100, 100, 115], vec![315]] {
        let before = pattern(40 * 512, 1);
        q.write(0, &before).unwrap();
        q.lay_out(DISCARD, 0, &payload, 0);
        let short = 320 - lens.iter().sum::<u32>();
        let mut pieces = vec![readable_at(q.area(HEADER), 16)];
        pieces.extend(cut(q.area(DATA), &lens, false));
        pieces.push(readable_at(q.area(DATA) + u64::from(320 - short), short));
        pieces.push(writable_at(q.area(STATUS), 1));
        q.direct(0, &pieces);
        assert_eq!((q.complete(0), q.status()), (1, OK), "{lens:?}");
        let mut expected = before;
        (0..20).for_each(|i| expected[1024 * i..1024 * i + 512].fill(0));
        assert_eq!(q.read(0, 40 * 512), Ok(expected), "{lens:?}");
    }
}

#[test]
fn random_cuts_of_random_requests_move_the_right_bytes() {
    let seed = seed();
    let mut random = Random::new(seed);
    let mut below = |end: u64| random.below(end) as u32;
    let (_ramblk, mut disk) = attach();
    let q = disk.q();
    for round in 0..400u16 {
        let sectors = 1 + below(16);
        let (len, sector) = (sectors * 512, u64::from(below(1000)));
        let mut pieces_of = |total: u32| {
            let (mut lens, mut rest) = (Vec::new(), total);
            while rest > 0 {
                let most = if below(3) == 0 { 17 } else { 3000 };
                lens.push(below(most).min(rest));
                rest -= lens[lens.len() - 1];
                if lens.len() == 40 {
                    lens.push(std::mem::take(&mut rest));
                }
            }
            lens
        };
        let start = BORDER - u64::from(len) / 2 - 8;
        let data = pattern(len as usize, (round % 256) as u8);
        q.mem
            .write(start, &[request_header(OUT, sector), data.clone()].concat());
        let mut pieces = cut(start, &pieces_of(16 + len), false);
        pieces.push(writable_at(q.area(STATUS), 1));
        all_ways(q, &pieces, |q, len, way| {
            assert_eq!((q.status(), len), (OK, 1), "{way}, RAMBLK_SEED={seed}");
        });
        q.mem.fill(start, len as usize + 1, 0xdd);
        q.mem.write(q.area(HEADER), &request_header(IN, sector));
        let mut pieces = cut(q.area(HEADER), &pieces_of(16), false);
        pieces.extend(cut(start, &pieces_of(len + 1), true));
        let expected = [&data[..], &[OK]].concat();
        all_ways(q, &pieces, |q, used, way| {
            assert_eq!(used, len + 1, "{way}, RAMBLK_SEED={seed}");
            let got = q.mem.read(start, len as usize + 1);
            assert!(got == expected, "{way}, round {round}, RAMBLK_SEED={seed}");
        });
    }
}
