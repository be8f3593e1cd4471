//! A disk that is destroyed, or taken away from its device: all waiting requests fail at once.

use super::*;
use crate::driver::memory::MIB;
use crate::driver::status::IOERR;

/// The waiting requests complete with an error, and later ones do too.
fn all_fail(disk: &mut Disk, numbers: std::ops::Range<u16>) {
    let q = disk.q();
    q.all(numbers.len(), SOON);
    assert!(numbers.clone().all(|number| q.status_of(number) == IOERR));
    (50..60).for_each(|number| q.page(number, IN, 0));
    q.all(10, SOON);
    assert!((50..60).all(|number| q.status_of(number) == IOERR));
}

fn end(place: &Place, destroy: bool) {
    if destroy {
        place.store.destroy("disk").unwrap();
    } else {
        place.volume().disconnect();
    }
}

#[test]
fn requests_over_a_limit_fail_when_their_disk_goes() {
    for destroy in [false, true] {
        let place = Place::new();
        place.limit(&total(iops(1)));
        let (mut disk, _region) = place.attach_tracked(1);
        (0..20).for_each(|number| disk.q().page(number, OUT, u64::from(number)));
        disk.q().all(1, SOON);
        place.waits(19, 0);
        end(&place, destroy);
        all_fail(&mut disk, 1..20);
    }
}

#[test]
fn writes_without_memory_fail_when_their_disk_goes() {
    for destroy in [false, true] {
        let place = Place::bounded(MIB, OnFull::Stall);
        let mut disk = place.attach(1);
        let q = disk.q();
        fill(q, 200);
        (0..80).for_each(|number| q.page(number, OUT, FRESH + u64::from(number)));
        place.waits(0, 1);
        while q.next(A_WHILE).is_some() {}
        let left = q.next_avail - q.used_idx();
        assert!(left > 10, "{left}");
        end(&place, destroy);
        all_fail(&mut disk, 80 - left..80);
    }
}
