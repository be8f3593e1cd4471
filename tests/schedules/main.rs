//! The life of a page under a scheduler that tries out interleavings. Every lock of the store is a
//! place where another thread may run, and so is the moment before each copy, each publication of
//! an entry, and each punch. A failure prints the schedule that led to it.
//!
//! `RAMBLK_TEST=schedules` makes the locks those of the scheduler. `RAMBLK_SCHEDULES` is the number
//! of schedules of each kind.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "tests fail by panicking"
)]

mod mail;

use std::sync::Arc;

use ramblk::store::{Data, Disk, DiskSpec, Error, SectorSize, Shrink, Sink, Source, Store};
use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::{Config, Runner, thread};

const SECTOR: usize = 512;
const PAGE: usize = 4096;
/// Three leaves.
const SIZE_BYTES: u64 = 6 << 20;
const SECTORS: u64 = SIZE_BYTES / 512;

/// Of each thread that is scheduled. Unoptimised frames of the store fill more than 96 KiB; a stack
/// that is too small ends the process by SIGSEGV.
const STACK_BYTES: usize = 1 << 20;

/// Try a scenario in random order, and with few, well-placed changes of thread.
pub(crate) fn explore(scenario: impl Fn() + Send + Sync + Clone + 'static) {
    let wanted = std::env::var("RAMBLK_SCHEDULES").ok();
    let count = wanted.and_then(|count| count.parse().ok()).unwrap_or(1500);
    let mut config = Config::new();
    config.stack_size = STACK_BYTES;
    Runner::new(RandomScheduler::new(count), config.clone()).run(scenario.clone());
    Runner::new(PctScheduler::new(3, count), config).run(scenario);
}

fn store() -> Arc<Store> {
    Arc::new(Store::new(4 << 20).unwrap())
}

fn create(store: &Store, key: &str) -> Disk {
    let spec = DiskSpec::new(SectorSize::S512, SIZE_BYTES);
    store.create(key, &spec).unwrap()
}

fn write(disk: &Disk, sector: u64, byte: u8) {
    disk.write(sector, &[&[byte; PAGE]]).unwrap();
}

fn read(disk: &Disk, sector: u64) -> Vec<u8> {
    let mut bytes = vec![0xee; PAGE];
    disk.read(sector, &mut [&mut bytes]).unwrap();
    bytes
}

fn only(bytes: &[u8], allowed: &[u8]) {
    for sector in bytes.chunks(SECTOR) {
        assert!(allowed.contains(&sector[0]), "{} of {allowed:?}", sector[0]);
        assert!(
            sector.iter().all(|&byte| byte == sector[0]),
            "a torn sector"
        );
    }
}

fn nothing_is_lost(store: &Store) {
    for key in store.keys() {
        store.destroy(&key).unwrap();
    }
    assert_eq!(store.charged_bytes(), 0);
}

#[test]
fn a_reader_never_sees_what_the_next_owner_of_its_page_writes() {
    explore(|| {
        let store = store();
        let (one, two) = (create(&store, "one"), create(&store, "two"));
        write(&one, 0, 1);
        let (one, two) = (Arc::new(one), Arc::new(two));
        let reader = {
            let one = Arc::clone(&one);
            thread::spawn(move || only(&read(&one, 0), &[0, 1]))
        };
        let overwriter = {
            let one = Arc::clone(&one);
            thread::spawn(move || write(&one, 0, 1))
        };
        let other = {
            let two = Arc::clone(&two);
            thread::spawn(move || {
                write(&two, 0, 2);
                only(&read(&two, 0), &[2]);
            })
        };
        one.discard(0, 8).unwrap();
        for thread in [reader, overwriter, other] {
            thread.join().unwrap();
        }
        only(&read(&one, 0), &[0, 1]);
        only(&read(&two, 0), &[2]);
        nothing_is_lost(&store);
    });
}

