//! The conversation: the offer, the configuration space, and the message orders of real front ends.
//! Messages may arrive in any pieces.

use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::driver::client::{Client, PATIENCE, code, config_request, single, state, table};
use crate::driver::disk::ALL;
use crate::driver::feature;
use crate::driver::memory::{MIB, Memory, Region};
use crate::driver::offer::{FEATURES, PROTOCOL, works};
use crate::driver::ring::Ring;
use crate::driver::wire::{Answer, NEED_REPLY, REPLY, VERSION, message, readable};
use crate::harness::Ramblk;

fn le32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

#[test]
fn the_offered_features_are_those_of_the_design_and_no_others() {
    for (arguments, more) in [
        (&[][..], 0),
        (&["--block-size", "4096"], 0),
        (&["--queues", "1"], 0),
        (&["--read-only"], feature::RO),
    ] {
        let ramblk = Ramblk::run(arguments);
        let client = Client::connect(ramblk.socket());
        let offered = client.features();
        let expected = FEATURES | more;
        assert_eq!(
            offered,
            expected,
            "{arguments:?}: difference {:#x}",
            offered ^ expected
        );
    }
}

#[test]
fn the_offered_protocol_features_are_those_of_the_design_and_no_others() {
    let ramblk = Ramblk::run(&[]);
    let client = Client::connect(ramblk.socket());
    // Allowed before SET_FEATURES, and before SET_OWNER too.
    let offered = client.get(code::GET_PROTOCOL_FEATURES).u64();
    assert_eq!(offered, PROTOCOL, "difference {:#x}", offered ^ PROTOCOL);
}

#[test]
fn as_many_queues_are_offered_as_were_asked_for() {
    for (arguments, queues) in [
        (&[][..], 128),
        (&["--queues", "1"], 1),
        (&["--queues", "64"], 64),
    ] {
        let ramblk = Ramblk::run(arguments);
        let client = Client::negotiated(ramblk.socket(), ALL);
        assert_eq!(client.get(code::GET_QUEUE_NUM).u64(), queues);
        assert_eq!(client.config(34, 2, 0), (queues as u16).to_le_bytes());
        assert_eq!(client.get(code::GET_MAX_MEM_SLOTS).u64(), 509);
    }
}

#[test]
fn the_configuration_space_says_what_the_features_promise() {
    for block_size in [512u32, 4096] {
        let ramblk = Ramblk::run(&["--block-size", &block_size.to_string()]);
        let client = Client::negotiated(ramblk.socket(), ALL);
        let config = client.config(0, 96, 0);
        assert_eq!(config[..8], (64u64 * 2048).to_le_bytes(), "capacity");
        assert_eq!(le32(&config, 8), 0, "size_max isn't offered");
        assert_eq!(le32(&config, 12), 126, "seg_max");
        assert_eq!(le32(&config, 16), 0, "geometry isn't offered");
        assert_eq!(le32(&config, 20), block_size, "blk_size");
        let physical = u64::from(block_size) << config[24];
        assert!(
            (4096..=2 << 20).contains(&physical),
            "physical blocks of {physical} bytes"
        );
        assert_eq!(config[25], 0, "alignment_offset");
        // §5.2.4: unused bytes are zero.
        assert_eq!((config[32], config[33]), (1, 0), "writeback");
        assert_eq!(config[57..60], [0; 3]);
        for at in [36, 48] {
            assert_eq!((le32(&config, at), le32(&config, at + 4)), (8_388_600, 256));
        }
        assert!(
            le32(&config, 44) * 512 >= block_size,
            "discard_sector_alignment"
        );
        assert_eq!(config[56], 1, "write_zeroes_may_unmap");
        assert_eq!(
            config[60..],
            [0; 36],
            "secure erase and zones aren't offered"
        );
    }
}

