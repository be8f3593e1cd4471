//! Changes of several disks at one instant, or none.

use std::sync::atomic::{AtomicBool, Ordering};

use ramblk::store::{Disk, DiskSpec, Error, Step, Store, StoreOptions};

use super::kit::*;
use crate::state::arena::scratch;

/// More than one block of the list holds.
const FLEET: usize = 1100;
/// The charge of a fork: its record and its settings.
const FORK: u64 = 8192;

fn names(count: usize) -> Vec<String> {
    (0..count).map(|at| format!("vm-{at:04}")).collect()
}

fn forks<'a>(source: &'a str, names: &'a [String], spec: &'a DiskSpec) -> Vec<Step<'a>> {
    let fork = |key: &'a String| Step::Fork {
        source,
        key,
        spec,
        settings: b"its own",
    };
    names.iter().map(fork).collect()
}

fn snapshot<'a>(source: &'a str, key: &'a str) -> Step<'a> {
    Step::Snapshot {
        source,
        key,
        settings: b"of a snapshot",
    }
}

fn reset<'a>(key: &'a str, to: &'a str) -> Step<'a> {
    Step::Reset {
        key,
        to,
        settings: b"after a reset",
        least_bytes: 0,
    }
}

fn first(disk: &Disk) -> u8 {
    read(disk, 0, 1)[0]
}

#[test]
fn a_fleet_has_one_content_its_own_settings_and_outlives_the_process() {
    let folder = scratch();
    let path = folder.path().join("arena");
    let options = StoreOptions::new(64 << 20);
    let store = Store::create_at(&path, &options).unwrap();
    let golden = store.create("golden", &spec(4 << 20)).unwrap();
    fill(&golden, 1);
    let (names, larger) = (names(FLEET), spec(8 << 20));
    let before = store.charged_bytes();
    let made = store.transact(&forks("golden", &names, &larger)).unwrap();
    assert_eq!((made.made.len(), made.left.len()), (FLEET, 0));
    assert_eq!(store.charged_bytes(), before + FLEET as u64 * FORK);
    made.made[7].write(0, &[&[9; SECTOR]]).unwrap();
    drop(made);
    drop((golden, store));
    let store = Store::open_at(&path, &options).unwrap();
    let golden = store.open("golden").unwrap();
    let parent = Some(golden.get_info().unwrap().id);
    for (at, name) in names.iter().enumerate() {
        let disk = store.open(name).unwrap();
        let info = disk.get_info().unwrap();
        assert_eq!((info.size_bytes, info.parent_id), (8 << 20, parent));
        assert_eq!(info.mapped_bytes, 4 << 20);
        assert_eq!(disk.settings().unwrap(), b"its own");
        let begins = if at == 7 { 9 } else { noise(1, 1)[0] };
        assert_eq!(first(&disk), begins, "{name}");
    }
    let ends: Vec<Step<'_>> = names.iter().map(|key| Step::Destroy { key }).collect();
    let left = store.transact(&ends).unwrap().left;
    assert_eq!(
        (left.len(), store.keys()),
        (FLEET, vec!["golden".to_owned()])
    );
    drop(left);
    assert_eq!(store.charged_bytes(), before);
    assert_eq!(read(&golden, 0, 8192), noise(1, 4 << 20));
}

#[test]
fn what_can_not_be_done_as_a_whole_is_not_done() {
    let store = Store::new(4 << 20).unwrap();
    let golden = store.create("golden", &spec(1 << 20)).unwrap();
    golden.write(0, &[&[1; SECTOR]]).unwrap();
    let other = store.create("other", &spec(1 << 20)).unwrap();
    other.write(0, &[&[2; SECTOR]]).unwrap();
    store.snapshot("golden", "golden@s").unwrap();
    let before = (store.charged_bytes(), store.keys());
    let (names, same) = (names(FLEET), spec(1 << 20));
    let (small, few) = (spec(512 << 10), &names[..2]);
    // The limit has no room for all of them, and the last step of the others is impossible.
    let mut too_many = vec![reset("other", "golden")];
    too_many.extend(forks("golden", &names, &same));
    let with = |last: Step<'static>| {
        let mut steps = vec![reset("other", "golden"), snapshot("golden", "golden@t")];
        steps.extend(forks("golden", few, &same));
        steps.push(last);
        steps
    };
    let mut shrunk = with(snapshot("golden", "golden@u"));
    shrunk.extend(forks("golden", &names[2..3], &small));
    let renamed = |key: &'static str, new: &'static str| {
        let settings = None;
        with(Step::Rename { key, new, settings })
    };
    let impossible: [(&str, Vec<Step<'_>>); 11] = [
        ("full", too_many),
        ("shrunk", shrunk),
        ("exists", with(snapshot("golden", "golden@s"))),
        ("twice", with(snapshot("golden", "vm-0001"))),
        ("unknown", with(snapshot("nothing", "x"))),
        ("changed twice", with(Step::Destroy { key: "other" })),
        ("exists", renamed("golden@s", "golden")),
        ("twice", renamed("golden@s", "vm-0001")),
        ("unknown", renamed("nothing", "x")),
        ("changed twice", renamed("other", "x")),
        ("of a snapshot", with(reset("golden@s", "golden"))),
    ];
    for (what, steps) in &impossible {
        let refused = store.transact(steps).unwrap_err();
        let fits = match *what {
            "full" => refused.is_out_of_memory(),
            "shrunk" => matches!(refused, Error::WouldShrink { .. }),
            "exists" | "twice" | "changed twice" => matches!(refused, Error::Exists { .. }),
            "unknown" => matches!(refused, Error::Unknown { .. }),
            _ => matches!(refused, Error::IsReadOnly { .. }),
        };
        assert!(fits, "{what}: {refused:?}");
        assert_eq!((store.charged_bytes(), store.keys()), before, "{what}");
        assert_eq!((first(&golden), first(&other)), (1, 2), "{what}");
    }
    store.transact(&[]).unwrap();
}

