//! What a front end may accept of the offer, and what a reset leaves of it.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use crate::driver::client::{Client, PATIENCE, code};
use crate::driver::data::Random;
use crate::driver::disk::{ALL, Disk};
use crate::driver::feature;
use crate::driver::kind::IN;
use crate::driver::memory::Memory;
use crate::driver::offer::{FEATURES, PROTOCOL, works};
use crate::driver::ring::{Ring, new_eventfd};
use crate::driver::wire::Answer;
use crate::harness::Ramblk;

#[test]
fn every_subset_of_the_offered_features_is_accepted_and_the_disk_works_with_it() {
    let ramblk = Ramblk::run(&["--in-order"]);
    let offered = FEATURES | feature::IN_ORDER;
    let bits: Vec<u64> = (0..64)
        .map(|i| 1 << i)
        .filter(|b| offered & b != 0)
        .collect();
    let mut dice = Random::new(3);
    let single = bits.iter().flat_map(|bit| [*bit, offered & !bit]);
    let several = (0..40).map(|_| {
        let chosen = bits.iter().filter(|_| dice.below(2) == 0);
        chosen.fold(0, |all, bit| all | bit)
    });
    let subsets: Vec<u64> = single.chain(several).chain([0, offered]).collect();
    for subset in subsets {
        let client = Client::connect(ramblk.socket());
        client.tell(code::SET_OWNER, &[], &[]);
        client.features();
        client.set_features(subset);
        let mem = Arc::new(Memory::standard());
        client.set_memory(&mem);
        let event_idx = subset & feature::EVENT_IDX != 0;
        let mut ring = Ring::new(&mem, 0, 256, event_idx);
        client.set_up(&ring, 0);
        // With bit 30 rings wait to be enabled; without it there is no such message.
        if subset & feature::PROTOCOL != 0 {
            client.vring(code::SET_VRING_ENABLE, 0, 1);
        }
        works(&mut ring, 0);
    }
}

#[test]
fn every_subset_of_the_offered_protocol_features_is_accepted() {
    let ramblk = Ramblk::run(&[]);
    for bit in (0..64).map(|i| 1 << i).filter(|bit| PROTOCOL & bit != 0) {
        for wanted in [bit, PROTOCOL & !bit] {
            let client = Client::connect(ramblk.socket());
            client.tell(code::SET_OWNER, &[], &[]);
            client.set_features(client.features());
            client.tell(code::SET_PROTOCOL_FEATURES, &u64::to_le_bytes(wanted), &[]);
            let mem = Arc::new(Memory::standard());
            client.set_memory(&mem);
            let mut ring = Ring::new(&mem, 0, 256, true);
            client.start(&ring);
            works(&mut ring, 0);
        }
    }
}

#[test]
fn a_message_of_a_protocol_feature_that_was_not_taken_is_refused() {
    let ramblk = Ramblk::run(&[]);
    for (bit, code, size) in [
        (0, code::GET_QUEUE_NUM, 0),
        (9, code::GET_CONFIG, 20),
        (12, code::GET_INFLIGHT_FD, 24),
        (13, code::RESET_DEVICE, 0),
        (15, code::GET_MAX_MEM_SLOTS, 0),
        (19, code::CHECK_DEVICE_STATE, 0),
    ] {
        let client = Client::connect(ramblk.socket());
        client.set_features(client.features());
        let wanted = PROTOCOL & !(1 << bit);
        client.tell(code::SET_PROTOCOL_FEATURES, &wanted.to_le_bytes(), &[]);
        let mut payload = vec![0; size];
        if code == code::GET_CONFIG {
            payload[4] = 8;
        }
        client.send(code, 8, &payload, &[]);
        match client.wire.receive(PATIENCE) {
            Answer::Closed => {}
            Answer::Message(reply) => assert_ne!(reply.u64(), 0, "message {code}"),
            Answer::Silence => panic!("message {code}: no answer"),
        }
    }
}

#[test]
fn the_configuration_is_readable_before_any_feature_is_accepted() {
    let ramblk = Ramblk::run(&["--block-size", "4096"]);
    let client = Client::connect(ramblk.socket());
    client.features();
    let protocol = PROTOCOL.to_le_bytes();
    client.tell(code::SET_PROTOCOL_FEATURES, &protocol, &[]);
    let before = client.config(0, 60, 0);
    assert_eq!(before[20..24], 4096u32.to_le_bytes());
    client.set_features(FEATURES);
    assert_eq!(client.config(0, 60, 0), before);
}

#[test]
fn the_same_features_are_accepted_again_after_a_reset() {
    let ramblk = Ramblk::run(&[]);
    let mut disk = Disk::attach(ramblk.socket());
    for round in 0..3 {
        works(disk.q(), round);
        disk.client.tell(code::RESET_DEVICE, &[], &[]);
        disk.client.set_features(FEATURES);
        disk.q().begin_at(0);
        disk.client.start(&disk.queues[0]);
    }
    works(disk.q(), 0);
}

