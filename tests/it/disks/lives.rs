//! Lives that end: by time, after the front end has left, and never of what is protected.

use std::path::PathBuf;
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use ramblk::daemon::disks::{
    DestroyOptions, change, create, describe, destroy, fork, reset, snapshots,
};
use ramblk::model::{
    Detail, DiskPatch, DiskSettings, EndsBy, Event, EventKind, ForkRequest, ForkSettings,
    ForkSource, ForksRequest, Life, LifePatch, OnDetach, ProblemKind, ResetRequest, SnapshotPatch,
};
use ramblk::store::Store;

use super::{World, eventually, says, until};
use crate::driver::disk::Disk as Guest;

/// How far from its time an end may be.
const EXACT: Duration = Duration::from_secs(1);

fn with(life: Life) -> DiskSettings {
    DiskSettings {
        life,
        ..DiskSettings::new(16 << 20)
    }
}

fn ttl(ms: u64) -> Life {
    Life {
        ttl_ms: Some(ms),
        ..Life::default()
    }
}

fn on_detach(on_detach: OnDetach, grace_ms: u64) -> Life {
    Life {
        on_detach,
        grace_ms: Some(grace_ms),
        ..Life::default()
    }
}

fn is_there(world: &World, name: &str) -> bool {
    describe::get(&world.disks, name).is_ok()
}

