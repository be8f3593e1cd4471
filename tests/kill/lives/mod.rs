//! A fleet of forks on times to live, half of them attached, whose daemon dies again and again:
//! each disk ends within a second of its time, keeps its content until then, and leaves nothing.
//!
//! | file | what it holds |
//! |---|---|
//! | `clock` | the boot clock |
//! | `fleet` | the fleet: what is made, what ends, and what a kill may change |
//! | `guest` | a driver with a request now and then |
//! | `life` | when a disk must end |
//! | `listener` | ends, as events tell them |
//! | `process` | what the daemon's process holds |

mod clock;
mod fleet;
mod guest;
mod life;
mod listener;
mod process;

use std::time::{Duration, Instant};

use self::fleet::Fleet;
use crate::driver::data::Random;

/// By how much the memory of the process, beside that of disks, may grow under the same load.
const GROWTH_KIB: u64 = 6 << 10;
/// Threads that the API has for work, at most, and may not have had at first.
const WORK_THREADS: usize = 3;

/// How long the test takes, how often the daemon dies, and how long disks live.
struct Plan {
    length: Duration,
    kills: u32,
    /// The shortest and the longest time to live.
    ttl_ms: (u64, u64),
}

impl Plan {
    fn new() -> Self {
        let minutes = std::env::var("RAMBLK_LIFE_MINUTES").ok();
        match minutes.map(|minutes| minutes.parse::<u64>().unwrap()) {
            None => Self {
                length: Duration::from_secs(16),
                kills: 2,
                ttl_ms: (2000, 9000),
            },
            Some(minutes) => Self {
                length: Duration::from_secs(60 * minutes),
                kills: 10,
                ttl_ms: (4000, 120_000),
            },
        }
    }

    /// Since when it does not die any more: a third of the time shows what a process keeps.
    fn last_third(&self) -> Duration {
        self.length / 3 * 2
    }

    /// When the daemon dies, since the start, for the `number`-th time: somewhere in its part of
    /// the first two thirds.
    fn kill_at(&self, number: u32, random: &mut Random) -> Duration {
        let part = self.last_third() / self.kills;
        let within = random.below(part.as_millis() as u64);
        part * number + Duration::from_millis(within)
    }
}

/// Work until then, and tell now and then what the process holds.
fn work_until(fleet: &mut Fleet, end: Instant) {
    let mut tell_at = Instant::now();
    while Instant::now() < end {
        fleet.refill();
        fleet.turn();
        if Instant::now() >= tell_at {
            tell_at = Instant::now() + Duration::from_secs(60);
            fleet.tell();
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn ends_on_time(plan: &Plan) {
    let mut fleet = Fleet::start(plan.ttl_ms);
    let mut random = Random::new(fleet.seed());
    let charged_bytes = fleet.charged_bytes();
    let began = Instant::now();
    for number in 0..plan.kills {
        let at = began + plan.kill_at(number, &mut random);
        work_until(&mut fleet, at);
        fleet.kill();
    }
    let last = plan.last_third();
    work_until(&mut fleet, began + last + (plan.length - last) / 4);
    let early = fleet.tell();
    work_until(&mut fleet, began + plan.length);
    let late = fleet.tell();
    let more_kib = late.anonymous_kib.saturating_sub(early.anonymous_kib);
    assert!(
        more_kib < GROWTH_KIB,
        "{more_kib} KiB more under the same load"
    );
    fleet.end_all();
    fleet.report();
    leaves_nothing(&mut fleet, charged_bytes);
}

/// Without forks and front ends the daemon holds what it held before there were any.
fn leaves_nothing(fleet: &mut Fleet, charged_bytes: u64) {
    let before = fleet.before;
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let now = fleet.holds();
        // This test's client keeps the connection of its last request, which the daemon has too.
        // The API's threads for work end after ten idle seconds.
        let most = before.descriptors + 1;
        if now.descriptors <= most && now.threads <= before.threads + WORK_THREADS {
            eprintln!("before: {before:?}\nafter: {now:?}");
            break;
        }
        assert!(
            Instant::now() < deadline,
            "before: {before:?}, after: {now:?}"
        );
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(fleet.charged_bytes(), charged_bytes, "memory of disks");
    assert_eq!(fleet.names(), ["golden"]);
    fleet.restart();
    assert_eq!(fleet.charged_bytes(), charged_bytes, "found by recovery");
    assert_eq!(fleet.names(), ["golden"]);
}

#[test]
fn each_disk_of_a_fleet_ends_on_time_while_the_daemon_dies_again_and_again() {
    ends_on_time(&Plan::new());
}
