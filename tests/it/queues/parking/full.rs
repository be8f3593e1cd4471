//! Disks without memory: their writes fail or wait, and waiting ones continue when there is memory.

use std::time::Duration;

use super::*;
use crate::driver::disk::segment;
use crate::driver::memory::MIB;
use crate::driver::status::{IOERR, OK};
use ramblk::store::Change;

const SECOND: Duration = Duration::from_secs(1);

/// Write pages until one must wait, and return its number. It is request 0.
fn fill_up(place: &Place, ring: &mut Ring) -> u64 {
    for page in 0..1000 {
        ring.page(0, OUT, page);
        if ring.next(A_WHILE).is_none() {
            place.waits(0, 1);
            return page;
        }
        assert_eq!(ring.status_of(0), OK, "page {page}");
    }
    panic!("the disk does not fill up");
}

#[test]
fn a_write_that_finds_no_memory_fails_where_it_is_to_and_is_counted() {
    let place = Place::bounded(MIB, OnFull::Error);
    let mut disk = place.attach(1);
    let q = disk.q();
    fill(q, 200);
    (1..80).for_each(|number| q.page(number, OUT, FRESH + u64::from(number)));
    q.all(79, SECOND);
    let failed = (1..80)
        .filter(|number| q.status_of(*number) == IOERR)
        .count();
    assert!(failed > 20, "{failed}");
    assert_eq!(place.volume().full_events(), failed as u64);
    assert_eq!(place.volume().stalled(), 0);
}

#[test]
fn a_write_that_waits_for_memory_goes_on_when_the_quota_is_raised() {
    for tracked in [false, true] {
        let place = Place::bounded(MIB, OnFull::Stall);
        let (mut disk, _region) = match tracked {
            true => {
                let (disk, region) = place.attach_tracked(1);
                (disk, Some(region))
            }
            false => (place.attach(1), None),
        };
        let page = fill_up(&place, disk.q());
        let q = disk.q();
        (1..40).for_each(|number| q.page(number, OUT, FRESH + u64::from(number)));
        assert_eq!(q.next(A_WHILE), None);
        place.waits(0, if tracked { 40 } else { 1 });
        assert_eq!(place.volume().full_events(), if tracked { 40 } else { 1 });
        place.store.open("disk").unwrap().set_quota(None).unwrap();
        let q = disk.q();
        q.all(40, SECOND);
        assert!((0..40).all(|number| q.status_of(number) == OK));
        assert_eq!(read_back(q, 41, page), 0x80);
        assert_eq!(read_back(q, 41, FRESH + 39), 39 | 0x80);
        place.waits(0, 0);
    }
}

#[test]
fn behind_a_write_that_waits_for_memory_the_guest_reads_overwrites_and_discards() {
    let place = Place::bounded(MIB, OnFull::Stall);
    let (mut disk, _region) = place.attach_tracked(1);
    let page = fill_up(&place, disk.q());
    let q = disk.q();
    q.page(1, IN, 0);
    q.page(2, OUT, 0);
    assert_eq!(q.all(2, SECOND), [1, 2]);
    assert_eq!(q.status_of(2), OK);
    // The write waits for the memory that this discard frees.
    q.trim(3, segment(8 * 8, 64 * 8, 0));
    let mut came = q.all(2, SECOND);
    came.sort_unstable();
    assert_eq!(came, [0, 3]);
    assert_eq!((q.status_of(0), q.status_of(3)), (OK, OK));
    assert_eq!(read_back(q, 4, page), 0x80);
    assert_eq!(place.volume().stalled(), 0);
}

#[test]
fn a_discard_on_another_queue_frees_a_write_that_keeps_its_order() {
    let place = Place::bounded(MIB, OnFull::Stall);
    let mut disk = place.attach(2);
    fill_up(&place, disk.q());
    disk.queues[1].trim(3, segment(8 * 8, 64 * 8, 0));
    disk.queues[1].all(1, SECOND);
    assert_eq!(disk.q().all(1, SECOND), [0]);
    assert_eq!(disk.q().status_of(0), OK);
}

#[test]
fn long_writes_wait_as_a_whole() {
    let place = Place::bounded(MIB, OnFull::Stall);
    let (mut disk, _region) = place.attach_tracked(1);
    let q = disk.q();
    // 2 MiB in one request, with room for half of it.
    let bytes = 2 << 20;
    let (header, status, data) = q.at(0);
    q.mem.write(header, &request_header(OUT, 0));
    q.mem.fill(status, 1, UNTOUCHED);
    q.mem.fill(data, bytes, 0x99);
    let pieces = [
        readable_at(header, 16),
        readable_at(data, bytes as u32),
        writable_at(status, 1),
    ];
    let head = q.direct(0, &pieces);
    q.submit(head);
    place.waits(0, 1);
    assert_eq!(disk.q().next(A_WHILE), None);
    let handle = place.store.open("disk").unwrap();
    handle.set_quota(Some(4 << 20)).unwrap();
    disk.q().all(1, SECOND);
    assert_eq!(disk.q().status_of(0), OK);
    assert_eq!(handle.get_info().unwrap().mapped_bytes, bytes as u64);
}

#[test]
fn whether_writes_wait_or_fail_can_be_changed_while_they_do() {
    for tracked in [false, true] {
        let place = Place::bounded(MIB, OnFull::Stall);
        let (mut disk, _region) = match tracked {
            true => {
                let (disk, region) = place.attach_tracked(1);
                (disk, Some(region))
            }
            false => (place.attach(1), None),
        };
        let handle = place.store.open("disk").unwrap();
        let set = |on_full| {
            let change = Change {
                on_full: Some(on_full),
                ..Change::default()
            };
            handle.change(&change, None).unwrap();
        };
        fill_up(&place, disk.q());
        (1..10).for_each(|number| disk.q().page(number, OUT, FRESH + u64::from(number)));
        set(OnFull::Error);
        let q = disk.q();
        q.all(10, SECOND);
        assert!((0..10).all(|number| q.status_of(number) == IOERR));
        set(OnFull::Stall);
        q.page(0, OUT, FRESH);
        assert_eq!(q.next(A_WHILE), None);
    }
}
