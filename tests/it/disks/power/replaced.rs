//! A volatile write cache beside what replaces content or settings: all is stable afterwards, and
//! what was saved or forked before holds what a read saw then.

use ramblk::daemon::disks::{UploadOptions, change, describe, fork, upload};
use ramblk::model::{DiskPatch, DiskSettings, EventKind, ForkRequest, Keep};
use ramblk::store::{Store, StoreOptions};
use std::path::Path;
use std::sync::Arc;

use super::super::{World, until};
use super::{attach, bytes, cut, cut_with, request, settings, volatile};
use crate::driver::client::{Client, code};
use crate::driver::disk::{ALL, Disk as Guest, segment};
use crate::driver::transfer::{load, save};

/// Save the state of a device, as a VMM does that saves its machine.
fn saved(guest: &Guest) -> Vec<u8> {
    guest.client.vring(code::SET_VRING_ENABLE, 0, 0);
    guest.client.stop(0);
    save(&guest.client)
}

/// A guest on a disk that exists.
fn attach_again(world: &World, name: &str) -> Guest {
    let shown = describe::get(&world.disks, name).unwrap();
    Guest::attach(shown.socket.as_ref())
}

fn loaded(socket: &Path, state: &[u8]) {
    let client = Client::negotiated(socket, ALL);
    assert_eq!(load(&client, state), 0);
}

#[test]
fn a_saved_state_holds_what_a_read_saw_and_all_is_stable_when_one_is_loaded() {
    let world = World::new(64 << 20);
    let socket = world.create_with("one", settings());
    let mut guest = Guest::attach(&socket);
    guest.q().write(0, &[1; 512]).unwrap();
    let state = saved(&guest);
    assert_eq!(volatile(&world, "one").writes, 1, "of the disk it still is");
    drop(guest);
    cut(&world, "one", Keep::None);
    assert_eq!(bytes(&world, "one", 1), [0]);

    let mut guest = Guest::attach(&socket);
    guest.q().write(1, &[2; 512]).unwrap();
    drop(guest);
    loaded(&socket, &state);
    assert_eq!(volatile(&world, "one").writes, 0);
    cut(&world, "one", Keep::None);
    assert_eq!(bytes(&world, "one", 2), [1, 0]);

    // The machine that goes on from it has a cache as any other.
    loaded(&socket, &state);
    let mut guest = Guest::attach(&socket);
    guest.q().write(0, &[3; 512]).unwrap();
    assert_eq!(volatile(&world, "one").writes, 1);
    cut(&world, "one", Keep::None);
    assert_eq!(bytes(&world, "one", 1), [1]);
}

#[test]
fn an_import_makes_all_stable() {
    let world = World::new(64 << 20);
    let mut guest = attach(&world, "one");
    guest.q().write(0, &[1; 512]).unwrap();
    guest.q().write(9, &[1; 512]).unwrap();
    drop(guest);
    let options = UploadOptions {
        force: true,
        ..UploadOptions::default()
    };
    let upload = upload::begin(&world.disks, "one", None, None, options).unwrap();
    upload.write(0, &[7; 4096]).unwrap();
    assert_eq!(volatile(&world, "one").writes, 2, "until it is whole");
    upload::commit(&world.disks, &upload, 4096).unwrap();
    assert_eq!(volatile(&world, "one").writes, 0);
    cut(&world, "one", Keep::None);
    assert_eq!(bytes(&world, "one", 10), [7, 7, 7, 7, 7, 7, 7, 7, 0, 0]);
}

/// What is volatile is no setting: a rig that sets a limit in the middle changes no outcome.
#[test]
fn settings_other_than_the_cache_leave_what_is_volatile_as_it_is() {
    let world = World::new(64 << 20);
    let mut guest = attach(&world, "one");
    guest.q().write(0, &[1; 512]).unwrap();
    let patches = [
        DiskPatch {
            labels: [("a".to_owned(), Some("b".to_owned()))].into(),
            ..DiskPatch::default()
        },
        DiskPatch {
            quota_bytes: Some(Some(8 << 20)),
            log_limit_bytes: Some(Some(2 << 20)),
            ..DiskPatch::default()
        },
    ];
    for patch in patches {
        change::patch(&world.disks, "one", patch).unwrap();
        assert_eq!(volatile(&world, "one").writes, 1);
    }
    cut(&world, "one", Keep::None);
    let mut guest = attach_again(&world, "one");
    assert_eq!(guest.q().read(0, 512).unwrap(), [0; 512]);
}

/// A write that the quota has no room for fails, and is not there after a cut; those before it are
/// kept or lost as any other.
#[test]
fn a_quota_that_is_full_fails_a_write_and_leaves_no_part_of_it() {
    let world = World::new(64 << 20);
    let mut events = world.disks.events().listen();
    let small = DiskSettings {
        quota_bytes: Some(1 << 20),
        ..settings()
    };
    let mut guest = Guest::attach(&world.create_with("one", small));
    guest.q().write(0, &[1; 4096]).unwrap();
    guest.q().flush().unwrap();
    guest.q().write(8, &[2; 4096]).unwrap();
    assert!(guest.q().write(2048, &vec![3; 2 << 20]).is_err());
    // The failed write may have been done in part, so what a read sees is what is there.
    until(&mut events, EventKind::Folded);
    assert_eq!(volatile(&world, "one").writes, 0);
    let seen = guest.q().read(2048, 512).unwrap();
    cut(&world, "one", Keep::None);
    let mut guest = attach_again(&world, "one");
    assert_eq!(guest.q().read(0, 512).unwrap(), [1; 512]);
    assert_eq!(guest.q().read(8, 512).unwrap(), [2; 512]);
    assert_eq!(guest.q().read(2048, 512).unwrap(), seen);
}

