//! The device's answers, whatever the request and however it is cut into descriptors: the rules of
//! virtio 1.3 §5.2 without a ring around them.

mod as_nbd;
mod batch;
mod faults;
mod limits;
mod long;
mod rig;
mod turns;

use std::num::NonZeroU16;

use ramblk::device::{BlockDevice, CONFIG_BYTES, MAX_DISCARD_SECTORS, Serial};
use ramblk::store::{DiskSpec, SectorSize, Sink, Source, Store};

use rig::*;

#[test]
fn the_header_may_be_cut_at_every_byte() {
    let rig = Rig::new(false);
    let data = noise(1024);
    let request = write(8, &data);
    for first in 0..=request.len().min(40) {
        for second in [first, first + 1, first + 8, 16, 500, 528, 1039] {
            let second = second.max(first);
            rig.disk().discard(0, SECTORS).unwrap();
            let answer = rig.ask_cut(ACKED, &request, 0, &[first, second]);
            assert_eq!(
                (answer.status, answer.used),
                (OK, 1),
                "cut at {first} and {second}"
            );
            let read = rig.ask_cut(ACKED, &header(IN, 8), 1024, &[first, second]);
            assert_eq!(
                read,
                Answer {
                    status: OK,
                    used: 1025,
                    data: data.clone()
                }
            );
        }
    }
    let bytes: Vec<usize> = (0..request.len()).collect();
    assert_eq!(
        rig.ask_cut(ACKED, &request, 0, &bytes).status,
        OK,
        "a descriptor for each byte"
    );
}

#[test]
fn the_status_may_share_a_descriptor_with_data() {
    let rig = Rig::new(false);
    rig.ask(&write(0, &noise(512)), 0);
    assert_eq!(
        rig.ask_cut(ACKED, &header(IN, 0), 512, &[]).data,
        noise(512)
    );
    // The device must not touch bytes before the status of a write.
    let answer = rig.ask_cut(ACKED, &write(0, &noise(512)), 7, &[]);
    assert_eq!(
        answer,
        Answer {
            status: OK,
            used: 0,
            data: vec![NOTHING; 7]
        }
    );
}

#[test]
fn reads_and_writes_outside_the_disk_fail_as_a_whole() {
    let rig = Rig::new(false);
    for (sector, len, status) in [
        (0, 512, OK),
        (SECTORS - 1, 512, OK),
        (SECTORS, 512, IOERR),
        (SECTORS - 1, 1024, IOERR),
        (SECTORS + 1, 512, IOERR),
        (1 << 55, 512, IOERR),
        ((1 << 55) + 1, 512, IOERR),
        (u64::MAX, 512, IOERR),
        (0, 511, IOERR),
        (0, 513, IOERR),
        (0, 1, IOERR),
        (SECTORS, 0, OK),
        (SECTORS + 1, 0, IOERR),
    ] {
        rig.disk().discard(0, SECTORS).unwrap();
        let answer = rig.ask(&header(IN, sector), len);
        assert_eq!(answer.status, status, "read {len} at {sector}");
        let used = if status == OK || len == 0 {
            u32::try_from(len).unwrap() + 1
        } else {
            0
        };
        assert_eq!(answer.used, used);
        if status != OK {
            assert!(
                answer.data.iter().all(|&byte| byte == NOTHING),
                "nothing is copied"
            );
        }
        let answer = rig.ask(&write(sector, &noise(len)), 0);
        assert_eq!(
            (answer.status, answer.used),
            (status, 1),
            "write {len} at {sector}"
        );
        let mapped = rig.disk().get_info().unwrap().mapped_bytes;
        assert_eq!(mapped, if status == OK { len as u64 } else { 0 });
    }
}

#[test]
fn a_read_only_device_refuses_every_change_with_an_io_error() {
    let rig = Rig::new(true);
    assert_ne!(rig.device.features() & 1 << 5, 0, "RO is offered");
    rig.disk().write(0, &[&noise(512)]).unwrap();
    assert_eq!(rig.status(&write(0, &[0; 512])), IOERR);
    assert_eq!(rig.status(&ranges(DISCARD, &[(0, 1, 0)])), IOERR);
    assert_eq!(rig.status(&ranges(WRITE_ZEROES, &[(0, 1, 1)])), IOERR);
    assert_eq!(rig.status(&header(FLUSH, 0)), OK);
    assert_eq!(rig.ask(&header(IN, 0), 512).data, noise(512));
}

#[test]
fn flush_is_ok_whatever_its_sector_says() {
    let rig = Rig::new(false);
    for sector in [0, 1, u64::MAX] {
        assert_eq!(rig.status(&header(FLUSH, sector)), OK);
    }
}

