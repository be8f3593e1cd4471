//! The contract of ramblk's predecessor, its test cases, and a test for each of its faults.

use ramblk::store::{DiskSpec, Error, SectorSize, Shrink};

use super::kit::*;

// The predecessor's cases.

#[test]
fn two_empty_disks_compare_equal() {
    let store = store();
    assert!(equal(
        &store.connect("a").unwrap(),
        &store.connect("b").unwrap()
    ));
}

#[test]
fn a_disk_filled_with_noise_differs_from_an_empty_one() {
    let store = store();
    let (a, b) = (store.connect("a").unwrap(), store.connect("b").unwrap());
    fill(&a, 1);
    assert!(!equal(&a, &b));
}

#[test]
fn a_copy_compares_equal() {
    let store = store();
    let (a, b) = (store.connect("a").unwrap(), store.connect("b").unwrap());
    fill(&a, 2);
    for at in (0..sectors(&a)).step_by(128) {
        b.write(at, &[&read(&a, at, 128)]).unwrap();
    }
    assert!(equal(&a, &b));
}

#[test]
fn a_sparse_copy_compares_equal_and_maps_the_same() {
    let store = store();
    let (a, b) = (store.connect("a").unwrap(), store.connect("b").unwrap());
    for at in [0, 9, 4095, 4096, 20000, 32767] {
        a.write(at, &[&noise(at, SECTOR)]).unwrap();
    }
    for extent in a
        .extents()
        .unwrap()
        .map(Result::unwrap)
        .filter(|extent| extent.mapped)
    {
        let count = usize::try_from(extent.sectors).unwrap();
        b.write(
            extent.start_sector,
            &[&read(&a, extent.start_sector, count)],
        )
        .unwrap();
    }
    assert!(equal(&a, &b));
    assert_eq!(extents(&a), extents(&b));
}

#[test]
fn a_buffer_that_is_no_multiple_of_the_sector_is_an_error() {
    let disk = store().connect("a").unwrap();
    for len in [1, 511, 513, 1023] {
        let mut bytes = vec![0; len];
        assert!(
            matches!(disk.write(0, &[&bytes]), Err(Error::Misaligned { .. })),
            "{len}"
        );
        assert!(
            matches!(
                disk.read(0, &mut [&mut bytes]),
                Err(Error::Misaligned { .. })
            ),
            "{len}"
        );
    }
    // Two parts that add up to a sector are still two invalid ones.
    assert!(disk.write(0, &[&[0; 256], &[0; 256]]).is_err());
    assert_eq!(disk.seek_mapped(0).unwrap(), 32768, "nothing was written");
}

#[test]
fn a_start_before_zero_or_past_the_end_is_an_error() {
    let disk = store().connect("a").unwrap();
    // -1 from a caller with signed numbers, and a byte number that wraps to 0.
    for start in [u64::MAX, 1 << 55, 32768, 32769, u64::MAX - 7] {
        let mut bytes = [0; SECTOR];
        assert!(
            matches!(disk.write(start, &[&bytes]), Err(Error::OutOfRange { .. })),
            "{start}"
        );
        assert!(disk.read(start, &mut [&mut bytes]).is_err(), "{start}");
        assert!(disk.discard(start, 1).is_err(), "{start}");
        assert!(disk.write_zeroes(start, 1, true).is_err(), "{start}");
    }
    assert!(disk.seek_mapped(32769).is_err());
    assert!(disk.discard(1, u64::MAX).is_err());
}

#[test]
fn an_end_past_the_end_is_an_error_and_writes_nothing() {
    let disk = store().connect("a").unwrap();
    assert!(disk.write(32767, &[&[1; SECTOR], &[2; SECTOR]]).is_err());
    assert_eq!(disk.seek_mapped(0).unwrap(), 32768);
}

#[test]
fn the_last_sector_and_the_empty_list_are_fine() {
    let disk = store().connect("a").unwrap();
    disk.write(32767, &[&noise(3, SECTOR)]).unwrap();
    assert_eq!(read(&disk, 32767, 1), noise(3, SECTOR));
    disk.write(0, &[]).unwrap();
    disk.read(32768, &mut []).unwrap();
    disk.discard(32768, 0).unwrap();
}

// The predecessor's faults, none of which exists here.

#[test]
fn sector_size_is_honoured_and_not_taken_for_512() {
    let disk = store()
        .create("a", &DiskSpec::new(SectorSize::S4096, 40960))
        .unwrap();
    assert_eq!(
        (sectors(&disk), disk.get_info().unwrap().sector_bytes),
        (10, 4096)
    );
    disk.write(9, &[&[7; 4096]]).unwrap();
    assert!(disk.write(10, &[&[7; 4096]]).is_err());
    assert!(disk.write(0, &[&[7; 512]]).is_err());
    assert_eq!(disk.seek_mapped(0).unwrap(), 9);
}

#[test]
fn create_does_not_replace_a_live_disk() {
    let store = store();
    let disk = store.create("a", &spec(1 << 20)).unwrap();
    fill(&disk, 4);
    assert!(matches!(
        store.create("a", &spec(1 << 20)),
        Err(Error::Exists { .. })
    ));
    assert_eq!(read(&disk, 0, 8), noise(4, 8 * SECTOR));
    assert!(equal(&disk, &store.open("a").unwrap()));
}

#[test]
fn write_does_not_keep_the_callers_buffer() {
    let disk = store().connect("a").unwrap();
    let mut buffer = noise(5, SECTOR);
    disk.write(3, &[&buffer]).unwrap();
    buffer.fill(0);
    assert_eq!(read(&disk, 3, 1), noise(5, SECTOR));
}

