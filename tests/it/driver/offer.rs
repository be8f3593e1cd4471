//! What ramblk offers, and a round trip that shows that a ring works.

use super::client::protocol;
use super::data::pattern;
use super::feature;
use super::ring::Ring;

/// The feature bits of a writable disk.
pub(crate) const FEATURES: u64 = feature::VERSION_1
    | feature::PROTOCOL
    | feature::INDIRECT
    | feature::EVENT_IDX
    | feature::SEG_MAX
    | feature::BLK_SIZE
    | feature::TOPOLOGY
    | feature::FLUSH
    | feature::CONFIG_WCE
    | feature::MQ
    | feature::DISCARD
    | feature::WRITE_ZEROES;

/// The protocol features.
pub(crate) const PROTOCOL: u64 = protocol::MQ
    | protocol::REPLY_ACK
    | protocol::BACKEND_REQ
    | protocol::CONFIG
    | protocol::INFLIGHT
    | protocol::RESET_DEVICE
    | protocol::MEM_SLOTS
    | protocol::DEVICE_STATE;

/// Write, and read back the same bytes.
pub(crate) fn works(ring: &mut Ring, at: u64) {
    let data = pattern(4096, at as u8 + 1);
    ring.write(at, &data).unwrap();
    assert_eq!(ring.read(at, 4096), Ok(data));
}
