//! What is known of where content came from: untouched trees, and where two of them differ.

use ramblk::store::{Disk, Extent, Shrink, Store, StoreOptions, memory_file};

use super::kit::*;

fn whole(disk: &Disk) -> Vec<u8> {
    let count = usize::try_from(sectors(disk)).unwrap();
    read(disk, 0, count)
}

#[test]
fn a_disk_is_untouched_until_the_first_change_and_no_snapshot_of_it_hides_that() {
    let store = store();
    let golden = store.create("golden", &spec(16 << 20)).unwrap();
    golden.write(8, &[&[1; SECTOR]]).unwrap();
    assert!(!golden.is_untouched().unwrap(), "it was written to");
    store.snapshot("golden", "moment").unwrap();
    type Change = fn(&Disk);
    let changes: [(&str, Change); 6] = [
        ("overwritten", |disk| {
            disk.write(8, &[&[2; SECTOR]]).unwrap()
        }),
        ("written elsewhere", |disk| {
            disk.write(9000, &[&[2; SECTOR]]).unwrap()
        }),
        ("discarded", |disk| disk.discard(8, 8).unwrap()),
        ("discarded as a whole", |disk| {
            disk.discard(0, 32768).unwrap()
        }),
        ("zeroed", |disk| disk.write_zeroes(0, 32768, false).unwrap()),
        ("cut", |disk| drop(disk.resize(8, Shrink::Allow).unwrap())),
    ];
    for (what, change) in changes {
        let fork = store.fork("moment", "fork").unwrap();
        let moment = store.open("moment").unwrap();
        assert!(fork.is_untouched().unwrap() && fork.has_tree_of(&moment).unwrap());
        // Neither a look at it nor other settings change that.
        let look = store.snapshot("fork", "look").unwrap();
        fork.set_settings(b"x").unwrap();
        read(&fork, 0, 64);
        assert!(fork.is_untouched().unwrap() && look.is_untouched().unwrap());
        change(&fork);
        assert!(!fork.is_untouched().unwrap(), "{what}");
        assert!(!fork.has_tree_of(&moment).unwrap(), "{what}");
        drop(store.destroy("look").unwrap());
        store.snapshot("fork", "look").unwrap();
        assert!(!fork.is_untouched().unwrap(), "{what}, and looked at");
        drop(store.reset("fork", "moment").unwrap());
        assert!(fork.is_untouched().unwrap(), "{what}, and reset");
        drop(store.destroy("look").unwrap());
        drop(store.destroy("fork").unwrap());
    }
}

#[test]
fn a_later_process_knows_what_is_untouched() {
    let file = memory_file().unwrap();
    let options = StoreOptions::new(64 << 20);
    {
        let store = Store::create_in(file.try_clone().unwrap(), &options).unwrap();
        let golden = store.create("golden", &spec(1 << 20)).unwrap();
        golden.write(0, &[&[1; SECTOR]]).unwrap();
        store.fork("golden", "kept").unwrap();
        let written = store.fork("golden", "written").unwrap();
        written.write(0, &[&[2; SECTOR]]).unwrap();
        // Its blocks are shared again, but not since it came there.
        store.snapshot("written", "again").unwrap();
        drop(store.destroy("golden").unwrap());
    }
    let store = Store::open_in(file, &options).unwrap();
    assert!(store.open("kept").unwrap().is_untouched().unwrap());
    assert!(!store.open("written").unwrap().is_untouched().unwrap());
    let kept = store.open("kept").unwrap();
    kept.write(0, &[&[1; SECTOR]]).unwrap();
    assert!(!kept.is_untouched().unwrap(), "even by the same bytes");
}

#[test]
fn content_that_was_taken_over_is_untouched() {
    let store = store();
    let disk = store.create("disk", &spec(1 << 20)).unwrap();
    disk.write(0, &[&[1; SECTOR]]).unwrap();
    let import = store.create("import", &spec(1 << 20)).unwrap();
    assert!(import.is_blank().unwrap() && !disk.is_blank().unwrap());
    import.write(0, &[&[2; SECTOR]]).unwrap();
    drop(store.take_over("disk", "import", b"").unwrap());
    assert!(disk.is_untouched().unwrap());
    disk.write(0, &[&[3; SECTOR]]).unwrap();
    assert!(!disk.is_untouched().unwrap());
}

