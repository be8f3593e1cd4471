//! Settings: what is shown is in force, whatever was done to the disk.

use std::sync::Arc;
use std::time::Duration;

use ramblk::daemon::disks::{apply, change, create, describe, fork, reset, snapshots, upload};
use ramblk::model::{
    DiskPatch, DiskSettings, DiskState, ForkRequest, Image, OnFull, ProblemKind, ResetRequest,
};
use ramblk::store::{DiskSpec, SectorSize, Store};

use super::*;
use crate::driver::client::Client;
use crate::driver::disk::{ALL, Disk as Guest};
use crate::driver::transfer::{load, save};

fn patch(text: &str) -> DiskPatch {
    serde_json::from_str(text).unwrap()
}

/// Whether a guest's write waits or fails when the disk has used up its quota of a MiB.
fn waits_when_full(world: &World, name: &str) -> bool {
    let socket = describe::get(&world.disks, name).unwrap().socket;
    let mut guest = Guest::attach(std::path::Path::new(&socket));
    let page = [7; 4096];
    for at in 0..512 {
        let head = guest.q().lay_out(1, at * 8, &page, 0);
        let head = guest.q().direct(0, &head);
        guest.q().submit(head);
        if guest.q().wait_for(Duration::from_secs(3)).is_none() {
            return describe::stats(&world.disks, name).unwrap().stalled > 0;
        }
        if guest.q().status() != 0 {
            return false;
        }
    }
    panic!("{name} has no quota");
}

#[test]
fn a_fork_of_a_disk_that_was_set_to_stall_stalls() {
    let store = Arc::new(Store::new(64 << 20).unwrap());
    let world = World::of(Arc::clone(&store), 100);
    world.create("one");
    snapshots::take(&world.disks, "one", "before").unwrap();
    let change = r#"{"on_full": "stall", "quota_bytes": 1048576}"#;
    change::patch(&world.disks, "one", patch(change)).unwrap();
    fork::fork(&world.disks, "one", ForkRequest::new("two")).unwrap();
    // What the request omits comes from the disk as it is now, not as it was at the snapshot.
    let mut request = ForkRequest::new("three");
    request.snapshot = Some("before".into());
    fork::fork(&world.disks, "one", request).unwrap();
    for name in ["one", "two", "three"] {
        let disk = describe::get(&world.disks, name).unwrap();
        let shown = (disk.on_full, disk.quota_bytes);
        assert_eq!(shown, (OnFull::Stall, Some(1 << 20)), "{name}");
        assert!(waits_when_full(&world, name), "{name}");
    }
    drop(world);
    let world = World::of(store, 100);
    for name in ["one", "two", "three"] {
        assert_eq!(
            describe::get(&world.disks, name).unwrap().on_full,
            OnFull::Stall
        );
        assert!(waits_when_full(&world, name), "{name} after a restart");
    }
}

