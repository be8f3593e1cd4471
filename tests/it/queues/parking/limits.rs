//! Rates: kept, shared, changed, and without effect on others.

use std::num::NonZeroU64;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ramblk::device::{Limit, Limiter, Limits};

use super::*;
use crate::driver::kind::{FLUSH, GET_ID};
use crate::driver::status::OK;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_disk_has_as_many_requests_a_second_as_it_may_have() {
    let place = Place::new();
    place.limit(&total(iops(400)));
    let mut disk = place.attach(1);
    is_about(count_for(&mut [disk.q()], 8, IN, PAGE, SECOND), 400);
    assert!(place.volume().throttled_total() > 300);
}

#[test]
fn a_disk_has_as_many_bytes_a_second_as_it_may_have() {
    let place = Place::new();
    place.limit(&total(bandwidth(8 << 20)));
    let (mut disk, _region) = place.attach_tracked(1);
    // Each moves a sixteenth of a megabyte.
    let count = count_for(&mut [disk.q()], 4, OUT, 16 << 10, SECOND);
    is_about(count, 512);
}

#[test]
fn one_request_at_a_time_has_the_same_rate_as_many() {
    let place = Place::new();
    place.limit(&writes(iops(300)));
    let mut disk = place.attach(1);
    is_about(count_for(&mut [disk.q()], 1, OUT, PAGE, SECOND), 300);
}

#[test]
fn reads_and_writes_have_limits_of_their_own_beside_that_of_both() {
    let place = Place::new();
    place.limit(&Limits {
        total: iops(300),
        read: iops(100),
        write: Limit::default(),
    });
    let (mut disk, _region) = place.attach_tracked(2);
    let reads = count_for(&mut [disk.q()], 4, IN, PAGE, SECOND);
    is_about(reads, 100);
    // What the reads of the first queue leave.
    let writes = count_for(&mut [&mut disk.queues[1]], 4, OUT, PAGE, SECOND);
    is_about(writes, 300);
}

#[test]
fn a_burst_goes_at_once_and_what_is_more_at_its_rate() {
    let place = Place::new();
    let limit = Limit {
        iops_burst: 40,
        ..iops(20)
    };
    place.limit(&total(limit));
    let mut disk = place.attach(1);
    let began = Instant::now();
    (0..60).for_each(|number| disk.q().page(number, IN, 0));
    disk.q().all(40, SOON);
    // One every 50 ms after the first.
    let next = began + Duration::from_millis(40);
    disk.q().all(2, Duration::from_secs(2));
    assert!(Instant::now() > next, "after {:?}", began.elapsed());
    std::thread::sleep(Duration::from_millis(400));
    let more = disk.q().used_idx() - 42;
    let most = began.elapsed().as_millis() as u16 / 50;
    assert!((4..=most).contains(&more), "{more} of {most}");
}

#[test]
fn a_request_longer_than_the_burst_leaves_the_disk_in_debt() {
    let place = Place::new();
    place.limit(&total(bandwidth(1 << 20)));
    let mut disk = place.attach(1);
    // Two of 64 KiB take an eighth of a second; the third must wait for both.
    let began = Instant::now();
    (0..3).for_each(|number| disk.q().sized(number, IN, 0, 64 << 10));
    disk.q().all(1, SOON);
    disk.q().all(2, Duration::from_secs(2));
    let took = began.elapsed();
    assert!(took > Duration::from_millis(110), "{took:?}");
    assert!(took < Duration::from_millis(900), "{took:?}");
}

#[test]
fn disks_and_queues_of_a_group_share_its_limit() {
    let group = Limiter::new(&total(iops(300)));
    let places = [Place::new(), Place::new()];
    for place in &places {
        place.volume().set_group(Some(group.clone()));
    }
    let mut one = places[0].attach(2);
    let mut other = places[1].attach(1);
    let (first, second) = one.queues.split_at_mut(1);
    let mut rings = [&mut first[0], &mut second[0], &mut other.queues[0]];
    let count = count_for(&mut rings, 4, IN, PAGE, SECOND);
    is_about(count, 300);
    // Each gets its share.
    for ring in rings {
        assert!(ring.used_idx() > 60, "{}", ring.used_idx());
    }
    // Outside the group there is no limit.
    places[0].volume().set_group(None);
    assert!(places[0].volume().group().is_none());
    let count = count_for(&mut [&mut one.queues[0]], 4, IN, PAGE, A_WHILE);
    assert!(count > 100, "{count}");
}

