//! Reads and writes, compared with `memcpy` of the same bytes in the same order.

use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use ramblk::store::Store;

use crate::measure::{self, Failure, GIB, KIB, MIB, Order, PAGE_BYTES, Paired, Pass, Plan};
use crate::measure::{Rng, Target, median};
use crate::report::{self, Line};
use crate::yardstick::{Mapping, Zeros};

/// 32 requests of 4 KiB in flight: how much of the caches a driver's buffers take.
const SMALL_BUFFER_BYTES: u64 = 128 * KIB;
/// Enough for one round of about 20 ms.
const SMALL_OPS: u64 = 16 << 10;

const SPAN_BYTES: u64 = 512 * MIB;

/// 4 KiB requests in a span that fits into few caches.
pub(crate) fn random_small(plan: Plan) -> Result<Vec<Line>, Failure> {
    random(plan, SPAN_BYTES)
}

/// 4 KiB requests in a span whose bytes and tables fit into no cache.
pub(crate) fn random_large(plan: Plan) -> Result<Vec<Line>, Failure> {
    random(plan, plan.large_bytes())
}

fn random(plan: Plan, span_bytes: u64) -> Result<Vec<Line>, Failure> {
    let (_store, disk) = full_disk(span_bytes)?;
    let mapping = Mapping::populated(span_bytes)?;
    measure::fill(&mapping, span_bytes)?;
    let mut buffers = Mapping::populated(SMALL_BUFFER_BYTES)?;
    let buf = buffers.bytes_mut();
    let mut lines = Vec::new();
    for writes in [true, false] {
        let pass = Pass {
            writes,
            start_bytes: 0,
            span_bytes,
            op_bytes: PAGE_BYTES,
            ops: SMALL_OPS,
        };
        let order = |round| Order::Random(Rng::new(round));
        let paired = beside(plan.short_rounds(), pass, &disk, &mapping, buf, order)?;
        let name = if writes { "overwrite" } else { "read" };
        let span = report::bytes(span_bytes as f64);
        let what = format!("4 KiB random {name}, span {span}");
        lines.push(Line::ratio(what, &paired, PAGE_BYTES, 1.2));
    }
    Ok(lines)
}

/// 1 MiB requests in order.
pub(crate) fn sequential(plan: Plan) -> Result<Vec<Line>, Failure> {
    let (_store, disk) = full_disk(SPAN_BYTES)?;
    let mapping = Mapping::populated(SPAN_BYTES)?;
    measure::fill(&mapping, SPAN_BYTES)?;
    let mut buffers = Mapping::populated(MIB)?;
    let buf = buffers.bytes_mut();
    let mut lines = Vec::new();
    for writes in [false, true] {
        let ops = 128;
        let pass = Pass {
            writes,
            start_bytes: 0,
            span_bytes: SPAN_BYTES,
            op_bytes: MIB,
            ops,
        };
        let order = |round| Order::Sequential(round * ops);
        let paired = beside(plan.short_rounds(), pass, &disk, &mapping, buf, order)?;
        let name = if writes { "write" } else { "read" };
        lines.push(Line::ratio(
            format!("1 MiB sequential {name}"),
            &paired,
            MIB,
            1.1,
        ));
    }
    Ok(lines)
}

/// Two writers in separate halves of one disk, compared with one writer.
pub(crate) fn threads(plan: Plan) -> Result<Vec<Line>, Failure> {
    let (_store, disk) = full_disk(SPAN_BYTES)?;
    let mapping = Mapping::populated(SPAN_BYTES)?;
    measure::fill(&mapping, SPAN_BYTES)?;
    let mut buffers = Mapping::populated(2 * SMALL_BUFFER_BYTES)?;
    let (one, two) = buffers
        .bytes_mut()
        .split_at_mut(SMALL_BUFFER_BYTES as usize);
    let mut bufs = [one, two];
    // Two paired runs at once: alone and together, ours and the yardstick's.
    let (mut ours, mut yardstick) = (Vec::new(), Vec::new());
    let mut together_ns = Vec::new();
    for round in 0..plan.short_rounds() as u64 {
        let ours_one = writers(&disk, &mut bufs[..1], round)?;
        let yardstick_one = writers(&mapping, &mut bufs[..1], round)?;
        let ours_two = writers(&disk, &mut bufs, round)?;
        let yardstick_two = writers(&mapping, &mut bufs, round)?;
        ours.push(2.0 * ours_one.as_secs_f64() / ours_two.as_secs_f64());
        yardstick.push(2.0 * yardstick_one.as_secs_f64() / yardstick_two.as_secs_f64());
        together_ns.push(measure::nanos(ours_two) / WRITER_OPS as f64);
    }
    let each = report::time(median(&together_ns));
    let what = format!("4 KiB random write, two threads beside one ({each} each, together)");
    let (ours, yardstick) = (median(&ours), median(&yardstick));
    Ok(vec![Line::factor(what, ours, yardstick, 1.8)])
}

const WRITER_OPS: u64 = 2 * SMALL_OPS;

