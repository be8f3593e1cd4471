//! What each request means (virtio 1.3 §5.2.6): statuses, used lengths, and the bytes themselves.

use crate::driver::data::pattern;
use crate::driver::disk::{ALL, DATA, Disk, Reply, encode, segment};
use crate::driver::kind::{DISCARD, FLUSH, GET_ID, IN, OUT, WRITE_ZEROES};
use crate::driver::ring::{readable_at, writable_at};
use crate::driver::status::{IOERR, OK, UNSUPP};
use crate::harness::Ramblk;

/// Sectors of the disk of `Ramblk::run`.
const CAPACITY: u64 = 64 * 2048;

fn attach(arguments: &[&str]) -> (Ramblk, Disk) {
    let ramblk = Ramblk::run(arguments);
    let disk = Disk::attach(ramblk.socket());
    (ramblk, disk)
}

/// The sectors to try, and whether the sector is inside the disk.
const PLACES: [(u64, bool); 9] = [
    (0, true),
    (1, true),
    (CAPACITY - 1, true),
    (CAPACITY, false),
    (CAPACITY + 1, false),
    (1 << 54, false),
    (1 << 55, false),
    (u64::MAX >> 9, false),
    (u64::MAX, false),
];

/// A reply without data.
fn bare(status: u8, len: u32) -> Reply {
    Reply {
        status,
        len,
        data: Vec::new(),
    }
}

#[test]
fn the_capacity_is_in_units_of_512_bytes_whatever_the_block_size() {
    for size in ["512", "4096"] {
        let (_ramblk, disk) = attach(&["--block-size", size]);
        assert_eq!(disk.capacity(), CAPACITY);
    }
}

#[test]
fn a_read_is_bounded_by_the_capacity_at_every_sector() {
    for mode in [&[][..], &["--read-only"]] {
        let (_ramblk, mut disk) = attach(mode);
        for (sector, inside) in PLACES {
            let reply = disk.q().request(IN, sector, &[], 512);
            let expected = if inside {
                Reply {
                    status: OK,
                    len: 513,
                    data: vec![0; 512],
                }
            } else {
                // Only the status was written, and the buffer doesn't begin with it, so virtio 1.3
                // §2.7.8.2 allows no length but 0.
                Reply {
                    status: IOERR,
                    len: 0,
                    data: vec![0xdd; 512],
                }
            };
            assert_eq!(reply, expected, "sector {sector:#x} {mode:?}");
        }
    }
}

#[test]
fn a_write_is_bounded_by_the_capacity_at_every_sector() {
    let (_ramblk, mut disk) = attach(&[]);
    for (sector, inside) in PLACES {
        let data = pattern(512, sector as u8);
        let reply = disk.q().request(OUT, sector, &data, 0);
        let status = if inside { OK } else { IOERR };
        assert_eq!(
            reply,
            Reply {
                status,
                len: 1,
                data: vec![]
            },
            "sector {sector:#x}"
        );
        if inside {
            assert_eq!(disk.q().read(sector, 512), Ok(data), "sector {sector:#x}");
        }
    }
}

#[test]
fn a_write_at_sector_2_to_the_55_is_no_alias_of_sector_0() {
    let (_ramblk, mut disk) = attach(&[]);
    for sector in [1 << 55, 1 << 56, 1 << 63, (1 << 55) + 8] {
        assert_eq!(disk.q().write(sector, &pattern(4096, 7)), Err(IOERR));
    }
    assert_eq!(disk.q().read(0, 65536), Ok(vec![0; 65536]));
}

#[test]
fn a_request_that_only_begins_inside_the_disk_moves_nothing() {
    let (_ramblk, mut disk) = attach(&[]);
    let before = pattern(512, 3);
    disk.q().write(CAPACITY - 1, &before).unwrap();
    assert_eq!(disk.q().write(CAPACITY - 1, &pattern(1024, 9)), Err(IOERR));
    let reply = disk.q().request(IN, CAPACITY - 1, &[], 1024);
    assert_eq!(
        reply,
        Reply {
            status: IOERR,
            len: 0,
            data: vec![0xdd; 1024]
        }
    );
    assert_eq!(disk.q().read(CAPACITY - 1, 512), Ok(before));
}

