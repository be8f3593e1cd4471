//! SIGKILL at random instants, and at named points of the ring, the in-flight region and the store.

use std::time::Duration;

use crate::daemon::Daemon;
use crate::driver::data::{Random, seed};
use crate::front::{Base, Front};

const KILLS: u64 = 60;

/// A daemon and a disk under load.
struct Test {
    daemon: Daemon,
    front: Front,
    random: Random,
}

impl Test {
    fn new(tracked: bool) -> Self {
        let seed = seed();
        let daemon = Daemon::start();
        daemon.say(&["create", "disk", "--size", "16M"]);
        eprintln!("RAMBLK_SEED={seed}");
        Self {
            front: Front::new(&daemon, "disk", tracked, seed),
            daemon,
            random: Random::new(seed),
        }
    }

    /// The daemon has ended: start another one.
    fn again(&mut self) {
        self.daemon.is_killed();
        self.daemon.start_again();
    }

    /// Every outstanding request completes, and the disk holds what it must.
    fn finish(mut self) {
        let base = Base::any(&mut self.random);
        let done = self.front.done();
        self.front.work(&mut self.daemon, base, |_, front| {
            front.done() > done + 5000
        });
        self.front.finish();
        // Requests in flight are not to blame.
        assert_eq!(self.daemon.field("disk", "state"), "ok");
        let log = self.daemon.log();
        for word in ["can't go on", "damaged", "bug:", "session ended"] {
            assert!(!log.contains(word), "{word}");
        }
        eprintln!(
            "{} requests, {} reads saw later writes",
            self.front.done(),
            self.front.late_reads()
        );
    }
}

/// How long after its start a daemon dies at most, in milliseconds, and on a busy machine.
const WINDOW_MS: u64 = 250;
const LONGEST_WINDOW_MS: u64 = 8000;

fn survives_random_kills(mut test: Test) {
    let asked = std::env::var("RAMBLK_KILLS").ok();
    let kills = asked.map_or(KILLS, |kills| kills.parse().unwrap());
    let (mut worked, mut window) = (0, WINDOW_MS);
    for _ in 0..kills {
        // One in eight dies early, most likely during its start or while the front end connects.
        let early = test.random.below(8) == 0;
        let most = if early { 60 } else { window };
        let after = Duration::from_micros(test.random.below(most * 1000));
        let killer = test.daemon.kill_after(after);
        let (base, done) = (Base::any(&mut test.random), test.front.done());
        test.front
            .work(&mut test.daemon, base, |_, _| killer.is_finished());
        killer.join().unwrap();
        let returned = test.front.done() > done;
        worked += u64::from(returned);
        // A busy machine takes longer to start one.
        window = match returned {
            true => (window / 2).max(WINDOW_MS),
            false => (window * 2).min(LONGEST_WINDOW_MS),
        };
        test.again();
    }
    eprintln!("{worked} of {kills} had returned something");
    assert!(worked > kills / 4, "the kills come too early");
    test.finish();
}

#[test]
fn all_comes_back_once_whenever_the_daemon_is_killed_with_an_in_flight_region() {
    survives_random_kills(Test::new(true));
}

#[test]
fn all_comes_back_once_whenever_the_daemon_is_killed_without_one() {
    survives_random_kills(Test::new(false));
}

/// As above, but requests are served one by one at each start, since there was a crash.
fn survives_random_kills_after_a_crash(tracked: bool) {
    let mut test = Test::new(tracked);
    test.daemon.abort();
    test.daemon.start_again();
    survives_random_kills(test);
}

#[test]
fn all_comes_back_once_and_none_is_blamed_after_a_crash_with_an_in_flight_region() {
    survives_random_kills_after_a_crash(true);
}

#[test]
fn all_comes_back_once_and_none_is_blamed_after_a_crash_without_one() {
    survives_random_kills_after_a_crash(false);
}

/// Points that every request or every batch passes, and whether only with an in-flight region.
const POINTS: [(&str, u64, bool); 14] = [
    ("request-counted", 3000, true),
    ("request-marked", 3000, true),
    ("batch-served", 300, false),
    ("request-served", 500, false),
    ("status-written", 3000, false),
    ("used-head-put", 3000, false),
    ("used-entry-put", 3000, false),
    ("head-linked", 3000, true),
    ("head-last", 3000, true),
    ("used-index-shown", 300, false),
    ("mark-taken-off", 3000, true),
    ("used-index-noted", 300, true),
    ("page-copied", 30, false),
    ("page-freed", 30, false),
];

impl Test {
    /// Make the daemon die when it reaches `point` for the `count`th time.
    fn dies_at(&mut self, point: &str, count: u64) {
        self.daemon.kill();
        let at = ("RAMBLK_KILL_AT", format!("{point}:{count}"));
        self.daemon.set_environment(&[at]);
        self.daemon.start_again();
        eprintln!("{point}:{count}");
        let base = Base::any(&mut self.random);
        let ended = |daemon: &mut Daemon, _: &Front| daemon.ended().is_some();
        self.front.work(&mut self.daemon, base, ended);
        self.daemon.set_environment(&[]);
        self.again();
    }
}

fn survives_each_point(tracked: bool) {
    let mut test = Test::new(tracked);
    let points = POINTS.iter().filter(|(_, _, only)| tracked || !only);
    for _ in 0..2 {
        for (point, most, _) in points.clone() {
            // It reaches the point first while it repeats what its predecessor left.
            let count = match test.random.below(3) {
                0 => 1 + test.random.below(8),
                _ => 1 + test.random.below(*most),
            };
            test.dies_at(point, count);
        }
    }
    test.finish();
}

#[test]
#[cfg_attr(not(ramblk_hooks), ignore = "there are no hooks in this build")]
fn all_comes_back_once_wherever_the_daemon_dies_with_an_in_flight_region() {
    survives_each_point(true);
}

#[test]
#[cfg_attr(not(ramblk_hooks), ignore = "there are no hooks in this build")]
fn all_comes_back_once_wherever_the_daemon_dies_without_one() {
    survives_each_point(false);
}

#[test]
#[cfg_attr(not(ramblk_hooks), ignore = "there are no hooks in this build")]
fn a_batch_that_was_shown_is_forgotten_in_any_number_of_lives() {
    let mut test = Test::new(true);
    for count in 1..6 {
        test.dies_at("used-index-shown", 20 * count);
        // The next daemon dies while it clears the marks, and so does the one after it.
        for _ in 0..2 {
            test.dies_at("batch-mark-taken-off", 1);
        }
    }
    test.finish();
}