/// The time in which one thread per buffer writes its own part.
fn writers<T: Target>(target: &T, bufs: &mut [&mut [u8]], round: u64) -> Result<Duration, Failure> {
    let together = Barrier::new(bufs.len());
    let write = |(at, buf): (usize, &mut [u8])| -> Result<[Instant; 2], Failure> {
        let pass = Pass {
            writes: true,
            start_bytes: at as u64 * SPAN_BYTES / 2,
            span_bytes: SPAN_BYTES / 2,
            op_bytes: PAGE_BYTES,
            ops: WRITER_OPS,
        };
        together.wait();
        let start = Instant::now();
        pass.run(target, buf, Order::Random(Rng::new(2 * round + at as u64)))?;
        Ok([start, Instant::now()])
    };
    let write = &write;
    let times = thread::scope(|scope| {
        let each = bufs.iter_mut().enumerate();
        let threads: Vec<_> = each
            .map(|(at, buf)| scope.spawn(move || write((at, &mut **buf))))
            .collect();
        let joined = threads.into_iter().map(|thread| thread.join());
        joined
            .map(|times| times.map_err(|_| "a writer panicked")?)
            .collect::<Result<Vec<_>, Failure>>()
    })?;
    let start = times.iter().map(|[start, _]| *start).min();
    let end = times.iter().map(|[_, end]| *end).max();
    Ok(end
        .zip(start)
        .map(|(end, start)| end - start)
        .unwrap_or_default())
}

/// Reads of unwritten ranges, compared with `memset`.
pub(crate) fn unmapped(plan: Plan) -> Result<Vec<Line>, Failure> {
    let store = Store::new(GIB)?;
    let disk = measure::create(&store, "disk", GIB)?;
    let charged_before_bytes = store.charged_bytes();
    let mut buffers = Mapping::populated(MIB)?;
    let mut lines = Vec::new();
    for (op_bytes, ops) in [(PAGE_BYTES, 4 * SMALL_OPS), (MIB, 128)] {
        let pass = Pass {
            writes: false,
            start_bytes: 0,
            span_bytes: GIB,
            op_bytes,
            ops,
        };
        let buffer_bytes = op_bytes.max(SMALL_BUFFER_BYTES) as usize;
        let buf = &mut buffers.bytes_mut()[..buffer_bytes];
        let order = |round| Order::Random(Rng::new(round));
        let paired = beside(plan.short_rounds(), pass, &disk, &Zeros, buf, order)?;
        let size = report::bytes(op_bytes as f64);
        let what = format!("{size} read of unmapped bytes, beside memset");
        lines.push(Line::rate(what, &paired, op_bytes, 0.9));
    }
    let grown_bytes = store.charged_bytes().abs_diff(charged_before_bytes);
    let what = "memory taken by those reads";
    lines.push(Line::size(what, grown_bytes as f64, "charged".into(), 0));
    Ok(lines)
}

/// Writes that must allocate a page, compared with the kernel's own first touch.
pub(crate) fn first_write(plan: Plan) -> Result<Vec<Line>, Failure> {
    let span_bytes = 128 * MIB;
    let pages = span_bytes / PAGE_BYTES;
    let pass = Pass {
        writes: true,
        start_bytes: 0,
        span_bytes,
        op_bytes: PAGE_BYTES,
        ops: pages,
    };
    let mut buffers = Mapping::populated(2 * SMALL_BUFFER_BYTES)?;
    let (one, two) = buffers
        .bytes_mut()
        .split_at_mut(SMALL_BUFFER_BYTES as usize);
    let mut lines = Vec::new();
    for shuffled in [false, true] {
        let order = |round| match shuffled {
            true => Order::Listed(Rng::new(round).shuffled(pages).into_iter()),
            false => Order::Sequential(0),
        };
        let ours = |round| {
            let store = Store::new(2 * span_bytes)?;
            let disk = measure::create(&store, "disk", span_bytes)?;
            pass.run(&disk, one, order(round))
        };
        let yardstick = |round| {
            let fresh = Mapping::untouched(span_bytes)?;
            pass.run(&fresh, two, order(round))
        };
        let rounds = plan.short_rounds() / 3;
        let paired = Paired::measure(rounds, pages, ours, yardstick)?;
        let name = if shuffled { "random" } else { "sequential" };
        let what = format!("4 KiB first write, {name}, beside the kernel's first touch");
        lines.push(Line::ratio(what, &paired, PAGE_BYTES, 2.0));
    }
    Ok(lines)
}

/// A store with a disk whose pages are all mapped.
fn full_disk(size_bytes: u64) -> Result<(Store, ramblk::store::Disk), Failure> {
    let store = Store::new(size_bytes + size_bytes / 16 + 64 * MIB)?;
    let disk = measure::create(&store, "disk", size_bytes)?;
    measure::fill(&disk, size_bytes)?;
    Ok((store, disk))
}

/// The same pass on both sides in turn, with the same buffer and order.
fn beside(
    rounds: usize,
    pass: Pass,
    ours: &impl Target,
    yardstick: &impl Target,
    buf: &mut [u8],
    order: impl Fn(u64) -> Order,
) -> Result<Paired, Failure> {
    // Two closures share the buffer and never run inside each other.
    let buf = std::cell::RefCell::new(buf);
    Paired::measure(
        rounds,
        pass.ops,
        |round| pass.run(ours, &mut buf.borrow_mut(), order(round)),
        |round| pass.run(yardstick, &mut buf.borrow_mut(), order(round)),
    )
}
