//! The statistics of a disk by queue. The threads that serve it count, and any thread may read.
//!
//! Each ring in service counts in its own block, so only one thread writes to a block, and counting
//! takes no more than a load and a store. A block outlives its ring: the next ring of the same
//! queue continues with it. So no count ever decreases. A queue has as many blocks as it ever had
//! rings at the same time: one, unless the disk is shared. A queue that was never used has none.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::operation::OPERATIONS;
use super::{Count, OperationKind};

/// Upper bounds of the latency classes in nanoseconds, ascending. One more class lies beyond the
/// last bound. They are powers of two, so that a class is found by counting bits. Up to a
/// millisecond, where a RAM disk's latencies lie, each is twice the one before; from there to 17 s
/// it is four times that.
pub const LATENCY_BOUNDS_NS: [u64; 18] = {
    let mut bounds = [0; 18];
    let mut at = 0;
    while at < bounds.len() {
        let bits = if at <= FINE { at } else { 2 * at - FINE };
        bounds[at] = 1 << (FIRST_BITS + bits);
        at += 1;
    }
    bounds
};

/// The first bound is 2 to the power of this: a microsecond.
const FIRST_BITS: usize = 10;
/// The last bound that is twice the one before.
const FINE: usize = 10;

/// Classes of latency.
pub const LATENCY_CLASSES: usize = LATENCY_BOUNDS_NS.len() + 1;

/// Statistics of one kind of request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OperationStats {
    /// Requests that were answered, successful or not.
    pub completed: u64,
    /// Those that failed: their status is not OK, or they had no room for a status.
    pub errors: u64,
    /// Bytes read, written, discarded or zeroed by those that succeeded.
    pub bytes: u64,
    /// The sum of their latencies.
    pub time_ns: u64,
    /// The distribution of their latencies.
    pub latency: LatencyHistogram,
}

/// A histogram of latencies: the time from taking a request to publishing it to the driver.
/// Requests that are taken and published together have the same latency.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LatencyHistogram {
    /// The number of requests in each class, not cumulative. A class goes up to the bound of
    /// [`LATENCY_BOUNDS_NS`] with the same index. The last class has no bound.
    pub requests: [u64; LATENCY_CLASSES],
}

/// Statistics of a queue since the device was made, over all its front ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueStats {
    /// IN.
    pub reads: OperationStats,
    /// OUT.
    pub writes: OperationStats,
    /// FLUSH.
    pub flushes: OperationStats,
    /// DISCARD.
    pub discards: OperationStats,
    /// WRITE_ZEROES.
    pub write_zeroes: OperationStats,
    /// GET_ID, whose bytes are not the disk's, and requests of unknown kinds.
    pub others: OperationStats,
    /// Requests that were taken and not yet published.
    pub in_flight: u64,
}

/// Statistics of a device. While requests are served, you may see one that is counted in part.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// The queues by number, up to the last one that was ever used.
    pub queues: Vec<QueueStats>,
}

impl Stats {
    /// All queues together.
    pub fn total(&self) -> QueueStats {
        let mut total = QueueStats::default();
        for queue in &self.queues {
            total.add(queue);
        }
        total
    }
}

impl OperationStats {
    fn add(&mut self, more: &Self) {
        self.completed += more.completed;
        self.errors += more.errors;
        self.bytes += more.bytes;
        self.time_ns += more.time_ns;
        let more = more.latency.requests;
        for (sum, more) in self.latency.requests.iter_mut().zip(more) {
            *sum += more;
        }
    }
}

impl QueueStats {
    /// Add the statistics of another queue.
    pub fn add(&mut self, more: &Self) {
        self.reads.add(&more.reads);
        self.writes.add(&more.writes);
        self.flushes.add(&more.flushes);
        self.discards.add(&more.discards);
        self.write_zeroes.add(&more.write_zeroes);
        self.others.add(&more.others);
        self.in_flight += more.in_flight;
    }
}

/// The block in which one ring counts. It has cache lines of its own, aligned to two lines because
/// processors fetch them in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct Block {
    in_flight: AtomicU64,
    operations: [Operation; OPERATIONS],
}

/// Counters of one kind. The number of completed requests is the sum of all classes.
#[derive(Debug, Default)]
struct Operation {
    errors: AtomicU64,
    bytes: AtomicU64,
    time_ns: AtomicU64,
    latency: [AtomicU64; LATENCY_CLASSES],
}

/// Add without a read-modify-write instruction, since only one thread writes.
fn add(to: &AtomicU64, more: u64) {
    to.store(to.load(Ordering::Relaxed) + more, Ordering::Relaxed);
}

fn get(from: &AtomicU64) -> u64 {
    from.load(Ordering::Relaxed)
}

/// The class of a latency: the first bound that it does not exceed.
fn class_of(latency_ns: u64) -> usize {
    // The bits of the latency beyond those of the first bound.
    let bits = (u64::BITS - latency_ns.saturating_sub(1).leading_zeros()) as usize;
    let fine = bits.saturating_sub(FIRST_BITS);
    let coarse = (fine + FINE).div_ceil(2);
    fine.min(coarse).min(LATENCY_CLASSES - 1)
}

impl Block {
    pub(super) fn set_in_flight(&self, requests: u64) {
        self.in_flight.store(requests, Ordering::Relaxed);
    }

