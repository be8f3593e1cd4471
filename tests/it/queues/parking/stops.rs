//! Rings that stop, devices that are reset and front ends that disconnect while requests wait. A
//! VMM does all of that in its main loop, so it must be answered soon, whatever waits.

use std::time::Instant;

use super::*;
use crate::driver::client::code;
use crate::driver::memory::MIB;
use crate::driver::offer::works;
use crate::driver::status::{IOERR, OK};

/// The reason why a request waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum For {
    Limit,
    Room,
}

/// A disk on which writes of fresh pages wait, except for some first ones.
fn place(what: For) -> Place {
    match what {
        For::Limit => {
            let place = Place::new();
            place.limit(&writes(iops(1)));
            place
        }
        For::Room => Place::bounded(MIB, OnFull::Stall),
    }
}

/// Submit twenty writes that must wait. Returns the number of those before them that completed.
fn wait_for(place: &Place, ring: &mut Ring, what: For, tracked: bool) -> u64 {
    let mut at_once = 0;
    if what == For::Room {
        while place.volume().stalled() == 0 {
            ring.page(0, OUT, at_once);
            at_once += u64::from(ring.next(A_WHILE).is_some());
        }
        assert!(at_once > 200, "{at_once}");
        (1..20).for_each(|number| ring.page(number, OUT, FRESH + u64::from(number)));
    } else {
        (0..21).for_each(|number| ring.page(20 - number, OUT, FRESH));
        assert_eq!(ring.all(1, SOON), [20]);
        at_once = 1;
    }
    let waiting = if tracked { 20 } else { 1 };
    match what {
        For::Limit => place.waits(waiting, 0),
        For::Room => place.waits(0, waiting),
    }
    at_once
}

fn soon<T>(what: &str, act: impl FnOnce() -> T) -> T {
    let began = Instant::now();
    let result = act();
    assert!(began.elapsed() < SOON, "{what} took {:?}", began.elapsed());
    result
}

/// Release everything that waits.
fn let_go(place: &Place, what: For) {
    match what {
        For::Limit => place.limit(&Limits::default()),
        For::Room => place.store.open("disk").unwrap().set_quota(None).unwrap(),
    }
}

#[test]
fn a_stopped_ring_has_returned_what_it_took_out_of_order() {
    for what in [For::Limit, For::Room] {
        let place = place(what);
        let (mut disk, region) = place.attach_tracked(1);
        wait_for(&place, disk.q(), what, true);
        let base = soon("stopping", || disk.client.stop(0));
        place.waits(0, 0);
        let q = disk.q();
        assert_eq!(u32::from(q.next_avail), base, "{what:?}");
        q.all(20, SOON);
        let expected = match what {
            For::Limit => OK,
            For::Room => IOERR,
        };
        assert!(
            (0..20).all(|number| q.status_of(number) == expected),
            "{what:?}"
        );
        assert!(region.queue(0).marked().is_empty());
        let_go(&place, what);
        disk.client.start(&disk.queues[0]);
        works(disk.q(), 0);
    }
}

#[test]
fn a_stopped_ring_that_kept_its_order_has_the_rest_in_its_avail_ring() {
    for what in [For::Limit, For::Room] {
        let place = place(what);
        let mut disk = place.attach(1);
        wait_for(&place, disk.q(), what, false);
        let base = soon("stopping", || disk.client.stop(0));
        place.waits(0, 0);
        let q = disk.q();
        assert_eq!((u32::from(q.used_idx()), q.used_idx()), (base, q.seen));
        let_go(&place, what);
        disk.client.set_up(&disk.queues[0], base as u16);
        disk.client.vring(code::SET_VRING_ENABLE, 0, 1);
        let q = disk.q();
        q.all(20, SOON);
        assert!((0..20).all(|number| q.status_of(number) == OK), "{what:?}");
    }
}

#[test]
fn a_device_is_reset_at_once() {
    for what in [For::Limit, For::Room] {
        for tracked in [false, true] {
            let place = place(what);
            let mut disk = match tracked {
                true => place.attach_tracked(1).0,
                false => place.attach(1),
            };
            wait_for(&place, disk.q(), what, tracked);
            soon("a reset", || disk.client.tell(code::RESET_DEVICE, &[], &[]));
            place.waits(0, 0);
            let_go(&place, what);
            let features = disk.client.features() & !feature::EVENT_IDX;
            let q = disk.q();
            q.mem.fill(q.desc, 4096, 0);
            q.begin_at(0);
            disk.client.set_features(features);
            disk.client.start(&disk.queues[0]);
            works(disk.q(), 0);
        }
    }
}

