//! Batches and other operations: a batch holds up changes of its leaves, and never waits itself.

use std::io::{Write, stderr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ramblk::store::{ByteRange, Data, Disk, Error, MOST_BATCHED, Shrink, Sink, Source, Store};

use super::kit::*;
use crate::driver::data::{Random, seed};

const LEAF_SECTORS: u64 = 4096;
/// Long enough for an operation that need not wait.
const A_WHILE: Duration = Duration::from_millis(30);
const PATIENCE: Duration = Duration::from_secs(60);

fn range(disk: &Disk, sector: u64) -> ByteRange {
    disk.capacity().range_512(sector, 4096).unwrap()
}

#[test]
fn a_batch_holds_sixteen_and_only_what_fits() {
    let store = store();
    let disk = store.create("disk", &spec(8 << 20)).unwrap();
    fill(&disk, 1);
    let mut bufs = vec![[0xee; 4096]; MOST_BATCHED + 1];
    let (mut short, mut empty) = ([0; 512], [0; 0]);
    let [short, empty] = [&mut short[..], &mut empty].map(|to| Data::In(Sink::from(to)));
    let mut batch = disk.batch().unwrap();
    assert!(!batch.add(range(&disk, 0), short), "another length");
    let nothing = disk.capacity().range_512(0, 0).unwrap();
    assert!(!batch.add(nothing, empty), "nothing");
    let across = range(&disk, LEAF_SECTORS - 4);
    let (last, bufs) = bufs.split_last_mut().unwrap();
    for (at, buf) in bufs.iter_mut().enumerate() {
        let to = Data::In(Sink::from(&mut buf[..]));
        assert!(at > 0 || !batch.add(across, to), "a border of leaves");
        assert!(batch.add(range(&disk, at as u64 * 8), to), "{at}");
    }
    let last = Data::In(Sink::from(&mut last[..]));
    assert!(!batch.add(range(&disk, 800), last), "one too many");
    batch.run();
    assert!(batch.add(range(&disk, 800), last), "it is empty again");
    batch.run();
    drop(batch);
    for (at, buf) in bufs.iter().enumerate() {
        assert_eq!(buf[..], read(&disk, at as u64 * 8, 8));
    }
}

#[test]
fn a_batch_of_a_disk_that_shrank_or_is_gone_refuses() {
    let store = store();
    let disk = store.create("disk", &spec(8 << 20)).unwrap();
    fill(&disk, 1);
    let mut buf = [0; 4096];
    let to = Sink::from(&mut buf[..]);
    let (first, last) = (range(&disk, 0), range(&disk, 3 * LEAF_SECTORS));
    let mut batch = disk.batch().unwrap();
    disk.resize(LEAF_SECTORS, Shrink::Allow).unwrap();
    assert!(batch.add(first, Data::In(to)) && !batch.add(last, Data::In(to)));
    batch.run();
    let result = disk.read_into(last, &[to]);
    assert!(matches!(result, Err(Error::OutOfRange { .. })));
    store.destroy("disk").unwrap();
    assert!(!batch.add(first, Data::In(to)));
    batch.run();
    let result = disk.read_into(first, &[to]);
    assert!(matches!(result, Err(Error::Disconnected { .. })));
    assert!(disk.batch().is_none());
}

type Change = (&'static str, fn(&Store, &Disk));

/// Operations that change leaf 0, or the whole tree.
const CHANGES: [Change; 7] = [
    ("discard", |_, disk| disk.discard(0, 8).unwrap()),
    ("zeroes", |_, disk| disk.write_zeroes(0, 8, false).unwrap()),
    ("new page", |_, disk| {
        disk.write(16, &[&[1; 4096]]).unwrap();
    }),
    ("leaves", |_, disk| disk.discard(0, LEAF_SECTORS).unwrap()),
    ("fork", |store, _| drop(store.fork("disk", "fork").unwrap())),
    ("shrink", |_, disk| {
        drop(disk.resize(8, Shrink::Allow).unwrap())
    }),
    ("destroy", |store, _| drop(store.destroy("disk").unwrap())),
];

#[test]
fn who_changes_a_disk_waits_for_a_batch_that_is_held() {
    for (name, change) in CHANGES {
        for (write, runs) in [(false, true), (true, true), (false, false), (true, false)] {
            let store = store();
            let disk = store.create("disk", &spec(8 << 20)).unwrap();
            disk.write(0, &[&[7; 4096]]).unwrap();
            let other = store.open("disk").unwrap();
            let (mut buf, mut more, from) = ([0xee; 4096], [0; 4096], [9; 4096]);
            let is_done = AtomicBool::new(false);
            std::thread::scope(|scope| {
                let mut batch = disk.batch().unwrap();
                let data = if write {
                    Data::Out(Source::from(&from[..]))
                } else {
                    Data::In(Sink::from(&mut buf[..]))
                };
                assert!(batch.add(range(&disk, 0), data), "{name}");
                let (is_done, store, other) = (&is_done, &store, &other);
                scope.spawn(move || {
                    change(store, other);
                    is_done.store(true, Ordering::Release);
                });
                // Once it waits, the batch admits nothing that would have to wait behind it.
                let more = Data::In(Sink::from(&mut more[..]));
                let end = Instant::now() + PATIENCE;
                while disk.batch().unwrap().add(range(&disk, 8), more) {
                    assert!(Instant::now() < end, "{name} does not wait");
                }
                assert!(!batch.add(range(&disk, 8), more), "{name}");
                std::thread::sleep(A_WHILE);
                assert!(!is_done.load(Ordering::Acquire), "{name} did not wait");
                if runs {
                    batch.run();
                }
            });
            assert!(is_done.load(Ordering::Acquire), "{name}");
            let byte = if write || !runs { 0xee } else { 7 };
            assert_eq!(buf, [byte; 4096], "{name}");
            if name == "fork" {
                let byte = if write && runs { 9 } else { 7 };
                let fork = store.open("fork").unwrap();
                assert_eq!(read(&fork, 0, 8), [byte; 4096]);
            }
        }
    }
}

/// Run batches on pages of its own, in leaves that share locks with others.
fn worker(disk: &Disk, number: u64, rounds: u32, seed: u64) {
    let mut dice = Random::new(seed + number);
    for round in 0..rounds {
        let mut bufs = [[0; 4096]; 6];
        let mut batch = disk.batch().unwrap();
        for buf in &mut bufs {
            // Leaf 64 has the lock of leaf 0.
            let sector = dice.below(66) * LEAF_SECTORS + number * 8;
            let range = range(disk, sector);
            let data = if dice.below(2) == 0 {
                *buf = [round as u8; 4096];
                Data::Out(Source::from(&buf[..]))
            } else {
                Data::In(Sink::from(&mut buf[..]))
            };
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
        let whole = bufs.iter().all(|buf| *buf == [buf[0]; 4096]);
        assert!(whole, "a torn page, RAMBLK_SEED={seed}");
    }
}

#[test]
fn batches_and_changes_of_the_whole_disk_never_wait_for_each_other_for_good() {
    let seed = seed();
    let store = store();
    let disk = store
        .create("disk", &spec(66 * LEAF_SECTORS * 512))
        .unwrap();
    let (ended, end) = (AtomicBool::new(false), Instant::now() + PATIENCE);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !ended.load(Ordering::Acquire) {
                if Instant::now() > end {
                    // A panic would reach only the thread that joins the others, which wait.
                    let _ = writeln!(stderr(), "batches wait for ever, RAMBLK_SEED={seed}");
                    std::process::abort();
                }
                std::thread::sleep(A_WHILE);
            }
        });
        let workers: Vec<_> = (0..3)
            .map(|number| (number, store.open("disk").unwrap()))
            .map(|(number, disk)| scope.spawn(move || worker(&disk, number, 2000, seed)))
            .collect();
        let mut dice = Random::new(seed);
        while !workers.iter().all(|worker| worker.is_finished()) {
            let fork = store.fork("disk", "fork").unwrap();
            let sector = dice.below(66) * LEAF_SECTORS;
            for number in 0..3 {
                let page = read(&fork, sector + number * 8, 8);
                let whole = page.iter().all(|&byte| byte == page[0]);
                assert!(whole, "a torn page in a fork, RAMBLK_SEED={seed}");
            }
            store.destroy("fork").unwrap();
            disk.discard(sector, 24).unwrap();
            disk.discard(sector, LEAF_SECTORS).unwrap();
        }
        ended.store(true, Ordering::Release);
    });
    store.destroy("disk").unwrap();
    assert_eq!(store.charged_bytes(), 0);
}
