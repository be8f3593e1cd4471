//! A volatile write cache beside everything else that changes a disk.

use ramblk::daemon::disks::{DestroyOptions, change, destroy, fork, reset, snapshots};
use ramblk::model::{
    DiskPatch, DiskSettings, EventKind, ForkRequest, Keep, ProblemKind, ResetRequest, WriteCache,
};
use ramblk::store::{Store, StoreOptions};
use std::sync::Arc;

use super::super::{World, says, until};
use super::{attach, bytes, cut, settings, volatile};
use crate::driver::disk::Disk as Guest;
use crate::harness::eventually;

fn patch(world: &World, name: &str, patch: DiskPatch) {
    change::patch(&world.disks, name, patch).unwrap();
}

#[test]
fn forks_and_snapshots_hold_what_a_read_sees() {
    let world = World::new(64 << 20);
    let mut guest = attach(&world, "one");
    guest.q().write(0, &[1; 512]).unwrap();
    fork::fork(&world.disks, "one", ForkRequest::new("fork")).unwrap();
    snapshots::take(&world.disks, "one", "then").unwrap();
    assert_eq!(volatile(&world, "one").writes, 1, "of the disk it still is");
    assert_eq!(volatile(&world, "fork").writes, 0);
    cut(&world, "fork", Keep::None);
    assert_eq!(bytes(&world, "fork", 1), [1]);
    cut(&world, "one", Keep::None);
    assert_eq!(bytes(&world, "one", 1), [0]);
    let request = ResetRequest {
        to: Some("then".into()),
        force: true,
    };
    reset::reset(&world.disks, "one", request).unwrap();
    cut(&world, "one", Keep::None);
    assert_eq!(bytes(&world, "one", 1), [1]);
}

#[test]
fn a_resize_makes_all_stable_and_what_is_written_beyond_the_old_size_is_volatile() {
    let world = World::new(64 << 20);
    let mut guest = attach(&world, "one");
    guest.q().write(0, &[1; 512]).unwrap();
    let larger = DiskPatch {
        size_bytes: Some(32 << 20),
        ..DiskPatch::default()
    };
    patch(&world, "one", larger);
    assert_eq!(volatile(&world, "one").writes, 0);
    guest.q().write(40_000, &[2; 512]).unwrap();
    guest.q().flush().unwrap();
    guest.q().write(40_000, &[3; 512]).unwrap();
    cut(&world, "one", Keep::None);
    let smaller = DiskPatch {
        size_bytes: Some(16 << 20),
        shrink: true,
        ..DiskPatch::default()
    };
    let kept = fork::fork(&world.disks, "one", ForkRequest::new("large")).unwrap();
    let mut large = Guest::attach(kept.socket.as_ref());
    assert_eq!(large.q().read(40_000, 512).unwrap(), [2; 512]);
    patch(&world, "one", smaller);
    assert_eq!(bytes(&world, "one", 1), [1]);
}

#[test]
fn it_is_turned_on_and_off_only_while_no_front_end_is_connected() {
    let world = World::new(64 << 20);
    let socket = world.create("one");
    let to = |write_cache| DiskPatch {
        write_cache: Some(write_cache),
        ..DiskPatch::default()
    };
    let mut guest = Guest::attach(&socket);
    guest.q().write(0, &[1; 512]).unwrap();
    let refused = change::patch(&world.disks, "one", to(WriteCache::Volatile));
    says(refused, ProblemKind::Attached, &["detach it first"]);
    drop(guest);
    super::super::eventually("detached", || {
        change::patch(&world.disks, "one", to(WriteCache::Volatile)).is_ok()
    });
    let mut guest = Guest::attach(&socket);
    guest.q().write(0, &[2; 512]).unwrap();
    assert_eq!(volatile(&world, "one").writes, 1);
    drop(guest);
    // What was volatile is stable then.
    super::super::eventually("detached", || {
        change::patch(&world.disks, "one", to(WriteCache::Stable)).is_ok()
    });
    patch(&world, "one", to(WriteCache::Volatile));
    cut(&world, "one", Keep::None);
    assert_eq!(bytes(&world, "one", 1), [2]);
    let limit = DiskPatch {
        log_limit_bytes: Some(Some(4096)),
        ..DiskPatch::default()
    };
    let refused = change::patch(&world.disks, "one", limit);
    says(refused, ProblemKind::Invalid, &["4", "too small"]);
}

