//! Requests in sectors of 512 bytes to a disk with sectors of 4096, as a virtual machine may send
//! them: each byte and each sector of the map against plain vectors.

use ramblk::store::{Disk, DiskSpec, SectorSize, Sink, Source, Store};

use super::noise;
use super::random::{Random, Seed, seed};

const SIZE_BYTES: usize = 5 << 20;
const PAGE: usize = 4096;
const OPS: u64 = 15_000;

#[derive(Clone)]
struct Plain {
    bytes: Vec<u8>,
    mapped: Vec<bool>,
}

impl Plain {
    fn put(&mut self, start: usize, bytes: &[u8]) {
        self.bytes[start..start + bytes.len()].copy_from_slice(bytes);
        let pages = start / PAGE..(start + bytes.len()).div_ceil(PAGE);
        self.mapped[pages].fill(true);
    }

    /// Only whole sectors are unmapped; the rest reads zero if it `must`.
    fn unmap(&mut self, start: usize, len: usize, must: bool) {
        let end = start + len;
        let (first, last) = (start.div_ceil(PAGE), end / PAGE);
        if must {
            self.bytes[start..end].fill(0);
        }
        if first < last {
            self.bytes[first * PAGE..last * PAGE].fill(0);
            self.mapped[first..last].fill(false);
        }
    }

    fn check(&self, disk: &Disk) {
        let mut bytes = vec![0xee; SIZE_BYTES];
        disk.read(0, &mut [&mut bytes]).unwrap();
        let differs = bytes
            .iter()
            .zip(&self.bytes)
            .position(|(one, two)| one != two);
        assert_eq!(differs, None, "first byte that differs");
        let mut mapped = vec![false; self.mapped.len()];
        for extent in disk.extents().unwrap().map(Result::unwrap) {
            let start = extent.start_sector as usize;
            mapped[start..start + extent.sectors as usize].fill(extent.mapped);
        }
        assert!(mapped == self.mapped, "the map differs");
        let count = self.mapped.iter().filter(|&&mapped| mapped).count() * PAGE;
        assert_eq!(disk.get_info().unwrap().mapped_bytes, count as u64);
    }
}

fn step(random: &mut Random, disk: &Disk, plain: &mut Plain, tag: u64) {
    let sectors = (SIZE_BYTES / 512) as u64;
    let start = match random.below(3) {
        0 => random.below(sectors),
        1 => random.below(200),
        _ => 4096 - random.below(60),
    };
    let most = if random.one_in(50) { 6000 } else { 40 };
    let count = (1 + random.below(most)).min(sectors - start);
    let range = disk.capacity().range_512(start, count * 512).unwrap();
    let (at, len) = (start as usize * 512, count as usize * 512);
    match random.below(8) {
        0..3 => {
            let bytes = noise::run(tag, start, count, 512);
            let (one, two) = bytes.split_at(random.below(len as u64) as usize / 512 * 512);
            let sources = [Source::from(one), Source::from(two)];
            disk.write_from(range, &sources).unwrap();
            plain.put(at, &bytes);
        }
        3 => {
            let bytes = vec![0; len];
            disk.write_from(range, &[Source::from(&bytes[..])]).unwrap();
            plain.put(at, &bytes);
        }
        4 => {
            disk.write_zeroes_range(range, false).unwrap();
            plain.put(at, &vec![0; len]);
        }
        5 => {
            disk.write_zeroes_range(range, true).unwrap();
            plain.unmap(at, len, true);
        }
        6 => {
            disk.discard_range(range).unwrap();
            plain.unmap(at, len, false);
        }
        _ => {
            let mut bytes = vec![0xee; len];
            disk.read_into(range, &[Sink::from(&mut bytes[..])])
                .unwrap();
            assert!(
                bytes == plain.bytes[at..at + len],
                "{count} sectors at {start}"
            );
        }
    }
}

fn run(detect_zeroes: bool) {
    let seed = Seed(seed());
    let mut random = Random::new(seed.0);
    let store = Store::new(1 << 30).unwrap();
    let mut spec = DiskSpec::new(SectorSize::S4096, SIZE_BYTES as u64);
    spec.detect_zeroes = detect_zeroes;
    let plain = Plain {
        bytes: vec![0; SIZE_BYTES],
        mapped: vec![false; SIZE_BYTES / PAGE],
    };
    let mut pair = vec![(store.create("0", &spec).unwrap(), plain)];
    for op in 1..=OPS {
        let at = random.below(pair.len() as u64) as usize;
        let (disk, plain) = &mut pair[at];
        step(&mut random, disk, plain, op);
        if op % 200 == 0 {
            pair.iter().for_each(|(disk, plain)| plain.check(disk));
            if pair.len() > 1 {
                let (gone, _) = pair.swap_remove(random.below(2) as usize);
                store.destroy(&gone.get_info().unwrap().key).unwrap();
            }
            let source = pair[0].0.get_info().unwrap().key;
            let fork = store.fork(&source, &op.to_string()).unwrap();
            pair.push((fork, pair[0].1.clone()));
        }
    }
    for key in store.keys() {
        store.destroy(&key).unwrap();
    }
    assert_eq!(store.charged_bytes(), 0, "memory was lost");
}

#[test]
fn parts_of_large_sectors_are_as_the_model_says() {
    run(false);
}

#[test]
fn parts_of_large_sectors_are_as_the_model_says_where_zeros_are_found() {
    run(true);
}
