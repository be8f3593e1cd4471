//! The process that is killed: writers on all disks, a thread that forks, resets, resizes and
//! destroys them, and one that takes snapshots at any time.
//!
//! Writers share pages: they own stretches of sectors that are no multiple of a page, of a few
//! pages, and of a leaf. An operation on a whole disk runs while no writer is using that disk
//! (others go on), so that the log says what the disk must be afterwards. Only the snapshots of the
//! last thread wait for nothing.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{RwLock, RwLockWriteGuard};
use std::time::Duration;

use ramblk::store::{Disk, DiskSpec, SectorSize, Shrink, Store, StoreOptions};

use super::log::{Act, Entry, Log};
use super::noise;
use super::random::{Random, from_env, mix};

pub(crate) const OPTIONS: StoreOptions = StoreOptions {
    limit_bytes: 1 << 30,
    huge_pages: false,
    lock_memory: false,
};
pub(crate) const WRITERS: u64 = 4;
/// Number of writable disks; snapshots exist beside them.
const DISKS: usize = 8;
const SNAPSHOTS: usize = 4;
const LEAF_BYTES: u64 = 2 << 20;
/// Number of leaves that are used.
const LEAVES: u64 = 6;

/// The variables with the folder of arena and logs, the seed, and the first unused number.
pub(crate) const FOLDER: &str = "RAMBLK_TEST_FOLDER";
pub(crate) const SEED: &str = "RAMBLK_TEST_SEED";
pub(crate) const FIRST: &str = "RAMBLK_TEST_FIRST";

pub(crate) fn arena(folder: &Path) -> PathBuf {
    folder.join("arena")
}

pub(crate) fn ready(folder: &Path) -> PathBuf {
    folder.join("ready")
}

/// The key of a disk. Snapshots taken without waiting begin with another letter.
pub(crate) fn key(number: u64) -> String {
    format!("d{number}")
}

struct Live {
    number: u64,
    disk: Disk,
    sector_bytes: u64,
}

impl Live {
    fn new(number: u64, disk: Disk) -> Self {
        let sector_bytes = disk.sector_size().bytes();
        Self {
            number,
            disk,
            sector_bytes,
        }
    }

    fn size(&self) -> u64 {
        self.disk.capacity().sectors()
    }

    fn leaf(&self) -> u64 {
        LEAF_BYTES / self.sector_bytes
    }
}

type Place = RwLock<Option<Live>>;

pub(crate) struct Shared {
    pub(crate) store: Store,
    /// The writable ones come first.
    places: Vec<Place>,
    tags: AtomicU64,
    done: AtomicBool,
}

impl Shared {
    pub(crate) fn new(store: Store, first: u64) -> Self {
        let mut places: Vec<Place> = Vec::new();
        places.resize_with(DISKS + SNAPSHOTS, RwLock::default);
        for key in store.keys() {
            let number = key[1..].parse().unwrap();
            let live = Live::new(number, store.open(&key).unwrap());
            let range = match live.disk.is_read_only() {
                true => DISKS..DISKS + SNAPSHOTS,
                false => 0..DISKS,
            };
            let mut free = places[range].iter().map(|place| place.write().unwrap());
            *free.find(|place| place.is_none()).unwrap() = Some(live);
        }
        Self {
            store,
            places,
            tags: AtomicU64::new(first),
            done: AtomicBool::new(false),
        }
    }

    /// Let the threads finish, unless the process is killed first.
    pub(crate) fn finish(&self) {
        self.done.store(true, Ordering::Relaxed);
    }

    fn goes_on(&self) -> bool {
        !self.done.load(Ordering::Relaxed)
    }

    /// Lock a place against all other threads.
    fn hold(&self, at: u64) -> RwLockWriteGuard<'_, Option<Live>> {
        self.places[at as usize].write().unwrap()
    }

    /// Lock two places, the lower one first.
    fn hold_two(&self, one: u64, two: u64) -> [RwLockWriteGuard<'_, Option<Live>>; 2] {
        let low = self.hold(one.min(two));
        let high = self.hold(one.max(two));
        if one < two { [low, high] } else { [high, low] }
    }
}

/// The length of a writer's stretches in a leaf.
fn stretch(leaf: u64, leaf_sectors: u64) -> u64 {
    match leaf {
        0 => 5,
        1 => 67,
        _ => leaf_sectors,
    }
}

/// Sectors that belong to one writer.
fn own_range(random: &mut Random, writer: u64, live: &Live) -> Option<(u64, u64)> {
    let leaf_sectors = live.leaf();
    let leaf = random.below(LEAVES);
    let length = stretch(leaf, leaf_sectors);
    let (first, end) = if length == leaf_sectors {
        // Four leaves, one for each writer.
        let first = (2 + writer) * leaf_sectors;
        (first, first + leaf_sectors)
    } else {
        let count = leaf_sectors / length / WRITERS;
        let first = leaf * leaf_sectors + (random.below(count) * WRITERS + writer) * length;
        (first, first + length)
    };
    let start = first + random.below(end - first);
    let most = match random.below(20) {
        0 => leaf_sectors,
        1..4 => 256,
        _ => 20,
    };
    let start = if random.one_in(60) { first } else { start };
    let end = end.min(start + 1 + random.below(most)).min(live.size());
    (start < end).then(|| (start, end - start))
}

