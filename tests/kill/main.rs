//! A daemon that dies at any instant under a driver of our own, and the one that comes after it:
//! every request comes back once, and the disk is as if all had been served in their order.
//!
//! | variable | what it sets |
//! |---|---|
//! | `RAMBLK_SEED` | where random numbers begin; a failure prints it |
//! | `RAMBLK_KILLS` | how many daemons each test of random kills kills |
//!
//! What is here: `daemon` is the process, `content` what a sector holds, `load` one ring's requests
//! and what must come of them, `front` the front end that comes again, `kills` random instants and
//! named points, `layouts` what an older version left and is being carried over, `parked` requests
//! that wait just then, `poison` one that the daemon dies of, `orders` all who may end, in every
//! order, `vital` threads that end.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    clippy::print_stderr,
    reason = "a test fails by panicking, prints its seed, and its numbers are small"
)]

#[path = "../it/driver/mod.rs"]
#[allow(
    dead_code,
    reason = "the driver of tests/it, of which not all is wanted here"
)]
mod driver;
#[path = "../it/harness.rs"]
#[allow(dead_code, reason = "as above")]
mod harness;

#[cfg(feature = "test-points")]
#[path = "../it/state/arena.rs"]
#[allow(dead_code, reason = "as above")]
mod arena;
mod content;
mod daemon;
mod front;
mod kills;
#[cfg(feature = "test-points")]
mod layouts;
mod load;
mod orders;
mod parked;
#[cfg(feature = "test-points")]
mod poison;
#[cfg(feature = "test-points")]
mod vital;