#[test]
fn a_punch_never_takes_a_page_that_is_in_use_again() {
    explore(|| {
        let store = store();
        let disk = Arc::new(create(&store, "one"));
        write(&disk, 0, 1);
        write(&disk, 8, 2);
        let punchers: Vec<_> = (0..2)
            .map(|_| {
                let store = Arc::clone(&store);
                thread::spawn(move || store.reclaim())
            })
            .collect();
        let other = {
            let store = Arc::clone(&store);
            thread::spawn(move || {
                let two = create(&store, "two");
                write(&two, 4096, 3);
                only(&read(&two, 4096), &[3]);
            })
        };
        disk.discard(0, 8).unwrap();
        write(&disk, 16, 4);
        disk.discard(16, 8).unwrap();
        write(&disk, 24, 5);
        for thread in punchers.into_iter().chain([other]) {
            thread.join().unwrap();
        }
        only(&read(&disk, 0), &[0]);
        only(&read(&disk, 8), &[2]);
        only(&read(&disk, 24), &[5]);
        only(&read(&store.open("two").unwrap(), 4096), &[3]);
        nothing_is_lost(&store);
    });
}

#[test]
fn forks_that_copy_and_drop_one_tree_at_the_same_time_share_nothing_else() {
    explore(|| {
        let store = store();
        let golden = create(&store, "golden");
        write(&golden, 0, 1);
        write(&golden, 8, 2);
        let forks: Vec<_> = [3, 4]
            .map(|byte| {
                let fork = store.fork("golden", &byte.to_string()).unwrap();
                thread::spawn(move || {
                    write(&fork, 0, byte);
                    only(&read(&fork, 0), &[byte]);
                    only(&read(&fork, 8), &[2]);
                    fork.discard(8, 8).unwrap();
                    only(&read(&fork, 8), &[0]);
                })
            })
            .into();
        let dropper = {
            let store = Arc::clone(&store);
            thread::spawn(move || drop(store.destroy("golden").unwrap()))
        };
        for thread in forks.into_iter().chain([dropper]) {
            thread.join().unwrap();
        }
        only(&read(&store.open("3").unwrap(), 0), &[3]);
        only(&read(&store.open("4").unwrap(), 0), &[4]);
        nothing_is_lost(&store);
    });
}

#[test]
fn a_fork_has_what_was_answered_before_it_and_no_half_of_an_order() {
    explore(|| {
        let store = store();
        let disk = Arc::new(create(&store, "one"));
        write(&disk, 0, 1);
        write(&disk, 4096, 1);
        let writer = {
            let disk = Arc::clone(&disk);
            thread::spawn(move || {
                write(&disk, 0, 2);
                write(&disk, 4096, 2);
            })
        };
        let fork = store.fork("one", "fork").unwrap();
        let (first, second) = (read(&fork, 0)[0], read(&fork, 4096)[0]);
        assert!(first >= second, "{first} {second}");
        write(&fork, 0, 7);
        writer.join().unwrap();
        only(&read(&disk, 0), &[2]);
        only(&read(&disk, 4096), &[2]);
        only(&read(&fork, 0), &[7]);
        only(&read(&fork, 4096), &[second]);
        nothing_is_lost(&store);
    });
}

#[test]
fn nothing_is_mapped_beyond_a_shrink_and_no_write_is_lost_before_it() {
    explore(|| {
        let store = store();
        let disk = Arc::new(create(&store, "one"));
        write(&disk, SECTORS - 8, 1);
        let writer = {
            let disk = Arc::clone(&disk);
            thread::spawn(move || {
                write(&disk, 0, 2);
                let result = disk.write(SECTORS - 16, &[&[3; PAGE]]);
                assert!(matches!(result, Ok(()) | Err(Error::OutOfRange { .. })));
            })
        };
        let resetter = {
            let store = Arc::clone(&store);
            thread::spawn(move || {
                store.snapshot("one", "moment").unwrap();
                store.reset("one", "moment").unwrap();
            })
        };
        disk.resize(8, Shrink::Allow).unwrap();
        writer.join().unwrap();
        resetter.join().unwrap();
        let info = disk.get_info().unwrap();
        assert!(info.mapped_bytes <= info.size_bytes);
        disk.resize(8, Shrink::Allow).unwrap();
        disk.resize(SECTORS, Shrink::Refuse).unwrap();
        only(&read(&disk, SECTORS - 8), &[0]);
        assert!(disk.seek_mapped(8).unwrap() == SECTORS);
        nothing_is_lost(&store);
    });
}