fn writer(shared: &Shared, writer: u64, seed: u64, mut log: Log<'_>) {
    let mut random = Random::new(mix(seed) ^ writer);
    while shared.goes_on() {
        let place = &shared.places[random.below(DISKS as u64) as usize];
        let live = place.read().unwrap();
        let Some(live) = &*live else { continue };
        let Some((start, sectors)) = own_range(&mut random, writer, live) else {
            continue;
        };
        let kind = random.below(20);
        let act = match kind {
            0..11 => Act::Write,
            11 | 12 => Act::Zero,
            _ => Act::Unmap,
        };
        let disk = &live.disk;
        log.around(Entry::new(act, live.number, start, sectors), |tag| {
            let done = match kind {
                0..11 => {
                    let bytes = noise::run(tag, start, sectors, live.sector_bytes);
                    disk.write(start, &[&bytes])
                }
                11 | 12 => disk.write_zeroes(start, sectors, false),
                13 => disk.write_zeroes(start, sectors, true),
                _ => disk.discard(start, sectors),
            };
            done.unwrap();
        });
    }
}

/// Operations on whole disks.
struct Control<'a> {
    shared: &'a Shared,
    random: Random,
    log: Log<'a>,
    next: u64,
}

impl Control<'_> {
    fn run(&mut self) {
        for _ in 0..3 {
            self.create();
        }
        while self.shared.goes_on() {
            match self.random.below(12) {
                0 | 1 => self.branch(false),
                2 => self.branch(true),
                3 => self.reset(),
                4 | 5 => self.resize(),
                6 => self.rename(),
                7 => self.destroy(),
                8 => self.create(),
                _ => self.leaves(),
            }
            std::thread::sleep(Duration::from_micros(self.random.below(600)));
        }
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn a_disk(&mut self) -> u64 {
        self.random.below(DISKS as u64)
    }

    /// Any two places, in order.
    fn two_places(&mut self, first: u64, end: u64) -> Option<(u64, u64)> {
        let one = self.a_disk();
        let two = first + self.random.below(end - first);
        (one != two).then_some((one, two))
    }

    fn a_size(&mut self, sector_bytes: u64) -> u64 {
        let leaf = LEAF_BYTES / sector_bytes;
        match self.random.below(4) {
            0 => leaf * LEAVES,
            1 => (leaf << 18) + leaf,
            2 => leaf * (1 + self.random.below(LEAVES)),
            _ => leaf + 1 + self.random.below(leaf * LEAVES),
        }
    }

    fn create(&mut self) {
        let shared = self.shared;
        let at = self.a_disk();
        let mut place = shared.hold(at);
        if place.is_some() {
            return;
        }
        let (sector_size, number) = match self.random.below(3) {
            0 => (SectorSize::S4096, self.number()),
            _ => (SectorSize::S512, self.number()),
        };
        let size = self.a_size(sector_size.bytes());
        let mut spec = DiskSpec::new(sector_size, size * sector_size.bytes());
        spec.detect_zeroes = self.random.one_in(3);
        let entry = Entry::new(Act::Create, number, sector_size.bytes(), size);
        self.log.around(entry, |_| {
            let disk = shared.store.create(&key(number), &spec).unwrap();
            *place = Some(Live::new(number, disk));
        });
    }

    fn branch(&mut self, snapshot: bool) {
        let (disks, all) = (DISKS as u64, (DISKS + SNAPSHOTS) as u64);
        let (first, end) = if snapshot { (disks, all) } else { (0, disks) };
        let Some((from, to)) = self.two_places(first, end) else {
            return;
        };
        let (number, store) = (self.number(), &self.shared.store);
        let shared = self.shared;
        // Empty a full place half of the time.
        if shared.places[to as usize].read().unwrap().is_some() && self.random.one_in(2) {
            self.destroy_at(to);
        }
        let [source, mut place] = shared.hold_two(from, to);
        let (Some(source), None) = (&*source, &*place) else {
            return;
        };
        let act = if snapshot { Act::Snapshot } else { Act::Fork };
        let entry = Entry::new(act, source.number, 0, 0).with(number);
        self.log.around(entry, |_| {
            let disk = if snapshot {
                store.snapshot(&key(source.number), &key(number))
            } else {
                store.fork(&key(source.number), &key(number))
            };
            *place = Some(Live::new(number, disk.unwrap()));
        });
    }

    fn reset(&mut self) {
        let all = (DISKS + SNAPSHOTS) as u64;
        let Some((at, to)) = self.two_places(0, all) else {
            return;
        };
        let shared = self.shared;
        let [live, to] = shared.hold_two(at, to);
        let (Some(live), Some(to)) = (&*live, &*to) else {
            return;
        };
        if live.sector_bytes != to.sector_bytes {
            return;
        }
        let entry = Entry::new(Act::Reset, live.number, 0, 0).with(to.number);
        self.log.around(entry, |_| {
            let done = shared.store.reset(&key(live.number), &key(to.number));
            done.unwrap();
        });
    }

    fn resize(&mut self) {
        let shared = self.shared;
        let at = self.a_disk();
        let live = shared.hold(at);
        let Some(live) = &*live else { return };
        let size = self.a_size(live.sector_bytes);
        self.log
            .around(Entry::new(Act::Resize, live.number, 0, size), |_| {
                live.disk.resize(size, Shrink::Allow).unwrap();
            });
    }

    fn rename(&mut self) {
        let shared = self.shared;
        let at = self.random.below((DISKS + SNAPSHOTS) as u64);
        let number = self.number();
        let mut live = shared.hold(at);
        let Some(live) = &mut *live else { return };
        let entry = Entry::new(Act::Rename, live.number, 0, 0).with(number);
        self.log.around(entry, |_| {
            let done = shared.store.rename(&key(live.number), &key(number));
            done.unwrap();
            live.number = number;
        });
    }

    fn destroy(&mut self) {
        let at = self.random.below((DISKS + SNAPSHOTS) as u64);
        self.destroy_at(at);
    }

    fn destroy_at(&mut self, at: u64) {
        let shared = self.shared;
        let mut place = shared.hold(at);
        let Some(number) = place.as_ref().map(|live| live.number) else {
            return;
        };
        self.log
            .around(Entry::new(Act::Destroy, number, 0, 0), |_| {
                shared.store.destroy(&key(number)).unwrap();
                *place = None;
            });
    }

    /// Unmap or fill more than one leaf.
    fn leaves(&mut self) {
        let shared = self.shared;
        let at = self.a_disk();
        let live = shared.hold(at);
        let Some(live) = &*live else { return };
        let start = self.random.below(live.leaf() * LEAVES);
        let sectors = 1 + self.random.below(live.leaf() * 3);
        let sectors = sectors.min(live.size().saturating_sub(start));
        let zero = self.random.one_in(2);
        let act = if zero { Act::Zero } else { Act::Unmap };
        if sectors > 0 {
            self.log
                .around(Entry::new(act, live.number, start, sectors), |_| {
                    let done = live.disk.write_zeroes(start, sectors, !zero);
                    done.unwrap();
                });
        }
    }
}

