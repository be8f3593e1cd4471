//! Why a ring can't be followed any further: its indexes or its parts make no sense. What is wrong
//! with a single request is [`ChainFault`](super::chain::ChainFault), and no reason for this.

use super::inflight::InflightError;

/// A ring that can't be followed any further.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RingError {
    #[error("ring size {size} is no power of two between 1 and 32768")]
    Size { size: u32 },
    #[error("{what} at {address:#x} is misaligned or not all in one region of guest memory")]
    Address { what: &'static str, address: u64 },
    #[error("avail index jumped from {from} to {to} on a ring of {size}")]
    AvailJump { from: u16, to: u16, size: u16 },
    #[error("head {head} on a ring of {size}")]
    Head { head: u16, size: u16 },
    #[error("the front end took memory away that it had shared")]
    MemoryLost,
    #[error("a descriptor of the front end's hung when it was signalled")]
    Hung,
    #[error(transparent)]
    Inflight(#[from] InflightError),
}
