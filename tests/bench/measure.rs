//! How things are measured: orders of access, passes over a span, rounds that alternate between
//! ours and the yardstick, latencies, and the memory of the process.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use ramblk::store::{Disk, DiskSpec, SectorSize, Sink, Source, Store};

use crate::yardstick;

/// Any reason why a row can't be measured.
pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

pub(crate) const KIB: u64 = 1 << 10;
pub(crate) const MIB: u64 = 1 << 20;
pub(crate) const GIB: u64 = 1 << 30;
pub(crate) const TIB: u64 = 1 << 40;
/// Size of a small request.
pub(crate) const PAGE_BYTES: u64 = 4 * KIB;
/// Units of the store's interface.
pub(crate) const SECTOR_BYTES: u64 = 512;

/// How much to measure.
#[derive(Clone, Copy)]
pub(crate) struct Plan {
    /// Fewer rounds and smaller disks, to see that a row works and not what it costs.
    pub(crate) quick: bool,
}

impl Plan {
    /// Alternating rounds of a few milliseconds each.
    pub(crate) fn short_rounds(self) -> usize {
        if self.quick { 7 } else { 41 }
    }

    /// Rounds of about a second.
    pub(crate) fn long_rounds(self) -> usize {
        if self.quick { 1 } else { 5 }
    }

    /// The size of a large disk.
    pub(crate) fn large_bytes(self) -> u64 {
        if self.quick { 2 * GIB } else { 8 * GIB }
    }
}

/// Bytes that can be read and written: a disk, or the yardstick.
pub(crate) trait Target: Sync {
    /// Fill `into` from the bytes at `at_bytes`.
    fn read(&self, at_bytes: u64, into: &mut [u8]) -> Result<(), Failure>;
    /// Write `from` to `at_bytes`.
    fn write(&self, at_bytes: u64, from: &[u8]) -> Result<(), Failure>;
}

/// As the device does it: check the range once, and allocate nothing.
impl Target for Disk {
    fn read(&self, at_bytes: u64, into: &mut [u8]) -> Result<(), Failure> {
        let len_bytes = into.len() as u64;
        let range = self
            .capacity()
            .range_512(at_bytes / SECTOR_BYTES, len_bytes)?;
        Ok(self.read_into(range, &[Sink::from(into)])?)
    }

    fn write(&self, at_bytes: u64, from: &[u8]) -> Result<(), Failure> {
        let len_bytes = from.len() as u64;
        let range = self
            .capacity()
            .range_512(at_bytes / SECTOR_BYTES, len_bytes)?;
        Ok(self.write_from(range, &[Source::from(from)])?)
    }
}

/// A new disk of 512-byte sectors.
pub(crate) fn create(store: &Store, key: &str, size_bytes: u64) -> Result<Disk, Failure> {
    Ok(store.create(key, &DiskSpec::new(SectorSize::S512, size_bytes))?)
}

/// Write all of the first `size_bytes`, in order.
pub(crate) fn fill(target: &impl Target, size_bytes: u64) -> Result<(), Failure> {
    let buf = vec![0xa5; MIB as usize];
    (0..size_bytes / MIB).try_for_each(|at| target.write(at * MIB, &buf))
}

/// xorshift64*: random enough to defeat caches and prefetchers, at no cost beside a copy.
pub(crate) struct Rng(u64);

impl Rng {
    /// Equal seeds produce equal numbers.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d);
        ((u128::from(number) * u128::from(bound)) >> 64) as u64
    }

    /// The numbers from 0 to `count`, each once, in random order.
    pub(crate) fn shuffled(mut self, count: u64) -> Vec<u64> {
        let mut numbers: Vec<u64> = (0..count).collect();
        for at in (1..numbers.len()).rev() {
            let other = self.below(at as u64 + 1) as usize;
            numbers.swap(at, other);
        }
        numbers
    }
}

/// Which part of a span comes next.
pub(crate) enum Order {
    /// A random part, with repetitions.
    Random(Rng),
    /// In order from this number, and from the start again.
    Sequential(u64),
    /// As listed.
    Listed(std::vec::IntoIter<u64>),
}

impl Order {
    fn next(&mut self, count: u64) -> u64 {
        match self {
            Self::Random(rng) => rng.below(count),
            Self::Sequential(next) => {
                *next += 1;
                (*next - 1) % count
            }
            Self::Listed(list) => list.next().unwrap_or(0),
        }
    }
}

/// Requests of one size, one after the other, in `span_bytes` from `start_bytes` on.
#[derive(Clone, Copy)]
pub(crate) struct Pass {
    pub(crate) writes: bool,
    pub(crate) start_bytes: u64,
    pub(crate) span_bytes: u64,
    pub(crate) op_bytes: u64,
    pub(crate) ops: u64,
}

impl Pass {
    /// The time of the pass. It reuses `buf` in turn, as a driver reuses its buffers.
    pub(crate) fn run(
        self,
        target: &impl Target,
        buf: &mut [u8],
        mut order: Order,
    ) -> Result<Duration, Failure> {
        let op_bytes = self.op_bytes as usize;
        let count = self.span_bytes / self.op_bytes;
        let slots = buf.len() / op_bytes;
        let start = Instant::now();
        for op in 0..self.ops {
            let at_bytes = self.start_bytes + order.next(count) * self.op_bytes;
            let slot = op as usize % slots * op_bytes;
            let piece = &mut buf[slot..slot + op_bytes];
            if self.writes {
                target.write(at_bytes, piece)?;
            } else {
                target.read(at_bytes, piece)?;
            }
        }
        Ok(start.elapsed())
    }
}

