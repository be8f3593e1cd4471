//! Large discards: how soon they are answered, how soon the host gets the memory back, and what a
//! neighbour notices.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ramblk::store::{Disk, Store};
use rustix::thread::CpuSet;

use crate::measure::{self, Failure, GIB, Latencies, MIB, PAGE_BYTES, Plan, Rng, SECTOR_BYTES};
use crate::measure::{Target, median};
use crate::report::{self, Line};

/// The phases under which the neighbour's latencies are counted.
#[derive(Clone, Copy)]
enum Phase {
    WarmUp,
    Before,
    During,
    Over,
}

/// How long the neighbour is measured before the discard.
const BEFORE: Duration = Duration::from_millis(500);
/// Memory that the host doesn't have back by then counts as lost.
const PATIENCE: Duration = Duration::from_secs(10);

/// A disk written in order, one disk after the other.
pub(crate) fn sequential(plan: Plan) -> Result<Vec<Line>, Failure> {
    rows(
        plan,
        "written in order",
        1e9,
        |victim, neighbour, size_bytes| {
            measure::fill(victim, size_bytes)?;
            measure::fill(neighbour, size_bytes)
        },
    )
}

/// A disk written page by page at random, alternating with another disk's pages.
pub(crate) fn random(plan: Plan) -> Result<Vec<Line>, Failure> {
    rows(
        plan,
        "written at random among a neighbour's",
        3e9,
        |victim, neighbour, size_bytes| {
            let buf = [0xa5; PAGE_BYTES as usize];
            let pages = size_bytes / PAGE_BYTES;
            let orders = Rng::new(1)
                .shuffled(pages)
                .into_iter()
                .zip(Rng::new(2).shuffled(pages));
            for (one, other) in orders {
                Target::write(victim, one * PAGE_BYTES, &buf)?;
                Target::write(neighbour, other * PAGE_BYTES, &buf)?;
            }
            Ok(())
        },
    )
}

/// One core for the neighbour, and the others for the store's own threads, which inherit the set.
/// Left to the scheduler, both may share a core: then nothing interrupts the neighbour, which gets
/// half of the time.
fn cores() -> Result<[CpuSet; 2], Failure> {
    let mut rest = rustix::thread::sched_getaffinity(None)?;
    let mut own = CpuSet::new();
    if rest.count() > 1
        && let Some(first) = (0..CpuSet::MAX_CPU).find(|&core| rest.is_set(core))
    {
        own.set(first);
        rest.unset(first);
    } else {
        own = rest;
    }
    Ok([own, rest])
}

/// The results of all rounds.
struct Found {
    answered_ns: Vec<f64>,
    back_ns: Vec<f64>,
    before: Latencies,
    during: Latencies,
}

fn rows(
    plan: Plan,
    how: &str,
    back_below_ns: f64,
    write: impl Fn(&Disk, &Disk, u64) -> Result<(), Failure>,
) -> Result<Vec<Line>, Failure> {
    let size_bytes = if plan.quick { GIB / 4 } else { GIB };
    let [neighbours_core, rest] = cores()?;
    rustix::thread::sched_setaffinity(None, &rest)?;
    let mut found = Found {
        answered_ns: Vec::new(),
        back_ns: Vec::new(),
        before: Latencies::new(),
        during: Latencies::new(),
    };
    for _ in 0..plan.long_rounds() {
        let store = Store::new(2 * size_bytes + size_bytes / 8 + 64 * MIB)?;
        let victim = measure::create(&store, "victim", size_bytes)?;
        let neighbour = measure::create(&store, "neighbour", size_bytes)?;
        write(&victim, &neighbour, size_bytes)?;
        round(
            &victim,
            &neighbour,
            &neighbours_core,
            size_bytes,
            &mut found,
        )?;
    }
    let size = report::bytes(size_bytes as f64);
    let detail = |all_ns: &[f64]| {
        let worst = all_ns.iter().copied().fold(0.0, f64::max);
        format!("median of {}, worst {}", all_ns.len(), report::time(worst))
    };
    let answered_ns = median(&found.answered_ns);
    let back_ns = median(&found.back_ns);
    let [before_ns, during_ns] = [&found.before, &found.during].map(|all| all.quantile_ns(0.99));
    let requests = |all: &Latencies, p99_ns| {
        format!("p99 {} of {} requests", report::time(p99_ns), all.count())
    };
    Ok(vec![
        Line::time(
            format!("discard of {size} {how}: answered"),
            answered_ns,
            detail(&found.answered_ns),
            50e6,
        ),
        Line::time(
            format!("discard of {size} {how}: memory is the host's"),
            back_ns,
            detail(&found.back_ns),
            back_below_ns,
        ),
        Line::growth(
            format!("neighbour's 4 KiB requests until then, {how}"),
            requests(&found.during, during_ns),
            format!("{} before", requests(&found.before, before_ns)),
            during_ns / before_ns,
            1.5,
        ),
    ])
}

