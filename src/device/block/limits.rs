//! How many requests and bytes a second a disk, or a group of disks, may have.
//!
//! Each rate is a bucket that fills steadily and is kept as one number: the moment at which it will
//! be full again (the "theoretical arrival time" of the generic cell rate algorithm). Taking from
//! it is one atomic addition to that moment, by whichever worker; nobody refills it, nothing is
//! locked, and a worker that wakes late takes up what it missed, since the moment does not depend
//! on when anybody looked.
//!
//! A request that finds too little in a bucket takes it all the same and is told when there will
//! have been enough: it waits until then, and what comes after it finds the bucket as if it were
//! gone already. So queues that share a limiter have their turns in the order in which they asked.

use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, ArcSwapOption};

/// What a bucket holds at least, as time at its rate. A thread wakes some time after it wanted to,
/// and what the disk had coming meanwhile must not be lost.
const LEAST_BURST: Duration = Duration::from_millis(10);

/// Which limits a request comes under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Reads.
    Read,
    /// Writes; and discards and write-zeroes, which are requests of no bytes.
    Write,
}

/// The rates of one kind of request. `None` is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limit {
    /// Requests a second.
    pub iops: Option<NonZeroU64>,
    /// Requests that may come at once after a quiet time: the size of the bucket that `iops` fills.
    /// It has room for a hundredth of a second's worth in any case.
    pub iops_burst: u64,
    /// Bytes a second.
    pub bytes_per_second: Option<NonZeroU64>,
    /// The same as `iops_burst`, in bytes. A longer request waits for a full bucket and leaves it
    /// in debt.
    pub burst_bytes: u64,
}

/// What a disk or a group of disks may have; without limits by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Reads and writes together.
    pub total: Limit,
    /// Reads.
    pub read: Limit,
    /// Writes.
    pub write: Limit,
}

/// One rate.
#[derive(Debug)]
struct Bucket {
    per_second: NonZeroU64,
    burst_ns: u64,
    /// When it is full again, if nothing more is taken.
    full_at_ns: AtomicU64,
}

impl Bucket {
    fn new(per_second: NonZeroU64, burst: u64) -> Self {
        let mut bucket = Self {
            per_second,
            burst_ns: 0,
            full_at_ns: AtomicU64::new(0),
        };
        let least_ns = u64::try_from(LEAST_BURST.as_nanos()).unwrap_or(u64::MAX);
        bucket.burst_ns = bucket.cost_ns(burst).max(least_ns);
        bucket
    }

    /// How long it takes to fill by so much, rounded up, so that the rate is never exceeded.
    fn cost_ns(&self, units: u64) -> u64 {
        let ns = u128::from(units) * 1_000_000_000;
        u64::try_from(ns.div_ceil(u128::from(self.per_second.get()))).unwrap_or(u64::MAX)
    }

    /// When there will be enough in it, from `now_ns` on.
    fn due_ns(&self, cost_ns: u64, full_at_ns: u64, now_ns: u64) -> u64 {
        let missing_ns = self.burst_ns - cost_ns.min(self.burst_ns);
        full_at_ns.saturating_sub(missing_ns).max(now_ns)
    }

    /// When there will be enough in it for `units`.
    fn when_ns(&self, units: u64, now_ns: u64) -> u64 {
        let full_at_ns = self.full_at_ns.load(Ordering::Relaxed);
        self.due_ns(self.cost_ns(units), full_at_ns, now_ns)
    }

    /// Take `units`, and give when there will have been enough.
    fn take_ns(&self, units: u64, now_ns: u64) -> u64 {
        let cost_ns = self.cost_ns(units);
        let after = |full_at_ns: u64| Some(full_at_ns.max(now_ns).saturating_add(cost_ns));
        let before = self
            .full_at_ns
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, after);
        let (Ok(before) | Err(before)) = before;
        self.due_ns(cost_ns, before, now_ns)
    }
}

/// The buckets of one [`Limit`].
#[derive(Debug)]
struct Pair {
    requests: Option<Bucket>,
    bytes: Option<Bucket>,
}

impl Pair {
    fn new(limit: &Limit) -> Self {
        let bucket = |rate: Option<NonZeroU64>, burst| rate.map(|rate| Bucket::new(rate, burst));
        Self {
            requests: bucket(limit.iops, limit.iops_burst),
            bytes: bucket(limit.bytes_per_second, limit.burst_bytes),
        }
    }

    /// The buckets, and what a request of `bytes` takes from each.
    fn each(&self, bytes: u64) -> impl Iterator<Item = (&Bucket, u64)> {
        let requests = self.requests.iter().map(|bucket| (bucket, 1));
        requests.chain(self.bytes.iter().map(move |bucket| (bucket, bytes)))
    }
}