#[test]
fn the_configuration_can_be_read_from_any_offset_in_any_length() {
    let ramblk = Ramblk::run(&[]);
    let client = Client::negotiated(ramblk.socket(), ALL);
    let whole = client.config(0, 256, 0);
    for offset in 0..=100 {
        // crosvm reads field by field.
        for size in [1, 2, 3, 4, 8, 20, 36, 57, 60, 96, 100] {
            let expected = &whole[offset..offset + size];
            assert_eq!(
                client.config(offset as u32, size as u32, 0),
                expected,
                "{offset}+{size}"
            );
        }
    }
    // QEMU sends flags 0, cloud-hypervisor flags 1.
    for size in [36, 57, 60, 96] {
        for flags in [0, 1] {
            assert_eq!(client.config(0, size, flags), whole[..size as usize]);
        }
    }
}

#[test]
fn behind_the_configuration_space_there_are_zeros() {
    let ramblk = Ramblk::run(&[]);
    let client = Client::negotiated(ramblk.socket(), ALL);
    let whole = client.config(0, 4084, 0);
    assert_eq!(whole[96..], [0; 4084 - 96]);
    for (offset, size) in [(96, 1), (250, 250), (4000, 95), (4092, 4)] {
        assert_eq!(client.config(offset, size, 0), vec![0; size as usize]);
    }
    assert!(client.answers());
}

#[test]
fn the_cache_mode_can_be_chosen_and_is_kept() {
    let ramblk = Ramblk::run(&[]);
    let set = |client: &Client, mode: u8, flags: u32| {
        let mut payload = config_request(32, 1, flags);
        payload[12] = mode;
        client.acked(code::SET_CONFIG, &payload, &[])
    };
    let client = Client::negotiated(ramblk.socket(), ALL);
    assert_eq!(client.config(32, 1, 0), [1], "write-back at first");
    for (mode, flags) in [(0, 0), (1, 1), (0, 1)] {
        assert_eq!(set(&client, mode, flags), Some(0));
        assert_eq!(client.config(32, 1, 0), [mode]);
    }
    // Neither mode, and unknown flags.
    assert_ne!(set(&client, 2, 0), Some(0));
    assert_ne!(set(&client, 1, 2), Some(0));
    assert_eq!(client.config(32, 1, 0), [0]);
    // A back end that recovered would have to answer the same.
    drop(client);
    let client = Client::negotiated(ramblk.socket(), ALL);
    assert_eq!(client.config(32, 1, 0), [0]);
    client.tell(code::RESET_DEVICE, &[], &[]);
    assert_eq!(client.config(32, 1, 0), [1]);
    // Without FLUSH it MUST begin with write-through (virtio 1.3 §5.2.5).
    let client = Client::negotiated(ramblk.socket(), ALL & !feature::FLUSH);
    assert_eq!(client.config(32, 1, 0), [0]);
    // A driver that did not accept CONFIG_WCE can't use it.
    let client = Client::negotiated(ramblk.socket(), ALL & !feature::CONFIG_WCE);
    assert!(set(&client, 1, 0).is_some_and(|value| value != 0));
    assert!(client.answers());
}

#[test]
fn writing_the_rest_of_the_configuration_is_refused_and_the_connection_lives() {
    let ramblk = Ramblk::run(&[]);
    let client = Client::negotiated(ramblk.socket(), ALL);
    let before = client.config(0, 96, 0);
    for (offset, size) in [(0, 8), (33, 1), (31, 2), (32, 2), (34, 2), (0, 60), (95, 1)] {
        // QEMU and crosvm send flags 0, cloud-hypervisor 1 for the same write.
        for flags in [0, 1] {
            let mut payload = config_request(offset, size, flags);
            payload[12..].fill(1);
            let ack = client.acked(code::SET_CONFIG, &payload, &[]);
            assert!(
                ack.is_some_and(|value| value != 0),
                "{offset}+{size}, flags {flags}: {ack:?}"
            );
            client.send(code::SET_CONFIG, 0, &payload, &[]);
            assert_eq!(client.config(0, 96, 0), before);
        }
    }
}