#[test]
fn one_transaction_has_steps_of_every_kind() {
    let store = store();
    let a = store.create("a", &spec(1 << 20)).unwrap();
    let b = store.create("b", &spec(2 << 20)).unwrap();
    let c = store.create("c", &spec(1 << 20)).unwrap();
    let d = store.create("d", &spec(1 << 20)).unwrap();
    d.write(0, &[&[4; SECTOR]]).unwrap();
    let id = d.get_info().unwrap().id;
    for (disk, byte) in [(&a, 1), (&b, 2), (&c, 3)] {
        disk.write(0, &[&[byte; SECTOR]]).unwrap();
    }
    let size = spec(1 << 20);
    let keys = ["f".to_owned()];
    // Two disks exchange their content, one ends, its last content has a fork, and one gets another
    // key.
    let mut steps = vec![reset("a", "b"), reset("b", "a"), Step::Destroy { key: "c" }];
    steps.extend(forks("c", &keys, &size));
    steps.push(snapshot("a", "a@before"));
    steps.push(Step::Rename {
        key: "d",
        new: "e",
        settings: Some(b"after a rename"),
    });
    let done = store.transact(&steps).unwrap();
    assert_eq!((first(&a), first(&b)), (2, 1));
    assert_eq!(a.get_info().unwrap().size_bytes, 2 << 20);
    assert_eq!(a.settings().unwrap(), b"after a reset");
    assert!(c.is_disconnected());
    let renamed = store.open("e").unwrap();
    assert_eq!((first(&d), first(&renamed)), (4, 4));
    let info = d.get_info().unwrap();
    assert_eq!((info.id, info.key.as_str()), (id, "e"));
    assert_eq!(renamed.settings().unwrap(), b"after a rename");
    drop(renamed);
    let [fork, before] = &done.made[..] else {
        panic!("{done:?}")
    };
    assert_eq!((first(fork), first(before)), (3, 1));
    assert!(before.get_info().unwrap().snapshot);
    assert_eq!(done.left.len(), 3);
    drop(done);
    assert_eq!(store.keys(), ["a", "a@before", "b", "e", "f"]);
    // Everything is freed with the disks.
    for key in store.keys() {
        drop(store.destroy(&key).unwrap());
    }
    drop((a, b, c, d));
    assert_eq!(store.charged_bytes(), 0);
}

/// A writer counts across disks, always in the same order. Whatever is taken of them together is a
/// moment of that: no disk is ahead of one that is written before it.
#[test]
fn several_disks_are_taken_at_one_moment() {
    const DISKS: usize = 5;
    const SETS: u64 = 150;
    let store = store();
    let keys: Vec<String> = (0..DISKS).map(|at| format!("d{at}")).collect();
    let disks: Vec<Disk> = keys
        .iter()
        .map(|key| store.create(key, &spec(16 << 20)).unwrap())
        .collect();
    // Apart, so that they have different locks.
    let place = |at: usize| at as u64 * 4096;
    let ends = AtomicBool::new(false);
    let count =
        |disk: &Disk, at| u64::from_le_bytes(read(disk, place(at), 1)[..8].try_into().unwrap());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut number = 0_u64;
            while !ends.load(Ordering::Relaxed) {
                number += 1;
                let mut sector = [0; SECTOR];
                sector[..8].copy_from_slice(&number.to_le_bytes());
                for (at, disk) in disks.iter().enumerate() {
                    disk.write(place(at), &[&sector]).unwrap();
                }
            }
        });
        let (mut seen, mut set) = (0, 0);
        // On a busy machine the writer seldom runs while a set is taken.
        while set < SETS || (seen == 0 && set < 100 * SETS) {
            set += 1;
            let names: Vec<String> = keys.iter().map(|key| format!("{key}@{set}")).collect();
            let steps = keys
                .iter()
                .zip(&names)
                .map(|(key, name)| snapshot(key, name));
            let taken = store.transact(&steps.collect::<Vec<_>>()).unwrap();
            let counts = taken.made.iter().enumerate();
            let counts: Vec<u64> = counts.map(|(at, disk)| count(disk, at)).collect();
            assert!(counts.is_sorted_by(|one, two| one >= two), "{counts:?}");
            assert!(counts[0] - counts[DISKS - 1] <= 1, "{counts:?}");
            seen += u64::from(counts[0] != counts[DISKS - 1]);
            for name in &names {
                drop(store.destroy(name).unwrap());
            }
        }
        ends.store(true, Ordering::Relaxed);
        assert!(
            seen > 0,
            "no set was taken while the writer was between two disks"
        );
    });
}