#[test]
fn many_long_requests_that_wait_hold_nobody_up() {
    let place = Place::new();
    place.limit(&total(bandwidth(1)));
    let (mut disk, _region) = place.attach_tracked(2);
    // Each of the second queue's requests takes 32 MiB, all in one buffer of 256 KiB.
    let q = &mut disk.queues[1];
    q.page(84, IN, 0);
    for number in 0..20 {
        let (header, status, _) = q.at(number);
        q.mem.write(header, &request_header(IN, 0));
        q.mem.fill(status, 1, UNTOUCHED);
        let data = q.area(0x2_0000);
        let mut pieces = vec![readable_at(header, 16)];
        pieces.extend(std::iter::repeat_n(writable_at(data, 256 << 10), 126));
        pieces.push(writable_at(status, 1));
        let table = q.area(0x8_0000 + 0x1000 * u64::from(number));
        let head = q.indirect(number, &[], table, &pieces, 0);
        q.submit(head);
    }
    eventually("they wait", || place.volume().throttled() >= 20);
    // All of them together would take longer; those left after the timeout fail.
    let base = soon("stopping", || disk.client.stop(1));
    assert_eq!(u32::from(disk.queues[1].used_idx()), base);
}

#[test]
fn what_waits_outlives_changes_of_memory_and_a_ring_that_is_disabled() {
    for what in [For::Limit, For::Room] {
        for tracked in [false, true] {
            let place = place(what);
            let (mut disk, _region) = match tracked {
                true => {
                    let (disk, region) = place.attach_tracked(1);
                    (disk, Some(region))
                }
                false => (place.attach(1), None),
            };
            wait_for(&place, disk.q(), what, tracked);
            soon("a change of memory", || disk.client.set_memory(&disk.mem));
            let enable = |on: u32| disk.client.vring(code::SET_VRING_ENABLE, 0, on);
            soon("disabling", || enable(0));
            place.waits(0, 0);
            soon("enabling", || enable(1));
            // Nothing has changed or completed, except for the one that the limit allows by now.
            let came = usize::from(disk.q().next(A_WHILE).is_some());
            assert!(came == 0 || what == For::Limit, "{came}");
            let_go(&place, what);
            let q = disk.q();
            q.all(20 - came, SOON);
            assert!((0..20).all(|number| q.status_of(number) == OK), "{what:?}");
            assert_eq!(q.used_idx(), q.next_avail);
        }
    }
}

#[test]
fn the_next_session_carries_out_what_waits() {
    for what in [For::Limit, For::Room] {
        for tracked in [false, true] {
            let place = place(what);
            let (mut disk, region) = match tracked {
                true => {
                    let (disk, region) = place.attach_tracked(1);
                    (disk, Some(region))
                }
                false => (place.attach(1), None),
            };
            wait_for(&place, disk.q(), what, tracked);
            let Disk {
                client,
                mem,
                mut queues,
            } = disk;
            soon("the end of a session", || {
                drop(client);
                eventually("it ends", || place.server.sessions() == 0);
            });
            place.waits(0, 0);
            let next = Disk::prepare(&place.socket, ALL & !feature::EVENT_IDX);
            next.client.set_memory(&mem);
            if let Some(region) = &region {
                region.give(&next.client);
            }
            let ring = &mut queues[0];
            next.client.set_up(ring, ring.used_idx());
            next.client.vring(code::SET_VRING_ENABLE, 0, 1);
            let_go(&place, what);
            ring.all(20, SOON);
            assert!(
                (0..20).all(|number| ring.status_of(number) == OK),
                "{what:?}"
            );
            assert_eq!(ring.used_idx(), ring.next_avail);
        }
    }
}

#[test]
fn a_server_ends_at_once() {
    for what in [For::Limit, For::Room] {
        let place = place(what);
        let (mut disk, _region) = place.attach_tracked(1);
        wait_for(&place, disk.q(), what, true);
        let Place { server, .. } = place;
        soon("the end", || drop(server));
    }
}