#[test]
fn every_message_is_acknowledged_if_that_is_asked_for() {
    let ramblk = Ramblk::run(&[]);
    let client = Client::negotiated(ramblk.socket(), ALL);
    let memory = Memory::standard();
    client.set_memory(&memory);
    let extra = Region::new(1 << 40, MIB, 0);
    let ring = Ring::new(&Arc::new(memory), 0, 256, true);
    let (channel, _theirs) = UnixStream::pair().unwrap();
    let none = Vec::new;
    let messages: Vec<(u32, Vec<u8>, Vec<BorrowedFd<'_>>)> = vec![
        (code::SET_OWNER, vec![], none()),
        (
            code::SET_FEATURES,
            (FEATURES).to_le_bytes().to_vec(),
            none(),
        ),
        (code::ADD_MEM_REG, single(&extra), vec![extra.fd()]),
        (code::REM_MEM_REG, single(&extra), none()),
        (code::SET_VRING_NUM, state(0, 256), none()),
        (code::SET_VRING_ADDR, ring.addresses(), none()),
        (code::SET_VRING_BASE, state(0, 0), none()),
        (code::SET_VRING_CALL, vec![0; 8], vec![ring.call.as_fd()]),
        (code::SET_VRING_ERR, vec![0; 8], vec![ring.err.as_fd()]),
        (code::SET_VRING_KICK, vec![0; 8], vec![ring.kick.as_fd()]),
        (code::SET_VRING_ENABLE, state(0, 1), none()),
        (code::SET_VRING_ENABLE, state(0, 0), none()),
        (code::SET_BACKEND_REQ_FD, vec![], vec![channel.as_fd()]),
        (
            code::SET_PROTOCOL_FEATURES,
            PROTOCOL.to_le_bytes().to_vec(),
            none(),
        ),
        (code::RESET_DEVICE, vec![], none()),
        // A queue without descriptors: the 8-bit index with bit 8 set.
        (
            code::SET_VRING_CALL,
            0x100u64.to_le_bytes().to_vec(),
            none(),
        ),
        (code::SET_VRING_ERR, 0x100u64.to_le_bytes().to_vec(), none()),
    ];
    for (code, payload, fds) in messages {
        assert_eq!(
            client.acked(code, &payload, &fds),
            Some(0),
            "message {code}"
        );
    }
    // Messages with their own reply have no second one.
    for code in [
        code::GET_FEATURES,
        code::GET_QUEUE_NUM,
        code::GET_MAX_MEM_SLOTS,
    ] {
        client.send(code, NEED_REPLY, &[], &[]);
        client.reply_to(code);
    }
    assert!(matches!(
        client.wire.receive(Duration::from_millis(20)),
        Answer::Silence
    ));
}

/// Messages that may be repeated, each with its descriptors.
fn repeatable(ring: &Ring) -> Vec<(u32, Vec<u8>, Vec<BorrowedFd<'_>>)> {
    let regions = ring.mem.regions();
    vec![
        (code::GET_FEATURES, vec![], vec![]),
        (code::SET_FEATURES, FEATURES.to_le_bytes().to_vec(), vec![]),
        (
            code::SET_MEM_TABLE,
            table(regions),
            regions.iter().map(Region::fd).collect(),
        ),
        (code::SET_VRING_NUM, state(0, 256), vec![]),
        (code::SET_VRING_ADDR, ring.addresses(), vec![]),
        (code::SET_VRING_BASE, state(0, 0), vec![]),
        (code::SET_VRING_CALL, vec![0; 8], vec![ring.call.as_fd()]),
        (code::SET_VRING_ERR, vec![0; 8], vec![ring.err.as_fd()]),
        (code::GET_CONFIG, config_request(0, 60, 0), vec![]),
        (code::SET_VRING_KICK, vec![0; 8], vec![ring.kick.as_fd()]),
    ]
}

