//! Faults on command: which requests they hold or fail, and that they are decided about once.

use std::time::Instant;

use ramblk::device::faults::Rule;

use super::*;
use crate::driver::client::Client;
use crate::driver::kind::FLUSH;
use crate::driver::status::{IOERR, OK, UNSUPP};

/// Have these rules on the disk, with ids in their order.
fn rules(place: &Place, texts: &[&str]) {
    let parse = |(at, text): (usize, &&str)| {
        let mut rule: Rule = text.parse().unwrap();
        rule.id.get_or_insert(format!("f{at}"));
        rule
    };
    let rules = texts.iter().enumerate().map(parse).collect();
    place.volume().set_faults(rules);
}

fn held(place: &Place, count: u64) {
    eventually("requests are held", || place.volume().held() == count);
}

/// How often the first rule has fired, and for how many requests it was asked.
fn fired(place: &Place) -> (u64, u64) {
    let rule = &place.volume().faults().list()[0];
    (rule.fired, rule.requests)
}

#[test]
fn a_request_fails_for_its_operation_and_range_and_no_other_does() {
    let place = Place::new();
    rules(
        &place,
        &[
            "error,op=write,range=4K+4K",
            "unsupported,op=read,range=16K+512",
        ],
    );
    let (mut disk, _region) = place.attach_tracked(1);
    let q = disk.q();
    for (number, kind, page, status) in [
        (0, OUT, 0, OK),
        (1, OUT, 1, IOERR),
        (2, IN, 1, OK),
        (3, OUT, 2, OK),
        (4, IN, 4, UNSUPP),
        (5, OUT, 4, OK),
    ] {
        q.page(number, kind, page);
        assert_eq!(q.next(SOON), Some(number));
        assert_eq!(q.status_of(number), status, "{number}");
    }
    // A request with a byte in the range counts, however it is cut.
    q.sized(6, OUT, 7, 1024);
    q.sized(7, OUT, 16, 512);
    assert_eq!(q.all(2, SOON).len(), 2);
    assert_eq!((q.status_of(6), q.status_of(7)), (IOERR, OK));
    assert_eq!(fired(&place), (2, 2));
    assert_eq!(
        place
            .store
            .open("disk")
            .unwrap()
            .get_info()
            .unwrap()
            .mapped_bytes,
        3 * 4096
    );
    let log = place.volume().faults().log();
    let said = log
        .firings
        .iter()
        .map(|it| (it.number, it.range.start_bytes));
    assert_eq!(said.collect::<Vec<_>>(), [(1, 4096), (1, 16384), (2, 3584)]);
}

#[test]
fn a_delayed_request_is_overtaken_and_counted_once() {
    let place = Place::new();
    rules(&place, &["delay=80ms,op=write,range=0+4K"]);
    let (mut disk, _region) = place.attach_tracked(1);
    let q = disk.q();
    let began = Instant::now();
    q.page(0, OUT, 0);
    q.page(1, OUT, 1);
    q.page(2, IN, 0);
    let mut first = q.all(2, SOON);
    first.sort_unstable();
    assert_eq!(first, [1, 2]);
    held(&place, 1);
    assert_eq!(q.all(1, 2 * SOON), [0]);
    let took = began.elapsed();
    assert!((80..150).contains(&took.as_millis()), "{took:?}");
    assert_eq!(q.status_of(0), OK);
    assert_eq!(fired(&place), (1, 1), "decided about once");
    held(&place, 0);
}

#[test]
fn delayed_requests_go_on_in_the_order_of_their_moments() {
    let place = Place::new();
    rules(&place, &["delay=90ms,range=0+4K", "delay=30ms,range=4K+4K"]);
    let (mut disk, _region) = place.attach_tracked(1);
    let q = disk.q();
    q.page(0, OUT, 0);
    q.page(1, OUT, 1);
    assert_eq!(q.all(2, 2 * SOON), [1, 0]);
}

