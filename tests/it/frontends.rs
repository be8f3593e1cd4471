//! The orders in which real front ends talk, message by message.

use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use crate::driver::client::{Client, code, protocol, single, table};
use crate::driver::disk::Disk;
use crate::driver::feature;
use crate::driver::memory::{MIB, Memory, Region};
use crate::driver::offer::{FEATURES, PROTOCOL, works};
use crate::driver::ring::Ring;
use crate::harness::Ramblk;

#[test]
fn qemu_starts_stops_and_starts_again() {
    let ramblk = Ramblk::run(&[]);
    // Realise may be cut short and tried again at once.
    for _ in 0..3 {
        Client::connect(ramblk.socket()).features();
    }
    let client = Client::connect(ramblk.socket());
    client.features();
    let offered = client.get(code::GET_PROTOCOL_FEATURES).u64();
    client.tell(
        code::SET_PROTOCOL_FEATURES,
        &(offered & PROTOCOL).to_le_bytes(),
        &[],
    );
    assert!(client.get(code::GET_QUEUE_NUM).u64() >= 2);
    client.get(code::GET_MAX_MEM_SLOTS);
    let (channel, _theirs) = UnixStream::pair().unwrap();
    client.tell(code::SET_BACKEND_REQ_FD, &[], &[channel.as_fd()]);
    client.tell(code::SET_OWNER, &[], &[]);
    let mem = Arc::new(Memory::standard());
    let mut rings: Vec<_> = (0..2).map(|i| Ring::new(&mem, i, 128, true)).collect();
    for ring in &rings {
        client.vring_fd(code::SET_VRING_CALL, ring.index, &ring.call);
        client.vring_fd(code::SET_VRING_ERR, ring.index, &ring.err);
    }
    client.config(0, 60, 0);
    for at in 0..3 {
        client.set_features(FEATURES);
        client.set_features(FEATURES);
        if at == 1 {
            let (code, one) = (code::ADD_MEM_REG, Region::new(1 << 40, MIB, 0));
            assert_eq!(client.acked(code, &single(&one), &[one.fd()]), Some(0));
        } else {
            let fds: Vec<_> = mem.regions().iter().map(Region::fd).collect();
            let table = table(mem.regions());
            assert_eq!(client.acked(code::SET_MEM_TABLE, &table, &fds), Some(0));
        }
        for ring in &rings {
            client.vring(code::SET_VRING_NUM, ring.index, 128);
            client.vring(code::SET_VRING_BASE, ring.index, u32::from(ring.next_avail));
            client.vring_addr(ring);
            client.vring_fd(code::SET_VRING_KICK, ring.index, &ring.kick);
            client.vring_fd(code::SET_VRING_CALL, ring.index, &ring.call);
        }
        (0..2).for_each(|index| client.vring(code::SET_VRING_ENABLE, index, 1));
        rings.iter_mut().for_each(|ring| works(ring, at));
        for ring in &rings {
            assert_eq!(client.stop(ring.index), u32::from(ring.next_avail));
        }
    }
}

#[test]
fn cloud_hypervisor_starts_pauses_and_reconnects() {
    let ramblk = Ramblk::run(&[]);
    let mem = Arc::new(Memory::standard());
    let mut rings: Vec<_> = (0..2).map(|i| Ring::new(&mem, i, 128, true)).collect();
    for round in 0..3 {
        let mut client = Client::connect(ramblk.socket());
        client.tell(code::SET_OWNER, &[], &[]);
        client.features();
        if round == 0 {
            client.get(code::GET_PROTOCOL_FEATURES);
        }
        // A reconnect sets without getting first.
        let wanted = protocol::CONFIG | protocol::MQ | protocol::MEM_SLOTS | protocol::REPLY_ACK;
        client.tell(code::SET_PROTOCOL_FEATURES, &wanted.to_le_bytes(), &[]);
        client.acks = true;
        client.get(code::GET_QUEUE_NUM);
        client.config(0, 60, 1);
        client.set_features(FEATURES);
        client.set_memory(&mem);
        (0..2).for_each(|index| client.vring(code::SET_VRING_NUM, index, 128));
        for ring in &rings {
            client.vring_addr(ring);
            client.vring(code::SET_VRING_BASE, ring.index, u32::from(ring.next_avail));
            client.vring_fd(code::SET_VRING_CALL, ring.index, &ring.call);
            client.vring_fd(code::SET_VRING_KICK, ring.index, &ring.kick);
        }
        (0..2).for_each(|index| client.vring(code::SET_VRING_ENABLE, index, 1));
        rings.iter_mut().for_each(|ring| works(ring, round));
        for enable in [0, 1, 1] {
            (0..2).for_each(|index| client.vring(code::SET_VRING_ENABLE, index, enable));
        }
        rings.iter_mut().for_each(|ring| works(ring, round + 50));
    }
}

