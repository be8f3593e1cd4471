//! Forks in numbers: all of them or none, and the same request again.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use ramblk::daemon::disks::{
    DestroyOptions, Made, describe, destroy, fork, groups, reset, snapshots,
};
use ramblk::model::{
    DiskSettings, ForkSettings, ForkSource, ForksRequest, Limits, OnFull, ProblemKind, ResetRequest,
};

use super::{World, eventually, says};
use crate::driver::disk::Disk as Guest;

fn names(count: usize) -> Vec<String> {
    (1..=count).map(|at| format!("vm-{at:03}")).collect()
}

fn of(disk: &str, snapshot: Option<&str>, names: Vec<String>) -> ForksRequest {
    ForksRequest {
        sources: vec![ForkSource {
            disk: Some(disk.to_owned()),
            snapshot: snapshot.map(str::to_owned),
            names,
            ..ForkSource::default()
        }],
        ..ForksRequest::default()
    }
}

fn count(world: &World) -> usize {
    describe::pool(&world.disks).disks
}

#[test]
fn a_fleet_is_made_by_one_request_with_settings_of_its_own() {
    let world = World::new(64 << 20);
    let mut golden = DiskSettings::new(16 << 20);
    golden.quota_bytes = Some(8 << 20);
    golden.queues = 3;
    golden.labels.insert("role".into(), "golden".into());
    let mut guest = Guest::attach(&world.create_with("golden", golden));
    guest.q().write(0, &[1; 4096]).unwrap();
    snapshots::take(&world.disks, "golden", "v1").unwrap();
    guest.q().write(0, &[2; 4096]).unwrap();
    groups::put(&world.disks, "ci", Limits::default()).unwrap();
    let mut request = of("golden", Some("v1"), names(50));
    request.settings = ForkSettings {
        size_bytes: Some(32 << 20),
        serial: Some("s-{name}".into()),
        on_full: Some(OnFull::Stall),
        group: Some(Some("ci".into())),
        labels: [("fleet".to_owned(), "ci".to_owned())].into(),
        ..ForkSettings::default()
    };
    let (forked, made) = fork::fork_all(&world.disks, &request).unwrap();
    assert_eq!(
        (forked.created, forked.disks.len(), made),
        (50, 50, Made::New)
    );
    let one = &forked.disks[49];
    assert_eq!(
        (one.name.as_str(), one.serial.as_str()),
        ("vm-050", "s-vm-050")
    );
    assert_eq!(
        (one.size_bytes, one.queues, one.on_full),
        (32 << 20, 3, OnFull::Stall)
    );
    assert_eq!(one.quota_bytes, Some(8 << 20), "it is inherited");
    assert_eq!(one.labels.keys().collect::<Vec<_>>(), ["fleet"]);
    assert_eq!(one.parent.as_deref(), Some("golden@v1"));
    assert_eq!(one.group.as_deref(), Some("ci"));
    for disk in &forked.disks {
        let mut guest = Guest::attach(std::path::Path::new(&disk.socket));
        assert_eq!(guest.q().read(0, 512).unwrap(), [1; 512], "{}", disk.name);
        guest.q().write(0, &[3; 512]).unwrap();
    }
    // The same again changes nothing, whatever guests wrote, and only what is missing is made.
    let (again, made) = fork::fork_all(&world.disks, &request).unwrap();
    assert_eq!((again.created, made), (0, Made::Existing));
    eventually("vm-007 can be destroyed", || {
        destroy::destroy(&world.disks, "vm-007", DestroyOptions::default()).is_ok()
    });
    request.sources[0].names = names(52);
    let (more, made) = fork::fork_all(&world.disks, &request).unwrap();
    assert_eq!((more.created, more.disks.len(), made), (3, 52, Made::New));
}

