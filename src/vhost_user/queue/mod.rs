//! A split virtqueue: its memory, its requests, and a turn of serving them.
//!
//! | file | what it holds |
//! |---|---|
//! | `ring` | a split virtqueue in that memory |
//! | `chain` | a walk along the descriptors of one request |
//! | `gather` | requests of the plainest shape, taken several at a time |
//! | `pieces` | the buffers of one request |
//! | `aside` | requests of a ring that wait, while those behind them go on |
//! | `parking` | what a ring does next when some of its requests must wait |
//! | `fault` | what makes a ring stop for good |
//! | `inflight` | requests that were taken and not returned, written down for after a crash |
//! | `job` | one ring's turn: batches of requests, and the call that follows |
//! | `crash` | which request the process died of, for the one that comes after it |

mod aside;
mod chain;
pub mod crash;
mod fault;
mod gather;
pub(super) mod inflight;
pub(super) mod job;
pub(super) mod parking;
mod pieces;
pub(super) mod ring;
