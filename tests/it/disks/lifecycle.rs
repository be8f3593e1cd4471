//! Disks are made, used, changed and destroyed.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use ramblk::daemon::disks::{DestroyOptions, Made, apply, change, create, describe, destroy};
use ramblk::model::{Detail, DiskPatch, DiskSettings, EventKind, OnFull, ProblemKind, Share};

use super::{World, eventually, is, says, until};
use crate::driver::client::code;
use crate::driver::disk::{ALL, Disk as Guest};
use crate::driver::inflight::Inflight;
use crate::driver::offer::works;
use crate::driver::ring::Ring;
use crate::driver::transfer;

const FORCE: DestroyOptions = DestroyOptions {
    force: true,
    snapshots: false,
    importing: false,
};

#[test]
fn a_disk_is_made_once_and_found_as_often_as_asked_for() {
    let world = World::new(64 << 20);
    let mut settings = DiskSettings::new(1 << 20);
    settings.labels.insert("owner".into(), "me".into());
    let (disk, made) = create::put(&world.disks, "one", settings.clone()).unwrap();
    assert_eq!(
        (made, disk.size_bytes, disk.serial.as_str()),
        (Made::New, 1 << 20, "one")
    );
    assert_eq!(disk.labels["owner"], "me");
    assert!(!disk.attached);
    assert_eq!(
        create::put(&world.disks, "one", settings.clone())
            .unwrap()
            .1,
        Made::Existing
    );
    // The default serial may also be named.
    settings.serial = Some("one".into());
    assert_eq!(
        create::put(&world.disks, "one", settings.clone())
            .unwrap()
            .1,
        Made::Existing
    );
    settings.queues = 2;
    settings.quota_bytes = Some(1 << 20);
    says(
        create::put(&world.disks, "one", settings),
        ProblemKind::Conflict,
        &["queues", "quota_bytes", "destroy it first"],
    );
    assert_eq!(describe::list(&world.disks, &[]).len(), 1);
}