#[test]
fn a_fleet_that_is_impossible_leaves_nothing() {
    let world = World::with(2 << 20, 30);
    world.create("golden");
    world.create("vm-009");
    let refused = |request: ForksRequest, kind, words: &[&str]| {
        says(fork::fork_all(&world.disks, &request), kind, words);
        assert_eq!(count(&world), 2, "{words:?}");
    };
    refused(
        of("golden", None, names(20)),
        ProblemKind::Conflict,
        &["vm-009", "golden"],
    );
    refused(
        of("golden", None, [names(8), names(1)].concat()),
        ProblemKind::Invalid,
        &["twice"],
    );
    refused(
        of("golden", None, Vec::new()),
        ProblemKind::Invalid,
        &["0 names", "1 to 30"],
    );
    refused(
        of("golden", None, names(31)),
        ProblemKind::Invalid,
        &["31 names", "1 to 30"],
    );
    let mut many = names(29);
    many.remove(8);
    let most = of(
        "golden",
        None,
        many.iter().cloned().chain(["x".into()]).collect(),
    );
    refused(most, ProblemKind::OverBudget, &["2 disks of 30", "29 more"]);
    refused(
        of("golden", None, vec!["a".into(), "b c".into()]),
        ProblemKind::Invalid,
        &["b c"],
    );
    refused(
        of("golden", None, vec!["api.sock".into()]),
        ProblemKind::Invalid,
        &["api.sock"],
    );
    refused(of("no", None, names(5)), ProblemKind::NotFound, &["no"]);
    refused(
        of("golden", Some("no"), names(5)),
        ProblemKind::NotFound,
        &["golden@no"],
    );
    let mut neither = of("golden", None, names(5));
    neither.sources[0].disk = None;
    refused(neither, ProblemKind::Invalid, &["an image"]);
    refused(ForksRequest::default(), ProblemKind::Invalid, &["0 names"]);
}

#[test]
fn a_fleet_with_impossible_settings_leaves_nothing() {
    let world = World::with(2 << 20, 30);
    world.create("golden");
    let refused = |request: ForksRequest, kind, words: &[&str]| {
        says(fork::fork_all(&world.disks, &request), kind, words);
        assert_eq!(count(&world), 1, "{words:?}");
    };
    let with = |edit: &dyn Fn(&mut ForkSettings)| {
        let mut request = of("golden", None, names(5));
        edit(&mut request.settings);
        request
    };
    let size = with(&|it| it.size_bytes = Some(1 << 20));
    refused(size, ProblemKind::Invalid, &["does not fit", "16777216"]);
    let group = with(&|it| it.group = Some(Some("no".into())));
    refused(group, ProblemKind::NotFound, &["group"]);
    let serial = with(&|it| it.serial = Some("longer than a serial-{name}".into()));
    refused(serial, ProblemKind::Invalid, &["serial"]);
    let quota = with(&|it| it.quota_bytes = Some(Some(3 << 20)));
    refused(quota, ProblemKind::OverBudget, &["quota"]);
}

#[test]
fn a_fleet_that_does_not_fit_the_memory_is_refused_with_figures() {
    let world = World::with(2 << 20, 1000);
    world.create("golden");
    let charged = describe::pool(&world.disks).charged_bytes;
    let refused = fork::fork_all(&world.disks, &of("golden", None, names(300)));
    says(
        refused,
        ProblemKind::OverBudget,
        &["300 forks take 2.3M", "of 2M is left", "none was made"],
    );
    assert_eq!(
        (count(&world), describe::pool(&world.disks).charged_bytes),
        (1, charged)
    );
    let made = fork::fork_all(&world.disks, &of("golden", None, names(200)));
    assert_eq!(made.unwrap().0.created, 200);
}

#[test]
fn several_disks_are_kept_forked_and_reset_at_one_moment_or_not_at_all() {
    let world = World::new(64 << 20);
    let both: Vec<String> = ["data", "log"].map(str::to_owned).into();
    let mut guests: Vec<Guest> = both
        .iter()
        .map(|name| Guest::attach(&world.create(name)))
        .collect();
    let mut write = |byte: u8| {
        for guest in &mut guests {
            guest.q().write(0, &[byte; 512]).unwrap();
        }
    };
    write(1);
    let taken = snapshots::take_all(&world.disks, &both, "clean").unwrap();
    assert_eq!(
        taken.iter().map(|it| it.disk.as_str()).collect::<Vec<_>>(),
        ["data", "log"]
    );
    assert!(taken.iter().all(|it| it.content_id.is_some()));
    write(2);
    snapshots::take(&world.disks, "log", "only").unwrap();
    let refused = snapshots::take_all(&world.disks, &both, "only");
    says(refused, ProblemKind::Conflict, &["log@only"]);
    let there = describe::get(&world.disks, "data").unwrap().snapshots;
    assert_eq!(there, ["clean"], "nothing was taken of the other disk");
    let twice = [both.clone(), both.clone()].concat();
    says(
        snapshots::take_all(&world.disks, &twice, "x"),
        ProblemKind::Invalid,
        &["twice"],
    );
    says(
        snapshots::take_all(&world.disks, &[], "x"),
        ProblemKind::Invalid,
        &["no disk"],
    );
    // One is in use, and one has no such snapshot: neither is reset.
    let to = |to: &str, force| ResetRequest {
        to: Some(to.to_owned()),
        force,
    };
    let refused = reset::reset_all(&world.disks, &both, &to("clean", false));
    says(refused, ProblemKind::Attached, &["data"]);
    let refused = reset::reset_all(&world.disks, &both, &to("only", true));
    says(refused, ProblemKind::NotFound, &["data@only"]);
    for guest in &mut guests {
        assert_eq!(guest.q().read(0, 512).unwrap(), [2; 512]);
    }
    let (reset, left) = reset::reset_all(&world.disks, &both, &to("clean", true)).unwrap();
    assert_eq!((reset.len(), left.len()), (2, 2));
    drop(left);
    for guest in &mut guests {
        assert_eq!(guest.q().read(0, 512).unwrap(), [1; 512]);
    }
    drop(guests);
    forks_of_both(&world, &both);
}