#[test]
fn a_stalled_request_goes_on_when_its_rule_is_released_and_others_stay() {
    let place = Place::new();
    rules(&place, &["stall,range=0+4K", "stall,range=4K+4K"]);
    let (mut disk, _region) = place.attach_tracked(1);
    let q = disk.q();
    (0..3).for_each(|number| q.page(number, OUT, u64::from(number)));
    assert_eq!(q.all(1, SOON), [2]);
    held(&place, 2);
    assert_eq!(q.next(A_WHILE), None);
    assert!(place.volume().faults().release("f1"));
    assert!(!place.volume().faults().release("other"));
    assert_eq!(q.all(1, SOON), [1]);
    assert_eq!(q.status_of(1), OK);
    assert_eq!(q.next(A_WHILE), None);
    // The rule is still there for later ones.
    q.page(1, OUT, 1);
    held(&place, 2);
    rules(&place, &[]);
    let mut last = q.all(2, SOON);
    last.sort_unstable();
    assert_eq!(last, [0, 1]);
    held(&place, 0);
    q.page(3, OUT, 0);
    assert_eq!(q.all(1, SOON), [3]);
}

#[test]
fn a_stall_ends_with_its_time() {
    let place = Place::new();
    rules(&place, &["stall,for=50ms"]);
    let (mut disk, _region) = place.attach_tracked(1);
    let q = disk.q();
    (0..5).for_each(|number| q.page(number, OUT, 0));
    held(&place, 5);
    assert_eq!(q.all(5, 2 * SOON), [0, 1, 2, 3, 4]);
    q.page(0, OUT, 0);
    assert_eq!(q.all(1, A_WHILE), [0], "it is over");
}

#[test]
fn a_ring_stops_at_once_and_what_was_stalled_failed() {
    for tracked in [true, false] {
        let place = Place::new();
        rules(&place, &["stall,op=write"]);
        let (mut disk, region) = match tracked {
            true => {
                let (disk, region) = place.attach_tracked(1);
                (disk, Some(region))
            }
            false => (place.attach(1), None),
        };
        (0..20).for_each(|number| disk.q().page(number, OUT, 0));
        let waiting = if tracked { 20 } else { 1 };
        held(&place, waiting);
        let began = Instant::now();
        let base = disk.client.stop(0);
        assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
        held(&place, 0);
        let q = disk.q();
        let returned = q.all(waiting as usize, SOON);
        assert_eq!(u64::from(base), waiting, "what is behind stays in the ring");
        assert!(returned.iter().all(|&number| q.status_of(number) == IOERR));
        assert!(region.is_none_or(|region| region.queue(0).marked().is_empty()));
        assert_eq!(fired(&place), (waiting, waiting));
    }
}

#[test]
fn a_ring_that_keeps_its_order_waits_behind_the_held_one() {
    let place = Place::in_order();
    rules(
        &place,
        &["delay=200ms,range=0+4K,times=1", "stall,op=flush"],
    );
    let mut disk = place.attach(1);
    let q = disk.q();
    q.page(0, OUT, 0);
    q.page(1, OUT, 1);
    assert_eq!(q.next(A_WHILE), None);
    assert_eq!(q.all(2, 4 * SOON), [0, 1]);
    assert_eq!(fired(&place), (1, 1), "however often it was looked at");
    let (header, status, _) = q.at(2);
    q.mem.write(header, &request_header(FLUSH, 0));
    q.mem.fill(status, 1, UNTOUCHED);
    let head = q.direct(6, &[readable_at(header, 16), writable_at(status, 1)]);
    q.submit(head);
    held(&place, 1);
    assert!(place.volume().faults().release("f1"));
    assert_eq!(q.next(SOON), Some(2));
}

