//! The promises of the store, one test each: the ancestor's cases, its faults, and what came since.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use ramblk::store::{Disk, DiskSpec, Error, Extent, SectorSize, Shrink, Store};

const SECTOR: usize = 512;

fn store() -> Store {
    Store::new(256 << 20).unwrap()
}

fn spec(size_bytes: u64) -> DiskSpec {
    DiskSpec::new(SectorSize::S512, size_bytes)
}

/// Bytes that no two sectors share.
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

fn sectors(disk: &Disk) -> u64 {
    disk.info().unwrap().size_sectors
}

fn read(disk: &Disk, start: u64, count: usize) -> Vec<u8> {
    let mut bytes = vec![0xee; count * usize::try_from(disk.info().unwrap().sector_bytes).unwrap()];
    disk.read(start, &mut [&mut bytes]).unwrap();
    bytes
}

fn fill(disk: &Disk, seed: u64) {
    let info = disk.info().unwrap();
    let bytes = noise(seed, usize::try_from(info.size_bytes).unwrap());
    disk.write(0, &[&bytes]).unwrap();
}

fn equal(one: &Disk, two: &Disk) -> bool {
    let size = sectors(one);
    size == sectors(two)
        && (0..size).step_by(64).all(|at| {
            let count = usize::try_from((size - at).min(64)).unwrap();
            read(one, at, count) == read(two, at, count)
        })
}

fn extents(disk: &Disk) -> Vec<(u64, u64, bool)> {
    let list: Result<Vec<Extent>, Error> = disk.extents().unwrap().collect();
    list.unwrap().iter().map(|e| (e.start_sector, e.sectors, e.mapped)).collect()
}

// The ancestor's cases.

#[test]
fn two_empty_disks_compare_equal() {
    let store = store();
    assert!(equal(&store.connect("a").unwrap(), &store.connect("b").unwrap()));
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
    for extent in a.extents().unwrap().map(Result::unwrap).filter(|extent| extent.mapped) {
        let count = usize::try_from(extent.sectors).unwrap();
        b.write(extent.start_sector, &[&read(&a, extent.start_sector, count)]).unwrap();
    }
    assert!(equal(&a, &b));
    assert_eq!(extents(&a), extents(&b));
}

#[test]
fn a_buffer_that_is_no_multiple_of_the_sector_is_an_error() {
    let disk = store().connect("a").unwrap();
    for len in [1, 511, 513, 1023] {
        let mut bytes = vec![0; len];
        assert!(matches!(disk.write(0, &[&bytes]), Err(Error::Misaligned { .. })), "{len}");
        assert!(matches!(disk.read(0, &mut [&mut bytes]), Err(Error::Misaligned { .. })), "{len}");
    }
    // Two that add up to a sector are still two wrong ones.
    assert!(disk.write(0, &[&[0; 256], &[0; 256]]).is_err());
    assert_eq!(disk.seek_mapped(0).unwrap(), 32768, "nothing was written");
}