/// Results of alternating rounds, in nanoseconds per operation.
pub(crate) struct Paired {
    pub(crate) ours_ns: Vec<f64>,
    pub(crate) yardstick_ns: Vec<f64>,
}

impl Paired {
    /// Run both `rounds` times in turn, after one round that does not count. The order alternates
    /// from round to round.
    pub(crate) fn measure(
        rounds: usize,
        ops: u64,
        mut ours: impl FnMut(u64) -> Result<Duration, Failure>,
        mut yardstick: impl FnMut(u64) -> Result<Duration, Failure>,
    ) -> Result<Self, Failure> {
        let mut paired = Self {
            ours_ns: Vec::new(),
            yardstick_ns: Vec::new(),
        };
        for round in 0..=rounds as u64 {
            let (a, b) = if round.is_multiple_of(2) {
                let a = ours(round)?;
                (a, yardstick(round)?)
            } else {
                let b = yardstick(round)?;
                (ours(round)?, b)
            };
            if round > 0 {
                paired.ours_ns.push(nanos(a) / ops as f64);
                paired.yardstick_ns.push(nanos(b) / ops as f64);
            }
        }
        Ok(paired)
    }

    /// The quartiles of the rounds' own ratios. If the machine's speed changes during the run, they
    /// say more than the ratio of two medians.
    pub(crate) fn ratios(&self) -> [f64; 3] {
        let each = self.ours_ns.iter().zip(&self.yardstick_ns);
        let mut ratios: Vec<f64> = each.map(|(ours, yardstick)| ours / yardstick).collect();
        [0.25, 0.5, 0.75].map(|part| quantile(&mut ratios, part))
    }
}

/// Nanoseconds, for a division.
pub(crate) fn nanos(time: Duration) -> f64 {
    time.as_secs_f64() * 1e9
}

/// The value below which the share `part` of all values lies.
pub(crate) fn quantile(values: &mut [f64], part: f64) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let at = (values.len() as f64 * part) as usize;
    values
        .get(at.min(values.len().saturating_sub(1)))
        .copied()
        .unwrap_or(f64::NAN)
}

/// The middle value.
pub(crate) fn median(values: &[f64]) -> f64 {
    quantile(&mut values.to_vec(), 0.5)
}

/// Any number of latencies in little memory, exact to 1.6 %.
pub(crate) struct Latencies {
    counts: Vec<u64>,
    total: u64,
}

impl Latencies {
    const STEPS_LOG2: u32 = 6;

    pub(crate) fn new() -> Self {
        Self {
            counts: vec![0; 64 << Self::STEPS_LOG2],
            total: 0,
        }
    }

    pub(crate) fn record(&mut self, time: Duration) {
        let ns = (time.as_nanos() as u64).max(1 << Self::STEPS_LOG2);
        let exponent = ns.ilog2();
        let step = (ns >> (exponent - Self::STEPS_LOG2)) & ((1 << Self::STEPS_LOG2) - 1);
        self.counts[((exponent << Self::STEPS_LOG2) as u64 + step) as usize] += 1;
        self.total += 1;
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        self.counts
            .iter_mut()
            .zip(&other.counts)
            .for_each(|(mine, theirs)| *mine += theirs);
        self.total += other.total;
    }

    pub(crate) fn count(&self) -> u64 {
        self.total
    }

    /// The latency that the share `part` of all does not exceed, in nanoseconds.
    pub(crate) fn quantile_ns(&self, part: f64) -> f64 {
        let wanted = (self.total as f64 * part).ceil() as u64;
        let mut seen = 0;
        for (at, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted && seen > 0 {
                let exponent = at as u64 >> Self::STEPS_LOG2;
                let step = at as u64 & ((1 << Self::STEPS_LOG2) - 1);
                let base = (1 << Self::STEPS_LOG2) | step;
                return (base << (exponent - u64::from(Self::STEPS_LOG2))) as f64;
            }
        }
        f64::NAN
    }
}

/// A figure in kB from one of the kernel's lists, in bytes; 0 if it isn't there.
fn listed_bytes(file: &str, name: &str) -> u64 {
    let text = fs::read_to_string(file).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|line| line.trim_matches([':', ' ', '\t']).strip_suffix(" kB"));
    number
        .and_then(|number| number.trim().parse::<u64>().ok())
        .unwrap_or(0)
        * KIB
}

/// Memory that the machine has available now.
pub(crate) fn available_bytes() -> u64 {
    listed_bytes("/proc/meminfo", "MemAvailable")
}

/// Private memory of this process: heap and stacks.
pub(crate) fn private_bytes() -> u64 {
    listed_bytes("/proc/self/status", "RssAnon")
}

/// All memory of this process in the sense of `VmRSS`.
pub(crate) fn resident_bytes() -> u64 {
    listed_bytes("/proc/self/status", "VmRSS")
}

/// What the process costs the host: private memory, and the memory files whether mapped or not.
/// `VmRSS` would miss the latter when the kernel drops a mapping of pages that still exist.
pub(crate) fn host_bytes() -> u64 {
    let files = fs::read_dir("/proc/self/fd")
        .into_iter()
        .flatten()
        .flatten();
    let in_files: u64 = files
        .filter(|file| {
            let name = fs::read_link(file.path()).unwrap_or_default();
            let name = name.to_string_lossy();
            name.starts_with("/memfd:") && !name.contains(yardstick::FILE_NAME)
        })
        .filter_map(|file| fs::metadata(file.path()).ok())
        .map(|data| data.blocks() * 512)
        .sum();
    private_bytes() + in_files
}