#[test]
fn a_log_that_is_full_folds_the_oldest_with_an_event() {
    let world = World::new(64 << 20);
    let mut events = world.disks.events().listen();
    let settings = DiskSettings {
        log_limit_bytes: Some(1 << 20),
        ..settings()
    };
    let mut guest = Guest::attach(&world.create_with("one", settings));
    for at in 0..300 {
        guest.q().write(8 * at, &[at as u8; 4096]).unwrap();
    }
    let folded = until(&mut events, EventKind::Folded);
    assert_eq!(folded.disk.as_deref(), Some("one"));
    let now = volatile(&world, "one");
    assert!(now.log_bytes <= 1 << 20, "{now:?}");
    assert!((150..300).contains(&now.writes), "{now:?}");
    let lost = now.writes as u64;
    cut(&world, "one", Keep::None);
    let mut guest = Guest::attach(
        ramblk::daemon::disks::describe::get(&world.disks, "one")
            .unwrap()
            .socket
            .as_ref(),
    );
    for at in 0..300 {
        let byte = if at < 300 - lost { at as u8 } else { 0 };
        assert_eq!(guest.q().read(8 * at, 512).unwrap(), [byte; 512], "{at}");
    }
}

/// The base keeps what was overwritten. If that takes the last memory, writes win.
#[test]
fn a_pool_that_is_full_folds_before_a_write_fails() {
    let world = World::new(8 << 20);
    let mut events = world.disks.events().listen();
    let mut guest = attach(&world, "one");
    let block = vec![1; 1 << 20];
    for at in 0..3 {
        guest.q().write(2048 * at, &block).unwrap();
    }
    guest.q().flush().unwrap();
    let block = vec![2; 1 << 20];
    for at in 0..3 {
        guest.q().write(2048 * at, &block).unwrap();
    }
    until(&mut events, EventKind::Folded);
    guest.q().flush().unwrap();
    cut(&world, "one", Keep::None);
    assert_eq!(bytes(&world, "one", 3 * 2048), vec![2; 3 * 2048]);
}

#[test]
fn a_restart_keeps_all_and_leaves_no_hidden_disk() {
    let store = Arc::new(Store::new(64 << 20).unwrap());
    let world = World::of(Arc::clone(&store), 10);
    let mut guest = attach(&world, "one");
    guest.q().write(0, &[1; 512]).unwrap();
    assert_eq!(store.keys().len(), 3, "{:?}", store.keys());
    drop(guest);
    world.disks.close();
    drop(world);
    // The thread of the guest's session may be the last to let go of it.
    eventually("the hidden disks are gone", || store.keys() == ["one"]);
    let world = World::of(Arc::clone(&store), 10);
    assert_eq!(volatile(&world, "one").writes, 0);
    cut(&world, "one", Keep::None);
    assert_eq!(bytes(&world, "one", 1), [1]);
    let force = DestroyOptions {
        force: true,
        ..DestroyOptions::default()
    };
    destroy::destroy(&world.disks, "one", force).unwrap();
    world.disks.close();
    drop(world);
    assert!(store.keys().is_empty(), "{:?}", store.keys());
}

/// A process that is killed leaves its hidden disks, and the next one destroys them.
#[test]
fn a_killed_daemon_leaves_the_disks_as_they_were() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("arena");
    let options = StoreOptions::new(64 << 20);
    let store = Store::create_at(&path, &options).unwrap();
    let spec = ramblk::store::DiskSpec::new(ramblk::store::SectorSize::S512, 16 << 20);
    let volatile_settings = br#"{"queues":128,"write_cache":"volatile"}"#;
    let disk = store.create_with("one", &spec, volatile_settings).unwrap();
    disk.write(0, &[&[1; 512]]).unwrap();
    let id = disk.get_info().unwrap().id;
    // As a daemon leaves them.
    for name in ["base", "log", "cut1", "cutlog1"] {
        store.fork("one", &format!("@import.{id}.{name}")).unwrap();
    }
    drop((disk, store));
    let store = Arc::new(Store::open_at(&path, &options).unwrap());
    let world = World::of(Arc::clone(&store), 10);
    assert_eq!(store.keys().len(), 3, "{:?}", store.keys());
    cut(&world, "one", Keep::None);
    assert_eq!(bytes(&world, "one", 1), [1]);
}

/// A disk that lies about its flushes, which only a power cut shows.
#[test]
fn a_flush_that_is_lost_makes_nothing_stable() {
    let world = World::new(64 << 20);
    let lying = DiskSettings {
        faults: vec!["lost-flush,times=1".into()],
        ..settings()
    };
    let mut guest = Guest::attach(&world.create_with("one", lying));
    guest.q().write(0, &[1; 512]).unwrap();
    guest.q().flush().unwrap();
    assert_eq!(volatile(&world, "one").writes, 1);
    guest.q().flush().unwrap();
    assert_eq!(volatile(&world, "one").writes, 0);
}
