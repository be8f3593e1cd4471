//! Forks, snapshots, resets: their content and their cost.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use ramblk::store::{Disk, DiskSpec, Error, SectorSize, Shrink, Source, Store};

use super::kit::*;

fn charged(disk: &Disk) -> u64 {
    disk.get_info().unwrap().charged_bytes
}

#[test]
fn a_fork_is_the_disk_at_one_moment_and_then_its_own() {
    let store = store();
    let golden = store.create("golden", &spec(16 << 20)).unwrap();
    fill(&golden, 1);
    let before = store.charged_bytes();
    let fork = store.fork("golden", "fork").unwrap();
    assert_eq!(store.charged_bytes(), before + EMPTY_DISK);
    assert!(equal(&golden, &fork));
    golden.write(3, &[&[1; SECTOR]]).unwrap();
    fork.write(5, &[&[2; SECTOR]]).unwrap();
    assert_eq!(read(&fork, 3, 1), noise(1, 4 * SECTOR)[3 * SECTOR..]);
    assert_eq!(read(&golden, 5, 1), noise(1, 6 * SECTOR)[5 * SECTOR..]);
    assert_eq!(read(&fork, 4, 1), read(&golden, 4, 1));
    let (one, two) = (golden.get_info().unwrap(), fork.get_info().unwrap());
    assert_eq!(two.parent_id, Some(one.id));
    assert_eq!((one.mapped_bytes, two.mapped_bytes), (16 << 20, 16 << 20));
    // Both had to copy the path to one leaf, and one page.
    assert!(store.charged_bytes() <= before + EMPTY_DISK + 2 * 5 * 4096);
}

#[test]
fn a_fork_may_be_larger_and_of_other_settings_and_a_reset_may_keep_its_size() {
    let store = store();
    let golden = store.create("golden", &spec(4 << 20)).unwrap();
    fill(&golden, 1);
    let mut larger = spec(16 << 20);
    (larger.detect_zeroes, larger.quota_bytes) = (true, Some(1 << 20));
    let fork = store.fork_as("golden", "fork", &larger, b"mine").unwrap();
    let info = fork.get_info().unwrap();
    assert_eq!(
        (info.spec, fork.settings().unwrap()),
        (larger, b"mine".to_vec())
    );
    assert_eq!(info.parent_id, Some(golden.get_info().unwrap().id));
    let sectors = (4 << 20) / SECTOR as u64;
    assert_eq!(read(&fork, 0, sectors as usize), noise(1, 4 << 20));
    assert_eq!(read(&fork, sectors, 8), [0; 8 * SECTOR]);
    fork.write(0, &[&[9; SECTOR]]).unwrap();
    fork.write(sectors + 8, &[&[9; SECTOR]]).unwrap();
    drop(store.reset_with("fork", "golden", None, 16 << 20).unwrap());
    assert_eq!(fork.get_info().unwrap().size_bytes, 16 << 20);
    assert_eq!(read(&fork, 0, 1), noise(1, SECTOR));
    assert_eq!(read(&fork, sectors + 8, 1), [0; SECTOR]);
    let odd = store.reset_with("fork", "golden", None, 1000);
    assert!(matches!(odd, Err(Error::InvalidSize { .. })), "{odd:?}");
    drop(store.reset_with("fork", "golden", None, 512).unwrap());
    assert_eq!(fork.get_info().unwrap().size_bytes, 4 << 20);
    let small = store.fork_as("golden", "small", &spec(1 << 20), b"");
    assert!(matches!(small, Err(Error::WouldShrink { .. })), "{small:?}");
    assert_eq!(store.keys(), ["fork", "golden"]);
    let before = store.charged_bytes();
    drop(store.destroy("fork").unwrap());
    // A refused fork left no reference to the tree.
    assert_eq!(golden.unique_bytes().unwrap(), store.charged_bytes());
    assert!(store.charged_bytes() < before);
}

const PAGE: usize = 4096;

fn of_pages(bytes: usize) -> DiskSpec {
    DiskSpec::new(SectorSize::S4096, bytes as u64)
}

