//! Two front ends on one disk: `--share none` hands over, `ro` and `rw` serve both at once.

use std::time::{Duration, Instant};

use crate::driver::client::{Client, code};
use crate::driver::data::pattern;
use crate::driver::disk::{ALL, Disk};
use crate::driver::feature;
use crate::driver::kind::IN;
use crate::driver::ring::Ring;
use crate::driver::status::{IOERR, OK};
use crate::harness::Ramblk;

/// A second front end that has set up its ring and submitted a read of a sector, without waiting
/// for anything.
fn second(ramblk: &Ramblk) -> Disk {
    let mut disk = Disk::prepare(ramblk.socket(), ALL);
    // The back end may answer before or after the first front end has stopped.
    disk.client.acks = false;
    let mut ring = Ring::new(&disk.mem, 0, 256, true);
    disk.client.start(&ring);
    let pieces = ring.lay_out(IN, 0, &[], 512);
    ring.direct(0, &pieces);
    ring.submit(0);
    disk.queues.push(ring);
    disk
}

fn not_served(disk: &mut Disk) {
    assert_eq!(
        disk.q().wait_for(Duration::from_millis(300)),
        None,
        "two front ends at once"
    );
}

fn served(disk: &mut Disk) {
    assert_eq!(disk.q().wait().len, 513);
    assert_eq!(disk.q().status(), OK);
    assert_eq!(disk.q().read(0, 512), Ok(pattern(512, 9)));
}

fn first(ramblk: &Ramblk) -> Disk {
    let mut disk = Disk::attach(ramblk.socket());
    disk.q().write(0, &pattern(512, 9)).unwrap();
    disk
}

#[test]
fn a_second_front_end_may_talk_while_the_first_one_works() {
    let ramblk = Ramblk::run(&[]);
    let mut first = first(&ramblk);
    let client = Client::negotiated(ramblk.socket(), ALL);
    assert_eq!(client.capacity(), 64 * 2048);
    assert_eq!(client.get(code::GET_QUEUE_NUM).u64(), 128);
    client.set_memory(&first.mem);
    assert_eq!(first.q().read(0, 512), Ok(pattern(512, 9)));
    drop(first);
    // It may also take its time.
    assert!(client.answers());
}

#[test]
fn a_second_front_end_is_served_once_the_first_has_gone() {
    let ramblk = Ramblk::run(&[]);
    let mut first = first(&ramblk);
    let mut second = second(&ramblk);
    not_served(&mut second);
    assert_eq!(first.q().read(0, 512), Ok(pattern(512, 9)));
    drop(first);
    served(&mut second);
}

#[test]
fn a_second_front_end_is_served_once_the_first_has_stopped_its_rings() {
    // A virtual machine moves from one process to another on the same host in this way.
    let ramblk = Ramblk::run(&[]);
    let mut first = Disk::attach_with(ramblk.socket(), ALL, 2, 256);
    first.q().write(0, &pattern(512, 9)).unwrap();
    let mut second = second(&ramblk);
    not_served(&mut second);
    first.client.stop(0);
    not_served(&mut second);
    first.client.stop(1);
    served(&mut second);
    assert!(first.client.answers());
    // And back again.
    assert_eq!(second.client.stop(0), 2);
    first.client.start(&first.queues[0]);
    assert_eq!(first.q().read(0, 512), Ok(pattern(512, 9)));
}

#[test]
fn a_second_front_end_is_turned_away_after_five_seconds() {
    let ramblk = Ramblk::run(&[]);
    let mut first = first(&ramblk);
    let start = Instant::now();
    let mut second = second(&ramblk);
    assert!(second.client.closes_within(Duration::from_secs(9)));
    assert!(
        (4..8).contains(&start.elapsed().as_secs()),
        "{:?}",
        start.elapsed()
    );
    assert_eq!(second.q().pop(), None);
    // The first one noticed nothing.
    assert_eq!(first.q().read(0, 512), Ok(pattern(512, 9)));
    assert!(first.client.answers());
}

#[test]
fn a_disk_that_is_shared_read_only_serves_two_at_once() {
    let ramblk = Ramblk::run(&["--share", "ro"]);
    let mut disks = [Disk::attach(ramblk.socket()), Disk::attach(ramblk.socket())];
    for disk in &mut disks {
        assert_ne!(disk.client.features() & feature::RO, 0);
        assert_eq!(disk.q().read(0, 512), Ok(vec![0; 512]));
        assert_eq!(disk.q().write(0, &pattern(512, 1)), Err(IOERR));
    }
    for disk in &mut disks {
        assert_eq!(disk.q().read(0, 512), Ok(vec![0; 512]));
    }
}

#[test]
fn a_disk_that_is_shared_for_writing_serves_two_at_once() {
    let ramblk = Ramblk::run(&["--share", "rw"]);
    let mut disks = [Disk::attach(ramblk.socket()), Disk::attach(ramblk.socket())];
    for i in 0..20 {
        disks[0].q().write(i, &pattern(512, 3)).unwrap();
        assert_eq!(disks[1].q().read(i, 512), Ok(pattern(512, 3)));
        disks[1].q().write(i, &pattern(512, 4)).unwrap();
        assert_eq!(disks[0].q().read(i, 512), Ok(pattern(512, 4)));
    }
}

#[test]
fn a_front_end_that_breaks_its_connection_does_not_end_the_other_one() {
    let ramblk = Ramblk::run(&["--share", "rw"]);
    let mut honest = Disk::attach(ramblk.socket());
    for round in 0..20 {
        let mut other = Disk::attach(ramblk.socket());
        other.q().write(round, &pattern(512, 3)).unwrap();
        other.client.wire.send(&[0xff; 12], &[]);
        assert!(other.client.closes_within(Duration::from_secs(5)));
        assert_eq!(honest.q().read(round, 512), Ok(pattern(512, 3)));
    }
}
