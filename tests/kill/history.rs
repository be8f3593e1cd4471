//! SIGKILL at random instants while points of a history are taken and dropped: each point is there
//! as a whole or not at all, and has what was stable.

use std::time::Duration;

use serde_json::Value;

use crate::daemon::Daemon;
use crate::driver::data::{Random, seed};
use crate::driver::disk::Disk as Guest;
use crate::driver::kind::{FLUSH, OUT};

const KILLS: u64 = 12;
const KEEP: usize = 12;
/// Flushes between two kills. Moments are missed where 512 more points are taken than are kept
/// before the oldest are dropped, and a fast guest takes that many.
const MOST_FLUSHES: u64 = 400;
/// Two sectors of different leaves, which have the same number whenever a flush is answered.
const PLACES: [u64; 2] = [0, 20_000];

/// A sector with a number.
fn sector(number: u64) -> Vec<u8> {
    format!("{number:08}").repeat(64).into_bytes()
}

/// Names of the points, oldest first.
fn points(daemon: &Daemon) -> Vec<String> {
    let text = daemon.say(&["history", "list", "disk", "-o", "json"]);
    let listed: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(listed["amount"]["missed"], 0);
    let points = listed["points"].as_array().unwrap();
    let name = |point: &Value| point["name"].as_str().unwrap().to_owned();
    points.iter().map(name).collect()
}

/// The number that a point has in both places.
fn number_at(daemon: &Daemon, point: &str) -> u64 {
    let target = format!("disk@{point}");
    let read = |place: u64| daemon.say(&["read", &target, &(place * 512).to_string(), "512"]);
    let (one, two) = (read(PLACES[0]), read(PLACES[1]));
    assert_eq!(one, two, "{point} is not of one moment");
    let number = one[..8].parse().unwrap();
    assert_eq!(one.as_bytes(), sector(number), "{point} is torn");
    number
}

#[test]
fn each_point_has_what_was_stable_whenever_the_daemon_is_killed() {
    let seed = seed();
    eprintln!("RAMBLK_SEED={seed}");
    let mut random = Random::new(seed);
    let mut daemon = Daemon::start();
    daemon.say(&["create", "disk", "--size", "16M"]);
    daemon.say(&["history", "on", "disk", "--keep", &KEEP.to_string()]);
    let asked = std::env::var("RAMBLK_KILLS").ok();
    let kills = asked.map_or(KILLS, |kills| kills.parse().unwrap());
    let (mut number, mut stable) = (0, 0);
    for _ in 0..kills {
        let mut guest = Guest::attach(&daemon.socket("disk"));
        let killer = daemon.kill_after(Duration::from_micros(random.below(150_000)));
        let began = number;
        loop {
            let ring = guest.q();
            if number - began == MOST_FLUSHES {
                // No more points, which could be missed, but load.
                if !daemon.answers_to(ring, OUT, PLACES[0], &sector(number)) {
                    break;
                }
                continue;
            }
            number += 1;
            let content = sector(number);
            let written = PLACES
                .iter()
                .all(|&place| daemon.answers_to(ring, OUT, place, &content));
            if !written || !daemon.answers_to(ring, FLUSH, 0, &[]) {
                break;
            }
            stable = number;
        }
        killer.join().unwrap();
        daemon.is_killed();
        drop(guest);
        daemon.start_again();
        daemon.answers();
        let points = points(&daemon);
        assert!(points.len() <= KEEP, "{points:?}");
        let numbers: Vec<u64> = points.iter().map(|it| number_at(&daemon, it)).collect();
        eprintln!("{began} to {number}, stable {stable}: {points:?} {numbers:?}");
        // Each flush made one, so no number is missing, up to the last one that was answered. One
        // more may have been taken and not answered.
        assert!(
            numbers.is_sorted_by(|one, two| one < two),
            "{numbers:?} of {points:?}"
        );
        let last = numbers.last().copied().unwrap_or(0);
        assert!(last >= stable && last <= number, "{last} after {stable}");
        let answered = numbers.iter().filter(|&&it| it > began && it <= stable);
        let wanted = (stable - began.min(stable)).min(numbers.len() as u64);
        assert!(answered.count() as u64 + 1 >= wanted, "{numbers:?}");
    }
    assert!(number > kills, "the kills come too early");
    let log = daemon.log();
    for word in ["can't go on", "damaged", "bug:"] {
        assert!(!log.contains(word), "{word}");
    }
}