#[test]
fn a_start_before_zero_or_past_the_end_is_an_error() {
    let disk = store().connect("a").unwrap();
    // -1, as a caller with signed numbers would pass it, and a byte number that wraps to 0.
    for start in [u64::MAX, 1 << 55, 32768, 32769, u64::MAX - 7] {
        let mut bytes = [0; SECTOR];
        assert!(matches!(disk.write(start, &[&bytes]), Err(Error::OutOfRange { .. })), "{start}");
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

// The ancestor's faults, each of which stays away.

#[test]
fn sector_size_is_honoured_and_not_taken_for_512() {
    let disk = store().create("a", &DiskSpec::new(SectorSize::S4096, 40960)).unwrap();
    assert_eq!((sectors(&disk), disk.info().unwrap().sector_bytes), (10, 4096));
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
    assert!(matches!(store.create("a", &spec(1 << 20)), Err(Error::Exists { .. })));
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
    assert!(matches!(refused, Err(Error::WouldShrink { from_bytes, to_bytes })
        if from_bytes == 4 << 20 && to_bytes == 1 << 20));
    assert_eq!(sectors(&disk), 8192);
    disk.resize_bytes(1 << 20, Shrink::Allow).unwrap();
    assert_eq!((sectors(&disk), disk.info().unwrap().mapped_bytes), (2048, 1 << 20));
    // What lay beyond is gone for good, not hidden.
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
    assert_eq!(extents(&disk), [(0, size / 512 - 1, false), (size / 512 - 1, 1, true)]);
    disk.discard(0, size / 512).unwrap();
    assert_eq!(store.charged_bytes(), 0);
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
    assert_eq!(store.charged_bytes(), 0, "memory is freed though somebody is connected");
    for result in [old.flush(), old.write(0, &[&[0; SECTOR]]), old.read(0, &mut [])] {
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
    store.disconnect(&disk);
    assert!(matches!(disk.get_info(), Err(Error::Disconnected { .. })));
    assert!(matches!(disk.seek_mapped(0), Err(Error::Disconnected { .. })));
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
        reader.resize(1, Shrink::Allow),
    ] {
        assert!(matches!(result, Err(Error::IsReadOnly { .. })));
    }
    assert_eq!(read(&reader, 0, 1), noise(11, SECTOR));
    let fixed = DiskSpec { read_only: true, ..spec(4096) };
    assert!(store.create("b", &fixed).unwrap().write(0, &[&[0; SECTOR]]).is_err());
}

#[test]
fn other_sector_sizes_are_unimplemented() {
    assert!(matches!(SectorSize::from_bytes(2048), Err(Error::Unimplemented { .. })));
}

// The map.

#[test]
fn mapping_is_exact_per_sector() {
    let disk = store().connect("a").unwrap();
    for at in [1, 3, 7, 8, 4095] {
        disk.write(at, &[&[1; SECTOR]]).unwrap();
    }
    let expected = [
        (0, 1, false),
        (1, 1, true),
        (2, 1, false),
        (3, 1, true),
        (4, 3, false),
        (7, 2, true),
        (9, 4086, false),
        (4095, 1, true),
        (4096, 28672, false),
    ];
    assert_eq!(extents(&disk), expected);
    assert_eq!(disk.info().unwrap().mapped_bytes, 5 * 512);
    assert_eq!(disk.seek_mapped(4).unwrap(), 7);
    assert_eq!(disk.seek_unmapped(7).unwrap(), 9);
}

#[test]
fn a_write_beside_unmapped_sectors_shows_nothing_of_the_pages_last_user() {
    let store = store();
    let secret = store.create("secret", &spec(4 << 20)).unwrap();
    fill(&secret, 12);
    store.destroy("secret").unwrap();
    let disk = store.create("a", &spec(4 << 20)).unwrap();
    for page in 0..1024 {
        disk.write(page * 8 + 3, &[&[0xaa; SECTOR]]).unwrap();
    }
    // Map the rest as zeros: now every byte of the reused pages is readable.
    for page in 0..1024 {
        disk.write_zeroes(page * 8, 3, false).unwrap();
        let bytes = read(&disk, page * 8, 8);
        let (mine, rest): (Vec<_>, Vec<_>) =
            bytes.chunks(SECTOR).enumerate().partition(|(sector, _)| *sector == 3);
        assert!(mine.iter().all(|(_, bytes)| bytes.iter().all(|&byte| byte == 0xaa)));
        assert!(rest.iter().all(|(_, bytes)| bytes.iter().all(|&byte| byte == 0)));
    }
}

#[test]
fn write_zeroes_keeps_or_gives_back_as_asked() {
    let store = store();
    let disk = store.create("a", &spec(16 << 20)).unwrap();
    fill(&disk, 13);
    disk.write_zeroes(1, 32766, false).unwrap();
    assert_eq!(extents(&disk), [(0, 32768, true)]);
    assert!(read(&disk, 1, 32766).iter().all(|&byte| byte == 0));
    assert!(store.charged_bytes() < 1 << 20, "zeros need no pages");
    disk.write_zeroes(1, 32766, true).unwrap();
    assert_eq!(extents(&disk), [(0, 1, true), (1, 32766, false), (32767, 1, true)]);
    assert_eq!(read(&disk, 0, 1), noise(13, SECTOR));
}

#[test]
fn a_hole_in_an_area_of_zeros_is_exact() {
    let store = store();
    let disk = store.create("a", &spec(16 << 20)).unwrap();
    disk.write_zeroes(0, 32768, false).unwrap();
    disk.discard(5000, 3).unwrap();
    assert_eq!(extents(&disk), [(0, 5000, true), (5000, 3, false), (5003, 27765, true)]);
    disk.write(5001, &[&[1; SECTOR]]).unwrap();
    assert_eq!(disk.seek_unmapped(5001).unwrap(), 5002);
    assert_eq!(disk.info().unwrap().mapped_bytes, (32768 - 2) * 512);
}

#[test]
fn part_of_a_4096_byte_sector_is_never_unmapped_alone() {
    let disk = store().create("a", &DiskSpec::new(SectorSize::S4096, 1 << 20)).unwrap();
    // As a guest would that counts in 512 bytes: sectors 9 and 10 lie in the disk's sector 1.
    let range = disk.capacity().range_512(9, 1024).unwrap();
    let bytes = noise(14, 1024);
    disk.write_from(range, &[bytes.as_slice().into()]).unwrap();
    assert_eq!((disk.seek_mapped(0).unwrap(), disk.seek_unmapped(1).unwrap()), (1, 2));
    disk.discard_range(range).unwrap();
    assert_eq!(read(&disk, 1, 1)[512..1536], bytes[..]);
    disk.write_zeroes_range(range, true).unwrap();
    assert_eq!(read(&disk, 1, 1), [0; 4096]);
    assert_eq!(disk.info().unwrap().mapped_bytes, 4096);
    disk.discard(1, 1).unwrap();
    assert_eq!(disk.info().unwrap().mapped_bytes, 0);
}

// Memory.

#[test]
fn discard_gives_memory_back_to_the_host() {
    let store = store();
    let disk = store.create("a", &spec(128 << 20)).unwrap();
    fill(&disk, 15);
    let full = resident_bytes();
    disk.discard(0, sectors(&disk)).unwrap();
    assert_eq!(store.charged_bytes(), 0);
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    // Other tests of this process fill and free disks meanwhile: look for a fall, not a figure.
    while resident_bytes() + (64 << 20) > full {
        assert!(std::time::Instant::now() < deadline, "{} of {full} are left", resident_bytes());
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

#[test]
fn a_full_store_refuses_writes_and_recovers() {
    let store = Store::new(1 << 20).unwrap();
    let disk = store.create("a", &spec(16 << 20)).unwrap();
    let result = disk.write(0, &[&vec![1; 2 << 20]]);
    assert!(matches!(result, Err(Error::Full { limit_bytes }) if limit_bytes == 1 << 20));
    assert!(store.charged_bytes() <= 1 << 20);
    // What was written reads back, the rest is still unmapped, and overwriting needs no memory.
    let written = disk.seek_unmapped(0).unwrap();
    assert!((1..4096).contains(&written));
    disk.write(0, &[&[2; SECTOR]]).unwrap();
    disk.discard(0, 32768).unwrap();
    assert_eq!(store.charged_bytes(), 0);
    disk.write(30000, &[&[3; SECTOR]]).unwrap();
}

#[test]
fn queues_that_write_their_own_sectors_lose_none() {
    let store = store();
    let disk = store.create("a", &spec(16 << 20)).unwrap();
    std::thread::scope(|scope| {
        for worker in 0..4u64 {
            let disk = &disk;
            scope.spawn(move || {
                for round in 0..4 {
                    // Neighbouring sectors of the same pages, discarded and written again.
                    for at in (worker..8192).step_by(4) {
                        disk.write(at, &[&noise(at + round, SECTOR)]).unwrap();
                        assert_eq!(read(disk, at, 1), noise(at + round, SECTOR));
                        disk.discard(at, 1).unwrap();
                        assert_eq!(read(disk, at, 1), [0; SECTOR]);
                        disk.write(at, &[&noise(at + round, SECTOR)]).unwrap();
                    }
                }
            });
        }
    });
    for at in 0..8192 {
        assert_eq!(read(&disk, at, 1), noise(at + 3, SECTOR));
    }
    assert_eq!(disk.info().unwrap().mapped_bytes, 8192 * 512);
}

#[test]
fn nothing_stays_mapped_beyond_a_shrink_while_others_write() {
    let store = store();
    let disk = store.create("a", &spec(16 << 20)).unwrap();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for worker in 0..3u64 {
            let (disk, done) = (&disk, &done);
            scope.spawn(move || {
                let mut at = worker * 7919;
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    at = (at + 12289) % 32768;
                    // Out of range while the disk is small, and fine while it is large.
                    let _ = disk.write(at, &[&[1; SECTOR]]);
                }
            });
        }
        for _ in 0..200 {
            disk.resize(3001, Shrink::Allow).unwrap();
            let mapped = disk.info().unwrap().mapped_bytes;
            assert!(mapped <= 3001 * 512, "{mapped}");
            disk.resize(32768, Shrink::Refuse).unwrap();
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}
