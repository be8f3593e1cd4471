//! Histories: points to which a disk goes back.

use std::sync::Arc;

use ramblk::daemon::disks::{
    DestroyOptions, Target, change, content, describe, destroy, fork, history, reset, snapshots,
};
use ramblk::model::{
    DiskPatch, DiskSettings, ForkRequest, History, HistorySettings, OnFull, ProblemKind,
    ResetRequest,
};
use ramblk::store::Store;

use super::{World, eventually, says};
use crate::driver::disk::Disk as Guest;

fn at_flush(keep: u64) -> HistorySettings {
    HistorySettings {
        keep,
        ..HistorySettings::default()
    }
}

fn with(history: HistorySettings) -> DiskSettings {
    DiskSettings {
        history: Some(history),
        ..DiskSettings::new(16 << 20)
    }
}

fn list(world: &World, name: &str) -> History {
    history::list(&world.disks, name).unwrap()
}

fn names(world: &World, name: &str) -> Vec<String> {
    let points = list(world, name).points;
    points.into_iter().map(|point| point.name).collect()
}

/// The first sector of a disk at a point.
fn first_sector(world: &World, point: &str) -> Vec<u8> {
    let reader = content::reader(&world.disks, &Target::parse(point).unwrap()).unwrap();
    let mut bytes = vec![0; 512];
    reader.read(0, &mut bytes).unwrap();
    bytes
}

fn set(world: &World, name: &str, history: Option<HistorySettings>) {
    let patch = DiskPatch {
        history: Some(history),
        ..DiskPatch::default()
    };
    change::patch(&world.disks, name, patch).unwrap();
}

/// Write the number to the first sector, and flush.
fn step(guest: &mut Guest, number: u8) {
    guest.q().write(0, &[number; 512]).unwrap();
    guest.q().flush().unwrap();
}

#[test]
fn each_flush_with_something_new_makes_a_point_that_has_what_was_stable() {
    let world = World::new(64 << 20);
    let mut guest = Guest::attach(&world.create_with("one", with(at_flush(1000))));
    for number in 1..=3 {
        step(&mut guest, number);
        guest.q().flush().unwrap();
    }
    guest.q().write(0, &[9; 512]).unwrap();
    assert_eq!(names(&world, "one"), ["flush:1", "flush:2", "flush:3"]);
    for number in 1..=3 {
        let point = format!("one@flush:{number}");
        assert_eq!(first_sector(&world, &point), [number; 512]);
    }
    // Of each but the last it is known what it holds: its record, four nodes and a page.
    let held = list(&world, "one").points;
    let held: Vec<_> = held.iter().map(|point| point.held_bytes).collect();
    assert_eq!(held, [Some(6 * 4096), Some(6 * 4096), None]);
    let request = ForkRequest {
        snapshot: Some("flush:2".into()),
        ..ForkRequest::new("two")
    };
    let made = fork::fork(&world.disks, "one", request).unwrap();
    assert_eq!(made.history, None, "its past is another one");
    let mut two = Guest::attach(made.socket.as_ref());
    assert_eq!(two.q().read(0, 512).unwrap(), [2; 512]);
    let back = |force| ResetRequest {
        to: Some("flush:1".into()),
        force,
    };
    let refused = reset::reset(&world.disks, "one", back(false));
    says(refused, ProblemKind::Attached, &["one", "force"]);
    reset::reset(&world.disks, "one", back(true)).unwrap();
    assert_eq!(guest.q().read(0, 512).unwrap(), [1; 512]);
    // What was reset is something new, and the points behind it are still there.
    guest.q().flush().unwrap();
    assert_eq!(names(&world, "one")[2..], ["flush:3", "flush:4"]);
    assert_eq!(first_sector(&world, "one@flush:3"), [3; 512]);
    assert_eq!(first_sector(&world, "one@flush:4"), [1; 512]);
}

