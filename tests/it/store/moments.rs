//! Points of a history: what each has alone, and what a reopened store knows of them.

use std::fs::File;

use ramblk::store::{Error, MOST_DISKS, Store, StoreOptions};

use super::kit::*;
use crate::driver::data::{Random, seed};

const DISK_BYTES: u64 = 16 << 20;

#[test]
fn what_a_point_has_alone_is_what_dropping_the_oldest_frees() {
    let seed = seed();
    let mut random = Random::new(seed);
    let store = store();
    let disk = store.create("d", &spec(DISK_BYTES)).unwrap();
    let mut points: Vec<(String, Vec<u8>)> = Vec::new();
    for number in 1..=60_u64 {
        for _ in 0..random.below(6) {
            let at = random.below(DISK_BYTES / SECTOR as u64 - 4096);
            let sectors = 1 + random.below(64);
            match random.below(6) {
                0 => disk.discard(at, sectors * 64).unwrap(),
                1 => disk.write_zeroes(at, sectors, false).unwrap(),
                _ => {
                    let bytes = noise(number, sectors as usize * SECTOR);
                    disk.write(at, &[&bytes]).unwrap();
                }
            }
        }
        let key = format!("d@flush:{number}");
        store.point("d", &key, number).unwrap();
        points.push((key, read(&disk, 0, (DISK_BYTES / SECTOR as u64) as usize)));
    }
    for pair in points.windows(2) {
        let [(oldest, content), (next, _)] = pair else {
            unreachable!()
        };
        let point = store.open(oldest).unwrap();
        assert_eq!(
            read(&point, 0, content.len() / SECTOR),
            *content,
            "{oldest}"
        );
        drop(point);
        let alone = store.only_in(oldest, next).unwrap();
        let before = store.charged_bytes();
        drop(store.destroy(oldest).unwrap());
        assert_eq!(
            before - store.charged_bytes(),
            alone,
            "{oldest}, RAMBLK_SEED={seed}"
        );
    }
}

#[test]
fn a_point_has_its_time_and_no_settings_also_in_a_reopened_store() {
    let file: File = tempfile::tempfile_in("/dev/shm").unwrap();
    let options = StoreOptions::new(64 << 20);
    let store = Store::create_in(file.try_clone().unwrap(), &options).unwrap();
    let mut quota = spec(DISK_BYTES);
    quota.quota_bytes = Some(1 << 20);
    let disk = store.create_with("d", &quota, b"settings").unwrap();
    disk.write(0, &[&[1; SECTOR]]).unwrap();
    let before = store.charged_bytes();
    drop(store.point("d", "d@time:1", 1_700_000_000_123).unwrap());
    assert_eq!(store.charged_bytes() - before, 4096, "one block");
    drop(store.fork("d@time:1", "f").unwrap());
    drop(disk);
    drop(store);
    let store = Store::open_in(file, &options).unwrap();
    let point = store.open("d@time:1").unwrap();
    let info = point.get_info().unwrap();
    assert_eq!(info.made_at_ms, Some(1_700_000_000_123));
    assert!(info.snapshot && info.spec.quota_bytes.is_none());
    assert_eq!(point.settings().unwrap(), b"");
    assert_eq!(read(&point, 0, 1), [1; SECTOR]);
    let fork = store.open("f").unwrap().get_info().unwrap();
    assert_eq!(fork.made_at_ms, None, "a fork is a disk of its own");
}

#[test]
fn points_leave_room_for_disks() {
    let store = Store::new(1 << 30).unwrap();
    store.create("d", &spec(1 << 20)).unwrap();
    let mut taken = 0;
    let refused = loop {
        match store.point("d", &format!("d@flush:{}", taken + 1), 0) {
            Ok(_) => taken += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, Error::TooManyDisks), "{refused:?}");
    assert_eq!(taken, MOST_DISKS / 2 - 1);
    store.create("e", &spec(1 << 20)).unwrap();
}
