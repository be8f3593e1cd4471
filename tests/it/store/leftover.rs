//! What a change leaves to be freed: the change is one instant, and its memory is freed later.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ramblk::store::{DiskSpec, Error, SectorSize, Shrink, Store};

use super::kit::*;

/// Write a sector in each of `leaves` leaves: as much to walk as that many times 2 MiB.
fn scattered(store: &Store, key: &str, leaves: u64) {
    let spec = DiskSpec::new(SectorSize::S512, leaves << 21);
    let disk = store.create(key, &spec).unwrap();
    for leaf in 0..leaves {
        disk.write(leaf << 12, &[&[1; SECTOR]]).unwrap();
    }
}

/// The longest time of creating and destroying a small disk while `act` ran, and how long that ran.
fn beside(store: &Store, act: impl FnOnce() + Send) -> (Duration, Duration) {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let acting = scope.spawn(|| {
            let began = Instant::now();
            act();
            over.store(true, Ordering::Release);
            began.elapsed()
        });
        let mut longest = Duration::ZERO;
        while !over.load(Ordering::Acquire) {
            let began = Instant::now();
            store.create("small", &spec(1 << 20)).unwrap();
            store.destroy("small").unwrap();
            longest = longest.max(began.elapsed());
        }
        (longest, acting.join().unwrap())
    })
}

/// A machine that is busy with other work may hold up one of several.
fn holds_nobody_up(act: impl Fn(&Store) + Sync) {
    let mut seen = Vec::new();
    for _ in 0..5 {
        let store = Store::new(1 << 30).unwrap();
        scattered(&store, "large", 16_384);
        store.snapshot("large", "moment").unwrap();
        let (longest, took) = beside(&store, || act(&store));
        if longest < took / 2 {
            return;
        }
        seen.push((longest, took));
    }
    panic!("a create waited for the walk of another disk: {seen:?}");
}

#[test]
fn the_end_of_a_large_disk_holds_up_no_create() {
    holds_nobody_up(|store| {
        store.destroy("moment").unwrap();
        store.destroy("large").unwrap();
    });
}

#[test]
fn a_large_shrink_a_reset_and_a_comparison_hold_up_no_create() {
    holds_nobody_up(|store| {
        store.destroy("moment").unwrap();
        let large = store.open("large").unwrap();
        large.resize(8, Shrink::Allow).unwrap();
    });
    holds_nobody_up(|store| {
        store.create("empty", &spec(1 << 20)).unwrap();
        store.destroy("moment").unwrap();
        store.reset("large", "empty").unwrap();
    });
    holds_nobody_up(|store| {
        store.create("empty", &spec(1 << 20)).unwrap();
        store.snapshot("empty", "nothing").unwrap();
        let changed = store.changed("nothing", "moment").unwrap();
        assert_eq!(changed.len(), 16_384);
    });
}

#[test]
fn a_disk_is_gone_at_once_and_its_memory_is_charged_until_it_is_freed() {
    let store = Store::new(64 << 20).unwrap();
    scattered(&store, "one", 8);
    let charged = store.charged_bytes();
    let left = store.destroy("one").unwrap();
    assert!(matches!(store.open("one"), Err(Error::Unknown { .. })));
    assert_eq!(store.charged_bytes(), charged);
    let again = store.create("one", &spec(1 << 20)).unwrap();
    assert_eq!(again.get_info().unwrap().mapped_bytes, 0);
    assert_eq!(left.free(), 0);
    assert_eq!(store.charged_bytes(), EMPTY_DISK);
}

#[test]
fn a_full_pool_has_room_again_when_the_end_of_a_disk_returns() {
    let store = Store::new(4 << 20).unwrap();
    for _ in 0..100 {
        let disk = store.create("hog", &spec(16 << 20)).unwrap();
        let full = (0..).map(|page| disk.write(page * 8, &[&[1; 4096]]));
        let full = full.take(4096).find_map(Result::err).unwrap();
        assert!(full.is_out_of_memory());
        store.destroy("hog").unwrap();
        assert_eq!(store.charged_bytes(), 0);
    }
}

#[test]
fn what_a_shrink_cut_off_counts_for_nobody_once_it_is_freed() {
    let store = Store::new(64 << 20).unwrap();
    scattered(&store, "one", 8);
    let one = store.open("one").unwrap();
    let left = one.resize(4 << 12, Shrink::Allow).unwrap();
    // A fork of what is left, before the rest has been counted.
    let fork = store.fork("one", "fork").unwrap();
    store.create("two", &spec(1 << 20)).unwrap();
    let two = store.open("two").unwrap();
    store.reset("two", "one").unwrap();
    store.reset("fork", "two").unwrap();
    assert_eq!(left.free(), 4 * SECTOR as u64);
    for disk in [&one, &two, &fork] {
        assert_eq!(disk.get_info().unwrap().mapped_bytes, 4 * SECTOR as u64);
    }
}