#[test]
fn points_that_are_not_there_are_named_and_snapshots_cant_have_their_names() {
    let world = World::new(64 << 20);
    let mut guest = Guest::attach(&world.create_with("one", with(at_flush(5))));
    step(&mut guest, 1);
    for to in ["flush:2", "time:1", "flush:18446744073709551615"] {
        let request = ResetRequest {
            to: Some(to.into()),
            force: true,
        };
        let refused = reset::reset(&world.disks, "one", request);
        says(refused, ProblemKind::NotFound, &["point", to]);
    }
    let refused = snapshots::take(&world.disks, "one", "flush:7");
    says(refused, ProblemKind::Invalid, &["flush:7"]);
    let refused = snapshots::destroy(&world.disks, "one", "flush:1", true);
    says(refused, ProblemKind::Invalid, &["flush:1"]);
    assert!(Target::parse("one@flush:01").is_err());
    assert!(Target::parse("one@flush:0").is_err());
}

#[test]
fn the_oldest_go_first_beyond_the_number_and_beyond_the_limit() {
    let world = World::new(64 << 20);
    let mut guest = Guest::attach(&world.create_with("one", with(at_flush(4))));
    for number in 1..=100 {
        step(&mut guest, number);
    }
    assert_eq!(
        names(&world, "one"),
        ["flush:97", "flush:98", "flush:99", "flush:100"]
    );
    assert_eq!(first_sector(&world, "one@flush:97"), [97; 512]);
    // 64 KiB and five blocks more for each point, of which two and a half fit.
    let limited = HistorySettings {
        limit_bytes: Some(200 << 10),
        ..at_flush(1000)
    };
    set(&world, "one", Some(limited));
    for number in 1..=10 {
        guest.q().write(0, &[number; 64 << 10]).unwrap();
        guest.q().flush().unwrap();
    }
    let now = list(&world, "one");
    assert!(now.amount.held_bytes <= 200 << 10, "{now:?}");
    assert_eq!(
        names(&world, "one"),
        ["flush:108", "flush:109", "flush:110"]
    );
    let pool = describe::pool(&world.disks);
    assert_eq!(
        (pool.history_points, pool.history_held_bytes),
        (3, now.amount.held_bytes)
    );
}

#[test]
fn a_history_that_ends_leaves_no_memory_behind() {
    let world = World::new(64 << 20);
    let mut guest = Guest::attach(&world.create("one"));
    step(&mut guest, 0);
    let before = describe::pool(&world.disks).charged_bytes;
    set(&world, "one", Some(at_flush(1000)));
    for number in 1..=50 {
        step(&mut guest, number);
    }
    assert!(describe::pool(&world.disks).charged_bytes >= before + 50 * 6 * 4096 - 65536);
    set(&world, "one", None);
    assert_eq!(describe::pool(&world.disks).charged_bytes, before);
    assert!(list(&world, "one").points.is_empty());
    step(&mut guest, 51);
    assert_eq!(world.disks.expect("one"), Ok(()));
    assert_eq!(describe::pool(&world.disks).history_points, 0);
    assert_eq!(guest.q().read(0, 512).unwrap(), [51; 512]);
}