fn text(event: &Event, key: &str) -> String {
    match &event.details[key] {
        Detail::Text(text) => text.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_time_to_live_ends_a_disk_on_time_with_its_snapshots_and_under_its_guest() {
    let world = World::new(64 << 20);
    let mut events = world.disks.events().listen();
    let began = Instant::now();
    let mut guest = Guest::attach(&world.create_with("short", with(ttl(1500))));
    guest.q().write(0, &[1; 512]).unwrap();
    world.create_with("long", with(ttl(3_600_000)));
    world.create("open");
    snapshots::take(&world.disks, "short", "s").unwrap();
    let shown = describe::get(&world.disks, "short").unwrap();
    let ending = shown.ending.unwrap();
    assert!(
        ending.in_ms <= 1500 && ending.by == EndsBy::Ttl,
        "{ending:?}"
    );
    assert_eq!(
        (shown.life.ttl_ms, ending.action),
        (Some(1500), OnDetach::Destroy)
    );
    let ended = until(&mut events, EventKind::Ended);
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(1500) && took < Duration::from_millis(1500) + EXACT);
    assert_eq!(
        (ended.disk.as_deref(), text(&ended, "by")),
        (Some("short"), "ttl".into())
    );
    assert!(!is_there(&world, "short") && is_there(&world, "long") && is_there(&world, "open"));
    assert!(guest.q().read(0, 512).is_err(), "its guest gets errors");
    let left = describe::get(&world.disks, "long")
        .unwrap()
        .ending
        .unwrap()
        .in_ms;
    assert!(left < 3_600_000 && left > 3_590_000);
    assert_eq!(describe::get(&world.disks, "open").unwrap().ending, None);
}

#[test]
fn a_time_to_live_is_renewed_and_taken_away() {
    let world = World::new(64 << 20);
    world.create_with("a", with(ttl(1200)));
    world.create_with("b", with(ttl(1200)));
    let set = |name: &str, ttl_ms| {
        let patch = DiskPatch {
            life: LifePatch {
                ttl_ms: Some(ttl_ms),
                ..LifePatch::default()
            },
            ..DiskPatch::default()
        };
        change::patch(&world.disks, name, patch).unwrap();
    };
    // The same time again begins again: a client that lives keeps its disk.
    for _ in 0..4 {
        sleep(Duration::from_millis(500));
        set("a", Some(1200));
    }
    assert!(is_there(&world, "a") && !is_there(&world, "b"));
    set("a", None);
    sleep(Duration::from_millis(1500));
    assert!(is_there(&world, "a"));
    // The same create again finds it as it is, and changes no time.
    world.create_with("c", with(ttl(60_000)));
    let before = describe::get(&world.disks, "c")
        .unwrap()
        .ending
        .unwrap()
        .in_ms;
    sleep(Duration::from_millis(20));
    create::put(&world.disks, "c", with(ttl(60_000))).unwrap();
    let after = describe::get(&world.disks, "c")
        .unwrap()
        .ending
        .unwrap()
        .in_ms;
    assert!(after < before);
    for (life, word) in [
        (ttl(0), "over at once"),
        (ttl(999), "over at once"),
        (ttl(u64::MAX), "ten years"),
        (on_detach(OnDetach::Keep, 5), "on_detach"),
        (on_detach(OnDetach::Reset, u64::MAX), "a day"),
    ] {
        let refused = create::put(&world.disks, "d", with(life));
        says(refused, ProblemKind::Invalid, &[word]);
    }
}

#[test]
fn a_disk_ends_when_its_front_end_stays_away_and_not_when_it_comes_back() {
    let world = World::new(64 << 20);
    let mut events = world.disks.events().listen();
    let socket = world.create_with("vm", with(on_detach(OnDetach::Destroy, 800)));
    world.create_with("spare", with(on_detach(OnDetach::Destroy, 0)));
    sleep(Duration::from_millis(300));
    assert!(is_there(&world, "spare"), "no front end has ever used it");
    for _ in 0..3 {
        let mut guest = Guest::attach(&socket);
        guest.q().write(0, &[1; 512]).unwrap();
        drop(guest);
        // It reconnects within the grace.
        sleep(Duration::from_millis(400));
        assert!(is_there(&world, "vm"));
    }
    let left = Instant::now();
    let ended = until(&mut events, EventKind::Ended);
    assert_eq!(text(&ended, "by"), "detach");
    assert!(left.elapsed() < Duration::from_millis(800) + EXACT);
    assert!(!is_there(&world, "vm"));
}

#[test]
fn a_disk_is_as_it_was_made_after_its_front_end_has_left() {
    let world = World::new(64 << 20);
    let mut golden = Guest::attach(&world.create("golden"));
    golden.q().write(0, &[1; 512]).unwrap();
    snapshots::take(&world.disks, "golden", "v1").unwrap();
    let request = ForksRequest {
        sources: vec![ForkSource {
            disk: Some("golden".into()),
            snapshot: Some("v1".into()),
            names: vec!["vm".into()],
            ..ForkSource::default()
        }],
        settings: ForkSettings {
            life: LifePatch {
                on_detach: Some(OnDetach::Reset),
                grace_ms: Some(Some(100)),
                ..LifePatch::default()
            },
            ..ForkSettings::default()
        },
        ..ForksRequest::default()
    };
    let socket = PathBuf::from(&fork::fork_all(&world.disks, &request).unwrap().0.disks[0].socket);
    let mut events = world.disks.events().listen();
    for byte in 2..5 {
        let mut guest = Guest::attach(&socket);
        assert_eq!(guest.q().read(0, 512).unwrap(), [1; 512]);
        guest.q().write(0, &[byte; 512]).unwrap();
        drop(guest);
        assert_eq!(
            text(&until(&mut events, EventKind::Ended), "action"),
            "reset"
        );
    }
    // What it would be reset to is gone: it stays as it is, and says so once.
    let forced = DestroyOptions {
        force: true,
        snapshots: true,
        importing: false,
    };
    drop(golden);
    destroy::destroy(&world.disks, "golden", forced).unwrap();
    drop(Guest::attach(&socket));
    let spared = until(&mut events, EventKind::Spared);
    assert!(text(&spared, "reason").contains("not forked"), "{spared:?}");
    assert!(is_there(&world, "vm"));
    let mine = reset::reset(&world.disks, "vm", ResetRequest::default());
    says(mine, ProblemKind::NotFound, &["vm"]);
}

#[test]
fn what_is_protected_stays_until_it_is_not() {
    let world = World::new(64 << 20);
    let protect = |protected| DiskPatch {
        protected: Some(protected),
        ..DiskPatch::default()
    };
    let of_snapshot = |protected| SnapshotPatch {
        protected: Some(protected),
    };
    let forced = DestroyOptions {
        force: true,
        snapshots: true,
        importing: false,
    };
    world.create("golden");
    snapshots::take(&world.disks, "golden", "v1").unwrap();
    let patched = snapshots::patch(&world.disks, "golden", "v1", of_snapshot(true)).unwrap();
    assert!(patched.protected && patched.content_id.is_some());
    let request = ForkRequest {
        snapshot: Some("v1".into()),
        ..ForkRequest::new("vm")
    };
    fork::fork(&world.disks, "golden", request).unwrap();
    let shown = snapshots::get(&world.disks, "golden", "v1").unwrap();
    assert_eq!(shown.children, ["vm"]);
    let refused = snapshots::destroy(&world.disks, "golden", "v1", true);
    says(refused, ProblemKind::Conflict, &["golden@v1", "protected"]);
    let refused = destroy::destroy(&world.disks, "golden", forced);
    says(refused, ProblemKind::Conflict, &["golden@v1", "protected"]);
    snapshots::patch(&world.disks, "golden", "v1", of_snapshot(false)).unwrap();
    change::patch(&world.disks, "golden", protect(true)).unwrap();
    let refused = destroy::destroy(&world.disks, "golden", forced);
    says(refused, ProblemKind::Conflict, &["golden", "protected"]);
    // Neither by time: an event says so, and its time comes when it is not protected any more.
    let mut events = world.disks.events().listen();
    let short = DiskPatch {
        life: LifePatch {
            ttl_ms: Some(Some(1000)),
            ..LifePatch::default()
        },
        ..DiskPatch::default()
    };
    change::patch(&world.disks, "golden", short).unwrap();
    let spared = until(&mut events, EventKind::Spared);
    assert!(text(&spared, "reason").contains("protected"));
    assert_eq!(
        describe::get(&world.disks, "golden")
            .unwrap()
            .ending
            .unwrap()
            .in_ms,
        0
    );
    change::patch(&world.disks, "golden", protect(false)).unwrap();
    eventually("it is destroyed", || !is_there(&world, "golden"));
    assert!(is_there(&world, "vm"), "a fork stays");
}

#[test]
fn lives_go_on_in_the_next_process() {
    let store = Arc::new(Store::new(64 << 20).unwrap());
    let world = World::of(Arc::clone(&store), 100);
    world.create_with("timed", with(ttl(3000)));
    world.create_with("missed", with(ttl(1000)));
    world.create_with("never", with(on_detach(OnDetach::Destroy, 0)));
    let used = world.create_with("used", with(on_detach(OnDetach::Destroy, 10)));
    let began = Instant::now();
    let mut guest = Guest::attach(&used);
    guest.q().write(0, &[1; 512]).unwrap();
    eventually("it is stored that it is used", || {
        let blob = store.open("used").unwrap().settings().unwrap();
        String::from_utf8(blob).unwrap().contains("\"used\":true")
    });
    world.disks.close();
    drop(world);
    drop(guest);
    sleep(Duration::from_millis(1200));
    let world = World::of(store, 100);
    eventually("a time that is over meanwhile is over", || {
        !is_there(&world, "missed")
    });
    let ending = describe::get(&world.disks, "used").unwrap().ending.unwrap();
    assert!(
        ending.in_ms > 55_000 && ending.in_ms <= 60_000,
        "a minute at least: {ending:?}"
    );
    assert_eq!(describe::get(&world.disks, "never").unwrap().ending, None);
    assert!(is_there(&world, "timed"));
    eventually("its time is over", || !is_there(&world, "timed"));
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(2900) && took < Duration::from_millis(3000) + EXACT * 2);
    assert!(is_there(&world, "used") && is_there(&world, "never"));
}