#[test]
fn a_write_of_a_full_disk_that_stalls_waits_until_the_fault_is_gone() {
    let place = Place::with(|spec| spec.on_full = OnFull::Stall);
    rules(&place, &["full,op=write"]);
    let (mut disk, _region) = place.attach_tracked(1);
    let q = disk.q();
    q.page(0, OUT, 0);
    q.page(1, IN, 0);
    assert_eq!(q.all(1, SOON), [1]);
    held(&place, 1);
    rules(&place, &[]);
    assert_eq!(q.all(1, SOON), [0]);
    assert_eq!(q.status_of(0), OK);
}

#[test]
fn a_disconnected_front_end_finds_its_request_when_it_comes_back() {
    let place = Place::new();
    rules(&place, &["disconnect,op=write,range=4K+4K,times=1"]);
    let (mut disk, region) = place.attach_tracked(1);
    disk.q().page(0, OUT, 0);
    assert_eq!(disk.q().all(1, SOON), [0]);
    disk.q().page(1, OUT, 1);
    eventually("the connection ends", || place.server.sessions() == 0);
    assert_eq!(disk.q().next(A_WHILE), None, "it is not answered");
    assert_eq!(region.queue(0).marked().len(), 1, "and is still in flight");
    held(&place, 0);
    assert_eq!(fired(&place), (1, 1));

    // It comes back, with memory, region and ring as they were.
    disk.client = Client::negotiated(&place.socket, ALL & !feature::EVENT_IDX);
    disk.client.set_memory(&disk.mem);
    region.give(&disk.client);
    disk.client.start(&disk.queues[0]);
    assert_eq!(disk.q().all(1, SOON), [1], "served now");
    assert_eq!(disk.q().status_of(1), OK);
    assert!(region.queue(0).marked().is_empty(), "and owed no longer");
    assert_eq!(disk.q().next(A_WHILE), None, "once");
    let written = |page: u64| {
        let mut bytes = vec![0; 4096];
        let store = place.store.open("disk").unwrap();
        store.read(page * 8, &mut [&mut bytes]).unwrap();
        bytes[0]
    };
    assert_eq!((written(0), written(1)), (0x80, 0x81));
    disk.q().page(2, OUT, 1);
    disk.q().page(3, OUT, 2);
    assert_eq!(disk.q().all(2, SOON), [2, 3], "the rule has had its time");
    assert_eq!((written(1), written(2)), (0x82, 0x83));
    assert_eq!(fired(&place), (1, 3), "it was asked for each");
}

#[test]
fn a_front_end_that_is_disconnected_again_and_again_loses_nothing() {
    let place = Place::new();
    rules(&place, &["disconnect,op=write,every=2"]);
    let (mut disk, region) = place.attach_tracked(2);
    let mut ends = 0;
    // Each second time that a page is asked for, the connection ends; the request is then served as
    // a new one, which is the third time.
    for round in 0..10 {
        for at in 0..2 {
            disk.queues[at].page(round, OUT, at as u64);
            let deadline = Instant::now() + 50 * SOON;
            while disk.queues[at].next(Duration::from_millis(1)) != Some(round) {
                assert!(Instant::now() < deadline, "queue {at} in round {round}");
                if place.server.sessions() > 0 {
                    continue;
                }
                ends += 1;
                assert_eq!(region.queue(at as u16).marked().len(), 1);
                disk.client = Client::negotiated(&place.socket, ALL & !feature::EVENT_IDX);
                disk.client.set_memory(&disk.mem);
                region.give(&disk.client);
                let queues = disk.queues.iter();
                queues.for_each(|queue| disk.client.start(queue));
            }
            assert_eq!(disk.queues[at].status_of(round), OK);
            assert!(region.queue(at as u16).marked().is_empty());
        }
    }
    assert_eq!(ends, 2 * 9, "but for the first time");
    held(&place, 0);
}