/// Random operations on a disk and a fork of it: what the two say of their differences is compared
/// with their bytes.
#[test]
fn outside_of_their_differences_two_snapshots_have_the_same_bytes() {
    let seed = std::env::var("RAMBLK_SEED")
        .ok()
        .and_then(|it| it.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    let mut random = fastrand::Rng::with_seed(seed);
    for related in [true, false, true] {
        let store = store();
        let size = random.u64(9000..40000);
        let one = store.create("one", &spec(size * 512)).unwrap();
        let change = |disk: &Disk, random: &mut fastrand::Rng| {
            for _ in 0..random.u32(0..12) {
                let start = random.u64(..size);
                let length = (size - start).min(1 << random.u32(0..14));
                match random.u8(..4) {
                    0 => disk.discard(start, length).unwrap(),
                    1 => disk.write_zeroes(start, length, random.bool()).unwrap(),
                    _ => {
                        let length = length.min(64);
                        let bytes = vec![random.u8(..); SECTOR * usize::try_from(length).unwrap()];
                        disk.write(start, &[&bytes]).unwrap();
                    }
                }
            }
        };
        change(&one, &mut random);
        let two = match related {
            true => store.fork("one", "two").unwrap(),
            false => store.create("two", &spec(size * 512)).unwrap(),
        };
        change(&one, &mut random);
        change(&two, &mut random);
        let from = store.snapshot("one", "from").unwrap();
        let to = store.snapshot("two", "to").unwrap();
        let found: Vec<Extent> = store.differences("from", "to").unwrap().collect();
        let (had, has) = (whole(&from), whole(&to));
        let mut at = 0;
        let end = had.len() as u64 / 512;
        for extent in found.iter().copied().chain([Extent {
            start_sector: end,
            sectors: 0,
            mapped: true,
        }]) {
            let start = extent.start_sector.min(end);
            let between = at as usize * SECTOR..start as usize * SECTOR;
            assert!(at <= start, "RAMBLK_SEED={seed}: in order");
            assert!(
                had[between.clone()] == has[between],
                "RAMBLK_SEED={seed}: {at}"
            );
            at = (start + extent.sectors).min(end);
            if !extent.mapped {
                let zeros = &has[start as usize * SECTOR..at as usize * SECTOR];
                assert!(
                    zeros.iter().all(|it| *it == 0),
                    "RAMBLK_SEED={seed}: {start}"
                );
            }
        }
        assert!(store.differences("to", "to").unwrap().next().is_none());
    }
}

#[test]
fn differences_of_relatives_are_what_was_written_since() {
    let store = store();
    let golden = store.create("golden", &spec(64 << 20)).unwrap();
    fill(&golden, 1);
    store.snapshot("golden", "before").unwrap();
    golden.write(4096, &[&[1; SECTOR]]).unwrap();
    golden.discard(65536, 16).unwrap();
    store.snapshot("golden", "after").unwrap();
    let found: Vec<Extent> = store.differences("before", "after").unwrap().collect();
    let extent = |start_sector, sectors, mapped| Extent {
        start_sector,
        sectors,
        mapped,
    };
    assert_eq!(found, [extent(4096, 8, true), extent(65536, 16, false)]);
    assert!(store.differences("golden", "after").is_err(), "no snapshot");
    // Both trees stay until the last difference was read.
    let mut differences = store.differences("before", "after").unwrap();
    for key in ["golden", "before", "after"] {
        drop(store.destroy(key).unwrap());
    }
    let other = store.create("other", &spec(64 << 20)).unwrap();
    fill(&other, 2);
    assert_eq!(differences.by_ref().count(), 2);
    drop((differences, store.destroy("other").unwrap()));
    assert_eq!(store.charged_bytes(), 0);
}