#[test]
fn a_driver_that_can_not_kick_is_served_by_polling_and_costs_little() {
    let ramblk = Ramblk::run(&[]);
    for features in [ALL, ALL & !feature::EVENT_IDX] {
        let mut disk = Disk::prepare(ramblk.socket(), features);
        for index in 0..2u32 {
            let event_idx = features & feature::EVENT_IDX != 0;
            let mut ring = Ring::new(&disk.mem, index, 128, event_idx);
            // No worker reads it.
            ring.kick = new_eventfd();
            disk.client.vring(code::SET_VRING_NUM, index, 128);
            disk.client.vring_addr(&ring);
            disk.client.vring(code::SET_VRING_BASE, index, 0);
            disk.client
                .vring_fd(code::SET_VRING_CALL, index, &ring.call);
            let polled = (0x100 | u64::from(index)).to_le_bytes();
            disk.client.tell(code::SET_VRING_KICK, &polled, &[]);
            disk.client.vring(code::SET_VRING_ENABLE, index, 1);
            disk.queues.push(ring);
        }
        for at in 0..20 {
            works(&mut disk.queues[0], at);
            std::thread::sleep(Duration::from_millis(at * at / 8));
            works(&mut disk.queues[1], at);
        }
        let before = ramblk.ticks();
        std::thread::sleep(Duration::from_secs(1));
        let ticks = ramblk.ticks() - before;
        assert!(ticks < 20, "{ticks} hundredths of a processor");
        // It can be stopped, and get a descriptor the next time.
        disk.client.stop(0);
        let ring = &disk.queues[0];
        disk.client.start(ring);
        works(&mut disk.queues[0], 0);
    }
}

/// A driver that needs no calls sets the same bit.
#[test]
fn a_driver_that_polls_for_completions_is_served() {
    let ramblk = Ramblk::run(&[]);
    let disk = Disk::prepare(ramblk.socket(), ALL);
    let mut ring = Ring::new(&disk.mem, 0, 128, true);
    disk.client.set_up(&ring, 0);
    disk.client
        .tell(code::SET_VRING_CALL, &0x100u64.to_le_bytes(), &[]);
    disk.client.vring(code::SET_VRING_ENABLE, 0, 1);
    for at in 0..10 {
        let pieces = ring.lay_out(IN, at, &[], 512);
        let head = ring.direct(0, &pieces);
        ring.submit(head);
        assert_eq!(ring.spin().id, 0);
    }
}

#[test]
fn a_message_that_is_not_served_is_answered_and_the_connection_goes_on() {
    let ramblk = Ramblk::run(&[]);
    let mut disk = Disk::attach(ramblk.socket());
    let file = new_eventfd();
    // The last ones are not defined yet.
    for unserved in [
        6,
        7,
        19,
        20,
        22,
        23,
        26,
        30,
        33,
        35,
        39,
        40,
        44,
        45,
        99,
        0x8000_0000,
    ] {
        for (size, fds) in [(0, 0), (8, 1), (40, 0), (4096, 2)] {
            let fds = vec![file.as_fd(); fds];
            let answer = disk.client.acked(unserved, &vec![0; size], &fds);
            assert!(answer.is_some_and(|no| no != 0), "{unserved}: {answer:?}");
        }
        works(disk.q(), 1);
    }
    // They need no answer and mean nothing to a disk.
    for unserved in [7, 19, 20, 39, 45, 99] {
        assert!(disk.client.send(unserved, 0, &[0; 16], &[file.as_fd()]));
    }
    assert!(disk.client.answers());
    works(disk.q(), 2);
    assert!(ramblk.stderr().contains("message skipped"));
    // The front end would wait for ever.
    for asks in [22, 28, 40, 44] {
        let client = Client::negotiated(ramblk.socket(), ALL);
        client.send(asks, 0, &[], &[]);
        assert!(client.closes_within(PATIENCE), "{asks}");
    }
}

#[test]
fn giving_up_ownership_disables_the_rings() {
    // RESET_OWNER, deprecated for long.
    let ramblk = Ramblk::run(&[]);
    let mut disk = Disk::attach(ramblk.socket());
    works(disk.q(), 0);
    disk.client.tell(code::RESET_OWNER, &[], &[]);
    let used = disk.q().used_idx();
    let pieces = disk.q().lay_out(IN, 0, &[], 512);
    let head = disk.q().direct(0, &pieces);
    disk.q().submit(head);
    std::thread::sleep(Duration::from_millis(20));
    assert_eq!(disk.q().used_idx(), used);
    // After another SET_OWNER it can be used again.
    disk.client.tell(code::SET_OWNER, &[], &[]);
    disk.client.set_features(FEATURES);
    disk.q().begin_at(0);
    disk.client.start(&disk.queues[0]);
    works(disk.q(), 0);
}

#[test]
fn a_front_end_that_gives_up_ownership_finds_its_rings_disabled_and_nothing_else() {
    // RESET_OWNER, long deprecated, should at most disable rings: front ends failed with back ends
    // that reset more than that.
    let ramblk = Ramblk::run(&[]);
    let mut disk = Disk::attach(ramblk.socket());
    works(disk.q(), 0);
    disk.client.tell(code::RESET_OWNER, &[], &[]);
    disk.client.vring(code::SET_VRING_ENABLE, 0, 0);
    let used = disk.q().used_idx();
    let pieces = disk.q().lay_out(IN, 0, &[], 512);
    let head = disk.q().direct(0, &pieces);
    disk.q().submit(head);
    std::thread::sleep(Duration::from_millis(20));
    assert_eq!(disk.q().used_idx(), used);
    disk.client.vring(code::SET_VRING_ENABLE, 0, 1);
    assert_eq!(disk.q().wait().id, u32::from(head));
    works(disk.q(), 0);
}
