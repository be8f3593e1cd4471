//! A front end and a virtio-blk driver that can make every mistake.
//!
//! Nothing here shares code with the back end: the header codec, the ring layout and the constants
//! are written from the vhost-user specification and virtio 1.3 a second time, so that a misreading
//! on one side fails a test. `client` speaks vhost-user, `memory` is the guest's RAM, `ring` a
//! split virtqueue laid out by hand, `inflight` the region that outlives a back end, and `disk` a
//! convenient layer for tests with another subject.

pub(crate) mod client;
pub(crate) mod data;
pub(crate) mod disk;
pub(crate) mod inflight;
pub(crate) mod load;
pub(crate) mod memory;
pub(crate) mod offer;
pub(crate) mod ring;
pub(crate) mod transfer;
pub(crate) mod wire;

/// virtio 1.3 §5.2.3 and §6, by bit number.
pub(crate) mod feature {
    pub(crate) const SEG_MAX: u64 = 1 << 2;
    pub(crate) const RO: u64 = 1 << 5;
    pub(crate) const BLK_SIZE: u64 = 1 << 6;
    pub(crate) const FLUSH: u64 = 1 << 9;
    pub(crate) const TOPOLOGY: u64 = 1 << 10;
    pub(crate) const CONFIG_WCE: u64 = 1 << 11;
    pub(crate) const MQ: u64 = 1 << 12;
    pub(crate) const DISCARD: u64 = 1 << 13;
    pub(crate) const WRITE_ZEROES: u64 = 1 << 14;
    pub(crate) const INDIRECT: u64 = 1 << 28;
    pub(crate) const EVENT_IDX: u64 = 1 << 29;
    pub(crate) const PROTOCOL: u64 = 1 << 30;
    pub(crate) const VERSION_1: u64 = 1 << 32;
    pub(crate) const IN_ORDER: u64 = 1 << 35;
}

/// virtio 1.3 §5.2.6: request types.
pub(crate) mod kind {
    pub(crate) const IN: u32 = 0;
    pub(crate) const OUT: u32 = 1;
    pub(crate) const FLUSH: u32 = 4;
    pub(crate) const GET_ID: u32 = 8;
    pub(crate) const DISCARD: u32 = 11;
    pub(crate) const WRITE_ZEROES: u32 = 13;
}

/// virtio 1.3 §5.2.6: status bytes, and the value that the driver puts there before a request.
pub(crate) mod status {
    pub(crate) const OK: u8 = 0;
    pub(crate) const IOERR: u8 = 1;
    pub(crate) const UNSUPP: u8 = 2;
    pub(crate) const UNTOUCHED: u8 = 0xee;
}