/// Take snapshots beside everything else. The disk may be gone at that moment.
fn onlooker(shared: &Shared, seed: u64) {
    let mut random = Random::new(mix(seed) ^ 77);
    for count in (0_u64..).take_while(|_| shared.goes_on()) {
        let at = random.below(DISKS as u64) as usize;
        let number = shared.places[at]
            .read()
            .unwrap()
            .as_ref()
            .map(|live| live.number);
        let Some(number) = number else { continue };
        let name = format!("s{count}");
        if shared.store.snapshot(&key(number), &name).is_ok() {
            std::thread::sleep(Duration::from_micros(random.below(1500)));
            shared.store.destroy(&name).unwrap();
        }
    }
}

/// Run all threads until told to finish.
pub(crate) fn work(shared: &Shared, seed: u64, first: u64, logs: Vec<Log<'_>>) {
    std::thread::scope(|scope| {
        for (number, log) in (0..=WRITERS).zip(logs) {
            if number < WRITERS {
                scope.spawn(move || guarded(|| writer(shared, number, seed, log)));
            } else {
                let mut control = Control {
                    shared,
                    random: Random::new(seed),
                    log,
                    next: first,
                };
                scope.spawn(move || guarded(|| control.run()));
            }
        }
        scope.spawn(|| guarded(|| onlooker(shared, seed)));
    });
}

/// The logs of all threads.
pub(crate) fn logs<'a>(folder: &Path, shared: &'a Shared) -> Vec<Log<'a>> {
    (0..=WRITERS as usize)
        .map(|thread| Log::create(folder, thread, &shared.tags))
        .collect()
}

/// A process that runs until it is killed. It is a test only in name: another test starts it.
#[test]
fn child_entry() {
    let Ok(folder) = std::env::var(FOLDER) else {
        return;
    };
    let folder = Path::new(&folder);
    let (seed, first) = (from_env(SEED).unwrap(), from_env(FIRST).unwrap());
    let store = Store::open_at(&arena(folder), &OPTIONS).unwrap();
    let shared = Shared::new(store, first);
    let logs = logs(folder, &shared);
    std::fs::write(ready(folder), b"").unwrap();
    work(&shared, seed, first, logs);
}

/// A failing thread ends the process at once, so that the parent sees it.
fn guarded(act: impl FnOnce()) {
    let act = std::panic::AssertUnwindSafe(act);
    if std::panic::catch_unwind(act).is_err() {
        std::process::exit(3);
    }
}
