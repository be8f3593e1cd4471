//! Arenas that outlive their store: reopened, locked, grown, and refused.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use ramblk::store::{Error, OnFull, Store, StoreOptions};

use super::kit::*;

const OPTIONS: StoreOptions = StoreOptions {
    limit_bytes: 64 << 20,
    huge_pages: false,
    lock_memory: false,
};

/// A directory for an arena, removed with the test.
struct Place {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

fn place() -> Place {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("arena");
    Place {
        _folder: folder,
        path,
    }
}

/// An arena with a golden image, two forks, a snapshot, and a disk that was shrunk.
fn furnished(place: &Place) -> u64 {
    let store = Store::create_at(&place.path, &OPTIONS).unwrap();
    let golden = store.create("golden", &spec(8 << 20)).unwrap();
    fill(&golden, 1);
    golden.set_settings(b"what the daemon keeps").unwrap();
    for (at, key) in (0..).zip(["one", "two"]) {
        let fork = store.fork("golden", key).unwrap();
        fork.write(at * 100, &[&noise(2 + at, 4096)]).unwrap();
        fork.discard(1000, 3).unwrap();
    }
    store.snapshot("one", "one@1").unwrap();
    let mut other = spec(1 << 40);
    (other.quota_bytes, other.on_full) = (Some(1 << 20), OnFull::Stall);
    let other = store.create("other", &other).unwrap();
    other.write_zeroes(0, (1 << 40) / 512, false).unwrap();
    other.write((1 << 39) / 512, &[&[3; SECTOR]]).unwrap();
    store.charged_bytes()
}

fn check(store: &Store) {
    assert_eq!(store.keys(), ["golden", "one", "one@1", "other", "two"]);
    let open = |key| store.open(key).unwrap();
    let golden = open("golden");
    assert_eq!(read(&golden, 0, 16384), noise(1, 8 << 20));
    assert_eq!(golden.settings().unwrap(), b"what the daemon keeps");
    for (at, key) in (0..).zip(["one", "two"]) {
        assert_eq!(read(&open(key), at * 100, 8), noise(2 + at, 4096));
        assert_eq!(open(key).seek_unmapped(0).unwrap(), 1000);
        assert_eq!(
            open(key).get_info().unwrap().mapped_bytes,
            (8 << 20) - 3 * 512
        );
        let parent = open(key).get_info().unwrap().parent_id;
        assert_eq!(parent, Some(golden.get_info().unwrap().id));
    }
    assert!(open("one@1").is_read_only() && equal(&open("one"), &open("one@1")));
    let other = open("other").get_info().unwrap();
    assert_eq!(
        (other.mapped_bytes, other.spec.quota_bytes),
        (1 << 40, Some(1 << 20))
    );
    assert_eq!(read(&open("other"), (1 << 39) / 512, 1), [3; SECTOR]);
}

#[test]
fn a_reopened_arena_has_every_disk_and_counts_the_same() {
    let place = place();
    let charged_bytes = furnished(&place);
    for _ in 0..2 {
        let store = Store::open_at(&place.path, &OPTIONS).unwrap();
        assert_eq!(store.charged_bytes(), charged_bytes);
        check(&store);
    }
    let store = Store::open_at(&place.path, &OPTIONS).unwrap();
    // Blocks that recovery found free are reused, and none that is in use.
    let new = store.create("new", &spec(16 << 20)).unwrap();
    fill(&new, 9);
    check_then_destroy_all(&store);
}

fn check_then_destroy_all(store: &Store) {
    let new = store.open("new").unwrap();
    assert_eq!(read(&new, 0, 32768), noise(9, 16 << 20));
    store.destroy("new").unwrap();
    check(store);
    for key in store.keys() {
        store.destroy(&key).unwrap();
    }
    assert_eq!(store.charged_bytes(), 0);
}

#[test]
fn one_process_has_an_arena_and_a_store_has_one_id() {
    let place = place();
    let store = Store::create_at(&place.path, &OPTIONS).unwrap();
    let id = store.id();
    assert!(matches!(
        Store::open_at(&place.path, &OPTIONS),
        Err(Error::Busy)
    ));
    assert!(matches!(
        Store::create_at(&place.path, &OPTIONS),
        Err(Error::Arena { .. })
    ));
    drop(store);
    assert_eq!(Store::open_at(&place.path, &OPTIONS).unwrap().id(), id);
    assert_ne!(Store::new(1 << 20).unwrap().id(), id);
}

#[test]
fn a_copy_of_the_descriptor_does_not_keep_the_lock() {
    let place = place();
    furnished(&place);
    let open = || File::options().read(true).write(true).open(&place.path);
    let file = open().unwrap();
    // As a child process has it between fork and exec.
    let copy = file.try_clone().unwrap();
    drop(Store::open_in(file, &OPTIONS).unwrap());
    check(&Store::open_at(&place.path, &OPTIONS).unwrap());
    drop(copy);
}

#[test]
fn a_larger_limit_makes_the_arena_grow() {
    let place = place();
    furnished(&place);
    let larger = StoreOptions::new(256 << 20);
    let store = Store::open_at(&place.path, &larger).unwrap();
    let new = store.create("new", &spec(128 << 20)).unwrap();
    fill(&new, 4);
    drop((store, new));
    // With the old limit it is over budget, and whole.
    let store = Store::open_at(&place.path, &OPTIONS).unwrap();
    let new = store.open("new").unwrap();
    assert_eq!(read(&new, 0, 262_144), noise(4, 128 << 20));
    let result = store.create("more", &spec(1 << 20));
    assert!(matches!(result, Err(Error::Full { .. })), "{result:?}");
    store.destroy("new").unwrap();
    check(&store);
}

#[test]
fn a_file_that_is_no_arena_is_refused_and_left_as_it_is() {
    let place = place();
    for bytes in [&b""[..], b"hello", &[0; 8192], &noise(5, 1 << 20)] {
        fs::write(&place.path, bytes).unwrap();
        let result = Store::open_at(&place.path, &OPTIONS);
        assert!(matches!(result, Err(Error::Foreign)), "{result:?}");
        assert_eq!(fs::read(&place.path).unwrap(), bytes);
    }
}

/// Damage the file, and check that it is refused and not changed. Returns the message.
fn refused(damage: impl Fn(&File)) -> String {
    let place = place();
    furnished(&place);
    let file = File::options()
        .read(true)
        .write(true)
        .open(&place.path)
        .unwrap();
    damage(&file);
    let before = fs::read(&place.path).unwrap();
    let error = Store::open_at(&place.path, &OPTIONS).unwrap_err();
    assert!(fs::read(&place.path).unwrap() == before, "it was changed");
    error.to_string()
}

#[test]
fn an_arena_of_another_layout_is_refused() {
    let message = refused(|file| file.write_all_at(&99u64.to_le_bytes(), 8).unwrap());
    assert!(message.contains("layout 99"), "{message}");
}

#[test]
fn a_truncated_arena_is_refused() {
    let message = refused(|file| file.set_len(3 << 20).unwrap());
    assert!(message.contains("cut to 3145728 bytes"), "{message}");
    // As long as before, but with a part missing.
    let message = refused(|file| {
        let len = file.metadata().unwrap().len();
        file.set_len(3 << 20).unwrap();
        file.set_len(len).unwrap();
    });
    assert!(message.contains("is missing"), "{message}");
}

/// The offset of the first slot's record, by the layout in `docs/internals/store.md`.
fn record(file: &File) -> u64 {
    let mut word = [0; 8];
    file.read_exact_at(&mut word, 4096).unwrap();
    u64::from_le_bytes(word) * 4096
}

#[test]
fn a_damaged_arena_is_refused() {
    let flip = |file: &File, at: u64| {
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ 0x40], at).unwrap();
    };
    // The superblock's id and size, the table, a record's magic, size and key, the root.
    for (what, at) in [("sum", 17), ("cut", 42), ("size", 44), ("block", 4096 + 3)] {
        let message = refused(|file| flip(file, at));
        assert!(message.contains(what), "{message}");
    }
    for offset in [0, 8, 24, 128] {
        let message = refused(|file| flip(file, record(file) + offset));
        assert!(message.contains("disk record"), "{message}");
    }
    for offset in [32, 33, 36, 39] {
        let message = refused(|file| flip(file, record(file) + offset));
        assert!(message.contains("damaged"), "{message}");
    }
    let twice = refused(|file| {
        let word = record(file) / 4096;
        file.write_all_at(&word.to_le_bytes(), 4096 + 8 * 77)
            .unwrap();
    });
    assert!(twice.contains("twice"), "{twice}");
}