#[test]
fn crosvm_reads_fields_and_never_asks_for_an_acknowledgement() {
    let ramblk = Ramblk::run(&[]);
    let client = Client::connect(ramblk.socket());
    client.tell(code::SET_OWNER, &[], &[]);
    client.features();
    client.get(code::GET_PROTOCOL_FEATURES);
    client.tell(code::SET_PROTOCOL_FEATURES, &PROTOCOL.to_le_bytes(), &[]);
    client.set_features(FEATURES);
    client.get(code::GET_QUEUE_NUM);
    assert_eq!(client.config(20, 4, 0), 512u32.to_le_bytes());
    assert_eq!(client.config(0, 4, 0), (64u32 * 2048).to_le_bytes());
    assert_eq!(client.config(4, 4, 0), [0; 4]);
    // Three regions, one after the other in the file, of which not one begins at its start.
    let mem = Arc::new(Memory::new(vec![
        Region::new(0, 32 * MIB, 4096),
        Region::new(32 * MIB, 32 * MIB, 32 * MIB),
        Region::new(4096 * MIB, 16 * MIB, 64 * MIB),
    ]));
    client.set_memory(&mem);
    let mut ring = Ring::new(&mem, 0, 32768, true);
    client.vring(code::SET_VRING_NUM, 0, 32768);
    client.vring_addr(&ring);
    client.vring(code::SET_VRING_BASE, 0, 0);
    client.vring_fd(code::SET_VRING_CALL, 0, &ring.call);
    client.vring_fd(code::SET_VRING_KICK, 0, &ring.kick);
    client.vring(code::SET_VRING_ENABLE, 0, 1);
    (0..5).for_each(|at| works(&mut ring, at));
    assert_eq!(client.config(0, 8, 0), (64u64 * 2048).to_le_bytes());
}

#[test]
fn firecracker_needs_little() {
    let ramblk = Ramblk::run(&[]);
    let client = Client::connect(ramblk.socket());
    client.tell(code::SET_OWNER, &[], &[]);
    client.features();
    let wanted = feature::VERSION_1 | feature::EVENT_IDX | feature::FLUSH | feature::PROTOCOL;
    client.set_features(wanted);
    client.get(code::GET_PROTOCOL_FEATURES);
    client.tell(
        code::SET_PROTOCOL_FEATURES,
        &protocol::CONFIG.to_le_bytes(),
        &[],
    );
    client.config(0, 60, 1);
    let mem = Arc::new(Memory::new(vec![Region::new(0, 32 * MIB, 0)]));
    client.set_memory(&mem);
    let mut ring = Ring::new(&mem, 0, 256, true);
    client.start(&ring);
    (0..5).for_each(|at| works(&mut ring, at));
    ring.flush().unwrap();
}

#[test]
fn without_protocol_features_a_ring_needs_no_enabling() {
    let ramblk = Ramblk::run(&[]);
    let client = Client::connect(ramblk.socket());
    client.tell(code::SET_OWNER, &[], &[]);
    client.set_features(feature::VERSION_1 | feature::EVENT_IDX);
    let mem = Arc::new(Memory::standard());
    client.set_memory(&mem);
    let mut ring = Ring::new(&mem, 0, 256, true);
    client.set_up(&ring, 0);
    works(&mut ring, 0);
}

#[test]
fn owning_twice_is_once() {
    let ramblk = Ramblk::run(&[]);
    let mut disk = Disk::attach(ramblk.socket());
    disk.client.tell(code::SET_OWNER, &[], &[]);
    disk.client.tell(code::SET_OWNER, &[], &[]);
    works(disk.q(), 0);
}
