//! Hostile guests and hostile front ends against the built program. Names of tests are sentences;
//! `docs/internals/threat-model.md` lists the attacks, and the test for each.
//!
//! | file | what it holds |
//! |---|---|
//! | `guests` | guests that mean harm |
//! | `front_ends` | front ends that mean harm |
//! | `nbd` | NBD clients that mean harm |
//! | `attacks` | attacks that go on until they are stopped |
//! | `honest` | an honest front end beside them |
//! | `victim` | a disk under attack, and the check that it is unharmed |
//!
//! Beside every attack an honest front end of the same process works on the same disk (`honest`).
//! It writes and reads back its own part for as long as the test lasts, and fails the test if a
//! byte is wrong or if it makes no progress for five seconds. Hostile guests here write only to
//! [`victim::MINE`] on purpose, so any other change is a bug.
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
mod front_ends;
mod guests;
mod honest;
mod nbd;
mod victim;
