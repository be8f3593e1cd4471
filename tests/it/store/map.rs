//! Which sectors are mapped, and what that costs in memory.

use ramblk::store::{DiskSpec, Error, SectorSize, Shrink, Store};

use super::kit::*;

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
    assert_eq!(disk.get_info().unwrap().mapped_bytes, 5 * 512);
    assert_eq!(disk.seek_mapped(4).unwrap(), 7);
    assert_eq!(disk.seek_unmapped(7).unwrap(), 9);
    let at = |start, end| {
        let extent = disk.extent_at(start, end).unwrap();
        assert_eq!(extent.start_sector, start);
        (extent.sectors, extent.mapped)
    };
    assert_eq!(at(7, 32768), (2, true));
    assert_eq!(at(7, 8), (1, true), "cut off");
    assert_eq!(at(8, 4095), (1, true));
    assert_eq!(at(9, 4090), (4081, false), "cut off");
    assert_eq!(at(9, 32768), (4086, false));
    assert_eq!(at(32767, 99999), (1, false), "at the end");
    assert!(disk.extent_at(32769, 32770).is_err());
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
        let (mine, rest): (Vec<_>, Vec<_>) = bytes
            .chunks(SECTOR)
            .enumerate()
            .partition(|(sector, _)| *sector == 3);
        assert!(
            mine.iter()
                .all(|(_, bytes)| bytes.iter().all(|&byte| byte == 0xaa))
        );
        assert!(
            rest.iter()
                .all(|(_, bytes)| bytes.iter().all(|&byte| byte == 0))
        );
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
    assert_eq!(
        extents(&disk),
        [(0, 1, true), (1, 32766, false), (32767, 1, true)]
    );
    assert_eq!(read(&disk, 0, 1), noise(13, SECTOR));
}

#[test]
fn zeros_over_any_length_take_a_few_nodes() {
    let limit_bytes = 1 << 20;
    let store = Store::new(limit_bytes).unwrap();
    let disk = store.create("a", &spec(1 << 40)).unwrap();
    let all = (1 << 40) / 512;
    disk.write_zeroes(1, all - 2, false).unwrap();
    assert!(store.charged_bytes() <= 10 * 4096);
    assert_eq!(disk.get_info().unwrap().mapped_bytes, (1 << 40) - 1024);
    assert_eq!(disk.seek_unmapped(1).unwrap(), all - 1);
    assert_eq!(disk.seek_mapped(0).unwrap(), 1);
    disk.discard(0, all).unwrap();
    assert_eq!(store.charged_bytes(), EMPTY_DISK);
    assert_eq!(disk.get_info().unwrap().mapped_bytes, 0);
}

#[test]
fn zeros_that_stay_mapped_have_a_limit_too() {
    let limit_bytes = 1 << 20;
    let store = Store::new(limit_bytes).unwrap();
    let disk = store.create("a", &spec(1 << 40)).unwrap();
    // A sector in each leaf, so that every leaf needs a node.
    let full = (0..1 << 19).find_map(|leaf| disk.write_zeroes(leaf * 4096 + 1, 1, false).err());
    assert!(matches!(full, Some(Error::Full { .. })), "{full:?}");
    assert!(store.charged_bytes() > limit_bytes / 2 && store.charged_bytes() <= limit_bytes);
    disk.discard(0, (1 << 40) / 512).unwrap();
    assert_eq!(store.charged_bytes(), EMPTY_DISK);
}

#[test]
fn a_hole_in_an_area_of_zeros_is_exact() {
    let store = store();
    let disk = store.create("a", &spec(16 << 20)).unwrap();
    disk.write_zeroes(0, 32768, false).unwrap();
    disk.discard(5000, 3).unwrap();
    assert_eq!(
        extents(&disk),
        [(0, 5000, true), (5000, 3, false), (5003, 27765, true)]
    );
    disk.write(5001, &[&[1; SECTOR]]).unwrap();
    assert_eq!(disk.seek_unmapped(5001).unwrap(), 5002);
    assert_eq!(disk.get_info().unwrap().mapped_bytes, (32768 - 2) * 512);
}

#[test]
fn part_of_a_4096_byte_sector_is_never_unmapped_alone() {
    let disk = store()
        .create("a", &DiskSpec::new(SectorSize::S4096, 1 << 20))
        .unwrap();
    // As for a guest that counts in 512 bytes: sectors 9 and 10 lie in the disk's sector 1.
    let range = disk.capacity().range_512(9, 1024).unwrap();
    let bytes = noise(14, 1024);
    disk.write_from(range, &[bytes.as_slice().into()]).unwrap();
    assert_eq!(
        (disk.seek_mapped(0).unwrap(), disk.seek_unmapped(1).unwrap()),
        (1, 2)
    );
    disk.discard_range(range).unwrap();
    assert_eq!(read(&disk, 1, 1)[512..1536], bytes[..]);
    disk.write_zeroes_range(range, true).unwrap();
    assert_eq!(read(&disk, 1, 1), [0; 4096]);
    assert_eq!(disk.get_info().unwrap().mapped_bytes, 4096);
    disk.discard(1, 1).unwrap();
    assert_eq!(disk.get_info().unwrap().mapped_bytes, 0);
}

// Memory.

#[test]
fn discard_gives_memory_back_to_the_host() {
    let store = store();
    let disk = store.create("a", &spec(128 << 20)).unwrap();
    fill(&disk, 15);
    let full = resident_bytes();
    disk.discard(0, sectors(&disk)).unwrap();
    assert_eq!(store.charged_bytes(), EMPTY_DISK);
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    // Other tests of this process fill and free disks meanwhile: wait for a decrease, not for a
    // figure.
    while resident_bytes() + (64 << 20) > full {
        assert!(
            std::time::Instant::now() < deadline,
            "{} of {full} are left",
            resident_bytes()
        );
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

#[test]
fn a_full_store_refuses_writes_and_recovers() {
    let store = Store::new(1 << 20).unwrap();
    let disk = store.create("a", &spec(16 << 20)).unwrap();
    let result = disk.write(0, &[&vec![1; 2 << 20]]);
    assert!(matches!(result, Err(Error::Full { limit_bytes }) if limit_bytes == 1 << 20));
    assert!(store.charged_bytes() <= 1 << 20);
    // Written data reads back, the rest is still unmapped, and overwriting needs no memory.
    let written = disk.seek_unmapped(0).unwrap();
    assert!((1..4096).contains(&written));
    disk.write(0, &[&[2; SECTOR]]).unwrap();
    disk.discard(0, 32768).unwrap();
    assert_eq!(store.charged_bytes(), EMPTY_DISK);
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
    assert_eq!(disk.get_info().unwrap().mapped_bytes, 8192 * 512);
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
                    // Out of range while the disk is small, and in range while it is large.
                    let _ = disk.write(at, &[&[1; SECTOR]]);
                }
            });
        }
        for _ in 0..200 {
            disk.resize(3001, Shrink::Allow).unwrap();
            let mapped = disk.get_info().unwrap().mapped_bytes;
            assert!(mapped <= 3001 * 512, "{mapped}");
            disk.resize(32768, Shrink::Refuse).unwrap();
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}
