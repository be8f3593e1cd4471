//! Forks: one at a time, idle and beside writers, and by the thousand.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ramblk::store::{Disk, Store};

use crate::measure::{self, Failure, GIB, KIB, Latencies, PAGE_BYTES, Plan, Rng, Target, median};
use crate::report::{self, Line};

const SOURCES: [&str; 2] = ["small", "large"];

/// A store with a disk of 1 GiB and a large one, both full, and `spare_bytes` more.
struct Sources {
    store: Store,
    disks: [(Disk, u64); 2],
}

impl Sources {
    fn new(plan: Plan, spare_bytes: u64) -> Result<Self, Failure> {
        let sizes_bytes = [GIB, plan.large_bytes()];
        let total_bytes: u64 = sizes_bytes.iter().sum();
        let store = Store::new(total_bytes + total_bytes / 32 + spare_bytes)?;
        let full = |which: usize| -> Result<(Disk, u64), Failure> {
            let disk = measure::create(&store, SOURCES[which], sizes_bytes[which])?;
            measure::fill(&disk, sizes_bytes[which])?;
            Ok((disk, sizes_bytes[which]))
        };
        let disks = [full(0)?, full(1)?];
        Ok(Self { store, disks })
    }

    fn size(&self, which: usize) -> String {
        report::bytes(self.disks[which].1 as f64)
    }

    /// Fork a disk several times, with a pause before each, and destroy each fork at once. Between
    /// forks, compute for as long as a pause, which shows the scheduler's share of a latency
    /// (`computing`).
    fn forks(
        &self,
        which: usize,
        count: usize,
        pause: Duration,
        into: &mut Latencies,
        computing: &mut Latencies,
    ) -> Result<(), Failure> {
        for _ in 0..count {
            thread::sleep(pause);
            let start = Instant::now();
            compute();
            computing.record(start.elapsed());
            thread::sleep(pause);
            let start = Instant::now();
            let fork = self.store.fork(SOURCES[which], "fork")?;
            into.record(start.elapsed());
            drop(fork);
            self.store.destroy("fork")?;
        }
        Ok(())
    }

    /// The same, while two threads write the disk at random as fast as they can. Their latencies
    /// go into `beside`.
    fn forks_beside_writers(
        &self,
        which: usize,
        count: usize,
        into: &mut Latencies,
        beside: &mut Beside,
    ) -> Result<(), Failure> {
        let (disk, size_bytes) = &self.disks[which];
        let stop = AtomicBool::new(false);
        let writer = |half: u64| -> Result<Latencies, Failure> {
            let mut latencies = Latencies::new();
            let mut rng = Rng::new(half);
            let half_bytes = size_bytes / 2;
            let buf = [0x5a; PAGE_BYTES as usize];
            while !stop.load(Ordering::Relaxed) {
                let page = rng.below(half_bytes / PAGE_BYTES);
                let start = Instant::now();
                Target::write(disk, half * half_bytes + page * PAGE_BYTES, &buf)?;
                latencies.record(start.elapsed());
            }
            Ok(latencies)
        };
        let writer = &writer;
        thread::scope(|scope| {
            let writers = [0, 1].map(|half| scope.spawn(move || writer(half)));
            let forked = self.forks(
                which,
                count,
                Duration::from_millis(1),
                into,
                &mut beside.computing,
            );
            stop.store(true, Ordering::Relaxed);
            for writer in writers {
                beside
                    .writes
                    .merge(&writer.join().map_err(|_| "a writer panicked")??);
            }
            forked
        })
    }
}

/// What happens beside the forks.
struct Beside {
    writes: Latencies,
    computing: Latencies,
}

/// About 20 us of work that touches no memory.
fn compute() {
    let mut rng = Rng::new(1);
    for _ in 0..10_000 {
        std::hint::black_box(rng.below(2));
    }
}