/// Forks of one moment of several disks, which go back to it.
fn forks_of_both(world: &World, both: &[String]) {
    let forks = ForksRequest {
        sources: both
            .iter()
            .map(|name| ForkSource {
                disk: Some(name.clone()),
                snapshot: Some("clean".into()),
                names: vec![format!("{name}-test")],
                ..ForkSource::default()
            })
            .collect(),
        ..ForksRequest::default()
    };
    assert_eq!(fork::fork_all(&world.disks, &forks).unwrap().0.created, 2);
    let mut one = Guest::attach(&PathBuf::from(
        &describe::get(&world.disks, "log-test").unwrap().socket,
    ));
    assert_eq!(one.q().read(0, 512).unwrap(), [1; 512]);
    drop(one);
    // Forks go back to what they were forked from.
    eventually("the fork is not in use", || {
        !describe::get(&world.disks, "log-test").unwrap().attached
    });
    let forks: Vec<String> = both.iter().map(|name| format!("{name}-test")).collect();
    reset::reset_all(&world.disks, &forks, &ResetRequest::default()).unwrap();
}

/// Drivers count across disks, always in the same order. Forks of one moment never have a later
/// write without the earlier ones, whichever disks these went to.
#[test]
fn forks_of_several_disks_are_a_moment_of_what_their_drivers_do() {
    let world = World::new(64 << 20);
    let names = ["d0", "d1", "d2"];
    let mut guests: Vec<Guest> = names
        .iter()
        .map(|name| Guest::attach(&world.create(name)))
        .collect();
    let ends = AtomicBool::new(false);
    let count_up = || {
        for number in 1_u64.. {
            let mut sector = [0; 512];
            sector[..8].copy_from_slice(&number.to_le_bytes());
            for guest in &mut guests {
                guest.q().write(0, &sector).unwrap();
            }
            if ends.load(Ordering::Relaxed) {
                return number;
            }
        }
        0
    };
    let counts = std::thread::scope(|scope| {
        let counted = scope.spawn(count_up);
        let sets: Vec<Vec<u64>> = (0..20)
            .map(|set| forked_counts(&world, &names, set))
            .collect();
        ends.store(true, Ordering::Relaxed);
        assert!(counted.join().unwrap() > 20, "the drivers went on");
        sets
    });
    for set in &counts {
        assert!(set.is_sorted_by(|one, two| one >= two), "{counts:?}");
        assert!(set[0] - set[2] <= 1, "{counts:?}");
    }
    assert!(counts[19][0] > counts[0][0], "{counts:?}");
}

/// What forks of these disks have in their first sector.
fn forked_counts(world: &World, names: &[&str], set: usize) -> Vec<u64> {
    let request = ForksRequest {
        sources: names
            .iter()
            .map(|name| ForkSource {
                disk: Some((*name).to_owned()),
                names: vec![format!("{name}-{set}")],
                ..ForkSource::default()
            })
            .collect(),
        ..ForksRequest::default()
    };
    let forked = fork::fork_all(&world.disks, &request).unwrap().0;
    let first = |socket: &String| {
        let mut guest = Guest::attach(std::path::Path::new(socket));
        let sector = guest.q().read(0, 512).unwrap();
        u64::from_le_bytes(sector[..8].try_into().unwrap())
    };
    forked
        .disks
        .iter()
        .map(|disk| first(&disk.socket))
        .collect()
}