#[test]
fn shrinking_loses_data_only_when_asked() {
    let store = store();
    let disk = store.create("a", &spec(4 << 20)).unwrap();
    fill(&disk, 6);
    let refused = disk.resize_bytes(1 << 20, Shrink::Refuse);
    assert!(
        matches!(refused, Err(Error::WouldShrink { from_bytes, to_bytes })
        if from_bytes == 4 << 20 && to_bytes == 1 << 20)
    );
    assert_eq!(sectors(&disk), 8192);
    disk.resize_bytes(1 << 20, Shrink::Allow).unwrap();
    assert_eq!(
        (sectors(&disk), disk.get_info().unwrap().mapped_bytes),
        (2048, 1 << 20)
    );
    // The data beyond is gone for good, not hidden.
    disk.resize_bytes(4 << 20, Shrink::Refuse).unwrap();
    assert_eq!(extents(&disk), [(0, 2048, true), (2048, 6144, false)]);
    assert_eq!(read(&disk, 2048, 1), [0; SECTOR]);
}

#[test]
fn shrinking_into_the_middle_of_a_page_is_exact() {
    let store = store();
    let disk = store.create("a", &spec(8192)).unwrap();
    fill(&disk, 7);
    disk.resize(3, Shrink::Allow).unwrap();
    disk.resize(16, Shrink::Refuse).unwrap();
    assert_eq!(extents(&disk), [(0, 3, true), (3, 13, false)]);
    assert_eq!(read(&disk, 0, 3), noise(7, 8192)[..3 * SECTOR]);
    assert!(read(&disk, 3, 13).iter().all(|&byte| byte == 0));
}

#[test]
fn seek_does_not_walk_sector_by_sector() {
    let store = store();
    let size = 64 << 40;
    let disk = store.create("a", &spec(size)).unwrap();
    // 2^37 sectors: a walk over them would take minutes.
    assert_eq!(disk.seek_mapped(0).unwrap(), size / 512);
    disk.write(size / 512 - 1, &[&[1; SECTOR]]).unwrap();
    assert_eq!(disk.seek_mapped(0).unwrap(), size / 512 - 1);
    assert_eq!(disk.seek_unmapped(size / 512 - 1).unwrap(), size / 512);
    assert_eq!(
        extents(&disk),
        [(0, size / 512 - 1, false), (size / 512 - 1, 1, true)]
    );
    disk.discard(0, size / 512).unwrap();
    assert_eq!(store.charged_bytes(), EMPTY_DISK);
}

// Names and connections.

#[test]
fn two_connects_to_one_name_give_the_same_disk() {
    let store = store();
    let (one, two) = (store.connect("a").unwrap(), store.connect("a").unwrap());
    one.write(5, &[&noise(8, SECTOR)]).unwrap();
    assert_eq!(read(&two, 5, 1), noise(8, SECTOR));
}

#[test]
fn connecting_to_a_destroyed_name_gives_a_fresh_disk() {
    let store = store();
    let old = store.connect("a").unwrap();
    fill(&old, 9);
    store.destroy("a").unwrap();
    assert_eq!(
        store.charged_bytes(),
        0,
        "memory is freed while a client is connected"
    );
    for result in [
        old.flush(),
        old.write(0, &[&[0; SECTOR]]),
        old.read(0, &mut []),
    ] {
        assert!(matches!(result, Err(Error::Disconnected { .. })));
    }
    let new = store.connect("a").unwrap();
    assert_eq!((new.seek_mapped(0).unwrap(), sectors(&new)), (32768, 32768));
}

#[test]
fn unknown_names_are_errors_where_a_disk_must_exist() {
    let store = store();
    assert!(matches!(store.open("a"), Err(Error::Unknown { .. })));
    assert!(matches!(store.destroy("a"), Err(Error::Unknown { .. })));
    let long = "x".repeat(65);
    for key in ["", long.as_str()] {
        assert!(matches!(store.connect(key), Err(Error::InvalidKey { .. })));
    }
    assert!(store.keys().is_empty());
}

#[test]
fn a_disconnected_handle_is_closed_and_the_disk_stays() {
    let store = store();
    let disk = store.connect("a").unwrap();
    disk.write(0, &[&noise(10, SECTOR)]).unwrap();
    disk.disconnect();
    assert!(matches!(disk.get_info(), Err(Error::Disconnected { .. })));
    assert!(matches!(
        disk.seek_mapped(0),
        Err(Error::Disconnected { .. })
    ));
    assert_eq!(read(&store.connect("a").unwrap(), 0, 1), noise(10, SECTOR));
}

#[test]
fn a_read_only_connection_refuses_every_change() {
    let store = store();
    let disk = store.connect("a").unwrap();
    disk.write(0, &[&noise(11, SECTOR)]).unwrap();
    let reader = store.connect("a").unwrap().into_read_only();
    for result in [
        reader.write(0, &[&[0; SECTOR]]),
        reader.discard(0, 1),
        reader.write_zeroes(0, 1, false),
        reader.write_zeroes(0, 1, true),
        reader.resize(1, Shrink::Allow).map(drop),
    ] {
        assert!(matches!(result, Err(Error::IsReadOnly { .. })));
    }
    assert_eq!(read(&reader, 0, 1), noise(11, SECTOR));
    let fixed = DiskSpec {
        read_only: true,
        ..spec(4096)
    };
    assert!(
        store
            .create("b", &fixed)
            .unwrap()
            .write(0, &[&[0; SECTOR]])
            .is_err()
    );
}

#[test]
fn other_sector_sizes_are_unimplemented() {
    assert!(matches!(
        SectorSize::from_bytes(2048),
        Err(Error::Unimplemented { .. })
    ));
}
