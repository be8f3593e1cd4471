//! What is volatile, and for how long.

use ramblk::model::{Because, Keep, LostFate, StableBy};

use super::super::World;
use super::{attach, bytes, complete, cut, put_flush, put_write, settings, volatile};
use crate::driver::disk::{ALL, Disk as Guest, segment};
use crate::driver::feature;

#[test]
fn what_no_flush_covers_is_lost_and_what_one_does_is_there() {
    let world = World::new(64 << 20);
    let mut guest = attach(&world, "one");
    let q = guest.q();
    q.write(0, &[1; 1024]).unwrap();
    q.flush().unwrap();
    q.write(1, &[2; 1024]).unwrap();
    assert_eq!(q.read(0, 512).unwrap(), [1; 512]);
    assert_eq!(q.read(1, 512).unwrap(), [2; 512]);
    let now = volatile(&world, "one");
    assert_eq!((now.writes, now.bytes), (1, 1024));
    assert_eq!(now.stable_by, StableBy::Flush);
    let cut = cut(&world, "one", Keep::None);
    let disk = &cut.disks[0];
    assert_eq!((disk.volatile_writes, disk.lost_writes), (1, 1));
    assert_eq!(disk.disconnected, 1);
    assert!(disk.hint.is_some());
    let lost = &disk.lost[0];
    assert_eq!((lost.start_bytes, lost.length_bytes), (512, 1024));
    assert_eq!(
        (lost.fate, lost.because),
        (LostFate::Lost, Because::NoFlush)
    );
    assert_eq!(bytes(&world, "one", 4), [1, 1, 0, 0]);
    assert_eq!(volatile(&world, "one").writes, 0);
}

/// The requests of one batch: the flush was submitted before the write completed.
#[test]
fn a_flush_does_not_cover_a_write_that_was_in_flight_with_it() {
    let world = World::new(64 << 20);
    let mut guest = attach(&world, "one");
    let q = guest.q();
    put_write(q, 0, 0, 1);
    put_flush(q, 1);
    complete(q, 2);
    assert_eq!(volatile(&world, "one").writes, 1);
    // More than one batch of the worker, all submitted at once: the flush is in the last one.
    for slot in 0..40 {
        put_write(q, slot, u64::from(slot), 2);
    }
    put_flush(q, 40);
    complete(q, 41);
    assert_eq!(
        volatile(&world, "one").writes,
        40,
        "the first one is covered"
    );
    put_flush(q, 0);
    complete(q, 1);
    assert_eq!(volatile(&world, "one").writes, 0);
    let cut = cut(&world, "one", Keep::None);
    assert_eq!(cut.disks[0].lost, []);
    assert_eq!(bytes(&world, "one", 41), [&[2; 40][..], &[0]].concat());
}

#[test]
fn discards_and_zeroes_are_volatile_too() {
    let world = World::new(64 << 20);
    let mut guest = attach(&world, "one");
    let q = guest.q();
    q.write(0, &[1; 4096]).unwrap();
    q.flush().unwrap();
    q.discard(&[segment(0, 2, 0)]).unwrap();
    q.write_zeroes(&[segment(2, 1, 0), segment(3, 1, 1)])
        .unwrap();
    assert_eq!(q.read(0, 2048).unwrap(), [0; 2048]);
    assert_eq!(volatile(&world, "one").writes, 3);
    let cut = cut(&world, "one", Keep::None);
    let kinds: Vec<&str> = cut.disks[0]
        .lost
        .iter()
        .map(|it| it.kind.as_str())
        .collect();
    assert_eq!(kinds, ["discard", "write-zeroes", "write-zeroes"]);
    assert_eq!(bytes(&world, "one", 8), [1; 8]);
}

#[test]
fn a_guest_that_turns_writeback_off_and_on_again() {
    let world = World::new(64 << 20);
    let mut guest = attach(&world, "one");
    guest.q().write(0, &[1; 1024]).unwrap();
    guest.client.set_writeback(0);
    assert_eq!(volatile(&world, "one").stable_by, StableBy::WriteThrough);
    // Stable, and on top of the volatile one in its sector.
    guest.q().write(1, &[2; 512]).unwrap();
    guest.client.set_writeback(1);
    guest.q().write(2, &[3; 512]).unwrap();
    let now = volatile(&world, "one");
    assert_eq!((now.writes, now.stable_by), (2, StableBy::Flush));
    cut(&world, "one", Keep::None);
    assert_eq!(bytes(&world, "one", 3), [0, 2, 0]);
}

#[test]
fn a_stable_write_stays_on_top_of_a_volatile_one_before_it() {
    let world = World::new(64 << 20);
    let mut guest = attach(&world, "one");
    guest.q().write(0, &[1; 1024]).unwrap();
    guest.client.set_writeback(0);
    guest.q().write(1, &[2; 512]).unwrap();
    for seed in 0..20 {
        let request = ramblk::model::PowerCutRequest {
            seed,
            torn: true,
            tear_unit_bytes: Some(512),
            fork: Some(format!("fork-{seed}")),
            ..super::request("one", Keep::Reorder)
        };
        super::cut_with(&world, &request).unwrap();
        let name = format!("fork-{seed}");
        assert_eq!(bytes(&world, &name, 2)[1], 2, "seed {seed}");
    }
}

#[test]
fn a_driver_that_can_not_flush_loses_nothing() {
    let world = World::new(64 << 20);
    let socket = world.create_with("one", settings());
    let without = ALL & !(feature::FLUSH | feature::CONFIG_WCE);
    let mut guest = Guest::attach_with(&socket, without, 1, 256);
    guest.q().write(0, &[1; 512]).unwrap();
    let now = volatile(&world, "one");
    assert_eq!((now.writes, now.stable_by), (0, StableBy::NoFlush));
    cut(&world, "one", Keep::None);
    assert_eq!(bytes(&world, "one", 1), [1]);
}

/// Two queues: what completed on one is covered by a later flush on the other.
#[test]
fn a_flush_covers_the_writes_of_other_queues() {
    let world = World::new(64 << 20);
    let socket = world.create_with("one", settings());
    let mut guest = Guest::attach_with(&socket, ALL, 2, 64);
    guest.queues[0].write(0, &[1; 512]).unwrap();
    guest.queues[1].flush().unwrap();
    guest.queues[0].write(1, &[2; 512]).unwrap();
    assert_eq!(volatile(&world, "one").writes, 1);
    cut(&world, "one", Keep::None);
    assert_eq!(bytes(&world, "one", 2), [1, 0]);
}

/// Longer than a step, and than what is logged as one write.
#[test]
fn a_long_write_is_volatile_as_a_whole_and_stable_after_a_flush() {
    let world = World::new(64 << 20);
    let mut guest = attach(&world, "one");
    let q = guest.q();
    let long = vec![7; 2 << 20];
    q.write(0, &long).unwrap();
    assert_eq!(volatile(&world, "one").writes, 1);
    q.flush().unwrap();
    q.write(0, &vec![8; 2 << 20]).unwrap();
    cut(&world, "one", Keep::None);
    assert_eq!(bytes(&world, "one", 4096), vec![7; 4096]);
}
