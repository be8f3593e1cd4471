//! The budget: limits that hold, writes that fail or wait, zeros that take no memory.

use std::time::Duration;

use ramblk::store::{DiskSpec, Error, OnFull, SectorSize, Shrink, Store, StoreOptions};

use super::kit::*;

#[test]
fn a_quota_binds_one_disk_and_nobody_else() {
    let store = store();
    let mut small = spec(16 << 20);
    small.quota_bytes = Some(1 << 20);
    let small = store.create("small", &small).unwrap();
    let free = store.create("free", &spec(16 << 20)).unwrap();
    let result = small.write(0, &[&vec![1; 2 << 20]]);
    assert!(matches!(result, Err(Error::OverQuota { .. })), "{result:?}");
    assert!(small.get_info().unwrap().charged_bytes <= 1 << 20);
    fill(&free, 1);
    small.set_quota(None).unwrap();
    fill(&small, 2);
    small.set_quota(Some(1 << 20)).unwrap();
    small.write(0, &[&[3; SECTOR]]).unwrap();
    assert_eq!(read(&small, 1, 32767), noise(2, 16 << 20)[SECTOR..]);
}

#[test]
fn a_write_that_stalls_goes_on_when_memory_is_freed() {
    let store = Store::new(4 << 20).unwrap();
    let hog = store.create("hog", &spec(4 << 20)).unwrap();
    hog.write(0, &[&vec![1; 3 << 20]]).unwrap();
    let mut patient = spec(4 << 20);
    patient.on_full = OnFull::Stall;
    let patient = store.create("patient", &patient).unwrap();
    let bytes = noise(3, 2 << 20);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| patient.write(0, &[&bytes]));
        std::thread::sleep(Duration::from_millis(100));
        assert!(!writer.is_finished());
        assert!(store.charged_bytes() <= 4 << 20);
        hog.discard(0, 8192).unwrap();
        writer.join().unwrap().unwrap();
        assert_eq!(read(&patient, 0, 4096), bytes);
        // And a write that waits in vain ends with its disk.
        hog.write(0, &[&vec![1; 1 << 20]]).unwrap();
        let writer = scope.spawn(|| patient.write(4096, &[&bytes]));
        std::thread::sleep(Duration::from_millis(50));
        assert!(!writer.is_finished());
        store.destroy("patient").unwrap();
        let result = writer.join().unwrap();
        assert!(
            matches!(result, Err(Error::Disconnected { .. })),
            "{result:?}"
        );
    });
    drop(hog);
    store.destroy("hog").unwrap();
    assert_eq!(store.charged_bytes(), 0);
}

#[test]
fn detected_zeros_are_mapped_and_take_no_page() {
    for sector_size in [SectorSize::S512, SectorSize::S4096] {
        let store = store();
        let mut spec = DiskSpec::new(sector_size, 16 << 20);
        spec.detect_zeroes = true;
        let disk = store.create("a", &spec).unwrap();
        let all = usize::try_from(sectors(&disk)).unwrap();
        disk.write(0, &[&vec![0; 16 << 20]]).unwrap();
        assert_eq!(extents(&disk), [(0, all as u64, true)]);
        // Eight leaves, three nodes above, a record.
        assert!(store.charged_bytes() <= 12 * 4096);
        fill(&disk, 4);
        assert!(store.charged_bytes() > 16 << 20);
        disk.write(0, &[&vec![0; 16 << 20]]).unwrap();
        assert!(store.charged_bytes() <= 12 * 4096);
        assert!(read(&disk, 0, all).iter().all(|&byte| byte == 0));
    }
    let store = store();
    let mut spec = spec(1 << 20);
    spec.detect_zeroes = true;
    let disk = store.create("a", &spec).unwrap();
    disk.write(3, &[&[0; SECTOR]]).unwrap();
    assert_eq!(
        extents(&disk)[..3],
        [(0, 3, false), (3, 1, true), (4, 2044, false)]
    );
    let without = store.charged_bytes();
    disk.write(5, &[&[1; SECTOR]]).unwrap();
    assert_eq!(store.charged_bytes(), without + 4096);
    disk.write(5, &[&[0; SECTOR]]).unwrap();
    assert_eq!(read(&disk, 0, 8), [0; 4096]);
    assert_eq!(disk.get_info().unwrap().mapped_bytes, 1024);
}

#[test]
fn without_memory_nothing_is_half_done() {
    let store = Store::new(2 << 20).unwrap();
    let disk = store.create("a", &spec(64 << 20)).unwrap();
    let bytes = noise(5, 1 << 20);
    disk.write(0, &[&bytes]).unwrap();
    store.fork("a", "b").unwrap();
    let full = (1..sectors(&disk) / 8)
        .find_map(|page| disk.write(sectors(&disk) - page * 8, &[&[1; SECTOR]]).err());
    assert!(matches!(full, Some(Error::Full { .. })), "{full:?}");
    let before = store.charged_bytes();
    // The tree is shared, so a cut inside it needs nodes.
    while store.fork("a", &store.keys().len().to_string()).is_ok() {}
    let keys = store.keys().len();
    assert!(matches!(store.fork("a", "z"), Err(Error::Full { .. })));
    assert_eq!(store.keys().len(), keys);
    let fork = store.open("b").unwrap();
    assert!(matches!(
        fork.resize(9, Shrink::Allow),
        Err(Error::Full { .. })
    ));
    assert_eq!(sectors(&fork), sectors(&disk));
    assert!(matches!(
        fork.write_zeroes(8, 8, true),
        Err(Error::Full { .. })
    ));
    fork.discard(8, 8).unwrap();
    assert_eq!(read(&fork, 0, 2048), bytes);
    assert!(store.charged_bytes() >= before && store.charged_bytes() <= 2 << 20);
    for key in store.keys() {
        store.destroy(&key).unwrap();
    }
    assert_eq!(store.charged_bytes(), 0);
}

/// A tmpfs that is smaller than the limit: an error, never a signal.
#[test]
fn a_full_file_system_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let mounted = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=4m", "none"])
        .arg(path)
        .status();
    if !mounted.is_ok_and(|status| status.success()) {
        // Without root there is no small file system.
        return;
    }
    let result = std::panic::catch_unwind(|| {
        let options = StoreOptions::new(64 << 20);
        let store = Store::create_at(&path.join("arena"), &options).unwrap();
        let disk = store.create("a", &spec(64 << 20)).unwrap();
        let result = disk.write(0, &[&noise(6, 8 << 20)]);
        assert!(matches!(result, Err(Error::HostFull { .. })), "{result:?}");
        let written = disk.seek_unmapped(0).unwrap();
        assert!(written > 4096, "{written}");
        let expected = noise(6, 8 << 20);
        let count = usize::try_from(written).unwrap();
        assert!(read(&disk, 0, count) == expected[..count * SECTOR]);
        disk.discard(0, 131_072).unwrap();
        disk.write(0, &[&expected[..2 << 20]]).unwrap();
        drop((disk, store));
        let store = Store::open_at(&path.join("arena"), &options).unwrap();
        assert!(read(&store.open("a").unwrap(), 0, 4096) == expected[..2 << 20]);
    });
    let _ = std::process::Command::new("umount").arg(path).status();
    result.unwrap();
}
