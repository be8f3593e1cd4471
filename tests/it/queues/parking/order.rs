//! The order in which requests complete when some of them wait.

use std::time::Duration;

use super::*;
use crate::driver::status::OK;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn with_a_region_reads_go_past_writes_that_wait() {
    let place = Place::new();
    place.limit(&writes(iops(1)));
    let (mut disk, region) = place.attach_tracked(1);
    let q = disk.q();
    (0..4).for_each(|number| q.page(number, OUT, u64::from(number)));
    (4..8).for_each(|number| q.page(number, IN, 0));
    assert_eq!(q.all(5, SOON), [0, 4, 5, 6, 7]);
    assert_eq!(q.next(A_WHILE), None);
    // Waiting requests are recorded in the region.
    let owed = region.queue(0).owed(q.used_idx());
    assert_eq!(owed, [3, 6, 9]);
    place.waits(3, 0);
    place.limit(&Limits::default());
    let q = disk.q();
    assert_eq!(q.all(3, SOON), [1, 2, 3]);
    assert!(region.queue(0).marked().is_empty());
    for number in 0..4 {
        let byte = number as u8 | 0x80;
        assert_eq!(read_back(q, 9, number), byte);
    }
}

#[test]
fn without_a_region_all_come_back_in_their_order() {
    let place = Place::new();
    place.limit(&writes(iops(4)));
    let mut disk = place.attach(1);
    let q = disk.q();
    for number in [0, 2, 4] {
        q.page(number, OUT, 0);
        q.page(number + 1, IN, 0);
    }
    assert_eq!(q.all(6, SECOND), [0, 1, 2, 3, 4, 5]);
}

#[test]
fn a_driver_that_was_promised_order_has_it_with_a_region_too() {
    let place = Place::in_order();
    place.limit(&writes(iops(4)));
    let (mut disk, region) = place.attach_tracked(1);
    let q = disk.q();
    for number in [0, 2, 4] {
        q.page(number, OUT, 0);
        q.page(number + 1, IN, 0);
    }
    q.all(2, SOON);
    // A waiting request still belongs to the driver.
    std::thread::sleep(A_WHILE);
    assert!(region.queue(0).marked().is_empty());
    assert_eq!(q.all(4, SECOND), [2, 3, 4, 5]);
}

#[test]
fn requests_of_a_class_keep_their_order_and_are_all_carried_out() {
    let place = Place::new();
    place.limit(&total(iops(200)));
    let (mut disk, _region) = place.attach_tracked(1);
    let q = disk.q();
    // All of them overlap, so that the last one must be seen in the end.
    for number in 0..60 {
        q.page(number, if number % 3 == 0 { IN } else { OUT }, 5);
    }
    let came = q.all(60, SECOND);
    let of = |read: bool| came.iter().filter(move |n| (*n % 3 == 0) == read);
    assert!(of(true).is_sorted() && of(false).is_sorted(), "{came:?}");
    assert!((0..60).all(|number| q.status_of(number) == OK));
    place.limit(&Limits::default());
    assert_eq!(read_back(disk.q(), 61, 5), 59 | 0x80);
}

#[test]
fn a_ring_full_of_requests_that_wait_takes_no_more_than_it_has_room_for() {
    let place = Place::new();
    place.limit(&total(iops(1)));
    let (mut disk, _region) = place.attach_tracked(1);
    let q = disk.q();
    q.page(0, IN, 0);
    q.all(1, SOON);
    // A driver that breaks the rules submits one request many times.
    for _ in 0..3 {
        (0..200).for_each(|_| q.put(0));
        q.publish();
        q.kick();
        std::thread::sleep(A_WHILE);
    }
    assert!(place.volume().throttled() <= 257);
    place.limit(&Limits::default());
    let came = disk.q().all(600, 10 * SECOND);
    assert!(came.iter().all(|number| *number == 0));
}

#[test]
fn what_a_driver_changes_while_it_waits_does_no_harm() {
    let place = Place::new();
    place.limit(&total(iops(1)));
    let (mut disk, _region) = place.attach_tracked(1);
    let q = disk.q();
    (0..4).for_each(|number| q.page(number, IN, 0));
    q.all(1, SOON);
    place.waits(3, 0);
    let q = disk.q();
    // A read becomes a write behind the end, one becomes a discard, and one a chain that leads
    // nowhere.
    let headers = [1, 2].map(|number| q.at(number).0);
    q.mem.write(headers[0], &request_header(OUT, u64::MAX));
    q.mem.write(headers[1], &request_header(DISCARD, 0));
    q.set_desc(9, 0, 16, 1, 255);
    place.limit(&Limits::default());
    let q = disk.q();
    let came = q.all(2, SECOND);
    assert_eq!(came, [1, 2]);
    // The last one no longer has a byte for a status.
    assert_eq!(q.next(SECOND), Some(3));
    assert_eq!(q.status_of(3), UNTOUCHED);
}