#[test]
fn a_read_only_disk_refuses_writes_at_every_sector_and_keeps_its_bytes() {
    let (_ramblk, mut disk) = attach(&["--read-only"]);
    for (sector, _) in PLACES {
        // §5.2.6.2: IOERR, and MUST NOT write.
        let reply = disk.q().request(OUT, sector, &pattern(512, 1), 0);
        assert_eq!(reply, bare(IOERR, 1), "sector {sector:#x}");
    }
    assert_eq!(disk.q().read(0, 1024), Ok(vec![0; 1024]));
    assert_eq!(disk.q().read(CAPACITY - 1, 512), Ok(vec![0; 512]));
    assert_eq!(disk.q().flush(), Ok(()));
}

#[test]
fn a_read_only_disk_is_so_even_when_the_driver_did_not_accept_the_feature() {
    let ramblk = Ramblk::run(&["--read-only"]);
    let features = ALL & !crate::driver::feature::RO;
    let mut disk = Disk::attach_with(ramblk.socket(), features, 1, 256);
    assert_eq!(disk.q().write(0, &pattern(512, 1)), Err(IOERR));
    assert_eq!(disk.q().read(0, 512), Ok(vec![0; 512]));
}

#[test]
fn discard_and_write_zeroes_do_not_succeed_on_a_read_only_disk() {
    let image = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(image.path(), pattern(1 << 20, 5)).unwrap();
    let path = image.path().to_str().unwrap();
    let (_ramblk, mut disk) = attach(&["--read-only", "--image", path]);
    for kind in [DISCARD, WRITE_ZEROES] {
        let reply = disk.q().request(kind, 0, &encode(&[segment(0, 64, 0)]), 0);
        assert_eq!(reply, bare(IOERR, 1), "type {kind}");
    }
    assert_eq!(disk.q().read(0, 1 << 20), Ok(pattern(1 << 20, 5)));
}

#[test]
fn data_whose_length_is_not_a_multiple_of_512_is_an_error() {
    let (_ramblk, mut disk) = attach(&[]);
    for len in [1usize, 511, 513, 1000, 4095, 4097] {
        assert_eq!(
            disk.q().write(0, &pattern(len, 2)),
            Err(IOERR),
            "write of {len}"
        );
        let reply = disk.q().request(IN, 0, &[], len);
        assert_eq!(
            reply,
            Reply {
                status: IOERR,
                len: 0,
                data: vec![0xdd; len]
            },
            "read of {len}"
        );
    }
    assert_eq!(disk.q().read(0, 8192), Ok(vec![0; 8192]));
}

#[test]
fn reads_and_writes_of_no_data_succeed() {
    let (_ramblk, mut disk) = attach(&[]);
    for kind in [IN, OUT] {
        for sector in [0, CAPACITY - 1, CAPACITY] {
            let reply = disk.q().request(kind, sector, &[], 0);
            assert_eq!(reply, bare(OK, 1), "type {kind} at {sector}");
        }
    }
}

#[test]
fn a_read_says_how_much_it_wrote() {
    let (_ramblk, mut disk) = attach(&[]);
    for len in [512usize, 4096, 4608, 65536, 1 << 20] {
        let data = pattern(len, 11);
        disk.q().write(5, &data).unwrap();
        let reply = disk.q().request(IN, 5, &[], len);
        assert_eq!(
            reply,
            Reply {
                status: OK,
                len: len as u32 + 1,
                data
            }
        );
    }
}

#[test]
fn reads_of_what_was_never_written_give_zeros() {
    let (_ramblk, mut disk) = attach(&[]);
    disk.q().write(8, &pattern(512, 1)).unwrap();
    let data = disk.q().read(0, 16 * 512).unwrap();
    assert!(
        data[..8 * 512]
            .iter()
            .chain(&data[9 * 512..])
            .all(|b| *b == 0)
    );
}

#[test]
fn bytes_before_the_data_of_a_write_and_behind_it_stay() {
    let (_ramblk, mut disk) = attach(&[]);
    disk.q().write(0, &pattern(32 * 512, 1)).unwrap();
    disk.q().write(7, &pattern(9 * 512, 77)).unwrap();
    let mut expected = pattern(32 * 512, 1);
    expected[7 * 512..16 * 512].copy_from_slice(&pattern(9 * 512, 77));
    assert_eq!(disk.q().read(0, 32 * 512), Ok(expected));
}

