//! A split virtqueue: its memory, its requests, and a turn of serving them.
//!
//! | file | what it holds |
//! |---|---|
//! | `split` | a split virtqueue in guest memory: its layout and notifications |
//! | `ring` | a ring that is served: which request is next |
//! | `taken` | tokens for requests that were taken and must be completed, kept or parked |
//! | `chain` | walking the chain of descriptors of one request |
//! | `gather` | plain requests, taken several at a time |
//! | `pieces` | the buffers of one request |
//! | `parking` | requests of a ring that wait |
//! | `fault` | why a ring can't go on |
//! | `inflight` | the in-flight region: requests that were taken and not returned |
//! | `record` | what a tracked ring records there |
//! | `job` | one ring's turn: batches of requests, and the call that follows |
//! | `crash` | finding the request on which a process crashed |

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