fn round(
    victim: &Disk,
    neighbour: &Disk,
    neighbours_core: &CpuSet,
    size_bytes: u64,
    found: &mut Found,
) -> Result<(), Failure> {
    let phase = AtomicUsize::new(Phase::WarmUp as usize);
    let enter = |next: Phase| phase.store(next as usize, Ordering::Relaxed);
    // Both phases are watched in the same way, since watching takes time on a core.
    let watch = |limit: Duration, enough: &dyn Fn(u64) -> bool| {
        let start = Instant::now();
        while !enough(measure::host_bytes()) {
            if start.elapsed() >= limit {
                return false;
            }
            thread::sleep(Duration::from_millis(2));
        }
        true
    };
    thread::scope(|scope| {
        let requests = scope.spawn(|| {
            rustix::thread::sched_setaffinity(None, neighbours_core)?;
            requests(neighbour, size_bytes, &phase)
        });
        watch(BEFORE / 4, &|_| false);
        enter(Phase::Before);
        watch(BEFORE, &|_| false);
        let wanted_bytes = measure::host_bytes().saturating_sub(size_bytes / 100 * 95);
        enter(Phase::During);
        let start = Instant::now();
        let discarded = victim.discard(0, size_bytes / SECTOR_BYTES);
        let answered = start.elapsed();
        let back = watch(PATIENCE, &|bytes| bytes <= wanted_bytes);
        let back_ns = if back {
            measure::nanos(start.elapsed())
        } else {
            f64::INFINITY
        };
        enter(Phase::Over);
        let latencies = requests.join().map_err(|_| "the neighbour panicked")??;
        found.before.merge(&latencies[Phase::Before as usize]);
        found.during.merge(&latencies[Phase::During as usize]);
        found.answered_ns.push(measure::nanos(answered));
        found.back_ns.push(back_ns);
        Ok(discarded?)
    })
}

/// Alternating random reads and writes until the end.
fn requests(disk: &Disk, size_bytes: u64, phase: &AtomicUsize) -> Result<[Latencies; 3], Failure> {
    let mut latencies = [Latencies::new(), Latencies::new(), Latencies::new()];
    let mut rng = Rng::new(3);
    let mut buf = [0x5a; PAGE_BYTES as usize];
    loop {
        let now = phase.load(Ordering::Relaxed);
        let Some(latencies) = latencies.get_mut(now) else {
            return Ok(latencies);
        };
        for _ in 0..8 {
            for writes in [true, false] {
                let at_bytes = rng.below(size_bytes / PAGE_BYTES) * PAGE_BYTES;
                let start = Instant::now();
                if writes {
                    Target::write(disk, at_bytes, &buf)?;
                } else {
                    Target::read(disk, at_bytes, &mut buf)?;
                }
                latencies.record(start.elapsed());
            }
        }
    }
}
