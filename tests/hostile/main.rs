//! Hostile guests and hostile front ends against the built program. Names of tests are sentences;
//! `docs/threat-model.md` lists what may come in, and which test here sends it.
//!
//! Beside every attack an honest front end of the same process works on the same disk (`honest`):
//! it writes and reads back a part of its own for as long as the test lasts, and fails the test if
//! a byte is not what it wrote or if it gets nowhere for five seconds. So what hostile guests here
//! write on purpose lies in [`victim::MINE`], and whatever else changes is a bug.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "a test fails by panicking, and its numbers are small"
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

mod attacks;
mod crowds;
mod descriptors;
mod fuse;
mod giants;
mod honest;
mod inflight;
mod mapping;
mod messages;
mod nuisance;
mod requests;
mod rings;
mod running;
mod transfers;
mod truncated;
mod victim;
