//! Why a ring can't go on: its indexes or its parts make no sense. What is wrong with a single
//! request is a [`ChainFault`](super::chain::ChainFault), which doesn't stop the ring.

use super::inflight::InflightError;

/// Why a ring can't go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RingError {
    #[error("ring size {size} is not a power of two between 1 and 32768")]
    Size { size: u32 },
    #[error("{what} at {address:#x} is misaligned or not all in one region of guest memory")]
    Address { what: &'static str, address: u64 },
    #[error("avail index jumped from {from} to {to} on a ring of {size}")]
    AvailJump { from: u16, to: u16, size: u16 },
    #[error("head {head} on a ring of {size}")]
    Head { head: u16, size: u16 },
    #[error("the front end truncated a file whose memory it had shared")]
    MemoryLost,
    #[error("a write to a descriptor of the front end hung")]
    Hung,
    #[error(transparent)]
    Inflight(#[from] InflightError),
}