#[test]
fn points_outlive_the_process_and_numbers_go_on() {
    let store = Arc::new(Store::new(64 << 20).unwrap());
    let world = World::of(Arc::clone(&store), 100);
    let mut guest = Guest::attach(&world.create_with("one", with(at_flush(1000))));
    step(&mut guest, 1);
    step(&mut guest, 2);
    let had = list(&world, "one");
    drop(guest);
    drop(world);
    let world = World::of(Arc::clone(&store), 100);
    assert_eq!(
        list(&world, "one"),
        had,
        "with their times and what they hold"
    );
    assert_eq!(first_sector(&world, "one@flush:1"), [1; 512]);
    let disk = describe::get(&world.disks, "one").unwrap();
    let mut guest = Guest::attach(disk.socket.as_ref());
    guest.q().flush().unwrap();
    step(&mut guest, 3);
    assert_eq!(names(&world, "one"), ["flush:1", "flush:2", "flush:3"]);
    // A process that is killed while it ends a history leaves points behind.
    drop(guest);
    drop(world);
    let disk = store.open("one").unwrap().into_owner();
    disk.set_settings(br#"{"queues":1}"#).unwrap();
    let world = World::of(Arc::clone(&store), 100);
    assert_eq!(store.keys(), ["one"]);
    assert!(list(&world, "one").points.is_empty());
}

#[test]
fn points_are_taken_by_time_or_by_what_was_written() {
    let world = World::new(64 << 20);
    let written = HistorySettings {
        written_bytes: Some(128 << 10),
        ..HistorySettings::default()
    };
    let mut guest = Guest::attach(&world.create_with("one", with(written)));
    for number in 1..=5 {
        guest.q().write(0, &[number; 64 << 10]).unwrap();
        guest.q().flush().unwrap();
    }
    assert_eq!(names(&world, "one"), ["written:1", "written:2"]);
    assert_eq!(first_sector(&world, "one@written:1"), [2; 512]);
    assert_eq!(first_sector(&world, "one@written:2"), [4; 512]);
    let timed = HistorySettings {
        interval_ms: Some(10),
        ..HistorySettings::default()
    };
    set(&world, "one", Some(timed));
    eventually("it was time", || names(&world, "one").len() == 3);
    assert_eq!(first_sector(&world, "one@time:3"), [5; 512]);
    std::thread::sleep(std::time::Duration::from_millis(50));
    assert_eq!(names(&world, "one").len(), 3, "nothing was written since");
    guest.q().write(0, &[6; 512]).unwrap();
    eventually("it was time again", || names(&world, "one").len() == 4);
}

#[test]
fn a_point_has_the_size_that_the_disk_had_and_goes_with_it() {
    let world = World::new(64 << 20);
    let mut guest = Guest::attach(&world.create_with("one", with(at_flush(9))));
    step(&mut guest, 1);
    let larger = DiskPatch {
        size_bytes: Some(32 << 20),
        ..DiskPatch::default()
    };
    change::patch(&world.disks, "one", larger).unwrap();
    guest.q().flush().unwrap();
    assert_eq!(
        names(&world, "one"),
        ["flush:1", "flush:2"],
        "a size is something new"
    );
    let back = ResetRequest {
        to: Some("flush:1".into()),
        force: true,
    };
    reset::reset(&world.disks, "one", back).unwrap();
    let disk = describe::get(&world.disks, "one").unwrap();
    assert_eq!(
        (disk.size_bytes, disk.history),
        (16 << 20, Some(at_flush(9)))
    );
    let by_force = DestroyOptions {
        force: true,
        ..DestroyOptions::default()
    };
    destroy::destroy(&world.disks, "one", by_force).unwrap();
    assert_eq!(describe::pool(&world.disks).charged_bytes, 0);
    assert!(guest.q().flush().is_err());
}

#[test]
fn points_give_way_to_a_guest_that_needs_the_memory() {
    let world = World::new(64 << 20);
    let settings = DiskSettings {
        quota_bytes: Some(1 << 20),
        on_full: OnFull::Stall,
        ..with(at_flush(1000))
    };
    let mut guest = Guest::attach(&world.create_with("one", settings));
    // Each round takes 24 KiB, so the quota has room for 40 of them.
    for number in 0..200 {
        step(&mut guest, number);
    }
    assert_eq!(guest.q().read(0, 512).unwrap(), [199; 512]);
    let points = list(&world, "one");
    let last = points.points.last().unwrap();
    assert!(points.points.len() < 60, "{points:?}");
    assert_eq!(
        first_sector(&world, &format!("one@{}", last.name)),
        [199; 512]
    );
}

#[test]
fn a_plan_that_cant_be_is_refused_with_what_can() {
    let world = World::new(64 << 20);
    world.create("one");
    let usual = HistorySettings::default();
    for (history, word) in [
        (at_flush(0), "1 to 10000"),
        (at_flush(10_001), "1 to 10000"),
        (
            HistorySettings {
                interval_ms: Some(1),
                ..usual
            },
            "10 ms",
        ),
        (
            HistorySettings {
                written_bytes: Some(512),
                ..usual
            },
            "64K",
        ),
        (
            HistorySettings {
                interval_ms: Some(100),
                written_bytes: Some(1 << 20),
                ..usual
            },
            "one of them",
        ),
    ] {
        let patch = DiskPatch {
            history: Some(Some(history)),
            ..DiskPatch::default()
        };
        let refused = change::patch(&world.disks, "one", patch);
        says(refused, ProblemKind::Invalid, &[word]);
    }
    let long = "x".repeat(44);
    world.create(&long);
    let patch = DiskPatch {
        history: Some(Some(usual)),
        ..DiskPatch::default()
    };
    let refused = change::patch(&world.disks, &long, patch);
    says(refused, ProblemKind::Invalid, &["shorter name"]);
}
