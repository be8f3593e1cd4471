//! All tests that need no virtual machine, in one program. Names of tests are sentences.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "a test fails by panicking, and its numbers are small"
)]

mod api;
mod attached;
mod bench;
mod channel;
mod cli;
mod conformance;
mod crowded;
mod device;
mod device_state;
mod disks;
#[allow(dead_code, reason = "shared with tests/hostile and its benchmark")]
mod driver;
mod framing;
mod frontends;
#[allow(dead_code, reason = "as above")]
mod harness;
mod hosts;
mod hotplug;
mod image;
mod imports;
mod in_order;
mod inflight;
mod lifecycle;
mod many;
mod negotiation;
mod parking;
mod plain;
mod prose;
mod recovery;
mod regions;
mod removed;
mod requests;
mod rings;
mod session;
mod sharing;
mod state;
mod stats;
mod store;
mod third_party;
mod threads;
mod tidy;
mod unshared;
mod verbs;
mod workers;
mod writeback;
mod zeroes;