#[test]
fn a_fork_beside_the_removal_of_a_leaf_counts_what_it_maps() {
    explore(|| {
        let store = store();
        let disk = Arc::new(create(&store, "one"));
        write(&disk, 0, 1);
        write(&disk, 4096, 2);
        let discarder = {
            let disk = Arc::clone(&disk);
            thread::spawn(move || {
                let result = disk.discard(4096, 4096);
                assert!(matches!(result, Ok(()) | Err(Error::OutOfRange { .. })));
            })
        };
        let shrinker = {
            let disk = Arc::clone(&disk);
            thread::spawn(move || drop(disk.resize(4096, Shrink::Allow).unwrap()))
        };
        let resetter = {
            let store = Arc::clone(&store);
            thread::spawn(move || {
                create(&store, "two");
                drop(store.reset("two", "one").unwrap());
            })
        };
        store.fork("one", "fork").unwrap();
        store.snapshot("fork", "moment").unwrap();
        for thread in [discarder, shrinker, resetter] {
            thread.join().unwrap();
        }
        for key in store.keys() {
            let disk = store.open(&key).unwrap();
            let pages = [0, 4096].into_iter().filter(|&sector| {
                let size = disk.get_info().unwrap().size_sectors;
                sector < size && read(&disk, sector)[0] != 0
            });
            let mapped = disk.get_info().unwrap().mapped_bytes;
            assert_eq!(mapped, pages.count() as u64 * PAGE as u64, "{key}");
        }
        nothing_is_lost(&store);
    });
}

#[test]
fn snapshots_that_end_while_they_are_compared_are_compared_whole() {
    explore(|| {
        let store = store();
        let disk = create(&store, "one");
        write(&disk, 0, 1);
        store.snapshot("one", "before").unwrap();
        write(&disk, 4096, 2);
        store.snapshot("one", "after").unwrap();
        let destroyer = {
            let store = Arc::clone(&store);
            thread::spawn(move || {
                drop(store.destroy("one").unwrap());
                drop(store.destroy("after").unwrap());
                let two = create(&store, "two");
                write(&two, 0, 3);
            })
        };
        if let Ok(changed) = store.changed("before", "after") {
            let changed: Vec<_> = changed
                .iter()
                .map(|it| (it.start_sector, it.sectors))
                .collect();
            assert_eq!(changed, [(4096, 8)]);
        }
        destroyer.join().unwrap();
        nothing_is_lost(&store);
    });
}

/// A page written and a page read in one batch, as a device does it.
fn together(disk: &Disk, to: u64, byte: u8, from: u64) -> Vec<u8> {
    let (written, mut found) = ([byte; PAGE], vec![0xee; PAGE]);
    let write = (to, Data::Out(Source::from(&written[..])));
    let read = (from, Data::In(Sink::from(&mut found[..])));
    let mut batch = disk.batch().unwrap();
    for (sector, data) in [write, read] {
        let range = disk.capacity().range_512(sector, PAGE as u64).unwrap();
        if batch.add(range, data) {
            continue;
        }
        batch.run();
        match data {
            Data::In(to) => disk.read_into(range, &[to]).unwrap(),
            Data::Out(from) => disk.write_from(range, &[from]).unwrap(),
        }
    }
    batch.run();
    drop(batch);
    found
}

#[test]
fn batches_that_hold_several_leaves_and_changes_of_them_all_come_to_an_end() {
    explore(|| {
        let store = store();
        let disk = Arc::new(create(&store, "one"));
        write(&disk, 0, 1);
        write(&disk, 4096, 2);
        let threads = [(0, 4096), (4096, 0)].map(|(to, from)| {
            let disk = Arc::clone(&disk);
            thread::spawn(move || only(&together(&disk, to, 3, from), &[0, 1, 2, 3]))
        });
        let forker = {
            let store = Arc::clone(&store);
            thread::spawn(move || {
                let fork = store.fork("one", "fork").unwrap();
                only(&together(&fork, 0, 4, 4096), &[2, 3]);
                only(&read(&fork, 0), &[4]);
            })
        };
        disk.discard(0, 8).unwrap();
        for thread in threads.into_iter().chain([forker]) {
            thread.join().unwrap();
        }
        only(&read(&disk, 0), &[0, 3]);
        only(&read(&disk, 4096), &[3]);
        nothing_is_lost(&store);
    });
}
