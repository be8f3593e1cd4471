//! Random operations on a dozen related disks against a model: every byte and every map bit.

use std::collections::BTreeMap;

use ramblk::store::{Disk, DiskSpec, Error, SECTOR_BYTES, SectorSize, Shrink, Store, StoreOptions};

use super::content::{Content, Fill};
use super::random::{Random, Seed, from_env, seed};
use super::{kill, noise, verify};

const OPTIONS: StoreOptions = StoreOptions {
    limit_bytes: 2 << 30,
    huge_pages: false,
    lock_memory: false,
};
const MOST_DISKS: usize = 12;
const OPS: u64 = 200_000;
const LEAF_BYTES: u64 = 2 << 20;

/// A disk and its expected content.
pub(crate) struct Twin {
    pub(crate) disk: Disk,
    pub(crate) sector_bytes: u64,
    /// In sectors of the disk.
    pub(crate) size: u64,
    pub(crate) snapshot: bool,
    /// The unit of `content`: a sector of the disk, or less.
    pub(crate) unit_bytes: u64,
    pub(crate) content: Content,
}

impl Twin {
    pub(crate) fn exact(&self, key: &str) {
        if let Err(what) = verify::exact(&self.disk, &self.content, self.size, self.unit_bytes) {
            panic!("{key}: {what}");
        }
    }

    /// Units of the content in a sector.
    fn units(&self) -> u64 {
        self.sector_bytes / self.unit_bytes
    }

    /// Whether it is a snapshot; changing one must fail with exactly that error.
    fn refuses(&self, result: &Result<(), Error>) -> bool {
        let refused = matches!(result, Err(Error::IsReadOnly { .. }));
        assert!(!self.snapshot || refused, "{result:?}");
        self.snapshot
    }

    fn counts(&self) {
        let info = self.disk.get_info().unwrap();
        assert_eq!(info.mapped_bytes, self.content.mapped() * self.unit_bytes);
        assert_eq!(info.size_sectors, self.size);
    }

    fn seeks(&self, at: u64) {
        for mapped in [true, false] {
            let found = if mapped {
                self.disk.seek_mapped(at)
            } else {
                self.disk.seek_unmapped(at)
            };
            let wanted = self.content.seek(at, mapped, self.size, self.units());
            assert_eq!(found.unwrap(), wanted, "from {at}, mapped: {mapped}");
        }
    }
}

struct Driver {
    random: Random,
    path: std::path::PathBuf,
    store: Option<Store>,
    twins: BTreeMap<String, Twin>,
    /// Counts keys and tags.
    count: u64,
}

/// A start and a length, near places where mistakes are likely.
pub(crate) fn range(random: &mut Random, size: u64, sector_bytes: u64) -> (u64, u64) {
    let leaf = LEAF_BYTES / sector_bytes;
    let near = |random: &mut Random, place: u64| (place + random.below(48)).saturating_sub(24);
    let start = match random.below(8) {
        0..3 => random.below(size.min(16 * leaf)),
        3 => random.below(size.min(64)),
        4 => {
            let place = random.below(5) * leaf;
            near(random, place)
        }
        5 => size.saturating_sub(1 + random.below(80)),
        6 => {
            let place = [9, 18].map(|bits| leaf << bits)[random.below(2) as usize];
            near(random, place)
        }
        _ => size.saturating_sub(1 + random.below(4 * leaf)),
    };
    let start = start.min(size - 1);
    let sectors = match random.below(40) {
        0 => random.below(2 * leaf),
        1..4 => random.below(512),
        _ => 1 + random.below(40),
    };
    (start, sectors.min(size - start))
}

/// Lengths that are too long for a write.
fn long(random: &mut Random, size: u64, start: u64) -> u64 {
    let most = size - start;
    match random.below(3) {
        0 => random.below(most) + 1,
        1 => most,
        _ => {
            let bits = random.below(36) + 1;
            (1 + random.below(1 << bits)).min(most)
        }
    }
}

impl Driver {
    fn new(seed: u64, path: std::path::PathBuf) -> Self {
        let store = Some(Store::create_at(&path, &OPTIONS).unwrap());
        Self {
            random: Random::new(seed),
            path,
            store,
            twins: BTreeMap::new(),
            count: 0,
        }
    }

