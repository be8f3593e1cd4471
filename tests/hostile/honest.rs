//! An honest front end that works beside the attack, and notices what any tenant would notice.
//!
//! It has two queues, so that each worker of a small machine serves one of them, and its own part
//! of the disk. It writes random extents with random bytes and reads random extents back, one
//! request at a time. Every byte read must be the last one written, and every request must complete
//! within five seconds. At the end it reads the whole part once more.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::driver::data::{Random, seed};
use crate::driver::disk::{ALL, Disk};
use crate::driver::kind::{IN, OUT};
use crate::driver::ring::Ring;
use crate::driver::status::OK;

const SECTOR: usize = 512;
/// Longest extent, in sectors.
const LONGEST: u64 = 64;
/// No progress for this long is a failure.
const STUCK: Duration = Duration::from_secs(5);

/// Sectors that only the honest front end writes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part {
    pub(crate) first: u64,
    pub(crate) sectors: u64,
}

/// What it measured.
#[derive(Debug, Default)]
pub(crate) struct Record {
    /// The time of each request, in the order of submission.
    pub(crate) latencies: Vec<Duration>,
    /// Payload bytes moved.
    pub(crate) bytes: u64,
    pub(crate) elapsed: Duration,
}

impl Record {
    /// The time of the slowest request.
    pub(crate) fn longest_stall(&self) -> Duration {
        self.latencies.iter().max().copied().unwrap_or_default()
    }
}

/// A front end that works until it is stopped.
pub(crate) struct Honest {
    stop: Arc<AtomicBool>,
    requests: Arc<AtomicU64>,
    thread: Option<JoinHandle<Record>>,
}

impl Honest {
    /// Connect, write all of its parts, and continue in a thread. `pause` is its rest between two
    /// requests.
    pub(crate) fn start(socket: &Path, parts: &[Part], pause: Duration) -> Self {
        let seed = seed();
        let disk = Disk::attach_with(socket, ALL, 2, 256);
        let random = Random::new(seed);
        let record = Record::default();
        let contents = parts.iter().map(|part| Content::new(*part)).collect();
        let mut tenant = Tenant {
            disk,
            random,
            seed,
            turn: 0,
            contents,
            record,
        };
        tenant.write_everything();
        tenant.record = Record::default();
        let stop = Arc::new(AtomicBool::new(false));
        let requests = Arc::new(AtomicU64::new(0));
        let (until, count) = (Arc::clone(&stop), Arc::clone(&requests));
        let thread = std::thread::spawn(move || tenant.work(&until, &count, pause));
        Self {
            stop,
            requests,
            thread: Some(thread),
        }
    }

    /// Number of requests completed so far.
    pub(crate) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Check that it makes progress: one more request completes on each of its queues.
    pub(crate) fn gets_on(&self, by: &str) {
        let (start, before) = (Instant::now(), self.requests());
        while self.requests() < before + 3 {
            let thread = self.thread.as_ref().expect("a thread until the end");
            assert!(!thread.is_finished(), "the honest front end failed: {by}");
            assert!(
                start.elapsed() < 2 * STUCK,
                "the honest front end is stuck: {by}"
            );
            std::thread::sleep(Duration::from_micros(200));
        }
    }

    /// Stop it, check all its bytes, and return its measurements.
    pub(crate) fn finish(mut self) -> Record {
        self.join().expect("the honest front end failed")
    }

    fn join(&mut self) -> Option<Record> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take()?.join().ok()
    }
}

impl Drop for Honest {
    fn drop(&mut self) {
        let was_running = self.thread.is_some();
        let record = self.join();
        if was_running && !std::thread::panicking() {
            assert!(record.is_some(), "the honest front end failed");
        }
    }
}

/// The content of a part.
struct Content {
    part: Part,
    bytes: Vec<u8>,
}

impl Content {
    fn new(part: Part) -> Self {
        let bytes = vec![0; part.sectors as usize * SECTOR];
        Self { part, bytes }
    }
}

/// The state of its thread.
struct Tenant {
    disk: Disk,
    random: Random,
    seed: u64,
    /// Number of requests so far; the queues take turns.
    turn: usize,
    contents: Vec<Content>,
    record: Record,
}

impl Tenant {
    fn work(mut self, stop: &AtomicBool, count: &AtomicU64, pause: Duration) -> Record {
        let start = Instant::now();
        while !stop.load(Ordering::Relaxed) {
            let part = self.random.below(self.contents.len() as u64) as usize;
            let sectors = 1 + self.random.below(LONGEST);
            let end = self.contents[part].part.sectors - sectors;
            let first = self.random.below(end + 1);
            if self.random.below(2) == 0 {
                self.write(part, first, sectors);
            } else {
                self.check(part, first, sectors);
            }
            count.fetch_add(1, Ordering::Relaxed);
            std::thread::sleep(pause);
        }
        self.record.elapsed = start.elapsed();
        self.for_each_extent(Self::check);
        self.record
    }

    fn write_everything(&mut self) {
        self.for_each_extent(Self::write);
    }

    fn for_each_extent(&mut self, mut work: impl FnMut(&mut Self, usize, u64, u64)) {
        for part in 0..self.contents.len() {
            let end = self.contents[part].part.sectors;
            for first in (0..end).step_by(LONGEST as usize) {
                work(self, part, first, LONGEST.min(end - first));
            }
        }
    }

    fn write(&mut self, part: usize, first: u64, sectors: u64) {
        let len = sectors as usize * SECTOR;
        let mut bytes = Vec::with_capacity(len);
        while bytes.len() < len {
            bytes.extend(self.random.below(u64::MAX).to_le_bytes());
        }
        self.request(OUT, part, first, &bytes, 0);
        let at = first as usize * SECTOR;
        self.contents[part].bytes[at..at + len].copy_from_slice(&bytes);
    }

    fn check(&mut self, part: usize, first: u64, sectors: u64) {
        let len = sectors as usize * SECTOR;
        let bytes = self.request(IN, part, first, &[], len);
        let at = first as usize * SECTOR;
        let expected = &self.contents[part].bytes[at..at + len];
        let differs = bytes.iter().zip(expected).position(|(a, b)| a != b);
        let Some(differs) = differs else { return };
        let sector = self.contents[part].part.first + first + (differs / SECTOR) as u64;
        panic!(
            "the honest front end's sector {sector} is not what it wrote: byte {} is {:#x} and \
             was {:#x}, RAMBLK_SEED={}",
            differs % SECTOR,
            bytes[differs],
            expected[differs],
            self.seed
        );
    }

    /// A request, which must succeed in time. Returns what was read.
    fn request(&mut self, kind: u32, part: usize, first: u64, out: &[u8], room: usize) -> Vec<u8> {
        let sector = self.contents[part].part.first + first;
        let queue = self.turn % self.disk.queues.len();
        self.turn += 1;
        let ring: &mut Ring = &mut self.disk.queues[queue];
        let pieces = ring.lay_out(kind, sector, out, room);
        let head = ring.direct(0, &pieces);
        let start = Instant::now();
        ring.submit(head);
        let used = ring.wait_for(STUCK);
        self.record.latencies.push(start.elapsed());
        self.record.bytes += (out.len() + room) as u64;
        let what = format!("kind {kind}, sector {sector}, queue {queue}");
        let used = used.unwrap_or_else(|| panic!("the honest front end is stuck: {what}"));
        assert_eq!(used.id, u32::from(head), "another head came back: {what}");
        assert_eq!(ring.status(), OK, "the honest front end's status: {what}");
        ring.mem.read(pieces[1].addr, room)
    }
}
