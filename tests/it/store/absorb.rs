//! A disk that gets the content of a fork pays for it as if the fork's writes had been its own.

use ramblk::store::{Change, Disk, Error, OnFull, Store};

use super::kit::*;

const SIZE_BYTES: u64 = 64 << 20;
const MIB: usize = 1 << 20;

fn charged(disk: &Disk) -> u64 {
    disk.get_info().unwrap().charged_bytes
}

/// A fork of `disk` by way of a snapshot `base`, for changes that the disk shall absorb.
fn stage(store: &Store, disk: &str) -> Disk {
    store.snapshot(disk, "base").unwrap();
    let change = Change {
        settings: Some(&[]),
        on_full: Some(OnFull::Error),
        read_only: Some(false),
        ..Change::default()
    };
    store.fork_with("base", "fork", &change).unwrap()
}

fn absorb(store: &Store, disk: &str) -> Result<(), Error> {
    let checked = store.check_absorb(disk, "fork", &["base"]);
    let done = checked.and_then(|()| store.absorb(disk, "fork", b"").map(drop));
    store.destroy("fork").unwrap();
    store.destroy("base").unwrap();
    done
}

fn write_mib(disk: &Disk, at_mib: u64, count: usize, seed: u64) {
    let bytes = noise(seed, count * MIB);
    disk.write(at_mib * (MIB / SECTOR) as u64, &[&bytes])
        .unwrap();
}

#[test]
fn what_several_forks_bring_is_held_to_the_quota_together() {
    let store = store();
    let disk = store.create("disk", &spec(SIZE_BYTES)).unwrap();
    disk.set_quota(Some(10 << 20)).unwrap();
    write_mib(&stage(&store, "disk"), 0, 8, 1);
    absorb(&store, "disk").unwrap();
    let had = charged(&disk);
    assert!(had > 8 << 20, "{had}");
    // Elsewhere there is no room, and in the same place there is.
    write_mib(&stage(&store, "disk"), 8, 8, 2);
    let over = absorb(&store, "disk");
    assert!(matches!(over, Err(Error::OverQuota { .. })), "{over:?}");
    assert_eq!(charged(&disk), had);
    write_mib(&stage(&store, "disk"), 0, 8, 3);
    absorb(&store, "disk").unwrap();
    assert_eq!(charged(&disk), had);
    assert_eq!(read(&disk, 0, 8 * MIB / SECTOR), noise(3, 8 * MIB));
    // A snapshot keeps what would go, so it counts.
    store.snapshot("disk", "kept").unwrap();
    write_mib(&stage(&store, "disk"), 0, 8, 4);
    assert!(matches!(
        absorb(&store, "disk"),
        Err(Error::OverQuota { .. })
    ));
    store.destroy("kept").unwrap();
    write_mib(&stage(&store, "disk"), 0, 8, 4);
    absorb(&store, "disk").unwrap();
    // The guest's own writes are held to the same sum.
    let more = disk.write(16 * (MIB / SECTOR) as u64, &[&noise(5, 4 * MIB)]);
    assert!(matches!(more, Err(Error::OverQuota { .. })), "{more:?}");
    store.destroy("disk").unwrap();
    assert_eq!(store.charged_bytes(), 0);
}

#[test]
fn a_disk_beyond_its_quota_still_absorbs_what_takes_no_more() {
    let store = store();
    let disk = store.create("disk", &spec(SIZE_BYTES)).unwrap();
    write_mib(&disk, 0, 8, 1);
    disk.set_quota(Some(1 << 20)).unwrap();
    let fork = stage(&store, "disk");
    fork.discard(0, (4 * MIB / SECTOR) as u64).unwrap();
    absorb(&store, "disk").unwrap();
    assert_eq!(disk.get_info().unwrap().mapped_bytes, 4 << 20);
    let had = charged(&disk);
    assert!((4 << 20..5 << 20).contains(&had), "{had}");
}

/// Whatever a fork does, its disk is charged for what it would be if it had done that itself.
#[test]
fn the_charge_is_that_of_a_disk_that_was_written_itself() {
    let store = store();
    let disk = store.create("disk", &spec(SIZE_BYTES)).unwrap();
    let twin = store.create("twin", &spec(SIZE_BYTES)).unwrap();
    let mut state = 1u64;
    let mut next = |below: u64| {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(11);
        (state >> 33) % below
    };
    for round in 0..120 {
        let fork = stage(&store, "disk");
        for _ in 0..1 + next(6) {
            let (start, count) = (next(131_072 - 4096), 1 + next(4096));
            for one in [&fork, &twin] {
                match round % 3 {
                    2 => one.discard(start, count).unwrap(),
                    _ => {
                        let bytes = noise(start, usize::try_from(count).unwrap() * SECTOR);
                        one.write(start, &[&bytes]).unwrap();
                    }
                }
            }
        }
        drop(fork);
        absorb(&store, "disk").unwrap();
        assert_eq!(charged(&disk), charged(&twin), "round {round}");
        if round % 10 == 9 {
            for key in ["disk", "twin"] {
                let kept = format!("{key}@kept");
                let _ = store.destroy(&kept);
                store.snapshot(key, &kept).unwrap();
            }
            assert_eq!(charged(&disk), charged(&twin), "round {round}, kept");
        }
    }
    assert!(equal(&disk, &twin));
    let keys = store.keys();
    for key in &keys {
        store.destroy(key).unwrap();
    }
    assert_eq!(store.charged_bytes(), 0);
}
