//! Memory runs out, and becomes available again.

use ramblk::daemon::disks::describe;
use ramblk::model::{Detail, DiskSettings, DiskState, EventKind};

use super::{World, until};
use crate::driver::disk::{Disk as Guest, segment};

/// A guest with a quota of one mebibyte.
fn attach_with_quota(world: &World) -> Guest {
    let settings = DiskSettings {
        quota_bytes: Some(1 << 20),
        ..DiskSettings::new(16 << 20)
    };
    Guest::attach(&world.create_with("one", settings))
}

#[test]
fn marks_of_a_quota_are_told_upwards_and_downwards() {
    let world = World::new(64 << 20);
    let mut events = world.disks.events().listen();
    let mut guest = attach_with_quota(&world);
    for page in 0..208 {
        guest.q().write(page * 8, &[1; 4096]).unwrap();
    }
    let event = until(&mut events, EventKind::Watermark);
    assert_eq!(
        (event.disk.as_deref(), &event.details["percent"]),
        (Some("one"), &Detail::Count(80))
    );
    assert_eq!(event.details["rising"], Detail::Flag(true));
    guest.q().discard(&[segment(0, 208 * 8, 0)]).unwrap();
    let event = until(&mut events, EventKind::Watermark);
    assert_eq!(
        (&event.details["rising"], &event.details["percent"]),
        (&Detail::Flag(false), &Detail::Count(0))
    );
}

#[test]
fn a_write_that_finds_no_memory_is_told_and_so_is_room() {
    let world = World::new(64 << 20);
    let mut events = world.disks.events().listen();
    let mut guest = attach_with_quota(&world);
    let refused = (0..300).find(|page| guest.q().write(page * 8, &[1; 4096]).is_err());
    assert!(refused.is_some_and(|page| page > 240), "{refused:?}");
    assert_eq!(
        until(&mut events, EventKind::Full).disk.as_deref(),
        Some("one")
    );
    assert_eq!(
        describe::get(&world.disks, "one").unwrap().state,
        DiskState::Full
    );
    guest.q().discard(&[segment(0, 128 * 8, 0)]).unwrap();
    until(&mut events, EventKind::Room);
    assert_eq!(
        describe::get(&world.disks, "one").unwrap().state,
        DiskState::Ok
    );
}

#[test]
fn the_pool_tells_its_marks_too() {
    let world = World::new(2 << 20);
    let mut events = world.disks.events().listen();
    let mut guest = Guest::attach(&world.create("one"));
    while describe::pool(&world.disks).charged_bytes * 10 < (2 << 20) * 9 {
        let page = describe::get(&world.disks, "one").unwrap().mapped_bytes / 4096;
        guest.q().write(page * 8, &[1; 4096]).unwrap();
    }
    let event = until(&mut events, EventKind::Watermark);
    assert_eq!(
        (event.disk, &event.details["percent"]),
        (None, &Detail::Count(80))
    );
}
