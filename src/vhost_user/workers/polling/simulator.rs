//! Drivers and schedulers, simulated: what a controller costs, beside the best fixed window.
//!
//! What counts is the time that requests take from the driver's submission until the driver sees
//! them answered, and the price of the processor time that the worker takes for it.

use std::time::Duration;

use super::{POLL_PER_MILLE, PollTime};

/// How a driver makes requests.
#[derive(Clone, Copy, Debug)]
enum Driver {
    /// One request at each multiple of this time, whatever becomes of it.
    Paced(f64),
    /// The same on average, but at random moments.
    Random(f64),
    /// `depth` requests, `think` after the last ones were answered. It `sleeps` until then.
    Closed {
        depth: u32,
        think: f64,
        sleeps: bool,
    },
    /// A number of requests one after the other, and then a pause.
    Bursts { count: u32, think: f64, pause: f64 },
}

/// Where the driver runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// On the worker's own processor.
    Same,
    Other,
}

impl Place {
    fn name(self) -> &'static str {
        match self {
            Self::Same => "the worker's",
            Self::Other => "another",
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Scene {
    name: &'static str,
    driver: Driver,
    place: Place,
    /// What it costs to wake a thread on another processor, in µs.
    wake: f64,
}

/// To serve a request, in µs.
const SERVE: f64 = 1.0;
/// To go to sleep or to return from it: processor time.
const SWITCH: f64 = 1.5;
/// What it costs to wake a thread on the same processor.
const NEAR_WAKE: f64 = 2.5;
/// After this time the scheduler lets another thread run.
const SLICE: f64 = 100.0;
/// How long a ring is looked at until the clock is read.
const FIRST_LOOK: f64 = 0.7;

/// What decides how long to poll.
trait Policy {
    fn window(&self) -> f64;
    fn served(&mut self, _count: u32) {}
    fn found(&mut self, _gap: f64) {}
    fn kicked(&mut self, _pause: f64, _slept: f64) {}
}

struct Fixed(f64);

impl Policy for Fixed {
    fn window(&self) -> f64 {
        self.0
    }
}

fn duration(us: f64) -> Duration {
    Duration::from_secs_f64(us / 1e6)
}

impl Policy for PollTime {
    fn window(&self) -> f64 {
        self.now_ns as f64 / 1000.0
    }

    fn served(&mut self, count: u32) {
        self.resumed_with(count);
    }

    fn found(&mut self, gap: f64) {
        self.found_after(duration(gap));
    }

    fn kicked(&mut self, pause: f64, slept: f64) {
        self.kicked_after(duration(pause), Some(duration(slept)));
    }
}

/// What a run cost.
#[derive(Clone, Copy, Debug, Default)]
struct Cost {
    /// The sum over all requests, in µs.
    latency: f64,
    processor: f64,
    time: f64,
    requests: f64,
}

impl Cost {
    fn total(&self) -> f64 {
        (self.latency + self.processor * POLL_PER_MILLE as f64 / 1000.0) / self.requests
    }
}

struct Run {
    random: fastrand::Rng,
    scene: Scene,
    /// When the next request of a driver with a schedule is due.
    due: f64,
    /// Requests left of a burst.
    left: u32,
}

/// The next requests of a driver.
struct Submission {
    at: f64,
    count: u32,
    /// When the driver saw the last ones answered.
    seen: f64,
}

impl Run {
    /// Some noise, of a fifth, and now and then the host takes the processor away.
    fn about(&mut self, time: f64) -> f64 {
        let stolen = if self.random.u32(0..1000) == 0 {
            200.0
        } else {
            0.0
        };
        time * (0.9 + 0.2 * self.random.f64()) + stolen
    }

    fn wake(&mut self) -> f64 {
        let wake = match self.scene.place {
            Place::Same => NEAR_WAKE,
            Place::Other => self.scene.wake,
        };
        self.about(wake)
    }

    /// The next requests, if all were answered at `done` and the worker polls until `until`.
    fn next(&mut self, done: f64, until: f64) -> Submission {
        // A driver that waits for an answer goes on when it is woken, if it can run.
        let may_run = match self.scene.place {
            Place::Same => until.min(done + SLICE),
            Place::Other => done,
        };
        match self.scene.driver {
            Driver::Paced(every) => self.scheduled(done, every),
            Driver::Random(mean) => {
                let every = -mean * (1.0 - self.random.f64()).ln();
                self.scheduled(done, every)
            }
            Driver::Closed {
                depth,
                think,
                sleeps,
            } => {
                let wake = if sleeps { self.wake() } else { 0.0 };
                let seen = may_run + wake;
                let at = seen + self.about(think);
                Submission {
                    at,
                    count: depth,
                    seen,
                }
            }
            Driver::Bursts {
                count,
                think,
                pause,
            } => {
                let seen = may_run + self.wake();
                self.left = self.left.checked_sub(1).unwrap_or(count);
                let wait = if self.left == 0 { pause } else { think };
                let at = seen + self.about(wait);
                Submission { at, count: 1, seen }
            }
        }
    }

    /// Requests by a timer, which the scheduler serves at once.
    fn scheduled(&mut self, done: f64, every: f64) -> Submission {
        self.due += every;
        let at = self.due;
        Submission {
            at,
            count: 1,
            seen: done,
        }
    }
}

/// Serve `pauses` pauses of each scene, one after the other.
fn run(scenes: &[Scene], pauses: u32, policy: &mut impl Policy) -> Cost {
    let mut cost = Cost::default();
    let mut now = 0.0;
    for &scene in scenes {
        let random = fastrand::Rng::with_seed(16);
        let mut run = Run {
            random,
            scene,
            due: now,
            left: 0,
        };
        let mut submitted: Option<(f64, u32)> = None;
        for _ in 0..pauses {
            // Dry from here on.
            let until = now + FIRST_LOOK + policy.window();
            let next = run.next(now, until);
            if let Some((at, count)) = submitted {
                cost.latency += (next.seen - at) * f64::from(count);
                cost.requests += f64::from(count);
            }
            submitted = Some((next.at, next.count));
            let begun = if next.at <= until {
                if next.at > now + FIRST_LOOK {
                    policy.found(next.at - now - FIRST_LOOK);
                }
                cost.processor += (next.at - now).max(0.0);
                next.at.max(now)
            } else {
                let woken = next.at.max(until + SWITCH) + run.wake();
                policy.kicked(woken - now - FIRST_LOOK, woken - until);
                cost.processor += until - now + 2.0 * SWITCH;
                woken
            };
            let serving = run.about(SERVE * f64::from(next.count));
            policy.served(next.count);
            cost.processor += serving;
            now = begun + serving;
        }
    }
    cost.time = now;
    cost
}

/// What waking a thread costs, and what a controller is told that it does.
const WAKES: [f64; 3] = [3.0, 15.0, 50.0];

const MOST: f64 = 96.0;
const WINDOWS: [f64; 14] = [
    0.0, 1.0, 2.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0, 32.0, 48.0, 64.0, 80.0, MOST,
];

fn best(scenes: &[Scene], pauses: u32) -> (f64, Cost) {
    let costs = WINDOWS.map(|window| (window, run(scenes, pauses, &mut Fixed(window))));
    let best = costs.into_iter();
    let total = |of: &(f64, Cost)| of.1.total();
    best.reduce(|best, other| {
        if total(&other) < total(&best) {
            other
        } else {
            best
        }
    })
    .unwrap_or_default()
}

/// All scenes.
fn scenes() -> Vec<Scene> {
    let closed = |depth, think, sleeps| Driver::Closed {
        depth,
        think,
        sleeps,
    };
    let drivers = [
        ("one each ms", Driver::Paced(1000.0)),
        ("one each 200 µs", Driver::Paced(200.0)),
        ("one each 100 µs", Driver::Paced(100.0)),
        ("one each 50 µs", Driver::Paced(50.0)),
        ("one each 20 µs", Driver::Paced(20.0)),
        ("at random, 100 µs", Driver::Random(100.0)),
        ("at random, 30 µs", Driver::Random(30.0)),
        ("QD1, sleeps", closed(1, 4.0, true)),
        ("QD1, polls", closed(1, 2.0, false)),
        ("QD32, sleeps", closed(32, 30.0, true)),
        (
            "bursts of 20",
            Driver::Bursts {
                count: 20,
                think: 4.0,
                pause: 1000.0,
            },
        ),
        (
            "bursts of 2",
            Driver::Bursts {
                count: 2,
                think: 4.0,
                pause: 300.0,
            },
        ),
    ];
    let mut scenes = Vec::new();
    for (name, driver) in drivers {
        for place in [Place::Other, Place::Same] {
            for wake in WAKES {
                scenes.push(Scene {
                    name,
                    driver,
                    place,
                    wake,
                });
            }
        }
    }
    scenes
}

#[test]
#[allow(clippy::print_stdout, reason = "the table is for a page")]
fn no_driver_pays_more_than_half_again_of_the_best_fixed_window() {
    println!("| driver | processor | wake-up 3 µs | 15 µs | 50 µs |");
    println!("|---|---|---|---|---|");
    let mut worst = 0.0_f64;
    for scenes in scenes().chunks(WAKES.len()) {
        print!("| {} | {} |", scenes[0].name, scenes[0].place.name());
        for &scene in scenes {
            let (window, best) = best(&[scene], 10_000);
            let costs = WAKES.map(|told| {
                let mut controller = PollTime::new(duration(MOST), duration(told));
                run(&[scene], 10_000, &mut controller).total()
            });
            let cost = costs.into_iter().fold(0.0, f64::max);
            let ratio = cost / best.total();
            print!(" {ratio:.2} ({cost:.1} µs; {window} µs) |");
            worst = worst.max(ratio);
        }
        println!();
    }
    assert!(worst <= 1.5, "{worst}");
}

/// Scenes in an order by chance, one after the other.
fn mixed(seed: u64) -> Vec<Scene> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut scenes = scenes();
    random.shuffle(&mut scenes);
    scenes.truncate(12);
    scenes
}

#[test]
fn a_driver_that_changes_pays_no_more_either() {
    let mut worst = 0.0_f64;
    for seed in 0..16 {
        let scenes = mixed(seed);
        let (_, best) = best(&scenes, 4000);
        let mut controller = PollTime::new(duration(MOST), duration(15.0));
        let cost = run(&scenes, 4000, &mut controller);
        worst = worst.max(cost.total() / best.total());
    }
    assert!(worst <= 1.5, "{worst}");
}

/// Any scene after some that teach different things, with the time to unlearn them, against the
/// best window for that scene.
/// window for that scene.
#[test]
fn what_was_learned_from_another_driver_is_unlearned() {
    let before = scenes().into_iter().step_by(14).collect::<Vec<_>>();
    let mut failures = Vec::new();
    for after in scenes() {
        let (_, best) = best(&[after], 5000);
        for &before in &before {
            let mut controller = PollTime::new(duration(MOST), duration(15.0));
            run(&[before], 3000, &mut controller);
            let cost = run(&[after], 20_000, &mut controller);
            let ratio = cost.total() / best.total();
            if ratio > 1.5 {
                failures.push(format!("{ratio:.2}: {before:?}, then {after:?}"));
            }
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}
