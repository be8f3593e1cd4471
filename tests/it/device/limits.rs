//! Limits, compared with what they promise: in any interval at most the burst plus the rate times
//! the interval, and no less than that for a driver that always wants more.

use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use ramblk::device::{Class, Limit, Limiter, Limits};

/// What a rate lets go at once in any case, as time at that rate.
const LEAST_BURST: Duration = Duration::from_millis(10);

/// A request that was admitted: when, its class, and its bytes.
type Went = (Duration, Class, u64);

#[derive(Clone, Copy, Debug)]
struct Ask {
    pause: Duration,
    class: Class,
    bytes: u64,
    /// Whether it waits for its turn if it can't go at once.
    waits: bool,
}

/// Make requests one after the other, each when the one before it has gone.
fn play(limiter: &Limiter, asks: &[Ask]) -> Vec<Went> {
    let began = Instant::now();
    let mut now = began;
    let mut went = Vec::new();
    for ask in asks {
        now += ask.pause;
        let due = if ask.waits {
            limiter.reserve(ask.class, ask.bytes, now)
        } else if limiter.take_now(ask.class, ask.bytes, now) {
            now
        } else {
            continue;
        };
        now = due;
        went.push((due - began, ask.class, ask.bytes));
    }
    went
}

/// The most units that may go in `time`, when the last request has `last` of them.
fn most(rate: f64, burst: u64, time: Duration, last: u64) -> f64 {
    let burst = (burst as f64).max(rate * LEAST_BURST.as_secs_f64());
    burst + rate * time.as_secs_f64() + (last as f64 - burst).max(0.0)
}

/// Compare every interval with one rate. `slack`: units that other rates may have delayed.
fn holds(went: &[(Duration, u64)], rate: NonZeroU64, burst: u64, slack: u64) {
    let rate = rate.get() as f64;
    for (at, (from, _)) in went.iter().enumerate() {
        let mut sum = 0;
        for (to, units) in &went[at..] {
            sum += units;
            let most = most(rate, burst, *to - *from, *units) + slack as f64 + 1.0;
            assert!(
                sum as f64 <= most,
                "{sum} units from {from:?} to {to:?}, {most} allowed"
            );
        }
    }
}

fn all_hold(went: &[Went], limits: &Limits) {
    let kinds = [
        (&limits.total, None),
        (&limits.read, Some(Class::Read)),
        (&limits.write, Some(Class::Write)),
    ];
    for (limit, only) in kinds {
        let is_of = |class: Class| only.is_none_or(|only| only == class);
        let of = || went.iter().filter(|(_, class, _)| is_of(*class));
        let longest = went.iter().map(|(.., bytes)| *bytes).max().unwrap_or(0);
        if let Some(rate) = limit.iops {
            let requests: Vec<_> = of().map(|(at, ..)| (*at, 1)).collect();
            holds(&requests, rate, limit.iops_burst, 1);
        }
        if let Some(rate) = limit.bytes_per_second {
            let bytes: Vec<_> = of().map(|(at, _, bytes)| (*at, *bytes)).collect();
            holds(&bytes, rate, limit.burst_bytes, longest);
        }
    }
}

fn rate() -> impl Strategy<Value = Option<NonZeroU64>> {
    let some = prop_oneof![1..10u64, 10..1000u64, 1000..1_000_000u64];
    prop_oneof![Just(None), some.prop_map(NonZeroU64::new)]
}

fn limit() -> impl Strategy<Value = Limit> {
    let bytes =
        rate().prop_map(|rate| rate.and_then(|rate| rate.checked_mul(NonZeroU64::new(4096)?)));
    (rate(), 0..200u64, bytes, 0..10_000_000u64).prop_map(
        |(iops, iops_burst, bytes_per_second, burst_bytes)| Limit {
            iops,
            iops_burst,
            bytes_per_second,
            burst_bytes,
        },
    )
}

fn ask() -> impl Strategy<Value = Ask> {
    let micros = prop_oneof![Just(0), 0..100u64, 0..10_000u64, 0..2_000_000u64];
    let class = prop_oneof![Just(Class::Read), Just(Class::Write)];
    let bytes = prop_oneof![Just(0), Just(512), Just(4096), 0..4_000_000u64];
    (micros, class, bytes, any::<bool>()).prop_map(|(micros, class, bytes, waits)| Ask {
        pause: Duration::from_micros(micros),
        class,
        bytes,
        waits,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn no_stretch_of_time_has_more_than_it_may(
        total in limit(), read in limit(), write in limit(),
        asks in prop::collection::vec(ask(), 1..120),
    ) {
        let limits = Limits { total, read, write };
        all_hold(&play(&Limiter::new(&limits), &asks), &limits);
    }

    #[test]
    fn a_group_holds_beside_the_limits_of_its_own(
        own in limit(), shared in limit(),
        asks in prop::collection::vec(ask(), 1..80),
    ) {
        let own = Limits { total: own, ..Limits::default() };
        let shared = Limits { total: shared, ..Limits::default() };
        let limiter = Limiter::new(&own);
        limiter.set_group(Some(Limiter::new(&shared)));
        let went = play(&limiter, &asks);
        all_hold(&went, &own);
        all_hold(&went, &shared);
    }

    #[test]
    fn a_driver_that_always_wants_more_gets_all_that_the_rate_allows(
        rate in 1..1_000_000u64, burst in 0..100u64, late_micros in 0..9_000u64,
    ) {
        let limits = Limits {
            total: Limit {
                iops: NonZeroU64::new(rate),
                iops_burst: burst,
                ..Limit::default()
            },
            ..Limits::default()
        };
        let limiter = Limiter::new(&limits);
        let began = Instant::now();
        let mut now = began;
        // Each wakes late, and by the end nothing is lost of that.
        for _ in 0..1000 {
            now = now.max(limiter.reserve(Class::Read, 0, now));
            let late = Duration::from_micros(fastrand::u64(0..=late_micros));
            now += late.min(Duration::from_nanos(1_000_000_000 / rate));
        }
        let took = (now - began).as_secs_f64();
        let expected = 1000.0 / rate as f64;
        prop_assert!(took <= expected * 1.001 + 0.012, "{took} s where {expected} s would do");
    }
}

#[test]
fn workers_that_ask_at_the_same_moment_share_what_there_is() {
    let limits = Limits {
        total: Limit {
            iops: NonZeroU64::new(1),
            iops_burst: 1000,
            ..Limit::default()
        },
        ..Limits::default()
    };
    let limiter = Limiter::new(&limits);
    let now = Instant::now();
    let ask = || {
        (0..2000)
            .filter(|_| limiter.take_now(Class::Read, 0, now))
            .count()
    };
    let went: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(ask)).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .sum()
    });
    // One for each other worker that had looked and not yet taken.
    assert!((1000..=1003).contains(&went), "{went}");
}

#[test]
fn rates_at_the_ends_of_the_scale_do_no_harm() {
    let limits = Limits {
        total: Limit {
            iops: NonZeroU64::new(u64::MAX),
            iops_burst: u64::MAX,
            bytes_per_second: NonZeroU64::new(1),
            burst_bytes: 0,
        },
        ..Limits::default()
    };
    let limiter = Limiter::new(&limits);
    let now = Instant::now();
    assert_eq!(limiter.reserve(Class::Write, u64::MAX, now), now);
    let due = limiter.reserve(Class::Write, u64::MAX, now);
    assert!(due > now + Duration::from_secs(1 << 20));
    assert!(!limiter.take_now(Class::Write, 1, now));
    limiter.set(&Limits::default());
    assert!(!limiter.is_active() && limiter.take_now(Class::Write, 1, now));
}