#[test]
fn a_fork_may_have_sectors_of_4096_bytes_which_are_mapped_if_a_part_of_them_is() {
    let store = store();
    let golden = store.create("golden", &spec(9 * SECTOR as u64)).unwrap();
    golden.write(1, &[&noise(1, SECTOR)]).unwrap();
    golden.write_zeroes(8, 1, false).unwrap();
    let before = store.charged_bytes();
    let odd = store.fork_as("golden", "fork", &spec(PAGE as u64 + 1024), b"");
    assert!(odd.is_ok());
    let odd = store.fork_as("golden", "odd", &of_pages(9 * SECTOR), b"");
    assert!(matches!(odd, Err(Error::InvalidSize { .. })), "{odd:?}");
    drop(store.destroy("fork").unwrap());
    let fork = store
        .fork_as("golden", "fork", &of_pages(3 * PAGE), b"")
        .unwrap();
    assert_eq!(store.charged_bytes(), before + EMPTY_DISK);
    assert_eq!(extents(&fork), [(0, 2, true), (2, 1, false)]);
    assert_eq!(
        (
            fork.seek_unmapped(0).unwrap(),
            fork.seek_mapped(1).unwrap(),
            fork.seek_mapped(2).unwrap()
        ),
        (2, 1, 3)
    );
    assert_eq!(fork.get_info().unwrap().mapped_bytes, 2 * SECTOR as u64);
    let mut expected = vec![0; 3 * PAGE];
    expected[SECTOR..2 * SECTOR].copy_from_slice(&noise(1, SECTOR));
    assert_eq!(read(&fork, 0, 3), expected);
    // What the fork gets by itself is whole, and the other way round all is as it was.
    store.snapshot("fork", "old").unwrap();
    fork.write(1, &[&noise(2, PAGE)]).unwrap();
    fork.discard(0, 1).unwrap();
    store.snapshot("fork", "new").unwrap();
    let changed = store.changed("old", "new").unwrap();
    let changed: Vec<_> = changed
        .iter()
        .map(|part| (part.start_sector, part.sectors, part.mapped))
        .collect();
    assert_eq!(changed, [(0, 8, false), (8, 8, true)]);
    let back = store
        .fork_as("fork", "back", &spec(4 * PAGE as u64), b"")
        .unwrap();
    assert_eq!(
        extents(&back),
        [(0, 8, false), (8, 8, true), (16, 16, false)]
    );
    assert_eq!(read(&back, 8, 8), noise(2, PAGE));
    assert_eq!(read(&golden, 8, 1), [0; SECTOR]);
    // A reset takes what is smaller than a sector, and grows to whole ones.
    drop(store.reset("fork", "golden").unwrap());
    assert_eq!(fork.get_info().unwrap().size_bytes, 2 * PAGE as u64);
    assert_eq!(read(&fork, 0, 2), expected[..2 * PAGE]);
    for key in store.keys() {
        drop(store.destroy(&key).unwrap());
    }
    assert_eq!(store.charged_bytes(), 0);
}

/// A guest can write 512 bytes to a sector of 4096 (virtio counts in these), and the disk may be
/// the only one that has the page.
#[test]
fn what_was_discarded_from_a_page_before_it_became_one_sector_stays_gone() {
    for whole_page in [true, false] {
        let store = store();
        let golden = store.create("golden", &spec(PAGE as u64)).unwrap();
        fill(&golden, 1);
        golden.discard(2, 4).unwrap();
        let fork = store
            .fork_as("golden", "fork", &of_pages(PAGE), b"")
            .unwrap();
        drop(store.destroy("golden").unwrap());
        // The first change makes the nodes and the page the fork's own.
        let mut expected = noise(1, PAGE);
        expected[2 * SECTOR..6 * SECTOR].fill(0);
        for (at, count) in [(2, 1), (7, 1), (0, 1)] {
            let range = fork.capacity().range_512(at, (count * SECTOR) as u64);
            let bytes = noise(9 + at, count * SECTOR);
            let range = range.unwrap();
            if whole_page {
                fork.write_from(range, &[Source::from(&bytes[..])]).unwrap();
                expected[at as usize * SECTOR..][..bytes.len()].copy_from_slice(&bytes);
            } else {
                fork.write_zeroes_range(range, at == 7).unwrap();
                expected[at as usize * SECTOR..][..bytes.len()].fill(0);
            }
            assert_eq!(read(&fork, 0, 1), expected, "{at}");
            assert_eq!(extents(&fork), [(0, 1, true)]);
        }
        fork.discard(0, 1).unwrap();
        assert_eq!(extents(&fork), [(0, 1, false)]);
        assert_eq!(fork.get_info().unwrap().mapped_bytes, 0);
    }
}

#[test]
fn forks_of_forks_share_and_give_back_exactly_what_they_alone_held() {
    let store = store();
    let first = store.create("0", &spec(64 << 20)).unwrap();
    fill(&first, 2);
    let base = store.charged_bytes();
    for depth in 0..100 {
        let fork = store
            .fork(&depth.to_string(), &(depth + 1).to_string())
            .unwrap();
        fork.write(depth * 8, &[&noise(depth, 4096)]).unwrap();
    }
    let last = store.open("100").unwrap();
    for depth in 0..100 {
        assert_eq!(read(&last, depth * 8, 8), noise(depth, 4096));
    }
    // A record, a page, and a path of four nodes each.
    assert_eq!(store.charged_bytes(), base + 100 * 6 * 4096);
    assert_eq!(last.unique_bytes().unwrap(), 6 * 4096);
    for depth in (0..100).step_by(2) {
        store.destroy(&depth.to_string()).unwrap();
    }
    assert_eq!(read(&last, 0, 8), noise(0, 4096));
    for key in store.keys() {
        store.destroy(&key).unwrap();
    }
    assert_eq!(store.charged_bytes(), 0);
}

