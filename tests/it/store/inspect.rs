//! Damaged arenas, word by word: a store opens them, or refuses them and leaves them alone, and an
//! inspection predicts which.

use std::fs::File;
use std::os::unix::fs::FileExt;

use ramblk::store::{Error, Inspection, Store, StoreOptions};

use super::kit::*;
use crate::state::arena::{Arena, scratch};

const OPTIONS: StoreOptions = StoreOptions {
    limit_bytes: 8 << 20,
    huge_pages: false,
    lock_memory: false,
};

/// Disks that share pages, leaves and inner nodes, and some that share nothing.
fn furnished() -> Arena {
    let folder = scratch();
    let path = folder.path().join("arena");
    let store = Store::create_at(&path, &OPTIONS).unwrap();
    let golden = store.create("golden", &spec(4 << 40)).unwrap();
    for (seed, sector) in (1..).zip([0, 16, 5000, 1 << 22, 3 << 31]) {
        golden.write(sector, &[&noise(seed, 4096)]).unwrap();
    }
    golden.set_settings(b"what the daemon keeps").unwrap();
    let fork = store.fork("golden", "fork").unwrap();
    store.snapshot("golden", "golden@1").unwrap();
    fork.write(8, &[&noise(8, 512)]).unwrap();
    fork.write_zeroes(1 << 30, 1 << 31, false).unwrap();
    let alone = store.create("alone", &spec(1 << 20)).unwrap();
    alone.write(100, &[&noise(9, 8192)]).unwrap();
    drop((golden, fork, alone, store));
    Arena::load(&path)
}

fn inspect(file: &File) -> Result<Inspection, Error> {
    Inspection::open(file.try_clone().unwrap())
}

/// Read every disk as far as possible, and return the number of lost bytes.
fn read_all(found: &Inspection) -> u64 {
    let (mut bytes, mut lost) = (Vec::new(), 0);
    for disk in found.disks() {
        let mut end = 0;
        for part in found.parts(&disk.key).unwrap() {
            let part = part.unwrap();
            assert!(part.start_bytes >= end && part.length_bytes > 0);
            end = part.start_bytes + part.length_bytes;
            found.read(&part, &mut bytes).unwrap();
            let got = bytes.len() as u64;
            assert_eq!(got, if part.is_lost() { 0 } else { part.length_bytes });
            lost += part.length_bytes - got;
        }
        assert!(end <= disk.size_bytes);
    }
    lost
}

/// A refused arena was reported as damaged, and is unchanged; an opened one can be read.
fn judge(arena: &Arena, what: &str) -> bool {
    let folder = scratch();
    let path = folder.path().join("arena");
    let file = arena.store_at(&path);
    let looked = inspect(&file);
    if let Ok(found) = &looked {
        let lost = read_all(found);
        assert!(lost == 0 || !found.findings().is_empty(), "{what}");
    }
    let clean = looked.as_ref().is_ok_and(|it| it.findings().is_empty());
    drop((looked, file));
    assert_eq!(Arena::load(&path), *arena, "{what}: looking changed it");
    match Store::open_at(&path, &OPTIONS) {
        Ok(store) => {
            assert!(clean, "{what}: opened, and called damaged");
            for key in store.keys() {
                let disk = store.open(&key).unwrap();
                let mapped = disk.extents().unwrap().next();
                mapped.map(Result::unwrap);
            }
            true
        }
        Err(error) => {
            assert!(!clean, "{what}: {error}, and called clean");
            assert_eq!(Arena::load(&path), *arena, "{what}: refusing changed it");
            false
        }
    }
}

#[test]
fn no_damaged_word_is_overlooked_by_one_and_seen_by_the_other() {
    let arena = furnished();
    assert!(judge(&arena, "undamaged"));
    let (mut refused, mut opened) = (0, 0);
    for block in 0..arena.blocks.len() {
        let used: Vec<usize> = (0..512).filter(|&at| arena.word(block, at) != 0).collect();
        let looked_at = used.iter().take(20).copied().chain([15, 511]);
        for at in looked_at {
            for bits in [1, 2, 0x40, 1 << 13, 1 << 21, 1 << 40, 1 << 63, u64::MAX] {
                let mut damaged = arena.clone();
                let word = damaged.word(block, at) ^ bits;
                damaged.set_word(block, at, word);
                let number = arena.blocks[block].0;
                match judge(&damaged, &format!("block {number} word {at} ^ {bits:#x}")) {
                    true => opened += 1,
                    false => refused += 1,
                }
            }
        }
    }
    // Pages have no checksums; everything else is checked.
    assert!(refused > 300 && opened > 300, "{refused} and {opened}");
}