    fn store(&self) -> &Store {
        self.store.as_ref().unwrap()
    }

    fn number(&mut self) -> u64 {
        self.count += 1;
        self.count
    }

    fn a_key(&mut self) -> Option<String> {
        let keys: Vec<String> = self.twins.keys().cloned().collect();
        self.random.pick(&keys).cloned()
    }

    fn step(&mut self) {
        match self.random.below(1000) {
            0..950 => self.touch(),
            950..965 => self.resize(),
            965..980 => self.branch(),
            980..985 => self.reset(),
            985..990 => self.rename(),
            990..995 => self.destroy(),
            _ => self.create(),
        }
    }

    /// Something that a virtual machine can do.
    fn touch(&mut self) {
        let Some(key) = self.a_key() else {
            return self.create();
        };
        let tag = self.number();
        let twin = self.twins.get_mut(&key).unwrap();
        let random = &mut self.random;
        let (start, mut sectors) = range(random, twin.size, twin.sector_bytes);
        let kind = random.below(100);
        if kind >= 60 && random.one_in(30) {
            sectors = long(random, twin.size, start);
        }
        let (result, fill) = match kind {
            0..45 => {
                let units = twin.units();
                let bytes = noise::run(tag, start * units, sectors * units, SECTOR_BYTES);
                let cut = random.below(sectors + 1) * twin.sector_bytes;
                let (one, two) = bytes.split_at(cut as usize);
                (twin.disk.write(start, &[one, two]), Some(Fill::Tag(tag)))
            }
            45..50 => {
                let bytes = vec![0; (sectors * twin.sector_bytes) as usize];
                (twin.disk.write(start, &[&bytes]), Some(Fill::Zero))
            }
            50..60 => return self.look(&key, start, sectors),
            60..80 => (twin.disk.discard(start, sectors), None),
            80..90 => (twin.disk.write_zeroes(start, sectors, true), None),
            _ => (
                twin.disk.write_zeroes(start, sectors, false),
                Some(Fill::Zero),
            ),
        };
        if twin.refuses(&result) {
            return;
        }
        result.unwrap();
        let units = twin.units();
        twin.content.set(start * units, sectors * units, fill);
        twin.counts();
        if random.one_in(8) {
            twin.seeks(start.saturating_sub(random.below(10)));
            let end = (start + sectors + 10).min(start + 512).min(twin.size);
            self.look(&key, start, end - start);
        }
    }

    fn look(&mut self, key: &str, start: u64, sectors: u64) {
        let twin = &self.twins[key];
        let units = twin.units();
        let range = (start * units, (start + sectors) * units);
        if let Err(what) = verify::bytes_of(&twin.disk, &twin.content, range, SECTOR_BYTES) {
            panic!("{key}: {what}");
        }
        twin.seeks(self.random.below(twin.size));
        let beyond = twin.disk.discard(twin.size, 1);
        assert!(
            twin.snapshot || matches!(beyond, Err(Error::OutOfRange { .. })),
            "{beyond:?}"
        );
    }

    fn a_size(&mut self, sector_bytes: u64) -> u64 {
        let leaf = LEAF_BYTES / sector_bytes;
        let bytes_64_tib = (64 << 40) / sector_bytes;
        match self.random.below(8) {
            0 => 1 + self.random.below(64),
            1 => leaf * (1 + self.random.below(4)),
            2 if self.random.one_in(2) => bytes_64_tib - self.random.below(100),
            3 => (leaf << 9) + self.random.below(2 * leaf),
            _ => 1 + self.random.below(6 * leaf),
        }
    }