/// The time of one fork.
pub(crate) fn one(plan: Plan) -> Result<Vec<Line>, Failure> {
    let sources = Sources::new(plan, 3 * GIB)?;
    let mut idle = [Latencies::new(), Latencies::new()];
    let mut busy = [Latencies::new(), Latencies::new()];
    let mut beside = Beside {
        writes: Latencies::new(),
        computing: Latencies::new(),
    };
    let mut unwatched = Latencies::new();
    for _ in 0..2 * plan.long_rounds() {
        for which in [0, 1] {
            sources.forks(which, 200, Duration::ZERO, &mut idle[which], &mut unwatched)?;
        }
        for which in [0, 1] {
            sources.forks_beside_writers(which, 100, &mut busy[which], &mut beside)?;
        }
    }
    let mut lines = Vec::new();
    let mut medians_ns = Vec::new();
    for (latencies, name) in [(&idle, "idle"), (&busy, "two writers")] {
        for which in [0, 1] {
            let size = sources.size(which);
            let median_ns = latencies[which].quantile_ns(0.5);
            medians_ns.push(median_ns);
            let what = format!("fork of {size}, {name}");
            let detail = detail(&latencies[which]);
            lines.push(Line::time(what, median_ns, detail, 100e3));
        }
    }
    // Compare by size: [idle, busy] x [small, large].
    for (pair_ns, name) in medians_ns.chunks(2).zip(["idle", "two writers"]) {
        if let [small_ns, large_ns] = *pair_ns {
            let sizes = [0, 1].map(|which| sources.size(which));
            lines.push(Line::growth(
                format!(
                    "fork of {} beside that of {}, {name}: same order",
                    sizes[1], sizes[0]
                ),
                report::time(large_ns),
                report::time(small_ns),
                large_ns / small_ns,
                3.0,
            ));
        }
    }
    let mut all = Latencies::new();
    busy.iter().for_each(|latencies| all.merge(latencies));
    let name = "forks beside two writers, p99";
    let p99_ns = all.quantile_ns(0.99);
    let computing = format!("mere computing: {}", detail(&beside.computing));
    lines.push(Line::time(name, p99_ns, detail(&all), 5e6).beside(computing));
    let p99_ns = beside.writes.quantile_ns(0.99);
    let what = "4 KiB write beside forks every 2 ms, p99";
    lines.push(Line::time(what, p99_ns, detail(&beside.writes), 5e6));
    Ok(lines)
}

fn detail(latencies: &Latencies) -> String {
    let [p50, p99, most] = [0.5, 0.99, 1.0].map(|part| report::time(latencies.quantile_ns(part)));
    format!(
        "p50 {p50}, p99 {p99}, worst {most}; {} times",
        latencies.count()
    )
}

const MANY: usize = 10_000;

/// Create and destroy ten thousand forks of one disk.
pub(crate) fn thousands(plan: Plan) -> Result<Vec<Line>, Failure> {
    let sources = Sources::new(plan, GIB / 2)?;
    let keys: Vec<String> = (0..MANY).map(|number| format!("fork-{number}")).collect();
    let mut lines = Vec::new();
    let first = memory(&sources.store);
    let mut grown_bytes = [0_u64; 3];
    for which in [0, 1] {
        let mut made_ns = Vec::new();
        let mut dropped_ns = Vec::new();
        for _ in 0..plan.long_rounds() {
            let start = Instant::now();
            let forks = keys
                .iter()
                .map(|key| sources.store.fork(SOURCES[which], key));
            let forks = forks.collect::<Result<Vec<_>, _>>()?;
            made_ns.push(measure::nanos(start.elapsed()));
            // The maximum over all rounds: later rounds may reuse what the first one took.
            for ((most, first), now) in grown_bytes
                .iter_mut()
                .zip(first)
                .zip(memory(&sources.store))
            {
                *most = (*most).max(now.saturating_sub(first));
            }
            let start = Instant::now();
            drop(forks);
            keys.iter()
                .try_for_each(|key| sources.store.destroy(key).map(drop))?;
            dropped_ns.push(measure::nanos(start.elapsed()));
        }
        let each = |all_ns: f64| format!("{} each", report::time(all_ns / MANY as f64));
        for (name, all_ns) in [("forks", &made_ns), ("drops of forks", &dropped_ns)] {
            let all_ns = median(all_ns);
            let what = format!("{MANY} {name} of {}", sources.size(which));
            lines.push(Line::time(what, all_ns, each(all_ns), 1e9));
        }
    }
    let [charged, resident, host] = grown_bytes.map(|all| all as f64 / MANY as f64);
    let left_bytes = sources.store.charged_bytes().saturating_sub(first[0]);
    let detail = format!(
        "charged {}, VmRSS {}, private and memory file {}; charged after all have gone: {} in all",
        report::bytes(charged),
        report::bytes(resident),
        report::bytes(host),
        report::bytes(left_bytes as f64),
    );
    let most = charged.max(resident).max(host);
    lines.push(Line::size(
        "memory of an untouched fork",
        most,
        detail,
        8 * KIB,
    ));
    Ok(lines)
}

/// Bytes charged, resident, and provided by the host.
fn memory(store: &Store) -> [u64; 3] {
    [
        store.charged_bytes(),
        measure::resident_bytes(),
        measure::host_bytes(),
    ]
}
