//! A split virtqueue: its memory, its requests, and a turn of serving them.
//!
//! | file | what it holds |
//! |---|---|
//! | `split` | a split virtqueue in guest memory: its layout and notifications |
//! | `ring` | a ring that is served: which request is next |
//! | `taken` | requests that were taken, until it is said what became of them |
//! | `chain` | a walk along the descriptors of one request |
//! | `gather` | requests of the plainest shape, taken several at a time |
//! | `pieces` | the buffers of one request |
//! | `parking` | requests of a ring that wait |
//! | `fault` | what makes a ring stop for good |
//! | `inflight` | requests that were taken and not returned, written down for after a crash |
//! | `record` | what a ring writes down there, if it is tracked |
//! | `job` | one ring's turn: batches of requests, and the call that follows |
//! | `crash` | which request the process died of, for the one that comes after it |

mod chain;
pub mod crash;
mod fault;
mod gather;
pub(super) mod inflight;
pub(super) mod job;
pub(super) mod parking;
mod pieces;
mod record;
pub(super) mod ring;
mod split;
mod taken;
