//! Firecracker: one queue, one region, and few features.

use std::sync::Arc;

use crate::driver::client::{Client, code, protocol};
use crate::driver::feature;
use crate::driver::memory::{MIB, Memory, Region};
use crate::driver::offer::works;
use crate::driver::ring::Ring;
use crate::driver::status::UNSUPP;
use crate::harness::Ramblk;

#[test]
fn firecracker_needs_little() {
    let ramblk = Ramblk::run(&[]);
    let client = Client::connect(ramblk.socket());
    client.tell(code::SET_OWNER, &[], &[]);
    client.features();
    let wanted = feature::VERSION_1 | feature::EVENT_IDX | feature::FLUSH | feature::PROTOCOL;
    client.set_features(wanted);
    client.get(code::GET_PROTOCOL_FEATURES);
    let config = protocol::CONFIG.to_le_bytes();
    client.tell(code::SET_PROTOCOL_FEATURES, &config, &[]);
    client.config(0, 60, 1);
    let mem = Arc::new(Memory::new(vec![Region::new(0, 32 * MIB, 0)]));
    client.set_memory(&mem);
    let mut ring = Ring::new(&mem, 0, 256, true);
    client.start(&ring);
    (0..5).for_each(|at| works(&mut ring, at));
    ring.flush().unwrap();
    // Its guest can't use features that it did not accept.
    assert_eq!(ring.discard(&[]), Err(UNSUPP));
    assert_eq!(ring.write_zeroes(&[]), Err(UNSUPP));
}
