//! Front ends that break the rules. An invalid message ends its sender's connection or gets an
//! error as its answer. The process, its disk and all other front ends go on.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{MemfdFlags, ftruncate, memfd_create};

use crate::driver::client::{
    Client, PATIENCE, addresses, code, config_request, protocol, single, state, table,
};
use crate::driver::memory::{MIB, Memory, Region};
use crate::driver::ring::{Ring, new_eventfd};
use crate::driver::wire::{Answer, NEED_REPLY, REPLY, VERSION, header, message};
use crate::victim::Victim;

/// Send raw bytes, which must end the connection.
fn ends(victim: &Victim, what: &str, bytes: &[u8]) {
    let client = victim.client();
    client.wire.send(bytes, &[]);
    assert!(client.closes_within(PATIENCE), "{what}: still connected");
}

#[test]
fn a_header_of_another_version_ends_the_connection() {
    let victim = Victim::new();
    for version in [0, 2, 3] {
        ends(
            &victim,
            "version",
            &message(code::GET_FEATURES, version, &[]),
        );
    }
    victim.is_unharmed("wrong versions");
}

#[test]
fn a_reply_or_an_unknown_flag_from_the_front_end_ends_the_connection() {
    let victim = Victim::new();
    for flags in [REPLY, REPLY | NEED_REPLY, 0x10, 0x8000_0000, 0xffff_fff0] {
        ends(
            &victim,
            "flags",
            &message(code::GET_FEATURES, VERSION | flags, &[]),
        );
    }
    victim.is_unharmed("wrong flags");
}

#[test]
fn a_message_that_claims_to_be_huge_ends_the_connection_at_once() {
    let victim = Victim::new();
    for size in [0x1_0000, 0x7fff_ffff, 0x8000_0000, u32::MAX] {
        for code in [
            code::GET_FEATURES,
            code::SET_MEM_TABLE,
            code::GET_CONFIG,
            77,
        ] {
            let client = victim.client();
            client.wire.send(&header(code, VERSION, size), &[]);
            assert!(
                client.closes_within(Duration::from_secs(2)),
                "{size:#x} bytes of {code}"
            );
        }
    }
    victim.is_unharmed("huge messages");
}

#[test]
fn a_payload_of_the_wrong_size_is_refused() {
    let victim = Victim::new();
    let fixed = [
        (code::SET_FEATURES, 8),
        (code::SET_VRING_NUM, 8),
        (code::SET_VRING_ADDR, 40),
        (code::SET_VRING_BASE, 8),
        (code::SET_PROTOCOL_FEATURES, 8),
        (code::SET_VRING_ENABLE, 8),
        (code::SET_VRING_KICK, 8),
        (code::SET_MEM_TABLE, 40),
        (code::ADD_MEM_REG, 40),
        (code::REM_MEM_REG, 40),
    ];
    for (code, right) in fixed {
        for size in [0, 1, right - 1, right + 1, right + 8, 4000] {
            let refused = victim.client().refused(code, &vec![0; size], &[]);
            assert!(refused, "{size} bytes for message {code}");
        }
    }
    victim.is_unharmed("wrong sizes");
}

#[test]
fn a_connection_may_end_at_any_byte() {
    let victim = Victim::new();
    let (memory, ring_memory) = (Memory::standard(), Arc::new(Memory::standard()));
    let fds: Vec<_> = memory.regions().iter().map(Region::fd).collect();
    let bytes = table(memory.regions());
    let table = message(code::SET_MEM_TABLE, VERSION | NEED_REPLY, &bytes);
    let ring = Ring::new(&ring_memory, 0, 256, true);
    let kick = message(code::SET_VRING_KICK, VERSION, &0u64.to_le_bytes());
    for len in 1..table.len() {
        let client = Client::connect(victim.ramblk.socket());
        client.wire.send(&table[..len], &fds);
    }
    for len in 1..kick.len() {
        let client = Client::connect(victim.ramblk.socket());
        client.wire.send(&kick[..len], &[ring.kick.as_fd()]);
    }
    victim.is_unharmed("connections that ended early");
}

#[test]
fn descriptors_on_a_message_that_takes_none_are_closed() {
    let victim = Victim::new();
    let fd = new_eventfd();
    for (code, size) in [
        (code::GET_FEATURES, 0),
        (code::SET_FEATURES, 8),
        (code::SET_VRING_NUM, 8),
        (code::GET_PROTOCOL_FEATURES, 0),
        (code::SET_OWNER, 0),
        (code::GET_VRING_BASE, 8),
        (code::RESET_DEVICE, 0),
    ] {
        for count in [1, 8, 32] {
            let client = victim.client();
            client.send(code, NEED_REPLY, &vec![0; size], &vec![fd.as_fd(); count]);
            client.wire.receive(PATIENCE);
        }
    }
    victim.is_unharmed("unexpected descriptors");
}

#[test]
fn the_wrong_number_of_descriptors_is_refused() {
    let victim = Victim::new();
    let fd = new_eventfd();
    let memory = Memory::standard();
    let bytes = table(memory.regions());
    let one = single(&memory.regions()[0]);
    for count in [0, 1, 3, 5, 32, 33, 64, 250] {
        let fds = vec![memory.regions()[0].fd(); count];
        let refused = victim.client().refused(code::SET_MEM_TABLE, &bytes, &fds);
        assert!(refused, "{count} descriptors for four regions");
        if count != 1 {
            let refused = victim.client().refused(code::ADD_MEM_REG, &one, &fds);
            assert!(refused, "{count} descriptors for one region");
            let kicks = vec![fd.as_fd(); count];
            for code in [
                code::SET_VRING_KICK,
                code::SET_VRING_CALL,
                code::SET_VRING_ERR,
            ] {
                let refused = victim.client().refused(code, &[0; 8], &kicks);
                assert!(refused, "{count} descriptors for message {code}");
            }
        }
    }
    victim.is_unharmed("wrong numbers of descriptors");
}

