//! Front ends without a guest: storage stacks that drive the rings themselves.

use std::sync::Arc;

use crate::driver::client::{Client, code, protocol};
use crate::driver::feature;
use crate::driver::memory::{MIB, Memory, Region};
use crate::driver::ring::{Ring, drain};
use crate::harness::Ramblk;

/// Complete one request by polling the used ring.
fn polled(ring: &mut Ring, at: u64) {
    let data = [at as u8 + 1; 512];
    let pieces = ring.lay_out(1, at, &data, 0);
    let head = ring.direct(0, &pieces);
    ring.submit(head);
    assert_eq!(ring.spin().id, u32::from(head));
    assert_eq!(ring.status(), 0);
}

#[test]
fn an_initiator_that_polls_names_its_call_descriptors_first_and_wants_no_call() {
    // As SPDK and DPDK do: they set each queue's call descriptor before anything else of a queue.
    let ramblk = Ramblk::run(&[]);
    let client = Client::connect(ramblk.socket());
    client.tell(code::SET_OWNER, &[], &[]);
    let offered = client.features();
    let all = client.get(code::GET_PROTOCOL_FEATURES).u64();
    let wanted = all & (protocol::MQ | protocol::CONFIG);
    client.tell(code::SET_PROTOCOL_FEATURES, &wanted.to_le_bytes(), &[]);
    assert!(client.get(code::GET_QUEUE_NUM).u64() >= 4);
    client.config(0, 60, 0);
    client.set_features(offered & !(feature::EVENT_IDX | feature::INDIRECT));
    let mem = Arc::new(Memory::new(vec![Region::new(0, 64 * MIB, 0)]));
    let mut rings: Vec<_> = (0..4).map(|i| Ring::new(&mem, i, 512, false)).collect();
    for ring in &rings {
        ring.set_avail_flags(1);
        client.vring_fd(code::SET_VRING_CALL, ring.index, &ring.call);
    }
    client.set_memory(&mem);
    for ring in &rings {
        client.vring(code::SET_VRING_NUM, ring.index, 512);
        client.vring(code::SET_VRING_BASE, ring.index, 0);
        client.vring_addr(ring);
        client.vring_fd(code::SET_VRING_KICK, ring.index, &ring.kick);
    }
    (0..4).for_each(|index| client.vring(code::SET_VRING_ENABLE, index, 1));
    // Setting them may signal them once. There must be no other call.
    for ring in &rings {
        drain(&ring.call);
    }
    for at in 0..20 {
        rings.iter_mut().for_each(|ring| polled(ring, at));
    }
    for ring in &rings {
        assert_eq!(client.stop(ring.index), 20);
        assert_eq!(drain(&ring.call), 0, "an unwanted call");
    }
}