#[test]
fn device_writable_bytes_behind_a_write_are_left_alone() {
    let (_ramblk, mut disk) = attach(&[]);
    let reply = disk.q().request(OUT, 0, &pattern(512, 4), 100);
    assert_eq!((reply.status, reply.data), (OK, vec![0xdd; 100]));
    assert_eq!(disk.q().read(0, 512), Ok(pattern(512, 4)));
}

#[test]
fn a_flush_succeeds_whatever_its_sector_and_data_are() {
    let (_ramblk, mut disk) = attach(&[]);
    for sector in [0, 1, CAPACITY, 1 << 55, u64::MAX] {
        for data in [&[][..], &[1], &[0; 512]] {
            let reply = disk.q().request(FLUSH, sector, data, 0);
            assert_eq!(reply, bare(OK, 1));
        }
    }
}

#[test]
fn the_serial_is_cut_to_the_buffer_and_padded_with_zeros_to_20_bytes() {
    for serial in ["ab-12", "exactly-twenty-bytes"] {
        let (_ramblk, mut disk) = attach(&["--serial", serial]);
        let mut padded = serial.as_bytes().to_vec();
        padded.resize(20, 0);
        for len in [1usize, 19, 20, 64] {
            let reply = disk.q().request(GET_ID, 0, &[], len);
            let given = len.min(20);
            let mut data = padded[..given].to_vec();
            data.resize(len, 0xdd);
            assert_eq!(
                reply,
                Reply {
                    status: OK,
                    // The status counts if nothing lies between it and the serial.
                    len: given as u32 + u32::from(len <= 20),
                    data
                },
                "{len} bytes"
            );
        }
    }
}

#[test]
fn a_serial_without_room_for_it_is_an_error() {
    let (_ramblk, mut disk) = attach(&["--serial", "ab"]);
    let reply = disk.q().request(GET_ID, 0, &[], 0);
    assert_eq!(reply, bare(IOERR, 1));
}

#[test]
fn the_sector_of_a_serial_request_is_ignored() {
    let (_ramblk, mut disk) = attach(&["--serial", "ab"]);
    let reply = disk.q().request(GET_ID, u64::MAX, &[], 20);
    assert_eq!((reply.status, &reply.data[..3]), (OK, &b"ab\0"[..]));
}

#[test]
fn a_disk_has_a_serial_even_if_none_was_given() {
    // With an empty string the guest would have no link in /dev/disk/by-id.
    let (_ramblk, mut disk) = attach(&[]);
    let reply = disk.q().request(GET_ID, 0, &[], 20);
    assert_eq!((reply.status, reply.len), (OK, 21));
    assert_ne!(reply.data[0], 0);
}

#[test]
fn types_that_this_device_does_not_have_are_unsupported() {
    let (_ramblk, mut disk) = attach(&[]);
    // SCSI, FLUSH_OUT, GET_LIFETIME, SECURE_ERASE, zones, holes between them, the legacy barrier
    // bit.
    let fixed = [
        2,
        3,
        5,
        6,
        7,
        9,
        10,
        12,
        14,
        99,
        0x100,
        0x8000_0000,
        0x8000_0001,
        u32::MAX,
    ];
    for kind in (15..=28).chain(fixed) {
        for data in [&[][..], &[0; 512]] {
            let reply = disk.q().request(kind, 0, data, 0);
            assert_eq!(reply, bare(UNSUPP, 1), "type {kind:#x}");
        }
        let reply = disk.q().request(kind, 0, &[], 512);
        assert_eq!(
            (reply.status, reply.data),
            (UNSUPP, vec![0xdd; 512]),
            "type {kind:#x}"
        );
    }
    assert_eq!(disk.q().read(0, 512), Ok(vec![0; 512]));
}