#[test]
fn get_id_gives_as_much_of_the_serial_as_fits() {
    let rig = Rig::new(false);
    for (len, status, used) in [
        (0, IOERR, 1),
        (1, OK, 2),
        (19, OK, 20),
        (20, OK, 21),
        // The bytes between serial and status were not written, so they don't count.
        (64, OK, 20),
    ] {
        let answer = rig.ask(&header(GET_ID, 0), len);
        assert_eq!((answer.status, answer.used), (status, used), "{len}");
        let n = len.min(20);
        assert_eq!(answer.data[..n], b"serial-of-20-bytes-x"[..n]);
    }
    let disk = rig.store.open("disk").unwrap();
    let queues = NonZeroU16::new(1).unwrap();
    let device = BlockDevice::new(disk, Serial::new("short").unwrap(), queues);
    let rig = Rig {
        store: rig.store,
        device,
    };
    assert_eq!(
        rig.ask(&header(GET_ID, 0), 20).data,
        b"short\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
    );
}

#[test]
fn unknown_and_legacy_types_are_unsupported() {
    let rig = Rig::new(false);
    for kind in [
        2,
        3,
        5,
        6,
        7,
        9,
        10,
        12,
        14,
        15,
        16,
        18,
        20,
        22,
        24,
        26,
        27,
        0x8000_0000,
        u32::MAX,
    ] {
        assert_eq!(rig.status(&header(kind, 0)), UNSUPP, "{kind}");
        let answer = rig.ask(&header(kind, 0), 512);
        assert_eq!(
            (answer.status, answer.used),
            (UNSUPP, 0),
            "{kind} with room for data"
        );
    }
}

#[test]
fn what_was_not_negotiated_is_unsupported() {
    let rig = Rig::new(false);
    let discard = ranges(DISCARD, &[(0, 1, 0)]);
    let zeroes = ranges(WRITE_ZEROES, &[(0, 1, 0)]);
    assert_eq!(rig.ask_cut(1 << 14, &discard, 0, &[16]).status, UNSUPP);
    assert_eq!(rig.ask_cut(1 << 13, &zeroes, 0, &[16]).status, UNSUPP);
    assert_eq!((rig.status(&discard), rig.status(&zeroes)), (OK, OK));
}

#[test]
fn unknown_flags_are_unsupported_even_beside_a_wrong_range() {
    let rig = Rig::new(false);
    for flags in [0, 1, 2, 3, 0x8000_0000] {
        let known = if flags == 0 { OK } else { UNSUPP };
        assert_eq!(
            rig.status(&ranges(DISCARD, &[(0, 1, flags)])),
            known,
            "discard {flags:#x}"
        );
        let known = if flags <= 1 { OK } else { UNSUPP };
        let zeroes = ranges(WRITE_ZEROES, &[(0, 1, flags)]);
        assert_eq!(rig.status(&zeroes), known, "write zeroes {flags:#x}");
    }
    let both = ranges(WRITE_ZEROES, &[(SECTORS, 1, 0), (0, 1, 2)]);
    assert_eq!(rig.status(&both), UNSUPP);
}

#[test]
fn the_number_and_length_of_ranges_have_limits() {
    let rig = Rig::new(false);
    for kind in [DISCARD, WRITE_ZEROES] {
        for (count, status) in [(0, IOERR), (1, OK), (2, OK), (256, OK), (257, IOERR)] {
            assert_eq!(
                rig.status(&ranges(kind, &vec![(0, 1, 0); count])),
                status,
                "{count}"
            );
        }
        for extra in [1, 8, 15] {
            let request = [ranges(kind, &[(0, 1, 0)]), vec![0; extra]].concat();
            assert_eq!(rig.status(&request), IOERR, "{extra} bytes too many");
        }
        let most = u32::try_from(SECTORS).unwrap();
        assert_eq!(rig.status(&ranges(kind, &[(0, most, 0)])), OK);
        assert_eq!(rig.status(&ranges(kind, &[(0, most + 1, 0)])), IOERR);
        assert_eq!(rig.status(&ranges(kind, &[(1, most, 0)])), IOERR);
        assert_eq!(rig.status(&ranges(kind, &[(1 << 55, 1, 0)])), IOERR);
        assert_eq!(
            rig.status(&ranges(kind, &[(SECTORS, 0, 0)])),
            OK,
            "nothing, at the end"
        );
    }
    let store = Store::new(1 << 20).unwrap();
    let disk = store
        .create("disk", &DiskSpec::new(SectorSize::S512, 8 << 40))
        .unwrap();
    let serial = Serial::new("x").unwrap();
    let rig = Rig {
        store,
        device: BlockDevice::new(disk, serial, NonZeroU16::MIN),
    };
    let at_most = ranges(DISCARD, &[(0, MAX_DISCARD_SECTORS, 0)]);
    assert_eq!(rig.status(&at_most), OK);
    let more = ranges(DISCARD, &[(0, MAX_DISCARD_SECTORS + 1, 0)]);
    assert_eq!(rig.status(&more), IOERR);
}

#[test]
fn ranges_are_all_done_or_none() {
    let rig = Rig::new(false);
    let data = noise(2048 * 512);
    rig.disk().write(0, &[&data]).unwrap();
    for kind in [DISCARD, WRITE_ZEROES] {
        assert_eq!(
            rig.status(&ranges(kind, &[(0, 8, 0), (SECTORS, 1, 0)])),
            IOERR
        );
        assert_eq!(rig.ask(&header(IN, 0), 4096).data, data[..4096]);
    }
}