/// A discard that finds no memory to cut its sectors out of what is shared has no effect, and no
/// cut makes it have one.
#[test]
fn a_discard_without_effect_on_a_full_disk_has_none_after_a_cut_either() {
    for keep in [Keep::None, Keep::All] {
        let world = World::new(64 << 20);
        let small = DiskSettings {
            quota_bytes: Some(1 << 20),
            ..settings()
        };
        let mut guest = Guest::attach(&world.create_with("one", small));
        guest.q().write(8, &[2; 4096]).unwrap();
        guest.q().flush().unwrap();
        // It fills the quota.
        assert!(guest.q().write(2048, &vec![3; 2 << 20]).is_err());
        guest.q().discard(&[segment(8, 8, 0)]).unwrap();
        assert_eq!(guest.q().read(8, 4096).unwrap(), [2; 4096]);
        assert_eq!(volatile(&world, "one").writes, 0);
        guest.q().flush().unwrap();
        cut(&world, "one", keep);
        let mut guest = attach_again(&world, "one");
        assert_eq!(guest.q().read(8, 4096).unwrap(), [2; 4096], "{keep:?}");
        // With room again a discard is volatile, as ever.
        patch_quota(&world, "one", 8 << 20);
        guest.q().discard(&[segment(8, 8, 0)]).unwrap();
        assert_eq!(guest.q().read(8, 4096).unwrap(), [0; 4096]);
        assert_eq!(volatile(&world, "one").writes, 1);
        cut(&world, "one", keep);
        let mut guest = attach_again(&world, "one");
        let left = if keep == Keep::None { 2 } else { 0 };
        assert_eq!(guest.q().read(8, 4096).unwrap(), [left; 4096], "{keep:?}");
    }
}

fn patch_quota(world: &World, name: &str, quota_bytes: u64) {
    let patch = DiskPatch {
        quota_bytes: Some(Some(quota_bytes)),
        ..DiskPatch::default()
    };
    change::patch(&world.disks, name, patch).unwrap();
}

/// What remains of a cut disk is one of the others' too: forks of it before and after.
#[test]
fn a_fork_from_before_a_cut_keeps_what_the_cut_disk_lost() {
    let world = World::new(64 << 20);
    let mut guest = attach(&world, "one");
    guest.q().write(0, &[1; 512]).unwrap();
    fork::fork(&world.disks, "one", ForkRequest::new("before")).unwrap();
    cut(&world, "one", Keep::None);
    fork::fork(&world.disks, "one", ForkRequest::new("after")).unwrap();
    assert_eq!(bytes(&world, "before", 1), [1]);
    assert_eq!(bytes(&world, "after", 1), [0]);
}

/// A process that is killed in the middle of a cut of several disks leaves a record of it, and the
/// next one finishes it.
#[test]
fn a_cut_that_has_a_record_is_finished_by_the_next_daemon() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("arena");
    let options = StoreOptions::new(64 << 20);
    let store = Arc::new(Store::create_at(&path, &options).unwrap());
    let world = World::of(Arc::clone(&store), 10);
    for name in ["one", "two"] {
        let mut guest = attach(&world, name);
        guest.q().write(0, &[1; 512]).unwrap();
    }
    world.disks.close();
    drop(world);
    // As a daemon leaves it that has changed the first disk only.
    for name in ["one", "two"] {
        let disk = store.open(name).unwrap();
        let id = disk.get_info().unwrap().id;
        let key = format!("@import.{id}.cut1");
        let left = store.fork(name, &key).unwrap();
        left.set_settings(&disk.settings().unwrap()).unwrap();
        left.write(0, &[&[9; 512]]).unwrap();
        if name == "one" {
            drop(store.reset(name, &key).unwrap());
        }
    }
    let keys = store.keys();
    let key = |name: &str| {
        let id = store.open(name).unwrap().get_info().unwrap().id;
        let key = format!("@import.{id}.cut1");
        assert!(keys.contains(&key), "{keys:?}");
        key
    };
    let mut text = serde_json::to_vec(&serde_json::json!([
        { "disk": "one", "remains": key("one") },
        { "disk": "two", "remains": key("two") },
    ]))
    .unwrap();
    text.resize(512, b' ');
    let spec = ramblk::store::DiskSpec::new(ramblk::store::SectorSize::S512, 64 << 10);
    let record = store.create("@cut", &spec).unwrap();
    record.write(0, &[&text]).unwrap();
    drop(record);
    let world = World::of(Arc::clone(&store), 10);
    for name in ["one", "two"] {
        assert_eq!(bytes(&world, name, 1), [9], "{name}");
    }
    assert!(
        !store.keys().iter().any(|key| key.contains("cut")),
        "{:?}",
        store.keys()
    );
    let both = ramblk::model::PowerCutRequest {
        disks: vec!["one".into(), "two".into()],
        ..request("one", Keep::None)
    };
    cut_with(&world, &both).unwrap();
    assert!(
        !store.keys().iter().any(|key| key.contains("cut")),
        "{:?}",
        store.keys()
    );
}
