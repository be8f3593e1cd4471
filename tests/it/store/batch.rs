//! Batches of reads and writes: their effect on any disk is that of a plain model.

use ramblk::store::{
    Data, Disk, DiskSpec, Error, MOST_BATCHED, SectorSize, Shrink, Sink, Source, Store,
};

use super::kit::*;
use crate::driver::data::{Random, seed};

const LEAF_SECTORS: u64 = 4096;
/// Two leaves, and part of a third.
const SECTORS: u64 = 2 * LEAF_SECTORS + 128;

/// The content of sectors written with these tags; 0 stands for zeros.
fn bytes_of(tags: &[u32]) -> Vec<u8> {
    let sector = |&tag: &u32| {
        (0..128u32).flat_map(move |i| tag.wrapping_mul(0x9e37_79b1 | i << 8).to_le_bytes())
    };
    tags.iter().flat_map(sector).collect()
}

/// A disk and its expected content.
struct Twin {
    key: String,
    disk: Disk,
    tags: Vec<u32>,
}

impl Twin {
    fn check(&self, what: &str) {
        let found = read_512(&self.disk, 0, self.tags.len());
        for (at, tags) in self.tags.chunks(64).enumerate() {
            let found = &found[at * 64 * SECTOR..][..tags.len() * SECTOR];
            assert!(found == bytes_of(tags), "sectors from {}: {what}", at * 64);
        }
    }
}

fn read_512(disk: &Disk, at: u64, count: usize) -> Vec<u8> {
    let mut bytes = vec![0xee; count * SECTOR];
    let range = disk.capacity().range_512(at, bytes.len() as u64).unwrap();
    disk.read_into(range, &[Sink::from(&mut bytes[..])])
        .unwrap();
    bytes
}

/// A read or a write, in sectors of 512 bytes.
#[derive(Clone, Debug)]
struct Item {
    write: bool,
    at: u64,
    tags: Vec<u32>,
    bytes: Vec<u8>,
    /// Whether it was carried out, according to the model.
    done: bool,
}

impl Item {
    fn end(&self) -> u64 {
        self.at + self.tags.len() as u64
    }

    /// Whether the result depends on the order of the two.
    fn meets(&self, other: &Self) -> bool {
        (self.write || other.write) && self.at < other.end() && other.at < self.end()
    }
}

/// A place on a disk: at its start, at the borders of leaves, at its end, or anywhere.
fn place(dice: &mut Random, sectors: u64) -> (u64, u64) {
    let most = if dice.below(4) == 0 { 128 } else { 24 };
    let count = 1 + dice.below(most);
    let at = match dice.below(5) {
        0 => dice.below(64),
        1 => LEAF_SECTORS - 32 + dice.below(64),
        2 => 2 * LEAF_SECTORS - 32 + dice.below(64),
        3 => sectors.saturating_sub(dice.below(32)),
        _ => dice.below(sectors),
    };
    let at = at.min(sectors - 1);
    // Whole pages are the usual case in practice.
    let (at, count) = if dice.below(2) == 0 {
        (at / 8 * 8, count.next_multiple_of(8))
    } else {
        (at, count)
    };
    (at, count.min(sectors - at))
}

/// A change that isn't a batch: writes, ranges that are unmapped or zeroed, forks, other sizes.
fn change(store: &Store, twins: &mut Vec<Twin>, dice: &mut Random, next: &mut u32) {
    let which = dice.below(twins.len() as u64) as usize;
    let twin = &mut twins[which];
    let (at, count) = place(dice, twin.tags.len() as u64);
    let unit = twin.disk.sector_size().bytes() / 512;
    let (own, own_count) = (at / unit, count.div_ceil(unit));
    let range = (own * unit) as usize..((own + own_count) * unit) as usize;
    match dice.below(8) {
        0..=2 => {
            let tags = new_tags(dice, next, count);
            let bytes = bytes_of(&tags);
            let range = twin.disk.capacity().range_512(at, bytes.len() as u64);
            let sources = [Source::from(&bytes[..])];
            twin.disk.write_from(range.unwrap(), &sources).unwrap();
            twin.tags[at as usize..][..tags.len()].copy_from_slice(&tags);
        }
        3 => {
            twin.disk.discard(own, own_count).unwrap();
            twin.tags[range].fill(0);
        }
        4 => {
            let unmap = dice.below(2) == 0;
            twin.disk.write_zeroes(own, own_count, unmap).unwrap();
            twin.tags[range].fill(0);
        }
        5 => {
            let sectors = (own + own_count).max(1);
            twin.disk.resize(sectors, Shrink::Allow).unwrap();
            twin.tags.resize((sectors * unit) as usize, 0);
        }
        6 => {
            twin.disk.resize(SECTORS / unit, Shrink::Allow).unwrap();
            twin.tags.resize(SECTORS as usize, 0);
        }
        _ => {
            *next += 1;
            let key = format!("fork {next}");
            let disk = store.fork(&twin.key, &key).unwrap();
            let tags = twin.tags.clone();
            if twins.len() == 4 {
                // Another disk is now the only user of what it shared.
                let gone = twins.swap_remove(dice.below(4) as usize);
                gone.check("a disk at its end");
                store.destroy(&gone.key).unwrap();
            }
            twins.push(Twin { key, disk, tags });
        }
    }
}

