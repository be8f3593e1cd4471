//! crosvm: reads one field of the configuration at a time, and never requests an acknowledgement.

use std::sync::Arc;

use crate::driver::client::{Client, code};
use crate::driver::disk::ALL;
use crate::driver::memory::{MIB, Memory, Region};
use crate::driver::offer::works;
use crate::driver::ring::Ring;
use crate::harness::Ramblk;

/// It uses all queues that are offered, even if its guest has two processors.
#[test]
fn crosvm_takes_all_queues_that_are_offered() {
    let ramblk = Ramblk::run(&[]);
    let client = Client::negotiated(ramblk.socket(), ALL);
    let queues = client.get(code::GET_QUEUE_NUM).u64() as u32;
    assert_eq!(queues, 128);
    assert_eq!(client.config(34, 2, 0), 128u16.to_le_bytes());
    let mem = Arc::new(Memory::new(vec![Region::new(0, 512 * MIB, 0)]));
    client.set_memory(&mem);
    let before = ramblk.rss_kib();
    let mut rings: Vec<_> = (0..queues).map(|i| Ring::new(&mem, i, 256, true)).collect();
    rings.iter().for_each(|ring| client.start(ring));
    let used = ramblk.rss_kib() - before;
    assert!(
        used < 16 << 10,
        "128 rings in which nothing is take {used} KiB"
    );
    for index in [0, 1, 63, 127] {
        works(&mut rings[index], index as u64);
    }
}

#[test]
fn crosvm_reads_fields_and_never_asks_for_an_acknowledgement() {
    let ramblk = Ramblk::run(&[]);
    let client = Client::connect(ramblk.socket());
    client.tell(code::SET_OWNER, &[], &[]);
    let features = client.features();
    let protocol = client.get(code::GET_PROTOCOL_FEATURES).payload;
    client.tell(code::SET_PROTOCOL_FEATURES, &protocol, &[]);
    client.set_features(features);
    client.get(code::GET_QUEUE_NUM);
    assert_eq!(client.config(20, 4, 0), 512u32.to_le_bytes());
    assert_eq!(client.config(0, 4, 0), (64u32 * 2048).to_le_bytes());
    assert_eq!(client.config(4, 4, 0), [0; 4]);
    // Three regions, one after the other in the file, none of which begins at its start.
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
