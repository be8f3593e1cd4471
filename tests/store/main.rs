//! Long tests of the store: random operations against a model, and kills at any instant.
//!
//! | variable | what it sets |
//! |---|---|
//! | `RAMBLK_SEED` | the seed of random numbers; a failure prints it |
//! | `RAMBLK_OPS` | how many operations the model driver does |
//! | `RAMBLK_KILLS` | how many processes the kill test kills |
//!
//! | file | what it holds |
//! |---|---|
//! | `random`, `noise` | numbers and bytes |
//! | `content` | the expected content of a disk |
//! | `model`, `limits` | a store compared with it |
//! | `parts` | requests of 512 bytes to sectors of 4096 |
//! | `kill` | the process that kills |
//! | `child` | the process that is killed |
//! | `log`, `history` | what the killed process did |
//! | `verify` | the comparison |
//! | `live`, `many` | many threads, many disks, many generations |
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
