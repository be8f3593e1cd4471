//! A store that is always near its limit: operations that fail for lack of memory lose nothing, and
//! the limit is never exceeded.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use ramblk::store::{Disk, DiskSpec, Error, SectorSize, Shrink, Store, StoreOptions};

use super::content::{Content, Fill};
use super::model::{Twin, range};
use super::random::{Random, Seed, seed};
use super::verify::{self, Begun};
use super::{kill, noise};

const OPTIONS: StoreOptions = StoreOptions {
    limit_bytes: 3 << 20,
    huge_pages: false,
    lock_memory: false,
};
const OPS: u64 = 30_000;
const SIZE_BYTES: u64 = 5 << 20;
/// The charge of a disk without data.
const RECORD_BYTES: u64 = 4096;

/// Whether an operation found memory.
fn found_memory(result: Result<(), Error>) -> bool {
    match result {
        Ok(()) => true,
        Err(Error::Full { limit_bytes }) => {
            assert_eq!(limit_bytes, OPTIONS.limit_bytes);
            false
        }
        Err(other) => panic!("{other}"),
    }
}

/// Change some sectors. Returns whether there was memory for it.
fn touch(twin: &mut Twin, random: &mut Random, tag: u64) -> bool {
    let (start, sectors) = range(random, twin.size, twin.sector_bytes);
    let (result, fill) = match random.below(10) {
        0..6 => {
            let bytes = noise::run(tag, start, sectors, twin.sector_bytes);
            (twin.disk.write(start, &[&bytes]), Some(Fill::Tag(tag)))
        }
        6 => {
            let result = twin.disk.write_zeroes(start, sectors, false);
            (result, Some(Fill::Zero))
        }
        7 => (twin.disk.write_zeroes(start, sectors, true), None),
        _ => {
            // A partial discard without memory leaves the sectors unchanged, and is no error.
            assert!(found_memory(twin.disk.discard(start, sectors)));
            let begun = Begun {
                start,
                sectors,
                fill: None,
            };
            assert_eq!(
                verify::settle(&twin.disk, &mut twin.content, &begun, 0),
                Ok(0)
            );
            return true;
        }
    };
    let found = found_memory(result);
    if found {
        twin.content.set(start, sectors, fill);
    } else {
        let begun = Begun {
            start,
            sectors,
            fill,
        };
        let torn = verify::settle(&twin.disk, &mut twin.content, &begun, 0);
        assert_eq!(torn, Ok(0), "a sector that was half written");
    }
    found
}

fn resize(twin: &mut Twin, random: &mut Random) -> bool {
    let size = 1 + random.below(SIZE_BYTES / twin.sector_bytes);
    let found = found_memory(twin.disk.resize(size, Shrink::Allow).map(drop));
    if found {
        twin.size = size;
        twin.content.truncate(size);
    }
    found
}

/// Replace the last fork by a fork of one of the disks.
fn fork(store: &Store, twins: &mut Vec<Twin>, random: &mut Random, number: u64) -> bool {
    if twins.len() > 4 {
        let twin = twins.swap_remove(random.below(twins.len() as u64) as usize);
        store.destroy(&twin.disk.get_info().unwrap().key).unwrap();
    }
    let from = &twins[random.below(twins.len() as u64) as usize];
    let source = from.disk.get_info().unwrap().key;
    match store.fork(&source, &format!("fork {number}")) {
        Ok(disk) => {
            let content = from.content.clone();
            twins.push(Twin {
                disk,
                content,
                ..*from
            });
            true
        }
        Err(error) => found_memory(Err(error)),
    }
}

fn create(store: &Store, key: &str, sector_size: SectorSize) -> Twin {
    let disk = store.create(key, &DiskSpec::new(sector_size, SIZE_BYTES));
    Twin {
        disk: disk.unwrap(),
        sector_bytes: sector_size.bytes(),
        unit_bytes: sector_size.bytes(),
        size: SIZE_BYTES / sector_size.bytes(),
        snapshot: false,
        content: Content::default(),
    }
}

/// Discard everything: only a record for each disk is left.
fn empty(store: &Store, twins: &[Twin]) {
    for _ in 0..2 {
        for twin in twins {
            twin.disk.discard(0, twin.size).unwrap();
        }
    }
    let left = store.charged_bytes();
    assert_eq!(left, twins.len() as u64 * RECORD_BYTES, "for empty disks");
    for key in store.keys() {
        store.destroy(&key).unwrap();
    }
    assert_eq!(store.charged_bytes(), 0, "memory was lost");
}