#[test]
fn what_others_share_of_a_dropped_disk_counts_for_no_quota() {
    let store = store();
    let golden = store.create("golden", &spec(8 << 20)).unwrap();
    fill(&golden, 3);
    let fork = store.fork("golden", "fork").unwrap();
    assert_eq!(charged(&fork), EMPTY_DISK);
    fork.set_quota(Some(64 << 10)).unwrap();
    store.fork("golden", "other").unwrap();
    store.destroy("golden").unwrap();
    assert!(store.charged_bytes() > 8 << 20, "the fork still holds it");
    assert_eq!(charged(&fork), EMPTY_DISK);
    assert_eq!(read(&fork, 0, 16384), noise(3, 8 << 20));
    fork.write(0, &[&[1; SECTOR]]).unwrap();
    let result = fork.write(0, &[&vec![1; 1 << 20]]);
    assert!(matches!(result, Err(Error::OverQuota { quota_bytes }) if quota_bytes == 64 << 10));
    store.destroy("other").unwrap();
    // No other disk has the pages any more, and overwriting its own pages needs no memory.
    fork.write(0, &[&vec![1; 1 << 20]]).unwrap();
    store.destroy("fork").unwrap();
    assert_eq!(store.charged_bytes(), 0);
}

#[test]
fn a_snapshot_never_changes_and_a_reset_goes_back_to_it() {
    let store = store();
    let disk = store.create("a", &spec(8 << 20)).unwrap();
    fill(&disk, 4);
    let snapshot = store.snapshot("a", "a@1").unwrap();
    assert!(snapshot.is_read_only() && snapshot.get_info().unwrap().snapshot);
    let refused = snapshot.write(0, &[&[0; SECTOR]]);
    assert!(matches!(refused, Err(Error::IsReadOnly { .. })));
    disk.discard(0, 8192).unwrap();
    disk.resize(4096, Shrink::Allow).unwrap();
    disk.write(4095, &[&[9; SECTOR]]).unwrap();
    assert_eq!(read(&snapshot, 0, 16384), noise(4, 8 << 20));
    store.reset("a", "a@1").unwrap();
    assert_eq!(sectors(&disk), 16384);
    assert!(equal(&disk, &snapshot));
    assert_eq!(disk.get_info().unwrap().mapped_bytes, 8 << 20);
    assert!(matches!(
        store.reset("a@1", "a"),
        Err(Error::IsReadOnly { .. })
    ));
    let other = DiskSpec::new(SectorSize::S4096, 1 << 20);
    let other = store.create("b", &other).unwrap();
    store.reset("b", "a@1").unwrap();
    assert_eq!(sectors(&other), 2048, "of its own size");
    assert_eq!(read(&other, 0, 2048), noise(4, 8 << 20));
    for key in store.keys() {
        store.destroy(&key).unwrap();
    }
    assert_eq!(store.charged_bytes(), 0);
}

#[test]
fn changes_between_snapshots_are_found_without_a_look_at_the_rest() {
    let store = store();
    let disk = store.create("a", &spec(1 << 40)).unwrap();
    disk.write(0, &[&noise(5, 1 << 20)]).unwrap();
    store.snapshot("a", "1").unwrap();
    disk.write(800, &[&noise(6, 4096)]).unwrap();
    disk.discard(80, 2).unwrap();
    disk.write_zeroes((1 << 30) / 512, (1 << 30) / 512, false)
        .unwrap();
    store.snapshot("a", "2").unwrap();
    let changed = store.changed("1", "2").unwrap();
    let list: Vec<_> = changed
        .iter()
        .map(|extent| (extent.start_sector, extent.sectors, extent.mapped))
        .collect();
    let gib = (1 << 30) / 512;
    assert_eq!(list, [(80, 2, false), (800, 8, true), (gib, gib, true)]);
    let within = |range, most| {
        let changed = store.changed_within("1", "2", range, most).unwrap();
        let list = changed.iter().map(|it| (it.start_sector, it.sectors));
        list.collect::<Vec<_>>()
    };
    assert_eq!(within(0..u64::MAX, 2), [(80, 2), (800, 8)]);
    assert_eq!(within(81..803, 9), [(81, 1), (800, 3)]);
    assert_eq!(within(82..800, 9), []);
    assert_eq!(within(gib + 7..gib + 9, 1), [(gib + 7, 2)]);
    assert_eq!(within(0..gib * 9, 1), [(80, 2)], "the first is whole");
    assert!(store.changed("2", "2").unwrap().is_empty());
    assert!(matches!(
        store.changed("a", "2"),
        Err(Error::Unimplemented { .. })
    ));
}

