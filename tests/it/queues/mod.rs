//! Queues: their rings, how they start, stop, wait and recover, and the threads that serve them.
//!
//! | file | what it is about |
//! |---|---|
//! | `rings` | sizes, the wrap of the indexes, notifications |
//! | `lifecycle` | rings that start, pause, stop and change under load |
//! | `parking` | requests that must wait for limits or memory |
//! | `inflight` | the in-flight region itself |
//! | `recovery` | what a back end owes after its predecessor died |
//! | `stats` | counters of queues |
//! | `workers` | the threads that serve queues |
//! | `crowded` | one thread with thousands of busy queues |

mod crowded;
mod inflight;
mod lifecycle;
mod parking;
mod recovery;
mod rings;
mod stats;
mod workers;