#[test]
fn a_disk_that_was_loaded_with_another_size_has_that_size_everywhere() {
    let image = Image {
        name: "later".into(),
        id: None,
        size_bytes: None,
    };
    let world = World::new(64 << 20);
    let socket = world.create("one");
    let guest = Guest::attach(&socket);
    guest.client.stop(0);
    let state = save(&guest.client);
    drop(guest);
    eventually("no front end is attached", || {
        !describe::get(&world.disks, "one").unwrap().attached
    });
    change::patch(&world.disks, "one", patch(r#"{"size_bytes": 33554432}"#)).unwrap();
    // Nor does it have the content that was imported since.
    let upload = upload::begin(&world.disks, "one", Some(image), None, FORCED).unwrap();
    upload::commit(&world.disks, &upload, 512).unwrap();
    let client = Client::negotiated(&socket, ALL);
    assert_eq!(load(&client, &state), 0);
    drop(client);
    assert_eq!(describe::get(&world.disks, "one").unwrap().image, None);
    assert_eq!(
        describe::get(&world.disks, "one").unwrap().size_bytes,
        16 << 20
    );
    assert_eq!(describe::list(&world.disks, &[])[0].size_bytes, 16 << 20);
    assert_eq!(
        apply::config(&world.disks).disks[0].settings.size_bytes,
        16 << 20
    );
    create::put(&world.disks, "one", DiskSettings::new(16 << 20)).unwrap();
    let other = create::put(&world.disks, "one", DiskSettings::new(32 << 20));
    says(other, ProblemKind::Conflict, &["size_bytes"]);
}

#[test]
fn a_disk_that_was_reset_to_another_size_has_that_size_everywhere() {
    let store = Arc::new(Store::new(64 << 20).unwrap());
    let world = World::of(Arc::clone(&store), 100);
    world.create("one");
    snapshots::take(&world.disks, "one", "small").unwrap();
    let grown = r#"{"size_bytes": 33554432, "on_full": "stall", "quota_bytes": 1048576}"#;
    change::patch(&world.disks, "one", patch(grown)).unwrap();
    let request = ResetRequest {
        to: Some("small".into()),
        ..ResetRequest::default()
    };
    reset::reset(&world.disks, "one", request).unwrap();
    let wanted = DiskSettings {
        on_full: OnFull::Stall,
        quota_bytes: Some(1 << 20),
        ..DiskSettings::new(16 << 20)
    };
    assert_eq!(apply::config(&world.disks).disks[0].settings, wanted);
    drop(world);
    let world = World::of(store, 100);
    assert_eq!(apply::config(&world.disks).disks[0].settings, wanted);
}

#[test]
fn a_failed_disk_whose_settings_no_longer_fit_is_not_resized_halfway() {
    let store = Arc::new(Store::new(64 << 20).unwrap());
    let labels: serde_json::Map<_, _> = (0..14)
        .map(|at| (format!("label-{at}"), "x".repeat(250).into()))
        .collect();
    let blob = serde_json::json!({
        "size_bytes": 16 << 20, "labels": labels, "failure": "f".repeat(200),
    });
    let spec = DiskSpec::new(SectorSize::S512, 16 << 20);
    let blob = serde_json::to_vec(&blob).unwrap();
    assert!(blob.len() < 4096, "{}", blob.len());
    store.create_with("one", &spec, &blob).unwrap();
    let world = World::of(store, 100);
    let before = describe::get(&world.disks, "one").unwrap();
    assert_eq!(before.state, DiskState::Failed);
    let label = "y".repeat(200);
    let change = format!(
        r#"{{"size_bytes": 33554432, "quota_bytes": 1048576, "labels": {{"more": "{label}"}}}}"#
    );
    let refused = change::patch(&world.disks, "one", patch(&change));
    says(refused, ProblemKind::Invalid, &["shorter labels"]);
    assert_eq!(describe::get(&world.disks, "one").unwrap(), before);
}

#[test]
fn a_quota_below_what_a_disk_takes_is_refused_with_the_figures() {
    let world = World::new(64 << 20);
    let socket = world.create("one");
    let mut guest = Guest::attach(&socket);
    guest.q().write(0, &vec![1; 2 << 20]).unwrap();
    let before = describe::get(&world.disks, "one").unwrap();
    let refused = change::patch(
        &world.disks,
        "one",
        patch(r#"{"quota_bytes": 1048576, "labels": {"a": "b"}}"#),
    );
    let charged = before.charged_bytes.to_string();
    says(refused, ProblemKind::Conflict, &["1048576", &charged]);
    assert_eq!(describe::get(&world.disks, "one").unwrap(), before);
    // What it takes now is a valid quota, and so is less if the caller forces it.
    let room = format!(r#"{{"quota_bytes": {}}}"#, before.charged_bytes + 65536);
    change::patch(&world.disks, "one", patch(&room)).unwrap();
    guest.q().write(8192, &[2; 4096]).unwrap();
    let forced = r#"{"quota_bytes": 1048576, "force": true}"#;
    let disk = change::patch(&world.disks, "one", patch(forced))
        .unwrap()
        .disk;
    assert_eq!(disk.quota_bytes, Some(1 << 20));
    // An exceeded quota may be raised, or set again to the same value.
    change::patch(&world.disks, "one", patch(r#"{"quota_bytes": 1048576}"#)).unwrap();
    change::patch(&world.disks, "one", patch(r#"{"quota_bytes": 1114112}"#)).unwrap();
}

#[test]
fn a_read_only_disk_is_read_only_for_guests_wherever_it_is_asked() {
    let store = Arc::new(Store::new(64 << 20).unwrap());
    let world = World::of(Arc::clone(&store), 100);
    let settings = DiskSettings {
        read_only: true,
        detect_zeroes: true,
        ..DiskSettings::new(16 << 20)
    };
    world.create_with("one", settings.clone());
    let mut writable = ForkRequest::new("two");
    writable.read_only = Some(false);
    fork::fork(&world.disks, "one", writable).unwrap();
    fork::fork(&world.disks, "one", ForkRequest::new("three")).unwrap();
    drop(world);
    let world = World::of(store, 100);
    for (name, read_only) in [("one", true), ("two", false), ("three", true)] {
        let disk = describe::get(&world.disks, name).unwrap();
        assert_eq!((disk.read_only, disk.detect_zeroes), (read_only, true));
        let mut guest = Guest::attach(std::path::Path::new(&disk.socket));
        assert_eq!(guest.q().write(0, &[1; 512]).is_err(), read_only, "{name}");
    }
    create::put(&world.disks, "one", settings).unwrap();
}