#[test]
fn a_disk_of_0_1_0_is_found_as_asked_for_though_it_has_16_queues() {
    let world = World::new(64 << 20);
    let mut settings = DiskSettings::new(1 << 20);
    assert_eq!(settings.queues, 128);
    settings.queues = 16;
    create::put(&world.disks, "old", settings).unwrap();
    let (disk, made) = create::put(&world.disks, "old", DiskSettings::new(1 << 20)).unwrap();
    assert_eq!((made, disk.queues), (Made::Existing, 16));
    // A file that names today's defaults changes nothing either.
    let declared = serde_json::from_str(r#"{"disk": [{"name": "old", "queues": 128}]}"#).unwrap();
    let applied = apply::apply(&world.disks, &declared, Default::default()).unwrap();
    assert_eq!(applied.unchanged, ["old"]);
}

#[test]
fn labels_find_disks() {
    let world = World::new(64 << 20);
    for (name, owner) in [("a", "x"), ("b", "y"), ("c", "x")] {
        let mut settings = DiskSettings::new(1 << 20);
        settings.labels.insert("owner".into(), owner.into());
        settings.labels.insert("name".into(), name.into());
        create::put(&world.disks, name, settings).unwrap();
    }
    let label = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    let names = |labels: &[(String, String)]| -> Vec<String> {
        let found = describe::list(&world.disks, labels);
        found.into_iter().map(|disk| disk.name).collect()
    };
    assert_eq!(names(&[]), ["a", "b", "c"]);
    assert_eq!(names(&[label("owner", "x")]), ["a", "c"]);
    assert_eq!(names(&[label("owner", "x"), label("name", "c")]), ["c"]);
    assert!(names(&[label("owner", "")]).is_empty());
}

#[test]
fn a_disk_that_is_destroyed_leaves_nothing_and_its_name_is_free() {
    let world = World::new(64 << 20);
    let before = describe::pool(&world.disks);
    let socket = world.create("one");
    let mut guest = Guest::attach(&socket);
    guest.q().write(0, &[7; 4096]).unwrap();
    drop(guest);
    eventually("detached", || {
        !describe::get(&world.disks, "one").unwrap().attached
    });
    destroy::destroy(&world.disks, "one", DestroyOptions::default()).unwrap();
    assert!(!socket.exists() && !socket.parent().unwrap().exists());
    let after = describe::pool(&world.disks);
    assert_eq!(
        (after.charged_bytes, after.disks),
        (before.charged_bytes, 0)
    );
    says(
        describe::get(&world.disks, "one"),
        ProblemKind::NotFound,
        &["no disk named \"one\""],
    );
    let mut guest = Guest::attach(&world.create("one"));
    assert_eq!(guest.q().read(0, 4096).unwrap(), [0; 4096]);
}

#[test]
fn a_disk_in_use_is_destroyed_by_force_only_and_its_guest_gets_errors() {
    let world = World::new(64 << 20);
    let mut events = world.disks.events().listen();
    let mut guest = Guest::attach(&world.create("one"));
    guest.q().write(0, &[7; 512]).unwrap();
    let refused = destroy::destroy(&world.disks, "one", DestroyOptions::default());
    says(refused, ProblemKind::Attached, &["one", "force"]);
    assert_eq!(guest.q().read(0, 512).unwrap(), [7; 512]);
    destroy::destroy(&world.disks, "one", FORCE).unwrap();
    // Each request fails, but the connection stays: otherwise the front end would reconnect for
    // ever.
    assert_eq!(guest.q().read(0, 512), Err(1));
    assert_eq!(guest.q().write(0, &[7; 512]), Err(1));
    // The name is free, and the front end that is still connected does not reach the new disk.
    let mut other = Guest::attach(&world.create("one"));
    assert_eq!(other.q().read(0, 512).unwrap(), [0; 512]);
    assert_eq!(guest.q().read(0, 512), Err(1));
    drop(guest);
    until(&mut events, EventKind::Detached);
    assert_eq!(other.q().read(0, 512).unwrap(), [0; 512]);
}

#[test]
fn events_tell_what_happens_in_its_order() {
    let world = World::new(64 << 20);
    let mut events = world.disks.events().listen();
    let guest = Guest::attach(&world.create("one"));
    drop(guest);
    let detached = until(&mut events, EventKind::Detached);
    assert_eq!(detached.disk.as_deref(), Some("one"));
    assert_eq!(detached.details["session"], Detail::Count(0));
    let mut events = world.disks.events().listen();
    eventually("detached", || {
        !describe::get(&world.disks, "one").unwrap().attached
    });
    destroy::destroy(&world.disks, "one", DestroyOptions::default()).unwrap();
    let destroyed = until(&mut events, EventKind::Destroyed);
    assert!(destroyed.id > detached.id && destroyed.time_ns > detached.time_ns);
}

#[test]
fn a_disk_in_use_grows_and_shrinks_and_its_guest_is_told() {
    let world = World::new(64 << 20);
    let mut guest = Guest::attach(&world.create("one"));
    guest.q().write(16_000, &[9; 512]).unwrap();
    let patch = |size_bytes, shrink| DiskPatch {
        size_bytes: Some(size_bytes),
        shrink,
        ..DiskPatch::default()
    };
    let grown = change::patch(&world.disks, "one", patch(32 << 20, false)).unwrap();
    let resized = grown.resized.unwrap();
    assert_eq!(
        (resized.from_bytes, resized.to_bytes, resized.lost_bytes),
        (16 << 20, 32 << 20, 0)
    );
    // This driver has no channel for the notification.
    assert_eq!((resized.notified, resized.not_notified), (0, 1));
    assert!(resized.hint.unwrap().contains("PATCH /drives"));
    assert_eq!(guest.capacity(), 65536);
    let refused = change::patch(&world.disks, "one", patch(4 << 20, false)).unwrap_err();
    assert!(is(&refused, ProblemKind::WouldLoseData));
    assert_eq!(refused.lost_bytes, Some(512));
    assert!(
        refused.detail.contains("512 bytes of data"),
        "{}",
        refused.detail
    );
    assert_eq!(guest.q().read(16_000, 512).unwrap(), [9; 512]);
    let shrunk = change::patch(&world.disks, "one", patch(4 << 20, true)).unwrap();
    assert_eq!(shrunk.resized.unwrap().lost_bytes, 512);
    assert_eq!(guest.q().read(16_000, 512), Err(1));
    assert_eq!(guest.q().read(8191, 512).unwrap(), [0; 512]);
    let odd = change::patch(&world.disks, "one", patch((4 << 20) + 1, false));
    says(odd, ProblemKind::Invalid, &["4194305"]);
}

#[test]
fn settings_are_changed_all_or_none() {
    let world = World::new(64 << 20);
    world.create("one");
    let before = describe::get(&world.disks, "one").unwrap();
    let patch: DiskPatch = serde_json::from_str(
        r#"{"quota_bytes": 1048576, "on_full": "stall", "labels": {"a": "1", "b": "2"}}"#,
    )
    .unwrap();
    let disk = change::patch(&world.disks, "one", patch).unwrap().disk;
    assert_eq!(
        (disk.quota_bytes, disk.on_full),
        (Some(1 << 20), OnFull::Stall)
    );
    let patch: DiskPatch =
        serde_json::from_str(r#"{"quota_bytes": null, "labels": {"a": null}}"#).unwrap();
    let disk = change::patch(&world.disks, "one", patch).unwrap().disk;
    assert_eq!((disk.quota_bytes, disk.labels.len()), (None, 1));
    for bad in [
        r#"{"labels": {"c": "3"}, "quota_bytes": 1}"#,
        r#"{"labels": {"c": "3"}, "group": "none-such"}"#,
        r#"{"labels": {"c": "3"}, "size_bytes": 1}"#,
        r#"{"labels": {"c": "3"}, "limits": {"read": {"iops": 0}}}"#,
        r#"{"labels": {"c": "3"}, "shrink": true}"#,
        r#"{"labels": {"ö": "3"}, "on_full": "error"}"#,
    ] {
        let patch: DiskPatch = serde_json::from_str(bad).unwrap();
        assert!(change::patch(&world.disks, "one", patch).is_err(), "{bad}");
        assert_eq!(describe::list(&world.disks, &[])[0], disk, "{bad}");
    }
    assert_eq!(before.size_bytes, disk.size_bytes);
    assert!(serde_json::from_str::<DiskPatch>(r#"{"queues": 2}"#).is_err());
}

#[test]
fn a_disk_shared_read_only_is_read_only_and_takes_many() {
    let world = World::new(64 << 20);
    let settings = DiskSettings {
        share: Share::Ro,
        ..DiskSettings::new(1 << 20)
    };
    let (disk, _) = create::put(&world.disks, "one", settings).unwrap();
    assert!(disk.read_only);
    let socket = std::path::PathBuf::from(disk.socket);
    let mut guests = [Guest::attach(&socket), Guest::attach(&socket)];
    for guest in &mut guests {
        assert_eq!(guest.q().read(0, 512).unwrap(), [0; 512]);
        assert_eq!(guest.q().write(0, &[1; 512]), Err(1));
    }
    assert_eq!(
        describe::get(&world.disks, "one").unwrap().front_ends.len(),
        2
    );
}

#[test]
fn there_are_no_more_disks_than_descriptors_allow() {
    let world = World::with(64 << 20, 2);
    world.create("a");
    world.create("b");
    let refused = create::put(&world.disks, "c", DiskSettings::new(1 << 20));
    says(
        refused,
        ProblemKind::OverBudget,
        &["2 disks", "LimitNOFILE"],
    );
    destroy::destroy(&world.disks, "a", DestroyOptions::default()).unwrap();
    world.create("c");
    assert_eq!(describe::pool(&world.disks).most_disks, 2);
}

#[test]
fn show_says_how_a_front_ends_queues_are_served_where_that_is_not_as_usual() {
    let world = World::new(64 << 20);
    let socket = world.create("one");
    let mut guest = Guest::prepare(&socket, ALL);
    Inflight::new(1, 128).give(&guest.client);
    for (index, polled) in [(0, true), (1, false), (2, true)] {
        let mut ring = Ring::new(&guest.mem, index, 256, true);
        guest.client.set_up(&ring, 0);
        if polled {
            let polled = (0x100 | u64::from(index)).to_le_bytes();
            guest.client.tell(code::SET_VRING_KICK, &polled, &[]);
        }
        guest.client.vring(code::SET_VRING_ENABLE, index, 1);
        works(&mut ring, 0);
        guest.queues.push(ring);
    }
    let counts = || {
        let disk = &describe::list(&world.disks, &[])[0];
        let end = &disk.front_ends[0];
        (end.polled_queues, end.untracked_queues)
    };
    assert_eq!(counts(), (2, 3));
    guest.client.stop(2);
    assert_eq!(counts(), (1, 2));
}

/// Each of them waits for the rest of a state, which never comes, and reads no other message.
#[test]
fn front_ends_that_hang_are_waited_for_at_the_same_time_when_all_disks_close() {
    let world = World::new(64 << 20);
    let hung: Vec<_> = (0..8)
        .map(|number| {
            let socket = world.create(&format!("disk-{number}"));
            let guest = Guest::prepare(&socket, u64::MAX);
            let (reader, writer) = std::io::pipe().unwrap();
            transfer::transfer(&guest.client, transfer::LOAD, reader.as_fd());
            guest.client.send(code::CHECK_DEVICE_STATE, 0, &[], &[]);
            (guest, writer)
        })
        .collect();
    std::thread::sleep(Duration::from_millis(300));
    let began = Instant::now();
    world.disks.close();
    // Half a second for each in turn would be four seconds.
    assert!(
        began.elapsed() < Duration::from_secs(3),
        "{:?}",
        began.elapsed()
    );
    drop(hung);
}