fn new_tags(dice: &mut Random, next: &mut u32, count: u64) -> Vec<u32> {
    let zeros = dice.below(8) == 0;
    let tag = |i| if zeros { 0 } else { *next + i };
    let tags = (1..=count as u32).map(tag).collect();
    *next += count as u32;
    tags
}

/// Items that don't depend on each other's order.
fn items(twin: &Twin, dice: &mut Random, next: &mut u32) -> Vec<Item> {
    let mut list: Vec<Item> = Vec::new();
    for _ in 0..1 + dice.below(MOST_BATCHED as u64 + 4) {
        let (at, count) = place(dice, twin.tags.len() as u64);
        let write = dice.below(2) == 0;
        let tags = if write {
            new_tags(dice, next, count)
        } else {
            twin.tags[at as usize..][..count as usize].to_vec()
        };
        let bytes = if write {
            bytes_of(&tags)
        } else {
            vec![0xee; tags.len() * SECTOR]
        };
        let item = Item {
            write,
            at,
            tags,
            bytes,
            done: false,
        };
        if !list.iter().any(|other| other.meets(&item)) {
            list.push(item);
        }
    }
    list
}

/// How often a batch took a read, took a write, and refused.
#[derive(Debug, Default)]
struct Counts {
    reads: u32,
    writes: u32,
    refused: u32,
}

/// Run a batch as a device does, or drop it with items in it.
fn run(disk: &Disk, list: &mut [Item], drops: bool, counts: &mut Counts) {
    let capacity = disk.capacity();
    let mut batch = disk.batch().unwrap();
    let mut waiting = Vec::new();
    for item in list {
        let Item {
            write,
            at,
            bytes,
            done,
            ..
        } = item;
        let range = capacity.range_512(*at, bytes.len() as u64).unwrap();
        let data = if *write {
            Data::Out(Source::from(&bytes[..]))
        } else {
            Data::In(Sink::from(&mut bytes[..]))
        };
        if batch.add(range, data) {
            counts.reads += u32::from(!*write);
            counts.writes += u32::from(*write);
            waiting.push(done);
            continue;
        }
        counts.refused += 1;
        batch.run();
        waiting.drain(..).for_each(|done| *done = true);
        let result = match data {
            Data::In(to) => disk.read_into(range, &[to]),
            Data::Out(from) => disk.write_from(range, &[from]),
        };
        match result {
            Ok(()) => *done = true,
            Err(error) => {
                assert!(matches!(error, Error::IsReadOnly { .. }) && *write && disk.is_read_only());
            }
        }
    }
    if !drops {
        batch.run();
        waiting.drain(..).for_each(|done| *done = true);
    }
}

/// One round with a few disks, and batches in between.
fn round(dice: &mut Random, counts: &mut Counts, what: &str) {
    let store = store();
    let sector_size = [SectorSize::S512, SectorSize::S4096][dice.below(2) as usize];
    let mut spec = DiskSpec::new(sector_size, SECTORS * 512);
    spec.detect_zeroes = dice.below(4) == 0;
    let mut twins = vec![Twin {
        key: "first".to_owned(),
        disk: store.create("first", &spec).unwrap(),
        tags: vec![0; SECTORS as usize],
    }];
    let mut next = 0;
    for _ in 0..40 {
        for _ in 0..dice.below(4) {
            change(&store, &mut twins, dice, &mut next);
        }
        let which = dice.below(twins.len() as u64) as usize;
        let twin = &mut twins[which];
        let mut list = items(twin, dice, &mut next);
        let before = twin.disk.get_info().unwrap().mapped_bytes;
        let refused = counts.refused;
        let drops = dice.below(8) == 0;
        if dice.below(8) == 0 {
            let disk = store.open(&twin.key).unwrap().into_read_only();
            run(&disk, &mut list, drops, counts);
        } else {
            run(&twin.disk, &mut list, drops, counts);
        }
        for item in &list {
            let tags = &mut twin.tags[item.at as usize..][..item.tags.len()];
            if item.write && item.done {
                tags.copy_from_slice(&item.tags);
            } else if item.done {
                assert!(item.bytes == bytes_of(tags), "read at {}: {what}", item.at);
            } else if !item.write {
                assert!(item.bytes.iter().all(|&byte| byte == 0xee), "{what}");
            }
        }
        if counts.refused == refused {
            let after = twin.disk.get_info().unwrap().mapped_bytes;
            assert_eq!(before, after, "a batch maps nothing: {what}");
        }
    }
    twins.iter().for_each(|twin| twin.check(what));
    for twin in twins {
        store.destroy(&twin.key).unwrap();
    }
    assert_eq!(store.charged_bytes(), 0, "{what}");
}

#[test]
fn batches_do_to_any_disk_what_a_model_says() {
    let seed = seed();
    let mut dice = Random::new(seed);
    let mut counts = Counts::default();
    for number in 0..30 {
        let what = format!("round {number}, RAMBLK_SEED={seed}");
        round(&mut dice, &mut counts, &what);
    }
    let Counts {
        reads,
        writes,
        refused,
    } = counts;
    assert!(reads > 100 && writes > 50 && refused > 100, "{counts:?}");
}