/// Limits with the state of their buckets. Another one takes its place when the limits change.
#[derive(Debug)]
struct Schedule {
    limits: Limits,
    /// A number that no other schedule of this process has.
    number: u64,
    total: Pair,
    read: Pair,
    write: Pair,
}

impl Schedule {
    fn new(limits: &Limits) -> Self {
        static MADE: AtomicU64 = AtomicU64::new(1);
        Self {
            limits: *limits,
            number: MADE.fetch_add(1, Ordering::Relaxed),
            total: Pair::new(&limits.total),
            read: Pair::new(&limits.read),
            write: Pair::new(&limits.write),
        }
    }

    fn buckets(&self, class: Class, bytes: u64) -> impl Iterator<Item = (&Bucket, u64)> {
        let own = match class {
            Class::Read => &self.read,
            Class::Write => &self.write,
        };
        self.total.each(bytes).chain(own.each(bytes))
    }

    fn is_limited(&self) -> bool {
        self.limits != Limits::default()
    }
}

/// Which schedules a reservation was made in: it is void once that is another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Epoch {
    own: u64,
    group: u64,
}

/// Keeps the requests of one disk, or of a group of disks, within [`Limits`], which may change at
/// any time. Shared by all queues.
#[derive(Debug)]
pub struct Limiter {
    schedule: ArcSwap<Schedule>,
    /// The limiter of a group that this one's disk belongs to.
    group: ArcSwapOption<Limiter>,
}

/// What time it is, in nanoseconds since this was asked first.
fn ns_of(now: Instant) -> u64 {
    let ns = now.saturating_duration_since(*ORIGIN).as_nanos();
    u64::try_from(ns).unwrap_or(u64::MAX)
}

static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);

impl Limiter {
    /// A limiter with these limits and full buckets.
    pub fn new(limits: &Limits) -> Arc<Self> {
        LazyLock::force(&ORIGIN);
        Arc::new(Self {
            schedule: ArcSwap::from_pointee(Schedule::new(limits)),
            group: ArcSwapOption::empty(),
        })
    }

    /// The limits now.
    pub fn limits(&self) -> Limits {
        self.schedule.load().limits
    }

    /// Have other limits from now on, with full buckets. Requests that wait notice within some
    /// 10 ms. The same limits again change nothing.
    pub fn set(&self, limits: &Limits) {
        if self.limits() != *limits {
            self.schedule.store(Arc::new(Schedule::new(limits)));
        }
    }

    /// Come under the limits of a group as well, or of none. A group of that group is not asked.
    pub(super) fn set_group(&self, group: Option<Arc<Self>>) {
        self.group.store(group);
    }

    /// The limiter of the group that the disk belongs to.
    pub(super) fn group(&self) -> Option<Arc<Self>> {
        self.group.load_full()
    }

    /// Whether there may be a limit.
    pub(super) fn is_active(&self) -> bool {
        self.schedule.load().is_limited() || self.group.load().is_some()
    }

    pub(super) fn epoch(&self) -> Epoch {
        let group = self.group.load();
        let group = group
            .as_ref()
            .map_or(0, |group| group.schedule.load().number);
        Epoch {
            own: self.schedule.load().number,
            group,
        }
    }

    /// The latest of what `act` gives for all buckets that a request comes under.
    fn latest(&self, class: Class, bytes: u64, act: impl Fn(&Bucket, u64) -> u64) -> u64 {
        let own = self.schedule.load();
        let group = self.group.load();
        let group = group.as_ref().map(|group| group.schedule.load());
        let group = group.iter().flat_map(|group| group.buckets(class, bytes));
        let all = own.buckets(class, bytes).chain(group);
        all.map(|(bucket, units)| act(bucket, units))
            .max()
            .unwrap_or(0)
    }

    /// Take what a request needs if all of it is there now.
    pub(super) fn take_now(&self, class: Class, bytes: u64, now: Instant) -> bool {
        let now_ns = ns_of(now);
        let due_ns = self.latest(class, bytes, |bucket, units| bucket.when_ns(units, now_ns));
        if due_ns > now_ns {
            return false;
        }
        // Another worker may have been faster: then a little more goes now and less afterwards.
        self.latest(class, bytes, |bucket, units| bucket.take_ns(units, now_ns));
        true
    }

    /// Take what a request needs, which may go at the moment that is given.
    pub(super) fn reserve(&self, class: Class, bytes: u64, now: Instant) -> Instant {
        let now_ns = ns_of(now);
        let due_ns = self.latest(class, bytes, |bucket, units| bucket.take_ns(units, now_ns));
        // A rate of a byte a second and a long request: what can't be told is far enough away.
        let wait = Duration::from_nanos(due_ns.saturating_sub(now_ns));
        now.checked_add(wait)
            .unwrap_or(now + Duration::from_secs(1 << 30))
    }
}

#[cfg(test)]
#[path = "limits_model.rs"]
mod model;
