//! Why a ring can't be followed any further.

use super::inflight::InflightError;

/// A ring that can't be followed any further.
#[derive(Debug, thiserror::Error)]
pub(super) enum RingError {
    #[error("ring size {size} is no power of two between 1 and 32768")]
    Size { size: u32 },
    #[error("{what} at {address:#x} is misaligned or not all in one region of guest memory")]
    Address { what: &'static str, address: u64 },
    #[error("avail index jumped from {from} to {to} on a ring of {size}")]
    AvailJump { from: u16, to: u16, size: u16 },
    #[error("head {head} on a ring of {size}")]
    Head { head: u16, size: u16 },
    #[error("descriptor {next} named in a table of {size}")]
    Next { next: u16, size: u16 },
    #[error("a chain of more than {limit} descriptors: a loop, or longer than any request")]
    Loop { limit: u16 },
    #[error("an indirect table inside an indirect table")]
    Nested,
    #[error("a descriptor with both INDIRECT and NEXT")]
    IndirectNext,
    #[error("an indirect descriptor, which was not negotiated")]
    IndirectUnasked,
    #[error("an indirect table of {len} bytes at {address:#x}")]
    IndirectTable { address: u64, len: u32 },
    #[error("the front end took memory away that it had shared")]
    MemoryLost,
    #[error("a descriptor of the front end's hung when it was signalled")]
    Hung,
    #[error(transparent)]
    Inflight(#[from] InflightError),
}
