//! Arenas that grow: in size, in disks, in generations.

use std::os::unix::fs::FileExt;

use ramblk::store::{DiskSpec, Error, SectorSize, Store, StoreOptions};

use super::{kill, noise};

fn spec() -> DiskSpec {
    DiskSpec::new(SectorSize::S512, 8 << 20)
}

/// A kill between two stores would leave an arena that can't be opened.
#[test]
fn an_arena_grows_with_one_store() {
    let folder = tempfile::tempdir_in("/dev/shm").unwrap();
    let path = folder.path().join("arena");
    let superblock = || {
        let mut bytes = [0; 4096];
        let file = std::fs::File::open(&path).unwrap();
        file.read_exact_at(&mut bytes, 0).unwrap();
        bytes
    };
    drop(Store::create_at(&path, &StoreOptions::new(8 << 20)).unwrap());
    let before = superblock();
    drop(kill::open(&path, &StoreOptions::new(800 << 20)).unwrap());
    let after = superblock();
    let words = before.chunks(8).zip(after.chunks(8));
    let changed = words.filter(|(one, two)| one != two).count();
    assert_eq!(changed, 1, "words of the superblock that changed");
}

#[test]
fn more_disks_than_a_block_of_the_table_names() {
    let folder = tempfile::tempdir_in("/dev/shm").unwrap();
    let path = folder.path().join("arena");
    let options = StoreOptions::new(256 << 20);
    let mut store = Store::create_at(&path, &options).unwrap();
    store.create("0", &spec()).unwrap();
    for number in 1..1300_u64 {
        let fork = store.fork("0", &number.to_string()).unwrap();
        fork.write(number, &[&noise::run(number, number, 1, 512)])
            .unwrap();
    }
    for round in 0..2 {
        let charged_bytes = store.charged_bytes();
        drop(store);
        store = kill::open(&path, &options).unwrap();
        assert_eq!(store.charged_bytes(), charged_bytes);
        for number in 1..1300_u64 {
            let disk = store.open(&number.to_string());
            if round == 1 && number % 2 == 0 {
                assert!(matches!(disk, Err(Error::Unknown { .. })));
                continue;
            }
            let disk = disk.unwrap();
            let mut bytes = [0; 512];
            disk.read(number, &mut [&mut bytes]).unwrap();
            assert!(noise::is(number, number, &bytes));
            assert_eq!(disk.get_info().unwrap().mapped_bytes, 512);
            drop(disk);
            if round == 0 && number % 2 == 0 {
                store.destroy(&number.to_string()).unwrap();
            }
        }
    }
    for key in store.keys() {
        store.destroy(&key).unwrap();
    }
    assert_eq!(store.charged_bytes(), 0, "memory was lost");
}

/// One disk, of which each generation wrote one page that the next ones share.
#[test]
fn generations_are_no_disks() {
    let store = Store::new(1 << 30).unwrap();
    let spec = DiskSpec::new(SectorSize::S4096, 1 << 30);
    store.create("0", &spec).unwrap();
    for number in 0..70_000_u64 {
        let (old, new) = (number.to_string(), (number + 1).to_string());
        let fork = store.fork(&old, &new);
        let fork = fork.unwrap_or_else(|error| panic!("generation {number}: {error}"));
        fork.write(number, &[&[1; 4096]]).unwrap();
        store.destroy(&old).unwrap();
    }
    assert_eq!(store.keys(), ["70000"]);
    store.destroy("70000").unwrap();
    assert_eq!(store.charged_bytes(), 0, "memory was lost");
}