#[test]
fn limits_that_change_are_noticed_by_those_that_wait() {
    for tracked in [false, true] {
        let place = Place::new();
        place.limit(&total(iops(1)));
        let (mut disk, _region) = match tracked {
            true => {
                let (disk, region) = place.attach_tracked(1);
                (disk, Some(region))
            }
            false => (place.attach(1), None),
        };
        (0..20).for_each(|number| disk.q().page(number, IN, 0));
        disk.q().all(1, SOON);
        assert_eq!(disk.q().next(A_WHILE), None);
        place.waits(if tracked { 19 } else { 1 }, 0);
        // Faster, then unlimited.
        place.limit(&total(iops(100)));
        disk.q().all(4, SECOND);
        place.limit(&Limits::default());
        disk.q().all(15, SOON);
        place.waits(0, 0);
        assert_eq!(place.volume().limits(), Limits::default());
        // And slower again.
        place.limit(&total(iops(1)));
        (0..5).for_each(|number| disk.q().page(number, IN, 0));
        disk.q().all(1, SOON);
        assert_eq!(disk.q().next(A_WHILE), None);
    }
}

#[test]
fn a_queue_whose_requests_wait_is_in_nobodys_way() {
    let limited = Place::new();
    limited.limit(&writes(iops(1)));
    let mut disk = limited.attach(2);
    (0..20).for_each(|number| disk.q().page(number, OUT, 0));
    disk.q().all(1, SOON);
    let began = Instant::now();
    for _ in 0..300 {
        disk.queues[1].page(0, IN, 0);
        disk.queues[1].all(1, SECOND);
    }
    assert!(began.elapsed() < SECOND, "{:?}", began.elapsed());
}

#[test]
fn flushes_and_the_serial_are_free() {
    let place = Place::new();
    place.limit(&total(iops(1)));
    let mut disk = place.attach(1);
    let began = Instant::now();
    for _ in 0..20 {
        assert_eq!(disk.q().request(FLUSH, 0, &[], 0).status, OK);
        assert_eq!(disk.q().request(GET_ID, 0, &[], 20).status, OK);
    }
    assert!(began.elapsed() < SECOND);
}

#[test]
fn discards_count_as_writes_of_no_bytes() {
    let place = Place::new();
    let limit = Limit {
        iops: NonZeroU64::new(50),
        ..bandwidth(1 << 20)
    };
    place.limit(&writes(limit));
    let mut disk = place.attach(1);
    let began = Instant::now();
    let all = Segment {
        sector: 0,
        sectors: 64 << 11,
        flags: 0,
    };
    for _ in 0..11 {
        disk.q().trim(0, all);
        disk.q().all(1, SECOND);
    }
    // 64 MiB each would take more than a minute; it is ten times a fiftieth of a second.
    let took = began.elapsed();
    let (least, most) = (Duration::from_millis(190), SECOND);
    assert!((least..most).contains(&took), "{took:?}");
}

#[test]
fn what_waits_is_in_flight_and_its_wait_is_part_of_its_latency() {
    for tracked in [false, true] {
        let place = Place::new();
        place.limit(&writes(iops(10)));
        let (mut disk, _region) = match tracked {
            true => {
                let (disk, region) = place.attach_tracked(1);
                (disk, Some(region))
            }
            false => (place.attach(1), None),
        };
        (0..4).for_each(|number| disk.q().page(number, OUT, 0));
        disk.q().all(1, SOON);
        let waiting = if tracked { 3 } else { 1 };
        place.waits(waiting, 0);
        assert_eq!(place.volume().stats().total().in_flight, waiting);
        disk.q().all(3, Duration::from_secs(2));
        place.waits(0, 0);
        let total = place.volume().stats().total();
        assert_eq!((total.writes.completed, total.in_flight), (4, 0));
        // A tenth of a second, two tenths and three; in order, each waits only once it is the
        // first.
        let least = Duration::from_millis(if tracked { 590 } else { 280 });
        assert!(
            u128::from(total.writes.time_ns) > least.as_nanos(),
            "{total:?}"
        );
    }
}

#[test]
fn no_more_is_in_flight_than_the_driver_has_out_while_limits_hold_requests_back() {
    const DEPTH: u16 = 16;
    let place = Place::new();
    place.limit(&writes(iops(400)));
    let mut disk = place.attach(1);
    let is_over = AtomicBool::new(false);
    let most = std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut most = 0;
            while !is_over.load(Ordering::Relaxed) {
                most = place.volume().stats().total().in_flight.max(most);
            }
            most
        });
        for _ in 0..10 {
            (0..DEPTH).for_each(|number| disk.q().page(number, OUT, 0));
            disk.q().all(DEPTH.into(), SECOND);
        }
        is_over.store(true, Ordering::Relaxed);
        watcher.join().unwrap()
    });
    assert!((1..=u64::from(DEPTH)).contains(&most), "{most} in flight");
}