    /// Count requests of the kind with this number, each with the same latency.
    #[inline]
    pub(super) fn count(&self, kind: usize, count: Count, latency_ns: u64) {
        let operation = &self.operations[kind.min(OPERATIONS - 1)];
        let completed = count.completed.into();
        if count.errors > 0 {
            add(&operation.errors, count.errors.into());
        }
        add(&operation.bytes, count.bytes);
        add(&operation.time_ns, latency_ns * completed);
        add(&operation.latency[class_of(latency_ns)], completed);
    }

    fn read(&self) -> QueueStats {
        let operation = |kind: OperationKind| {
            let from = &self.operations[kind as usize];
            let requests = from.latency.each_ref().map(get);
            OperationStats {
                completed: requests.iter().sum(),
                errors: get(&from.errors),
                bytes: get(&from.bytes),
                time_ns: get(&from.time_ns),
                latency: LatencyHistogram { requests },
            }
        };
        QueueStats {
            reads: operation(OperationKind::Read),
            writes: operation(OperationKind::Write),
            flushes: operation(OperationKind::Flush),
            discards: operation(OperationKind::Discard),
            write_zeroes: operation(OperationKind::WriteZeroes),
            others: operation(OperationKind::Other),
            in_flight: get(&self.in_flight),
        }
    }

    /// Add the counts of another block. No thread may write to either.
    fn take_over(&self, from: &Self) {
        for (to, from) in self.operations.iter().zip(&from.operations) {
            add(&to.errors, get(&from.errors));
            add(&to.bytes, get(&from.bytes));
            add(&to.time_ns, get(&from.time_ns));
            for (to, from) in to.latency.iter().zip(&from.latency) {
                add(to, get(from));
            }
        }
    }
}

/// The blocks of a device, by queue.
#[derive(Debug, Default)]
pub(super) struct Blocks(Mutex<Vec<Vec<Arc<Block>>>>);

impl Blocks {
    /// A block for a ring of `queue`: one that is no longer used, or a new one.
    pub(super) fn lend(&self, queue: u16) -> Arc<Block> {
        let queue = usize::from(queue);
        let mut queues = self.0.lock();
        if queues.len() <= queue {
            queues.resize_with(queue + 1, Vec::new);
        }
        let blocks = &mut queues[queue];
        let mut free: Option<Arc<Block>> = None;
        blocks.retain_mut(|block| {
            // Its last user is gone, and everything that it wrote is visible.
            let is_free = Arc::get_mut(block).is_some();
            match &free {
                Some(first) if is_free => {
                    first.take_over(block);
                    false
                }
                None if is_free => {
                    free = Some(Arc::clone(block));
                    true
                }
                _ => true,
            }
        });
        free.unwrap_or_else(|| {
            let block = Arc::new(Block::default());
            blocks.push(Arc::clone(&block));
            block
        })
    }

    pub(super) fn read(&self) -> Stats {
        let queues = self.0.lock();
        let queue = |blocks: &Vec<Arc<Block>>| {
            let mut sum = QueueStats::default();
            for block in blocks {
                sum.add(&block.read());
            }
            sum
        };
        Stats {
            queues: queues.iter().map(queue).collect(),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn a_latency_belongs_to_the_first_bound_that_it_does_not_exceed() {
        for (class, bound) in LATENCY_BOUNDS_NS.into_iter().enumerate() {
            for (ns, class) in [(bound - 1, class), (bound, class), (bound + 1, class + 1)] {
                assert_eq!(class_of(ns), class, "{ns}");
            }
        }
        assert_eq!((class_of(0), class_of(u64::MAX)), (0, LATENCY_CLASSES - 1));
        assert_eq!(LATENCY_BOUNDS_NS[..2], [1024, 2048]);
        assert_eq!(LATENCY_BOUNDS_NS[10..12], [1 << 20, 1 << 22]);
        assert_eq!(LATENCY_BOUNDS_NS[17], 1 << 34);
        assert!(LATENCY_BOUNDS_NS.is_sorted());
    }

    #[test]
    fn rings_at_the_same_time_count_apart_and_blocks_are_used_again() {
        let blocks = Blocks::default();
        let mut one = Count::default();
        one.add(true, 512);
        let count = |block: &Block| block.count(OperationKind::Read as usize, one, 3_000);
        let rings: Vec<_> = (0..3).map(|_| blocks.lend(2)).collect();
        rings.iter().for_each(|ring| count(ring));
        drop(rings);
        assert_eq!(blocks.0.lock()[2].len(), 3);
        // Two unused blocks become one; the third is in use.
        let ring = blocks.lend(2);
        count(&ring);
        assert_eq!(blocks.0.lock()[2].len(), 1);
        let found = blocks.read();
        assert_eq!(found.queues.len(), 3);
        assert_eq!(found.queues[0], QueueStats::default());
        assert_eq!(found.queues[2].reads.completed, 4);
        assert_eq!(found.queues[2].reads.bytes, 2048);
        assert_eq!(found.queues[2].reads.time_ns, 12_000);
        assert_eq!(found.queues[2].reads.latency.requests[2], 4, "3000 ns");
        assert_eq!(found.total(), found.queues[2]);
    }
}
