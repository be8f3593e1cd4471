//! The store for as long as one likes: random operations against a model, and kills at any instant.
//!
//! | variable | what it sets |
//! |---|---|
//! | `RAMBLK_SEED` | where random numbers begin; a failure prints it |
//! | `RAMBLK_OPS` | how many operations the model driver does |
//! | `RAMBLK_KILLS` | how many processes the kill test kills |
//!
//! What is here: `random` and `noise` make numbers and bytes, `content` is what a disk should hold,
//! `model` and `limits` compare one store with it, `kill` is the process that kills, `child` the
//! one that is killed, `log` what they share, `history` what the log says, `verify` the comparison.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    clippy::print_stderr,
    reason = "a test fails by panicking, prints its seed, and its numbers are small"
)]

#[cfg(not(ramblk_hooks))]
compile_error!("an optimised build has no points to be killed at: set RAMBLK_TEST=hooks");

mod child;
mod content;
mod history;
mod kill;
mod limits;
mod live;
mod log;
mod many;
mod model;
mod noise;
mod parts;
mod random;
mod verify;