#[test]
fn queues_that_do_not_exist_are_refused_in_every_message() {
    let victim = Victim::new();
    let fd = new_eventfd();
    // 128 queues: 128 is the first index that does not exist.
    for index in [
        128,
        129,
        255,
        256,
        0x100 + 128,
        0x1_0000,
        0x8000_0000,
        u32::MAX,
    ] {
        for code in [
            code::SET_VRING_NUM,
            code::SET_VRING_BASE,
            code::SET_VRING_ENABLE,
        ] {
            let refused = victim.client().refused(code, &state(index, 1), &[]);
            assert!(refused, "queue {index:#x} in message {code}");
        }
        let payload = addresses(index, 0x7100_0000_0000, 0x7100_0001_0000, 0x7100_0002_0000);
        assert!(
            victim.client().refused(code::SET_VRING_ADDR, &payload, &[]),
            "{index:#x}"
        );
        let client = victim.client();
        client.send(code::GET_VRING_BASE, 0, &state(index, 0), &[]);
        assert!(
            client.closes_within(PATIENCE),
            "GET_VRING_BASE of queue {index:#x}"
        );
    }
    for index in [128u64, 129, 255] {
        for code in [
            code::SET_VRING_KICK,
            code::SET_VRING_CALL,
            code::SET_VRING_ERR,
        ] {
            let payload = index.to_le_bytes();
            assert!(
                victim.client().refused(code, &payload, &[fd.as_fd()]),
                "{index} in {code}"
            );
            // Bit 8: the message carries no descriptor.
            let payload = (index | 0x100).to_le_bytes();
            assert!(
                victim.client().refused(code, &payload, &[]),
                "{index} in {code}"
            );
        }
    }
    victim.is_unharmed("queues that do not exist");
}

#[test]
fn features_that_were_not_offered_are_refused() {
    let victim = Victim::new();
    for bit in [
        0, 1, 4, 7, 15, 16, 17, 24, 26, 27, 33, 34, 35, 36, 38, 40, 41, 63,
    ] {
        let client = victim.client();
        let features = client.features() | 1 << bit;
        assert!(
            client.refused(code::SET_FEATURES, &features.to_le_bytes(), &[]),
            "bit {bit}"
        );
    }
    for bit in [1, 2, 4, 6, 7, 8, 10, 11, 14, 16, 17, 18, 20, 63] {
        let client = victim.client();
        let features = protocol::CONFIG | protocol::REPLY_ACK | 1u64 << bit;
        let payload = features.to_le_bytes();
        assert!(
            client.refused(code::SET_PROTOCOL_FEATURES, &payload, &[]),
            "protocol bit {bit}"
        );
    }
    victim.is_unharmed("features that do not exist");
}

#[test]
fn messages_of_features_that_are_not_offered_are_refused() {
    let victim = Victim::new();
    let file = memfd_create("file", MemfdFlags::CLOEXEC).unwrap();
    ftruncate(&file, MIB).unwrap();
    let named = [
        code::SET_LOG_BASE,
        code::IOTLB_MSG,
        code::POSTCOPY_ADVISE,
        code::SET_STATUS,
    ];
    let others = [0, 7, 19, 20, 23, 27, 29, 30, 33, 35, 40, 41, 44, 45, 100];
    for code in named
        .into_iter()
        .chain(others)
        .chain([0x8000_0000, u32::MAX])
    {
        for (size, fds) in [(0, 0), (8, 0), (8, 1), (16, 1), (24, 1), (40, 0), (40, 1)] {
            let client = victim.client();
            client.send(code, NEED_REPLY, &vec![0; size], &vec![file.as_fd(); fds]);
            let answer = client.wire.receive(PATIENCE);
            let success = matches!(
                &answer,
                Answer::Message(m) if m.payload.iter().all(|b| *b == 0)
            );
            assert!(!success, "message {code} with {size} bytes: {answer:?}");
        }
    }
    victim.is_unharmed("messages that do not exist");
}

#[test]
fn config_requests_that_make_no_sense_harm_nobody() {
    let victim = Victim::new();
    for (offset, size) in [
        (u32::MAX, 4),
        (u32::MAX, u32::MAX),
        (0, u32::MAX),
        (0x8000_0000, 1),
    ] {
        for (code, sent) in [
            (code::GET_CONFIG, 4),
            (code::SET_CONFIG, 4),
            (code::GET_CONFIG, 0),
        ] {
            let mut payload = config_request(offset, sent, 0);
            payload[4..8].copy_from_slice(&size.to_le_bytes());
            let client = victim.client();
            client.send(code, NEED_REPLY, &payload, &[]);
            client.wire.receive(PATIENCE);
        }
    }
    // An empty body, and a size that doesn't match the body.
    for (sent, size) in [(0, 0), (4, 8), (8, 4), (60, 0), (0, 60)] {
        let mut payload = config_request(0, sent, 0);
        payload[4..8].copy_from_slice(&u32::to_le_bytes(size));
        let client = victim.client();
        client.send(code::GET_CONFIG, NEED_REPLY, &payload, &[]);
        client.wire.receive(PATIENCE);
    }
    victim.is_unharmed("config requests");
}
