//! The block device: operations on a disk, and virtio-blk on top of them.
//!
//! [`block`] has the operations as plain calls: read, write, flush, discard, write zeroes and the
//! identifier, each subject to the disk's limits and counted. `virtio` turns requests of virtio-blk
//! into these operations and answers them. A front door of another protocol would be a sibling of
//! `virtio`. Nothing here knows sockets, eventfds, threads or descriptors.
//!
//! | folder | what it holds |
//! |---|---|
//! | `faults` | faults on command: rules, and what they decide about a request |
//! | `block` | a disk as all front doors share it: operations, admission, limits, statistics |
//! | `virtio` | a virtio-blk device: parsing and finishing requests, the configuration space |

pub mod block;
pub mod faults;
mod virtio;

pub use block::history;
pub use block::{
    Asked, Attempt, Cache, CacheFigures, CacheOptions, Class, Finding, FindingKind, FindingReport,
    Folded, Found, Frozen, LATENCY_BOUNDS_NS, LATENCY_CLASSES, Lane, LatencyHistogram, Limit,
    Limiter, Limits, OperationStats, Pace, Presence, QueueCounters, QueueStats, Remains, Rule,
    Sanitize, SanitizerCounts, Serial, SerialError, Sightings, Stats, Turn, UNFLUSHED_BYTES, User,
    Volume, WaitReason,
};
pub use virtio::{
    Answer, Begun, BlockDevice, Buffers, CONFIG_BYTES, ConfigError, Driver, HEADER_BYTES,
    MAX_DISCARD_SECTORS, MAX_SEGMENTS, MOST_STATE_BYTES, Outcome, Outcomes, PlainRequest, SEG_MAX,
    SERIAL_BYTES, SavedState, StateError,
};