/// FNV-1a over words, as sums in an arena are.
fn sum(words: impl Iterator<Item = u64>) -> u64 {
    words.fold(0xcbf2_9ce4_8422_2325, |sum, word| {
        (sum ^ word)
            .wrapping_mul(0x0000_0100_0000_01b3)
            .rotate_left(29)
    })
}

/// The word of the superblock that names a list of changes.
const INTENT: usize = 9;

/// The furnished arena as a process leaves it that is killed after a transaction has taken effect
/// and before the disk table has it: `fork` is made, and `alone` is destroyed.
fn interrupted() -> Arena {
    let mut arena = furnished();
    let slot_of = |arena: &Arena, key: &str| {
        let index = |block: u64| arena.blocks.iter().position(|it| it.0 == block).unwrap();
        let table = index(1);
        let named = |slot: &usize| {
            let record = arena.word(table, *slot);
            record != 0 && arena.blocks[index(record)].1[128..].starts_with(key.as_bytes())
        };
        (table, (0..512).find(named).unwrap())
    };
    let (table, made) = slot_of(&arena, "fork\0");
    let (_, ended) = slot_of(&arena, "alone\0");
    let record = arena.word(table, made);
    arena.set_word(table, made, 0);
    let mut list = vec![0; 512];
    list[0] = u64::from_le_bytes(*b"ramblk\x00I");
    list[1] = 2;
    list[4] = (made as u64) << 32 | record;
    list[5] = (ended as u64) << 32;
    list[3] = sum((0..512).filter(|&at| at != 3).map(|at| list[at]));
    let bytes: Vec<u8> = list.iter().flat_map(|word| word.to_le_bytes()).collect();
    let free = (arena.blocks.last().unwrap().0 + 1..).next().unwrap();
    arena.blocks.push((free, bytes));
    arena.set_word(0, INTENT, free);
    arena
}

#[test]
fn a_transaction_that_took_effect_is_seen_and_finished() {
    let arena = interrupted();
    let folder = scratch();
    let path = folder.path().join("arena");
    let file = arena.store_at(&path);
    let keys = |found: &Inspection| -> Vec<String> {
        found.disks().iter().map(|disk| disk.key.clone()).collect()
    };
    let looked = inspect(&file).unwrap();
    assert!(looked.findings().is_empty(), "{:?}", looked.findings());
    assert_eq!(keys(&looked), ["fork", "golden", "golden@1"]);
    assert_eq!(read_all(&looked), 0);
    drop((looked, file));
    let store = Store::open_at(&path, &OPTIONS).unwrap();
    assert_eq!(store.keys(), ["fork", "golden", "golden@1"]);
    let fork = store.open("fork").unwrap();
    assert_eq!(read(&fork, 8, 1), noise(8, 512));
    drop((fork, store));
    assert_eq!(Arena::load(&path).word(0, INTENT), 0, "it is done");
    let store = Store::open_at(&path, &OPTIONS).unwrap();
    assert_eq!(store.keys(), ["fork", "golden", "golden@1"]);
}

#[test]
fn a_damaged_list_of_changes_is_refused_and_reported() {
    let arena = interrupted();
    let list = arena.blocks.len() - 1;
    for (block, at) in [
        (0, INTENT),
        (list, 0),
        (list, 1),
        (list, 2),
        (list, 3),
        (list, 4),
        (list, 9),
    ] {
        for bits in [1, 1 << 20, 1 << 40, u64::MAX] {
            let mut damaged = arena.clone();
            let word = damaged.word(block, at) ^ bits;
            damaged.set_word(block, at, word);
            let opened = judge(&damaged, &format!("block {block} word {at} ^ {bits:#x}"));
            assert!(!opened, "block {block} word {at} ^ {bits:#x}");
        }
    }
}