#[test]
fn a_disk_with_4096_byte_blocks_serves_single_sectors() {
    // A front end that never saw BLK_SIZE (Firecracker) uses units of 512 bytes.
    let (_ramblk, mut disk) = attach(&["--block-size", "4096"]);
    disk.q().write(3, &pattern(512, 9)).unwrap();
    disk.q().write(11, &pattern(1024, 10)).unwrap();
    let mut expected = vec![0; 16 * 512];
    expected[3 * 512..4 * 512].copy_from_slice(&pattern(512, 9));
    expected[11 * 512..13 * 512].copy_from_slice(&pattern(1024, 10));
    assert_eq!(disk.q().read(0, 16 * 512), Ok(expected));
    assert_eq!(disk.q().read(3, 512), Ok(pattern(512, 9)));
    disk.q().write_zeroes(&[segment(12, 1, 0)]).unwrap();
    assert_eq!(
        disk.q().read(11, 512),
        Ok(pattern(1024, 10)[..512].to_vec())
    );
    assert_eq!(disk.q().read(12, 512), Ok(vec![0; 512]));
}

#[test]
fn discarding_parts_of_blocks_on_a_disk_with_4096_byte_blocks_spares_the_neighbours() {
    let (_ramblk, mut disk) = attach(&["--block-size", "4096"]);
    let before = pattern(32 * 512, 3);
    disk.q().write(0, &before).unwrap();
    // From the middle of the first block to the middle of the third.
    disk.q().discard(&[segment(5, 14, 0)]).unwrap();
    let after = disk.q().read(0, 32 * 512).unwrap();
    assert_eq!(after[..5 * 512], before[..5 * 512]);
    assert_eq!(after[19 * 512..], before[19 * 512..]);
    // Whole blocks are zero now. For the rest a discard promises nothing (virtio 1.3 §5.2.6.2: the
    // device MAY deallocate), but each sector is either unchanged or zero.
    assert_eq!(after[8 * 512..16 * 512], [0; 8 * 512]);
    for sector in (5..8).chain(16..19) {
        let (now, old) = (
            &after[sector * 512..][..512],
            &before[sector * 512..][..512],
        );
        assert!(now == old || now.iter().all(|b| *b == 0), "sector {sector}");
    }
}

#[test]
fn what_one_front_end_wrote_the_next_one_reads() {
    let ramblk = Ramblk::run(&[]);
    for round in 0..20 {
        let mut disk = Disk::attach(ramblk.socket());
        if round > 0 {
            assert_eq!(disk.q().read(0, 4096), Ok(pattern(4096, round - 1)));
        }
        disk.q().write(0, &pattern(4096, round)).unwrap();
    }
}

#[test]
fn a_write_from_and_a_read_into_many_small_buffers_keep_their_order() {
    let (_ramblk, mut disk) = attach(&[]);
    let data = pattern(126 * 512, 8);
    let q = disk.q();
    // 126 is the seg_max of the device.
    let pieces = q.lay_out(OUT, 40, &data, 0);
    let mut chain = vec![pieces[0]];
    chain.extend((0..126).map(|i| readable_at(q.area(DATA) + i * 512, 512)));
    chain.push(pieces[2]);
    q.direct(0, &chain);
    assert_eq!((q.complete(0), q.status()), (1, OK));
    let pieces = q.lay_out(IN, 40, &[], data.len());
    let mut chain = vec![pieces[0]];
    chain.extend(
        (0..126)
            .rev()
            .map(|i| writable_at(q.area(DATA) + i * 512, 512)),
    );
    chain.push(pieces[2]);
    q.direct(0, &chain);
    assert_eq!((q.complete(0), q.status()), (126 * 512 + 1, OK));
    let read = q.mem.read(q.area(DATA), data.len());
    let backwards: Vec<u8> = data.chunks(512).rev().flatten().copied().collect();
    assert_eq!(read, backwards);
}

#[test]
fn the_reserved_field_of_the_header_is_ignored() {
    let (_ramblk, mut disk) = attach(&[]);
    let data = pattern(512, 8);
    let q = disk.q();
    let pieces = q.lay_out(OUT, 40, &data, 0);
    // Legacy drivers put an I/O priority there.
    q.mem.write(pieces[0].addr + 4, &[0xff; 4]);
    q.direct(0, &pieces);
    assert_eq!((q.complete(0), q.status()), (1, OK));
    assert_eq!(q.read(40, 512), Ok(data));
}