    fn create(&mut self) {
        if self.twins.len() >= MOST_DISKS {
            return self.destroy();
        }
        let key = format!("disk {}", self.number());
        let sector_size = self.a_sector_size();
        let sector_bytes = sector_size.bytes();
        let size = self.a_size(sector_bytes);
        let mut spec = DiskSpec::new(sector_size, size * sector_bytes);
        spec.detect_zeroes = self.random.one_in(4);
        let disk = self.store().create(&key, &spec).unwrap();
        let again = self.store().create(&key, &spec);
        assert!(matches!(again, Err(Error::Exists { .. })), "{again:?}");
        let twin = Twin {
            disk,
            sector_bytes,
            size,
            snapshot: false,
            unit_bytes: SECTOR_BYTES,
            content: Content::default(),
        };
        self.twins.insert(key, twin);
    }

    fn a_sector_size(&mut self) -> SectorSize {
        match self.random.one_in(3) {
            true => SectorSize::S4096,
            false => SectorSize::S512,
        }
    }

    fn resize(&mut self) {
        let Some(key) = self.a_key() else { return };
        let sector_bytes = self.twins[&key].sector_bytes;
        let size = self.a_size(sector_bytes);
        let twin = self.twins.get_mut(&key).unwrap();
        let size = match self.random.below(3) {
            0 => size,
            1 => (twin.size + self.random.below(100)).min((64 << 40) / sector_bytes),
            _ => twin.size.saturating_sub(self.random.below(5000)).max(1),
        };
        if size < twin.size {
            let refused = twin.disk.resize(size, Shrink::Refuse);
            assert!(refused.is_err(), "{key} shrank");
        }
        let result = twin.disk.resize(size, Shrink::Allow).map(drop);
        if twin.refuses(&result) {
            return;
        }
        result.unwrap();
        twin.size = size;
        twin.content.truncate(size * twin.units());
        twin.counts();
    }

    /// A fork or a snapshot.
    fn branch(&mut self) {
        let Some(source) = self.a_key() else { return };
        if self.twins.len() >= MOST_DISKS {
            return self.destroy();
        }
        if self.random.one_in(3) {
            return self.fork_as(&source);
        }
        let key = format!("branch {}", self.number());
        let snapshot = self.random.one_in(2);
        let disk = match (snapshot, self.random.one_in(2)) {
            (true, false) => self.store().snapshot(&source, &key),
            (true, true) => self.store().point(&source, &key, self.count),
            (false, _) => self.store().fork(&source, &key),
        };
        let from = &self.twins[&source];
        let twin = Twin {
            disk: disk.unwrap(),
            snapshot,
            content: from.content.clone(),
            ..*from
        };
        twin.counts();
        self.twins.insert(key, twin);
    }

    /// A fork that may be larger, and have other sectors.
    fn fork_as(&mut self, source: &str) {
        let key = format!("fork {}", self.number());
        let sector_size = self.a_sector_size();
        let sector_bytes = sector_size.bytes();
        let from = &self.twins[source];
        let more = self.random.below(3) * self.random.below(1 << 20);
        let size_bytes = (from.size * from.sector_bytes + more).min(64 << 40);
        let mut spec = DiskSpec::new(sector_size, size_bytes.next_multiple_of(sector_bytes));
        spec.detect_zeroes = self.random.one_in(4);
        let disk = self.store().fork_as(source, &key, &spec, b"").unwrap();
        let twin = Twin {
            disk,
            sector_bytes,
            size: spec.size_bytes / sector_bytes,
            snapshot: false,
            content: from.content.clone(),
            ..*from
        };
        twin.counts();
        twin.seeks(self.random.below(twin.size));
        self.twins.insert(key, twin);
    }

    fn reset(&mut self) {
        let (Some(key), Some(to)) = (self.a_key(), self.a_key()) else {
            return;
        };
        let result = self.store().reset(&key, &to).map(drop);
        if key == to {
            return;
        }
        let size_bytes = self.twins[&to].size * self.twins[&to].sector_bytes;
        let content = self.twins[&to].content.clone();
        let twin = self.twins.get_mut(&key).unwrap();
        if twin.refuses(&result) {
            return;
        }
        result.unwrap();
        twin.size = size_bytes.div_ceil(twin.sector_bytes);
        twin.content = content;
        twin.counts();
    }

    fn rename(&mut self) {
        let Some(key) = self.a_key() else { return };
        let new = format!("renamed {}", self.number());
        self.store().rename(&key, &new).unwrap();
        let twin = self.twins.remove(&key).unwrap();
        assert_eq!(twin.disk.get_info().unwrap().key, new);
        self.twins.insert(new, twin);
    }