#[test]
fn discarded_and_zeroed_sectors_read_zero_and_neighbours_stay() {
    for (kind, flags, mapped) in [
        (DISCARD, 0, false),
        (WRITE_ZEROES, 1, false),
        (WRITE_ZEROES, 0, true),
    ] {
        let rig = Rig::new(false);
        let data = noise(64 * 512);
        rig.ask(&write(0, &data), 0);
        assert_eq!(
            rig.status(&ranges(kind, &[(3, 2, flags), (20, 17, flags)])),
            OK
        );
        let mut expected = data.clone();
        expected[3 * 512..5 * 512].fill(0);
        expected[20 * 512..37 * 512].fill(0);
        assert_eq!(rig.ask(&header(IN, 0), 64 * 512).data, expected);
        let left = if mapped { 64 } else { 64 - 19 };
        assert_eq!(
            rig.disk().get_info().unwrap().mapped_bytes,
            left * 512,
            "{kind} {flags}"
        );
    }
}

#[test]
fn requests_of_512_bytes_are_served_on_4096_byte_blocks() {
    let rig = Rig::with(SectorSize::S4096, false);
    assert_eq!(rig.status(&write(9, &noise(512))), OK);
    let read = rig.ask(&header(IN, 8), 4096).data;
    assert_eq!(read[512..1024], noise(512));
    assert!(
        read[..512]
            .iter()
            .chain(&read[1024..])
            .all(|&byte| byte == 0)
    );
}

#[test]
fn without_a_writable_byte_nothing_is_done() {
    let rig = Rig::new(false);
    let request = write(0, &noise(512));
    let mut sources = [Source::from(request.as_slice())];
    assert_eq!(rig.device.handle(ACKED, false, &mut sources, &mut []), 0);
    let mut empty: [u8; 0] = [];
    let mut sinks = [Sink::from(&mut empty[..])];
    assert_eq!(rig.device.handle(ACKED, false, &mut sources, &mut sinks), 0);
    assert_eq!(rig.disk().get_info().unwrap().mapped_bytes, 0);
}

#[test]
fn a_short_header_and_a_damaged_request_are_io_errors() {
    let rig = Rig::new(false);
    for len in 0..16 {
        assert_eq!(
            rig.status(&header(FLUSH, 0)[..len]),
            IOERR,
            "{len} bytes of header"
        );
    }
    let request = write(0, &noise(512));
    let mut status = [NOTHING];
    let used = {
        let mut sources = [Source::from(request.as_slice())];
        let mut sinks = [Sink::from(&mut status[..])];
        rig.device.handle(ACKED, true, &mut sources, &mut sinks)
    };
    assert_eq!((status[0], used), (IOERR, 1));
    assert_eq!(rig.disk().get_info().unwrap().mapped_bytes, 0);
}

#[test]
fn the_configuration_is_answered_at_any_offset_and_length() {
    let rig = Rig::with(SectorSize::S4096, false);
    let mut all = [0xff; 256];
    rig.device.read_config(0, &mut all);
    let le = |at: usize, len: usize| (0..len).fold(0, |n, i| n | u64::from(all[at + i]) << (8 * i));
    assert_eq!(le(0, 8), SECTORS, "capacity counts 512 bytes on every disk");
    assert_eq!(
        (le(12, 4), le(20, 4), le(34, 2)),
        (126, 4096, 4),
        "seg_max, blk_size, queues"
    );
    for (limit, at) in [("discard", 36), ("discard segments", 40), ("alignment", 44)] {
        assert_ne!(le(at, 4), 0, "{limit}");
    }
    assert_eq!(
        (le(48, 4), le(52, 4), le(56, 1)),
        (u64::from(MAX_DISCARD_SECTORS), 256, 1)
    );
    assert_eq!((le(33, 1), le(57, 3)), (0, 0), "unused bytes are zero");
    assert!(all[CONFIG_BYTES..].iter().all(|&byte| byte == 0));
    for offset in 0..80 {
        for len in [0, 1, 2, 4, 8, 60, 100] {
            let mut part = vec![0xff; len];
            rig.device.read_config(offset, &mut part);
            assert_eq!(part, all[offset..offset + len], "{len} at {offset}");
        }
    }
    let mut beyond = [0xff; 8];
    rig.device.read_config(usize::MAX, &mut beyond);
    assert_eq!(beyond, [0; 8]);
}

#[test]
fn a_resize_shows_in_the_configuration_and_in_the_bounds_at_once() {
    let rig = Rig::new(false);
    rig.disk()
        .resize(SECTORS * 2, ramblk::store::Shrink::Refuse)
        .unwrap();
    let mut capacity = [0; 8];
    rig.device.read_config(0, &mut capacity);
    assert_eq!(u64::from_le_bytes(capacity), SECTORS * 2);
    assert_eq!(rig.status(&write(SECTORS * 2 - 1, &noise(512))), OK);
    assert_eq!(rig.status(&write(SECTORS * 2, &noise(512))), IOERR);
}
