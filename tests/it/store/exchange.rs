//! New content for a disk at one instant, from a disk that was filled for it.

use std::sync::atomic::{AtomicBool, Ordering};

use ramblk::store::{DiskSpec, Error, SectorSize, Store, StoreOptions};

use super::kit::*;

fn charged(store: &Store, key: &str) -> u64 {
    store.open(key).unwrap().get_info().unwrap().charged_bytes
}

#[test]
fn a_disk_that_takes_over_has_content_size_settings_and_charge_of_the_other() {
    let store = store();
    let disk = store.create_with("disk", &spec(8 << 20), b"old").unwrap();
    fill(&disk, 1);
    disk.set_quota(Some(32 << 20)).unwrap();
    let id = disk.get_info().unwrap().id;
    let staged = store.create("staged", &spec(16 << 20)).unwrap();
    fill(&staged, 2);
    let charge = charged(&store, "staged");
    drop(store.take_over("disk", "staged", b"new").unwrap());
    assert_eq!(store.keys(), ["disk"]);
    assert!(matches!(staged.flush(), Err(Error::Disconnected { .. })));
    assert_eq!(disk.settings().unwrap(), b"new");
    assert_eq!(read(&disk, 0, 32768), noise(2, 16 << 20));
    let info = disk.get_info().unwrap();
    assert_eq!((info.id, info.size_bytes), (id, 16 << 20));
    assert_eq!(info.mapped_bytes, 16 << 20);
    // Its own record has one more block of settings.
    assert_eq!(info.charged_bytes, charge + 4096);
    assert_eq!(store.charged_bytes(), info.charged_bytes);
    // The quota applies to the new content.
    assert!(disk.set_quota(Some(info.charged_bytes)).is_ok());
    store.snapshot("disk", "kept").unwrap();
    let more = disk.write(0, &[&[3; SECTOR]]);
    assert!(matches!(more, Err(Error::OverQuota { .. })), "{more:?}");
    store.destroy("kept").unwrap();
    disk.write(0, &[&[3; SECTOR]]).unwrap();
    store.destroy("disk").unwrap();
    assert_eq!(store.charged_bytes(), 0);
}

#[test]
fn snapshots_keep_the_former_content_of_a_disk_that_took_over() {
    let store = store();
    let disk = store.create("disk", &spec(4 << 20)).unwrap();
    fill(&disk, 1);
    let kept = store.snapshot("disk", "kept").unwrap();
    for seed in 2..6 {
        let staged = store.create("staged", &spec(4 << 20)).unwrap();
        fill(&staged, seed);
        drop(store.take_over("disk", "staged", b"").unwrap());
        assert_eq!(read(&disk, 0, 8192), noise(seed, 4 << 20));
        assert_eq!(read(&kept, 0, 8192), noise(1, 4 << 20));
    }
    store.destroy("disk").unwrap();
    assert_eq!(read(&kept, 0, 8192), noise(1, 4 << 20));
    store.destroy("kept").unwrap();
    assert_eq!(store.charged_bytes(), 0);
}

#[test]
fn a_disk_keeps_its_sector_size_whatever_it_takes_over() {
    let store = store();
    let disk = store.create("disk", &spec(4 << 20)).unwrap();
    let large = DiskSpec::new(SectorSize::S4096, 4 << 20);
    let staged = store.create("staged", &large).unwrap();
    fill(&staged, 2);
    drop(store.take_over("disk", "staged", b"").unwrap());
    assert_eq!(disk.capacity().sector_size(), SectorSize::S512);
    assert_eq!(read(&disk, 0, 8192), noise(2, 4 << 20));
}

#[test]
fn what_can_not_be_taken_over_leaves_both_as_they_were() {
    let store = store();
    let disk = store.create("disk", &spec(4 << 20)).unwrap();
    fill(&disk, 1);
    store.snapshot("disk", "kept").unwrap();
    let staged = store.create("staged", &spec(4 << 20)).unwrap();
    fill(&staged, 2);
    let before = store.charged_bytes();
    for (key, from) in [
        ("kept", "staged"),
        ("disk", "disk"),
        ("disk", "nothing"),
        ("nothing", "staged"),
    ] {
        let result = store.take_over(key, from, b"");
        assert!(result.is_err(), "{key} {from}");
    }
    assert!(store.take_over("disk", "staged", &[0; 4097]).is_err());
    disk.set_quota(Some(1 << 20)).unwrap();
    let over = store.take_over("disk", "staged", b"");
    assert!(matches!(over, Err(Error::OverQuota { .. })));
    assert_eq!(store.charged_bytes(), before);
    assert_eq!(read(&disk, 0, 8192), noise(1, 4 << 20));
    assert_eq!(read(&staged, 0, 8192), noise(2, 4 << 20));
}

#[test]
fn who_reads_meanwhile_sees_old_or_new_and_nothing_of_both() {
    let store = store();
    let disk = store.create("disk", &spec(1 << 20)).unwrap();
    disk.write(0, &[&vec![0; 1 << 20]]).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut looks = 0;
            while !done.load(Ordering::Relaxed) {
                let bytes = read(&disk, 0, 2048);
                assert!(bytes.iter().all(|&byte| byte == bytes[0]));
                looks += 1;
            }
            looks
        });
        for round in 1..200u8 {
            let staged = store.create("staged", &spec(1 << 20)).unwrap();
            staged.write(0, &[&vec![round; 1 << 20]]).unwrap();
            drop(store.take_over("disk", "staged", b"").unwrap());
            assert_eq!(read(&disk, 2047, 1), [round; SECTOR]);
        }
        done.store(true, Ordering::Relaxed);
        assert!(reader.join().unwrap() > 0);
    });
    store.destroy("disk").unwrap();
    assert_eq!(store.charged_bytes(), 0);
}

#[test]
fn a_store_that_is_opened_again_has_what_was_taken_over() {
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let path = dir.path().join("arena");
    let options = StoreOptions::new(64 << 20);
    let store = Store::create_at(&path, &options).unwrap();
    let disk = store.create("disk", &spec(4 << 20)).unwrap();
    fill(&disk, 1);
    let staged = store.create("staged", &spec(2 << 20)).unwrap();
    fill(&staged, 2);
    drop(store.take_over("disk", "staged", b"new").unwrap());
    let charge = store.charged_bytes();
    drop((disk, staged, store));
    let store = Store::open_at(&path, &options).unwrap();
    assert_eq!(
        (store.keys(), store.charged_bytes()),
        (vec!["disk".to_owned()], charge)
    );
    let disk = store.open("disk").unwrap();
    assert_eq!(disk.settings().unwrap(), b"new");
    assert_eq!(read(&disk, 0, 4096), noise(2, 2 << 20));
}
