//! The disks of the requests, and a model of each one's content.

use std::collections::BTreeMap;
use std::num::NonZeroU16;

use ramblk::device::{BlockDevice, Serial};
use ramblk::store::{Disk, DiskSpec, PAGE_BYTES, SectorSize, Store};

/// The answer to GET_ID: shorter than its 20 bytes.
pub(crate) const SERIAL: &[u8; 20] = b"serial of fuzzing\0\0\0";
/// Pages of a read-only disk that hold data.
const WRITTEN: [u64; 3] = [0, 5, 127];

pub(crate) type Page = [u8; PAGE_BYTES as usize];

/// One kind of disk.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind {
    pub(crate) sector_size: SectorSize,
    pub(crate) size_bytes: u64,
    pub(crate) read_only: bool,
    /// The store's memory limit; with little memory a request may fail.
    limit_bytes: u64,
}

impl Kind {
    pub(crate) fn is_tight(self) -> bool {
        self.limit_bytes < 1 << 20
    }
}

/// The disks that inputs choose from.
pub(crate) const KINDS: [Kind; 6] = {
    let plain = Kind {
        sector_size: SectorSize::S512,
        size_bytes: 2045 * 512,
        read_only: false,
        limit_bytes: 64 << 20,
    };
    [
        plain,
        Kind {
            sector_size: SectorSize::S4096,
            size_bytes: 1 << 20,
            ..plain
        },
        Kind {
            read_only: true,
            ..plain
        },
        Kind {
            sector_size: SectorSize::S4096,
            size_bytes: 1 << 20,
            read_only: true,
            ..plain
        },
        Kind {
            size_bytes: 9 << 30,
            ..plain
        },
        Kind {
            limit_bytes: 96 << 10,
            ..plain
        },
    ]
};

/// A disk with its device, used again and again.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) kind: Kind,
    pub(crate) device: BlockDevice,
    _store: Store,
    disk: Disk,
    /// The expected content; a missing page is zeros.
    pages: BTreeMap<u64, Box<Page>>,
}

impl Target {
    pub(crate) fn new(kind: Kind) -> Self {
        let store = Store::new(kind.limit_bytes).unwrap();
        let spec = DiskSpec::new(kind.sector_size, kind.size_bytes);
        let disk = store.create("disk", &spec).unwrap();
        let mut pages = BTreeMap::new();
        if kind.read_only {
            for number in WRITTEN {
                let page: Page = std::array::from_fn(|i| (i as u8).wrapping_mul(3) ^ number as u8);
                let first = number * PAGE_BYTES / kind.sector_size.bytes();
                disk.write(first, &[&page]).unwrap();
                pages.insert(number, Box::new(page));
            }
        }
        let served = store.open("disk").unwrap();
        let served = if kind.read_only {
            served.into_read_only()
        } else {
            served
        };
        let serial = std::str::from_utf8(SERIAL).unwrap().trim_end_matches('\0');
        let serial = Serial::new(serial).unwrap();
        Self {
            kind,
            device: BlockDevice::new(served, serial, NonZeroU16::MIN),
            _store: store,
            disk,
            pages,
        }
    }

    /// Make it as good as new.
    pub(crate) fn reset(&mut self) {
        if !self.kind.read_only {
            let sectors = self.kind.size_bytes / self.kind.sector_size.bytes();
            self.disk.discard(0, sectors).unwrap();
            self.pages.clear();
        }
    }

    /// The expected content.
    pub(crate) fn read(&self, start: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        for (number, at, from, n) in cut(start, len) {
            if let Some(page) = self.pages.get(&number) {
                bytes[at..at + n].copy_from_slice(&page[from..from + n]);
            }
        }
        bytes
    }

    /// Expect these bytes from now on.
    pub(crate) fn write(&mut self, start: u64, bytes: &[u8]) {
        for (number, at, from, n) in cut(start, bytes.len()) {
            let page = self
                .pages
                .entry(number)
                .or_insert_with(|| Box::new([0; PAGE_BYTES as usize]));
            page[from..from + n].copy_from_slice(&bytes[at..at + n]);
        }
    }

    /// Expect zeros from now on.
    pub(crate) fn zero(&mut self, start: u64, end: u64) {
        let touched: Vec<u64> = self
            .pages
            .range(start / PAGE_BYTES..end.div_ceil(PAGE_BYTES))
            .map(|(&number, _)| number)
            .collect();
        for number in touched {
            let first = number * PAGE_BYTES;
            let from = start.saturating_sub(first) as usize;
            let to = (end - first).min(PAGE_BYTES) as usize;
            self.pages.get_mut(&number).unwrap()[from..to].fill(0);
        }
    }

    /// Take over the actual content, where nothing is promised.
    pub(crate) fn adopt(&mut self, start: u64, end: u64) {
        let end = end.min(self.kind.size_bytes);
        for number in start / PAGE_BYTES..end.div_ceil(PAGE_BYTES) {
            let page = self.look(number);
            self.pages.insert(number, Box::new(page));
        }
    }

    fn look(&self, number: u64) -> Page {
        let mut page = [0; PAGE_BYTES as usize];
        let start = number * PAGE_BYTES;
        let len = PAGE_BYTES.min(self.kind.size_bytes - start) as usize;
        let first = start / self.kind.sector_size.bytes();
        self.disk.read(first, &mut [&mut page[..len]]).unwrap();
        page
    }

    /// Check that the disk holds the expected content wherever something is mapped or should be. Of
    /// long mapped stretches only the ends are read.
    pub(crate) fn compare(&self) {
        let unit = self.kind.sector_size.bytes();
        let mut numbers: Vec<u64> = self.pages.keys().copied().collect();
        for extent in self.disk.extents().unwrap() {
            let extent = extent.unwrap();
            let first = extent.start_sector * unit / PAGE_BYTES;
            let end = ((extent.start_sector + extent.sectors) * unit).div_ceil(PAGE_BYTES);
            if extent.mapped {
                numbers.extend(first..end.min(first + 8));
                numbers.extend(end.saturating_sub(8).max(first)..end);
            }
        }
        numbers.sort_unstable();
        numbers.dedup();
        let zeros = [0; PAGE_BYTES as usize];
        for number in numbers {
            let expected = self.pages.get(&number).map_or(&zeros, |page| &**page);
            let same = self.look(number) == *expected;
            assert!(same, "page {number} of the disk differs");
        }
    }
}

/// Pages that a range touches: number, offset in the range, offset in the page, length.
fn cut(start: u64, len: usize) -> impl Iterator<Item = (u64, usize, usize, usize)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let at = start + done as u64;
        let from = (at % PAGE_BYTES) as usize;
        let n = (len - done).min(PAGE_BYTES as usize - from);
        done += n;
        (n > 0).then_some((at / PAGE_BYTES, done - n, from, n))
    })
}