    fn destroy(&mut self) {
        let Some(key) = self.a_key() else { return };
        let twin = self.twins.remove(&key).unwrap();
        if self.random.one_in(2) {
            twin.exact(&key);
        }
        self.store().destroy(&key).unwrap();
        let dead = twin.disk.read(0, &mut []);
        assert!(matches!(dead, Err(Error::Disconnected { .. })), "{dead:?}");
    }

    /// Close the store, and open what it left.
    fn reopen(&mut self) {
        let charged_bytes = self.store().charged_bytes();
        self.store = None;
        // A connection keeps the arena open just as the store does.
        let closed: Vec<_> = std::mem::take(&mut self.twins)
            .into_iter()
            .map(|(key, twin)| {
                (
                    key,
                    twin.sector_bytes,
                    twin.size,
                    twin.snapshot,
                    twin.content,
                )
            })
            .collect();
        let store = kill::open(&self.path, &OPTIONS).unwrap();
        assert_eq!(store.charged_bytes(), charged_bytes);
        for (key, sector_bytes, size, snapshot, content) in closed {
            let twin = Twin {
                disk: store.open(&key).unwrap(),
                sector_bytes,
                size,
                snapshot,
                unit_bytes: SECTOR_BYTES,
                content,
            };
            self.twins.insert(key, twin);
        }
        self.store = Some(store);
    }

    fn check_all(&self) {
        let keys: Vec<&String> = self.twins.keys().collect();
        assert_eq!(self.store().keys().iter().collect::<Vec<_>>(), keys);
        for (key, twin) in &self.twins {
            twin.exact(key);
        }
        self.check_changes();
    }

    /// The reported differences between two snapshots are complete, and mapped as reported.
    fn check_changes(&self) {
        let shots: Vec<_> = self
            .twins
            .iter()
            .filter(|(_, twin)| twin.snapshot)
            .collect();
        for (pair, (from_key, from)) in shots.iter().zip(shots.iter().skip(1)) {
            let (to_key, to) = (*pair).to_owned();
            let bytes = |twin: &Twin| twin.size * twin.sector_bytes;
            let sectors = bytes(from).max(bytes(to)) / SECTOR_BYTES;
            if sectors > 1 << 22 {
                continue;
            }
            let units = to.units();
            let changed = self.store().changed(from_key, to_key).unwrap();
            let mut said = Content::default();
            for extent in changed {
                let start = extent.start_sector;
                assert!(start.is_multiple_of(units) && extent.sectors.is_multiple_of(units));
                let fill = Some(Fill::Tag(u64::from(extent.mapped)));
                said.set(start, extent.sectors, fill);
            }
            for sector in 0..sectors {
                let (one, two) = (from.content.get(sector), to.content.get(sector));
                match said.get(sector) {
                    None => assert_eq!(one, two, "sector {sector} of {from_key} and {to_key}"),
                    Some(fill) => {
                        let first = sector / units * units;
                        let is_mapped = to.content.within(first, first + units).next().is_some();
                        assert_eq!(fill, Fill::Tag(u64::from(is_mapped)), "{sector}");
                    }
                }
            }
        }
    }

    fn end(&mut self) {
        self.check_all();
        while !self.twins.is_empty() {
            self.destroy();
        }
        assert_eq!(self.store().charged_bytes(), 0, "memory was lost");
    }
}

#[test]
fn disks_are_their_models() {
    let seed = Seed(seed());
    let folder = tempfile::tempdir_in("/dev/shm").unwrap();
    let mut driver = Driver::new(seed.0, folder.path().join("arena"));
    for op in 1..=from_env("RAMBLK_OPS").unwrap_or(OPS) {
        driver.step();
        if op % 500 == 0
            && let Some(key) = driver.a_key()
        {
            driver.twins[&key].exact(&key);
        }
        if op % 10_000 == 0 {
            if driver.random.one_in(2) {
                driver.reopen();
            }
            driver.check_all();
        }
    }
    driver.end();
}