#[test]
fn want_of_memory_loses_nothing() {
    let seed = Seed(seed());
    let mut random = Random::new(seed.0);
    let folder = tempfile::tempdir_in("/dev/shm").unwrap();
    let path = folder.path().join("arena");
    let store = Store::create_at(&path, &OPTIONS).unwrap();
    let mut twins = vec![
        create(&store, "small sectors", SectorSize::S512),
        create(&store, "large sectors", SectorSize::S4096),
    ];
    let (mut enough, mut wanting) = (0, 0);
    for op in 1..=OPS {
        let at = random.below(twins.len() as u64) as usize;
        let found = match random.below(100) {
            0 => resize(&mut twins[at], &mut random),
            1 => fork(&store, &mut twins, &mut random, op),
            _ => touch(&mut twins[at], &mut random, op),
        };
        *(if found { &mut enough } else { &mut wanting }) += 1;
        assert!(store.charged_bytes() <= store.limit_bytes());
        if op % 100 == 0 {
            for twin in &twins {
                twin.exact("near the limit");
            }
        }
    }
    assert!(
        enough > OPS / 10 && wanting > OPS / 100,
        "{enough}, {wanting}"
    );
    let charged_bytes = store.charged_bytes();
    let keep = twins.len();
    let known: Vec<_> = twins
        .drain(..)
        .map(|twin| (twin.disk.get_info().unwrap().key, twin.content, twin.size))
        .collect();
    drop(store);
    let store = kill::open(&path, &OPTIONS).unwrap();
    assert_eq!(store.charged_bytes(), charged_bytes);
    for (key, content, size) in known {
        let disk = store.open(&key).unwrap();
        let sector_bytes = disk.sector_size().bytes();
        twins.push(Twin {
            disk,
            sector_bytes,
            size,
            snapshot: false,
            unit_bytes: sector_bytes,
            content,
        });
        twins.last().unwrap().exact(&key);
    }
    assert_eq!(twins.len(), keep);
    empty(&store, &twins);
}

/// Four writers fill the store and discard, while a fifth thread watches what is charged.
#[test]
fn the_limit_holds_at_every_moment() {
    let seed = Seed(seed());
    let store = Store::new(OPTIONS.limit_bytes).unwrap();
    let base = create(&store, "base", SectorSize::S512).disk;
    base.write(0, &[&noise::run(1, 0, 2000, 512)]).unwrap();
    let disks: Vec<Disk> = (0..4)
        .map(|number| store.fork("base", &format!("{number}")).unwrap())
        .collect();
    let (done, wanting) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut most = 0;
            while !done.load(Ordering::Relaxed) {
                most = most.max(store.charged_bytes());
            }
            most
        });
        let writers: Vec<_> = (0..)
            .zip(&disks)
            .map(|(number, disk)| {
                let (mut random, wanting) = (Random::new(seed.0 + number), &wanting);
                scope.spawn(move || {
                    for tag in 0..5000 {
                        let (start, sectors) = range(&mut random, SIZE_BYTES / 512, 512);
                        let result = match random.below(3) {
                            0 => disk.discard(start, sectors),
                            _ => disk.write(start, &[&noise::run(tag, start, sectors, 512)]),
                        };
                        wanting.fetch_add(u64::from(!found_memory(result)), Ordering::Relaxed);
                    }
                })
            })
            .collect();
        writers
            .into_iter()
            .for_each(|writer| writer.join().unwrap());
        done.store(true, Ordering::Relaxed);
        assert!(watcher.join().unwrap() <= store.limit_bytes());
    });
    assert!(
        wanting.load(Ordering::Relaxed) > 0,
        "the limit was never reached"
    );
    let unchanged = verify::bytes_of(
        &base,
        &{
            let mut content = Content::default();
            content.set(0, 2000, Some(Fill::Tag(1)));
            content
        },
        (0, SIZE_BYTES / 512),
        512,
    );
    assert_eq!(unchanged, Ok(()));
    for key in store.keys() {
        store.destroy(&key).unwrap();
    }
    assert_eq!(store.charged_bytes(), 0, "memory was lost");
}

/// Memory that the last process had freed and not yet returned to the host: the next one returns
/// it.
#[test]
fn memory_that_the_last_process_had_freed_goes_back_to_the_host() {
    let folder = tempfile::tempdir_in("/dev/shm").unwrap();
    let path = folder.path().join("arena");
    let options = StoreOptions::new(64 << 20);
    let store = Store::create_at(&path, &options).unwrap();
    let small = create(&store, "small", SectorSize::S512);
    small.disk.write(0, &[&noise::run(1, 0, 100, 512)]).unwrap();
    for number in 0..8 {
        let large = create(&store, &format!("large {number}"), SectorSize::S512);
        large
            .disk
            .write(0, &[&noise::run(2, 0, large.size, 512)])
            .unwrap();
    }
    for number in 0..8 {
        store.destroy(&format!("large {number}")).unwrap();
    }
    drop((store, small));
    let store = kill::open(&path, &options).unwrap();
    store.reclaim();
    let held_bytes = kill::held_bytes(&path);
    assert!(
        held_bytes <= store.charged_bytes() + kill::OVERHEAD_BYTES,
        "{held_bytes} bytes for {}",
        store.charged_bytes()
    );
}