/// Send `bytes` in two pieces that arrive one after the other, and wait for the reply.
fn split(client: &Client, code: u32, bytes: &[u8], at: usize, fds: &[BorrowedFd<'_>]) {
    assert!(client.wire.send(&bytes[..at], fds));
    std::thread::sleep(Duration::from_micros(300));
    assert!(
        client.wire.send(&bytes[at..], &[]),
        "message {code} cut at {at}"
    );
    match client.wire.receive(PATIENCE) {
        Answer::Message(m) => {
            assert_eq!(
                (m.code, m.flags),
                (code, VERSION | REPLY),
                "message {code} cut at {at}"
            );
            if m.payload.len() == 8 && code != code::GET_FEATURES {
                assert_eq!(m.u64(), 0, "message {code} cut at {at}");
            }
        }
        other => panic!("message {code} cut at {at}: {other:?}"),
    }
}

#[test]
fn every_message_may_be_split_at_every_byte() {
    let ramblk = Ramblk::run(&[]);
    let client = Client::negotiated(ramblk.socket(), ALL);
    let mut ring = Ring::new(&Arc::new(Memory::standard()), 0, 256, true);
    for (code, payload, fds) in repeatable(&ring) {
        let bytes = message(code, VERSION | NEED_REPLY, &payload);
        for at in 1..bytes.len() {
            split(&client, code, &bytes, at, &fds);
        }
    }
    client.vring(code::SET_VRING_ENABLE, 0, 1);
    works(&mut ring, 0);
}

#[test]
fn every_message_may_come_byte_by_byte() {
    let ramblk = Ramblk::run(&[]);
    let client = Client::negotiated(ramblk.socket(), ALL);
    let mut ring = Ring::new(&Arc::new(Memory::standard()), 0, 256, true);
    for (code, payload, fds) in repeatable(&ring) {
        let bytes = message(code, VERSION | NEED_REPLY, &payload);
        for (at, byte) in bytes[..bytes.len() - 1].iter().enumerate() {
            let fds = if at == 0 { &fds[..] } else { &[] };
            assert!(client.wire.send(std::slice::from_ref(byte), fds));
            if at % 3 == 0 {
                std::thread::sleep(Duration::from_micros(200));
            }
        }
        split(&client, code, &bytes[bytes.len() - 1..], 1, &[]);
    }
    client.vring(code::SET_VRING_ENABLE, 0, 1);
    works(&mut ring, 0);
}

#[test]
fn many_messages_may_come_at_once() {
    let ramblk = Ramblk::run(&[]);
    let client = Client::negotiated(ramblk.socket(), ALL);
    let get = message(code::GET_FEATURES, VERSION, &[]);
    let config = message(code::GET_CONFIG, VERSION, &config_request(0, 8, 0));
    let all = [&get[..], &config, &get, &config[..7]].concat();
    assert!(client.wire.send(&all, &[]));
    for code in [code::GET_FEATURES, code::GET_CONFIG, code::GET_FEATURES] {
        client.reply_to(code);
    }
    assert!(client.wire.send(&config[7..], &[]));
    client.reply_to(code::GET_CONFIG);
}

#[test]
fn half_a_message_times_out_and_an_idle_connection_does_not() {
    let ramblk = Ramblk::run(&[]);
    let idle = Client::negotiated(ramblk.socket(), ALL);
    let fresh = Client::connect(ramblk.socket());
    let ring = Ring::new(&Arc::new(Memory::standard()), 0, 256, true);
    let bytes = message(code::SET_VRING_KICK, VERSION, &[0; 8]);
    let halves: Vec<_> = [1, 11, 12, 19]
        .into_iter()
        .map(|len| {
            let client = Client::negotiated(ramblk.socket(), ALL);
            client.wire.send(&bytes[..len], &[ring.kick.as_fd()]);
            (len, client)
        })
        .collect();
    let start = Instant::now();
    for (len, client) in halves {
        assert!(
            client.closes_within(Duration::from_secs(9)),
            "{len} bytes of a message"
        );
        assert!(
            start.elapsed() > Duration::from_secs(3),
            "{len} bytes: impatient"
        );
    }
    assert!(
        start.elapsed() < Duration::from_secs(8),
        "{:?}",
        start.elapsed()
    );
    assert!(idle.answers() && fresh.answers());
    assert!(!readable(&ring.kick, Duration::ZERO));
}