#[test]
fn a_renamed_disk_is_the_same_disk() {
    let store = store();
    let disk = store.create("a", &spec(1 << 20)).unwrap();
    disk.write(1, &[&[7; SECTOR]]).unwrap();
    disk.set_settings(b"queues=4").unwrap();
    store.create("taken", &spec(1 << 20)).unwrap();
    assert!(matches!(
        store.rename("a", "taken"),
        Err(Error::Exists { .. })
    ));
    store.rename("a", "b").unwrap();
    assert!(matches!(store.open("a"), Err(Error::Unknown { .. })));
    assert_eq!(disk.get_info().unwrap().key, "b");
    assert_eq!(store.open("b").unwrap().settings().unwrap(), b"queues=4");
    assert_eq!(read(&store.open("b").unwrap(), 1, 1), [7; SECTOR]);
    let long = vec![0; 4097];
    assert!(matches!(
        disk.set_settings(&long),
        Err(Error::SettingsTooLong { len_bytes: 4097 })
    ));
}

/// Each writer writes a rising number, first to its first place, then to its second. A fork that is
/// one moment for all queues never has a second number newer than the first one.
#[test]
fn a_fork_is_one_point_in_time_for_all_queues() {
    let store = store();
    let disk = store.create("a", &spec(512 << 20)).unwrap();
    let done = AtomicBool::new(false);
    let written = AtomicU64::new(0);
    let place = |worker: u64, which: u64| worker * 8 + which * 4096 * 17;
    std::thread::scope(|scope| {
        for worker in 0..3 {
            let (disk, done, written) = (&disk, &done, &written);
            scope.spawn(move || {
                for number in 1.. {
                    if done.load(Ordering::Relaxed) {
                        return;
                    }
                    let mut sector = [0; SECTOR];
                    sector[..8].copy_from_slice(&u64::to_le_bytes(number));
                    disk.write(place(worker, 0), &[&sector]).unwrap();
                    disk.write(place(worker, 1), &[&sector]).unwrap();
                    written.fetch_max(number, Ordering::Relaxed);
                }
            });
        }
        let enough = |round| round >= 300 && written.load(Ordering::Relaxed) > 300;
        for round in (0..100_000).take_while(|&round| !enough(round)) {
            let key = format!("fork {round}");
            let fork = store.fork("a", &key).unwrap();
            for worker in 0..3 {
                let number = |which| {
                    let bytes = read(&fork, place(worker, which), 1);
                    u64::from_le_bytes(bytes[..8].try_into().unwrap())
                };
                let (first, second) = (number(0), number(1));
                assert!(first == second || first == second + 1, "{first} {second}");
            }
            store.destroy(&key).unwrap();
        }
        done.store(true, Ordering::Relaxed);
    });
    assert!(written.load(Ordering::Relaxed) > 300);
    store.destroy("a").unwrap();
    assert_eq!(store.charged_bytes(), 0);
}

#[test]
fn disks_that_share_a_tree_are_written_side_by_side() {
    let store = Store::new(512 << 20).unwrap();
    let golden = store.create("golden", &spec(16 << 20)).unwrap();
    fill(&golden, 8);
    for round in 0..5 {
        let forks: Vec<Disk> = (0..4)
            .map(|at| store.fork("golden", &format!("{at}")).unwrap())
            .collect();
        std::thread::scope(|scope| {
            for (seed, fork) in (0..).zip(&forks) {
                scope.spawn(move || {
                    for at in (0..32768).step_by(5) {
                        fork.write(at, &[&noise(at + seed, SECTOR)]).unwrap();
                        if at % 3 == 0 {
                            fork.discard(at + 1, 1).unwrap();
                        }
                    }
                });
            }
        });
        for (seed, fork) in (0..).zip(&forks) {
            for at in (0..32768).step_by(5) {
                assert_eq!(read(fork, at, 1), noise(at + seed, SECTOR));
                if at % 3 == 0 && at < 32767 {
                    assert_eq!(read(fork, at + 1, 1), [0; SECTOR]);
                }
            }
        }
        assert_eq!(read(&golden, 0, 32768), noise(8, 16 << 20), "round {round}");
        for at in 0..4 {
            store.destroy(&format!("{at}")).unwrap();
        }
    }
    store.destroy("golden").unwrap();
    assert_eq!(store.charged_bytes(), 0);
}
