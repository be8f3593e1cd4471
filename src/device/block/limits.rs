//! How many requests and bytes a second a disk, or a group of disks, may have.
//!
//! Each rate is a bucket that fills steadily. It is stored as one number: the moment at which it
//! will be full again (the "theoretical arrival time" of the generic cell rate algorithm). A worker
//! takes from it with one atomic addition. There is no lock and no refilling, and a worker that
//! wakes late loses nothing, since the moment does not depend on when it is read.
//!
//! A request that finds too little in a bucket takes from it anyway, and waits until there would
//! have been enough. Later requests find the bucket as if it had already gone. So queues that share
//! a limiter take turns in the order in which they asked.

use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, ArcSwapOption};

/// The least that a bucket holds, as time at its rate. A thread wakes later than it asked for, and
/// what the rate allowed in the meantime must not be lost.
const LEAST_BURST: Duration = Duration::from_millis(10);

/// Which limits apply to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Reads.
    Read,
    /// Writes; and discards and write-zeroes, which are requests of no bytes.
    Write,
}

/// The rates of one kind of request. `None` means no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limit {
    /// Requests a second.
    pub iops: Option<NonZeroU64>,
    /// Requests that may be made at once after a pause: the size of the bucket that `iops` fills.
    /// The bucket always has room for what the rate allows in 10 ms.
    pub iops_burst: u64,
    /// Bytes a second.
    pub bytes_per_second: Option<NonZeroU64>,
    /// The same as `iops_burst`, in bytes. A longer request waits for a full bucket and leaves it
    /// in debt.
    pub burst_bytes: u64,
}

/// The limits of a disk or of a group of disks. By default there are none.
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

    /// How long it takes to fill by `units`, rounded up so that the rate is never exceeded.
    fn cost_ns(&self, units: u64) -> u64 {
        let ns = u128::from(units) * 1_000_000_000;
        u64::try_from(ns.div_ceil(u128::from(self.per_second.get()))).unwrap_or(u64::MAX)
    }

    /// When there will be enough in it: `now_ns` or later.
    fn due_ns(&self, cost_ns: u64, full_at_ns: u64, now_ns: u64) -> u64 {
        let missing_ns = self.burst_ns - cost_ns.min(self.burst_ns);
        full_at_ns.saturating_sub(missing_ns).max(now_ns)
    }

    /// When there will be enough in it for `units`.
    fn when_ns(&self, units: u64, now_ns: u64) -> u64 {
        let full_at_ns = self.full_at_ns.load(Ordering::Relaxed);
        self.due_ns(self.cost_ns(units), full_at_ns, now_ns)
    }

    /// Take `units`. Returns when there would have been enough.
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

/// Limits and the state of their buckets. If the limits change, a new schedule replaces this one.
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

/// The schedules in which a reservation was made. If either was replaced, the reservation is void.
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

/// `now` in nanoseconds since the first call.
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

    /// The present limits.
    pub fn limits(&self) -> Limits {
        self.schedule.load().limits
    }

    /// Set new limits, with full buckets. Waiting requests notice this within about 10 ms. Setting
    /// the same limits again changes nothing.
    pub fn set(&self, limits: &Limits) {
        if self.limits() != *limits {
            self.schedule.store(Arc::new(Schedule::new(limits)));
        }
    }

    /// Set the group whose limits apply as well, or none. A group of that group is ignored.
    pub fn set_group(&self, group: Option<Arc<Self>>) {
        self.group.store(group);
    }

    /// The limiter of the group that the disk belongs to.
    pub(super) fn group(&self) -> Option<Arc<Self>> {
        self.group.load_full()
    }

    /// Whether there may be a limit.
    pub fn is_active(&self) -> bool {
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

    /// Call `act` for all buckets that a request counts against, and return its latest result.
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

    /// Take what a request of `class` with `bytes` of data needs if all of it is there at the
    /// moment `now`; whether it was.
    pub fn take_now(&self, class: Class, bytes: u64, now: Instant) -> bool {
        let now_ns = ns_of(now);
        let due_ns = self.latest(class, bytes, |bucket, units| bucket.when_ns(units, now_ns));
        if due_ns > now_ns {
            return false;
        }
        // Another worker may have taken it in between: then a little more goes now, and less later.
        self.latest(class, bytes, |bucket, units| bucket.take_ns(units, now_ns));
        true
    }

    /// Take what a request of `class` with `bytes` of data needs, whether or not it is there at the
    /// moment `now`. Returns when it may be served: `now`, or later.
    pub fn reserve(&self, class: Class, bytes: u64, now: Instant) -> Instant {
        let now_ns = ns_of(now);
        let due_ns = self.latest(class, bytes, |bucket, units| bucket.take_ns(units, now_ns));
        // At a byte per second, a long request may be due at a time that an `Instant` can't hold.
        // Some decades are far enough away.
        let wait = Duration::from_nanos(due_ns.saturating_sub(now_ns));
        now.checked_add(wait)
            .unwrap_or(now + Duration::from_secs(1 << 30))
    }
}