/// Bytes of this process's shared memory that are in huge pages.
fn huge_bytes() -> u64 {
    let smaps = fs::read_to_string("/proc/self/smaps").unwrap();
    let lines = smaps
        .lines()
        .filter_map(|line| line.strip_prefix("ShmemPmdMapped:"));
    let kib = lines.map(|line| line.trim().trim_end_matches(" kB").parse::<u64>().unwrap());
    kib.sum::<u64>() * 1024
}

#[test]
fn huge_pages_are_really_got() {
    let options = StoreOptions {
        limit_bytes: 64 << 20,
        huge_pages: true,
        lock_memory: false,
    };
    let place = place();
    let tmpfs = PathBuf::from("/dev/shm").join(format!("ramblk-test-{}", std::process::id()));
    let path = if tmpfs.parent().is_some_and(std::path::Path::exists) {
        &tmpfs
    } else {
        &place.path
    };
    let store = Store::create_at(path, &options).unwrap();
    fs::remove_file(path).unwrap();
    let disk = store.create("a", &spec(32 << 20)).unwrap();
    // Linux makes huge pages of shared memory on request since 6.1.
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let major: u32 = release.split('.').next().unwrap().parse().unwrap();
    let possible =
        major > 5 && std::path::Path::new("/sys/kernel/mm/transparent_hugepage").exists();
    let before = huge_bytes();
    let wait_until = |what: &str, condition: &dyn Fn(u64) -> bool| {
        let deadline = Instant::now() + Duration::from_secs(10);
        while possible && !condition(huge_bytes() - before) {
            assert!(Instant::now() < deadline, "waited in vain: {what}");
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    for seed in [7, 8] {
        fill(&disk, seed);
        // The store's thread makes them when the machine has time for it.
        store.make_huge_pages();
        wait_until("huge pages are made", &|huge| huge >= 24 << 20);
        assert_eq!(read(&disk, 0, 65536), noise(seed, 32 << 20));
        // Whole groups are freed, and become huge again when they are reused.
        disk.discard(0, 65536).unwrap();
        wait_until("huge pages are given back", &|huge| huge == 0);
    }
}