#[test]
fn a_delayed_request_has_its_other_fate_after_the_delay_and_once() {
    let place = Place::new();
    rules(&place, &["torn=1,op=write", "delay=30ms,op=write"]);
    let (mut disk, _region) = place.attach_tracked(1);
    let q = disk.q();
    q.page(0, OUT, 0);
    held(&place, 1);
    // What was decided stays, though the rules are gone.
    rules(&place, &[]);
    assert_eq!(q.all(1, 2 * SOON), [0]);
    assert_eq!(q.status_of(0), IOERR);
    assert_eq!(
        place
            .store
            .open("disk")
            .unwrap()
            .get_info()
            .unwrap()
            .mapped_bytes,
        512
    );
    q.page(1, OUT, 1);
    assert_eq!(q.all(1, SOON), [1]);
    assert_eq!(q.status_of(1), OK);
}

/// What a script of requests leaves in the log, without the numbers, which say in which order the
/// requests came.
fn log_of(workers: usize, queues: u32, seed: u64) -> Vec<(u64, String, Option<u64>, String)> {
    let place = Place::on(workers);
    let chance = format!("error,op=write,probability=0.2,seed={seed}");
    let torn = format!("torn,op=write,probability=0.1,seed={seed}");
    rules(
        &place,
        &[
            &chance,
            &torn,
            "delay=1us..50us,op=read",
            "error,every=3,op=read",
        ],
    );
    let (mut disk, _region) = place.attach_tracked(queues);
    for round in 0..20 {
        for number in 0..48 {
            let kind = if (number + round) % 3 == 0 { IN } else { OUT };
            let queue = &mut disk.queues[usize::from(number) % queues as usize];
            queue.page(number, kind, u64::from(number * 5 + round));
        }
        for (at, queue) in disk.queues.iter_mut().enumerate() {
            let count = (0..48)
                .filter(|number| number % queues as usize == at)
                .count();
            assert_eq!(queue.all(count, 10 * SOON).len(), count);
        }
    }
    let log = place.volume().faults().log();
    assert_eq!(log.dropped, 0);
    let mut said: Vec<_> = log
        .firings
        .iter()
        .map(|it| {
            let what = format!("{} {} {:?}", it.rule, it.kind, it.wait);
            (
                it.range.start_bytes,
                it.operation.name().to_owned(),
                it.asked,
                what,
            )
        })
        .collect();
    said.sort();
    said
}

#[test]
fn the_same_seed_leaves_the_same_log_on_any_number_of_workers_and_queues() {
    let one = log_of(1, 1, 1);
    assert!(one.len() > 300, "{}", one.len());
    assert_eq!(one, log_of(1, 1, 1));
    assert_eq!(one, log_of(4, 1, 1));
    let four = log_of(4, 4, 1);
    assert_eq!(four, log_of(4, 4, 1));
    assert_eq!(four, log_of(1, 4, 1));
    assert_eq!(one, four);
    assert_ne!(one, log_of(4, 4, 2), "another seed");
}

#[test]
fn hundreds_of_stalled_requests_hold_up_no_queue_and_no_stop() {
    let place = Place::new();
    rules(&place, &["stall,range=0+1M"]);
    let (mut disk, _region) = place.attach_tracked(4);
    for queue in &mut disk.queues {
        (0..79).for_each(|number| queue.page(number, OUT, u64::from(number)));
    }
    held(&place, 4 * 79);
    let began = Instant::now();
    for queue in &mut disk.queues {
        for page in 1000..1020 {
            queue.page(79, OUT, page);
            assert_eq!(queue.next(SOON), Some(79));
        }
    }
    assert!(began.elapsed() < 10 * SOON, "{:?}", began.elapsed());
    for queue in 0..4 {
        let began = Instant::now();
        disk.client.stop(queue);
        assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    }
    held(&place, 0);
    assert_eq!(fired(&place), (4 * 79, 4 * 79));
    // What was stalled failed, and changed nothing.
    let mapped = place
        .store
        .open("disk")
        .unwrap()
        .get_info()
        .unwrap()
        .mapped_bytes;
    assert_eq!(mapped, 20 * 4096);
}
