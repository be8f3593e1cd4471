//! One worker with thousands of busy queues: an operation on one of them doesn't wait for all
//! others.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::time::{Duration, Instant};

use crate::driver::client::Client;
use crate::driver::data::pattern;
use crate::driver::disk::Disk;
use crate::driver::kind::IN;
use crate::driver::memory::{MIB, Memory, Region};
use crate::driver::ring::Ring;
use crate::harness::Ramblk;

const SESSIONS: usize = 20;
const QUEUES: u32 = 100;
const SIZE: u16 = 256;
/// The number of chains of three descriptors that fit into a ring.
const READS: u16 = 80;

/// A front end whose queues are full of reads.
struct Busy {
    _client: Client,
    rings: Vec<Ring>,
}

impl Busy {
    fn new(ramblk: &Ramblk) -> Self {
        let client = Client::negotiated(ramblk.socket(), 0);
        let mem = Memory::new(vec![Region::new(0, u64::from(QUEUES) * 4 * MIB, 0)]);
        let mem = Arc::new(mem);
        client.set_memory(&mem);
        let rings = (0..QUEUES).map(|index| {
            let mut ring = Ring::new(&mem, index, SIZE, false);
            let pieces = ring.lay_out(IN, 0, &[], 65536);
            (0..READS).for_each(|read| {
                ring.direct(3 * read, &pieces);
            });
            // Fill each entry of the avail ring, so that later only its index changes.
            (0..SIZE).for_each(|read| ring.put(3 * (read % READS)));
            ring.next_avail = 0;
            client.start(&ring);
            ring.kick();
            ring
        });
        Self {
            rings: rings.collect(),
            _client: client,
        }
    }

    /// Submit as many requests as fit, in every queue.
    fn fill(&self) {
        for ring in &self.rings {
            let used = ring.used_idx();
            ring.mem.store_u16(ring.avail + 2, used.wrapping_add(READS));
            // A worker whose rings ran empty sleeps.
            fence(Ordering::SeqCst);
            if ring.kick_wanted(used) {
                ring.kick();
            }
        }
    }
}

#[test]
#[allow(clippy::print_stderr, reason = "a figure is wanted")]
#[ignore = "two thousand queues, and a figure: scripts/soak"]
fn a_queue_starts_and_stops_within_a_tenth_of_a_second_beside_two_thousand_busy_ones() {
    let more = ["--workers", "1", "--queues", "100", "--share", "rw"];
    let ramblk = Ramblk::run(&more);
    let mut disk = Disk::attach(ramblk.socket());
    disk.q().write(0, &pattern(65536, 1)).unwrap();
    let base = disk.client.stop(0);
    let ring = &mut disk.queues[0];
    assert_eq!(base, u32::from(ring.used_idx()));
    let crowd: Vec<Busy> = (0..SESSIONS).map(|_| Busy::new(&ramblk)).collect();
    let over = AtomicBool::new(false);
    let mut took = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                crowd.iter().for_each(Busy::fill);
            }
        });
        std::thread::sleep(Duration::from_secs(1));
        for _ in 0..40 {
            let began = Instant::now();
            disk.client.start(ring);
            let started = began.elapsed();
            let began = Instant::now();
            disk.client.stop(0);
            took.push((started, began.elapsed()));
        }
        over.store(true, Ordering::Relaxed);
    });
    // A machine that is busy with other work may be slow twice.
    let late = |of: fn(&(Duration, Duration)) -> Duration| {
        let mut all: Vec<_> = took.iter().map(of).collect();
        all.sort_unstable();
        all[all.len() - 3]
    };
    let (start, stop) = (late(|it| it.0), late(|it| it.1));
    eprintln!(
        "all but two of {}: start {start:?}, stop {stop:?}",
        took.len()
    );
    assert!(start < Duration::from_millis(100), "{took:?}");
    assert!(stop < Duration::from_millis(100), "{took:?}");
}