#[test]
fn blocks_that_are_gone_are_missed_wherever_they_were() {
    let arena = furnished();
    let mut refused = 0;
    for block in 0..arena.blocks.len() {
        let mut damaged = arena.clone();
        let (number, _) = damaged.blocks.remove(block);
        refused += u32::from(!judge(&damaged, &format!("without block {number}")));
    }
    assert!(refused > 20, "{refused}");
    for length in [
        0,
        1,
        4095,
        4096,
        4100,
        8192,
        2 << 20,
        (2 << 20) + 9 * 4096 + 77,
    ] {
        let mut damaged = arena.clone();
        damaged.cut(length);
        assert!(!judge(&damaged, &format!("cut to {length}")));
    }
}

/// All words that name this block.
fn names(arena: &Arena, block: u64) -> Vec<(usize, usize)> {
    let places = (0..arena.blocks.len()).flat_map(|at| (0..512).map(move |word| (at, word)));
    let named = places.filter(|&(at, word)| {
        let entry = arena.word(at, word);
        entry >> 12 == block && entry & 0xc == 0
    });
    named.collect()
}

fn block_that_begins_with(arena: &Arena, bytes: &[u8]) -> u64 {
    let mut found = arena
        .blocks
        .iter()
        .filter(|(_, all)| all.starts_with(bytes));
    found.next().unwrap().0
}

#[test]
fn one_disk_is_hurt_and_the_others_are_whole() {
    let mut arena = furnished();
    // The page at sector 5000, which golden, its snapshot and its fork share.
    let page = block_that_begins_with(&arena, &noise(3, 4096));
    let places = names(&arena, page);
    for &(block, word) in &places {
        arena.set_word(block, word, 0xdead << 44);
    }
    let folder = scratch();
    let file = arena.store_at(&folder.path().join("arena"));
    let found = inspect(&file).unwrap();
    let lost = |key| found.disk(key).unwrap().lost_bytes;
    assert_eq!(["golden", "golden@1", "fork"].map(lost), [4096; 3]);
    assert!(found.disk("alone").unwrap().is_whole());
    let finding = &found.findings()[0];
    assert_eq!(finding.keys, ["fork", "golden", "golden@1"], "{finding:?}");
    assert!(finding.what.contains("not an entry"), "{finding:?}");
    let parts: Vec<_> = found.parts("golden").unwrap().map(Result::unwrap).collect();
    let lost: Vec<_> = parts.iter().filter(|part| part.is_lost()).collect();
    assert_eq!((lost.len(), lost[0].start_bytes), (1, 5000 * 512));
    let mut bytes = Vec::new();
    found.read(&parts[0], &mut bytes).unwrap();
    assert_eq!(bytes, noise(1, 4096));
    assert_eq!(read_all(&found), 3 * 4096);
}

#[test]
fn a_page_that_two_disks_claim_is_nobodys() {
    let mut arena = furnished();
    let (of_alone, of_golden) = (
        block_that_begins_with(&arena, &noise(9, 4096)[2048..]),
        block_that_begins_with(&arena, &noise(1, 4096)),
    );
    let [(block, word)] = names(&arena, of_alone)[..] else {
        panic!("one page, one name")
    };
    let entry = arena.word(block, word) & 0xfff | of_golden << 12;
    arena.set_word(block, word, entry);
    let folder = scratch();
    let file = arena.store_at(&folder.path().join("arena"));
    let found = inspect(&file).unwrap();
    for disk in found.disks() {
        assert_eq!(disk.lost_bytes, 4096, "{}", disk.key);
    }
    let all: Vec<_> = found.findings().iter().flat_map(|it| &it.keys).collect();
    assert_eq!(all.len(), 4, "{:?}", found.findings());
}

#[test]
fn a_file_of_noise_or_in_use_is_refused() {
    let folder = scratch();
    let path = folder.path().join("arena");
    let store = Store::create_at(&path, &OPTIONS).unwrap();
    let file = File::open(&path).unwrap();
    assert!(matches!(inspect(&file), Err(Error::Busy)));
    drop(store);
    assert!(inspect(&file).is_ok());
    let noisy = File::options().write(true).open(&path).unwrap();
    noisy.write_all_at(&noise(4, 1 << 20), 0).unwrap();
    assert!(matches!(inspect(&file), Err(Error::Foreign)));
}
