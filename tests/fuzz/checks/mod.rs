//! What each fuzz target does with an input, and what must hold then. The fuzzer calls these
//! functions, and so does the test that replays the kept inputs.
//!
//! | file | what it holds |
//! |---|---|
//! | `bytes` | an input, decoded into values |
//! | `reached` | what an input led to |
//! | `ring` | a split ring against a model of one, over memory that the input writes |
//! | `request` | requests of a guest against a model of a disk |
//! | `inflight` | requests in flight, with the device killed between any two stores |
//! | `nbd` | an NBD client's messages against a second reading of the protocol |
//! | `image` | images of arbitrary bytes, against a second reading of them |
//! | `session` | a front end's messages against what must always hold |
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "a check fails by panicking, its numbers are small, and each target uses a part"
)]

pub(crate) mod bytes;
pub(crate) mod image;
pub(crate) mod inflight;
pub(crate) mod nbd;
pub(crate) mod reached;
pub(crate) mod request;
pub(crate) mod ring;
pub(crate) mod session;
