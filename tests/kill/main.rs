//! A daemon that dies at any instant under our own driver, and its successor: every request
//! completes once, and the disk is as if all had been served in order.
//!
//! A build without hooks (`src/build.rs`) ignores the tests that need points to be killed at, and
//! passes the others: `scripts/soak` has what is shipped killed at random instants.
//!
//! | variable | what it sets |
//! |---|---|
//! | `RAMBLK_SEED` | the seed of random numbers; a failure prints it |
//! | `RAMBLK_KILLS` | how many daemons each test of random kills kills |
//! | `RAMBLK_LIFE_MINUTES` | how long a fleet of disks that end is kept up, under ten kills |
//!
//! | file | what it holds |
//! |---|---|
//! | `daemon` | the process |
//! | `content` | the content of a sector |
//! | `lives` | kills while disks of a fleet end by time and by detach |
//! | `load` | one ring's requests, and their expected results |
//! | `fleets` | kills while a fleet of forks is made |
//! | `front` | the front end that reconnects |
//! | `cuts` | kills while the power of several disks is cut |
//! | `history` | kills while points of a history are taken |
//! | `kills` | kills at random instants and at named points |
//! | `layouts` | kills while state of an older version is converted |
//! | `owners` | owners of sockets over kills, and users that are gone |
//! | `parked` | kills while requests wait |
//! | `renames` | kills while a disk is renamed |
//! | `poison` | a request that crashes the daemon |
//! | `orders` | guest, front end and daemon end in every order |
//! | `sandbox` | threads that make system calls which they must not make |
//! | `sleeper` | a driver that sleeps until it is called |
//! | `vital` | threads that end |
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    clippy::print_stderr,
    reason = "a test fails by panicking, prints its seed, and its numbers are small"
)]

#[path = "../it/state/arena.rs"]
#[allow(
    dead_code,
    reason = "a file of tests/it, of which not all is wanted here"
)]
mod arena;
mod content;
mod cuts;
mod daemon;
#[path = "../it/driver/mod.rs"]
#[allow(dead_code, reason = "as above")]
mod driver;
mod fleets;
mod front;
#[path = "../it/harness.rs"]
#[allow(dead_code, reason = "as above")]
mod harness;
mod history;
mod kills;
mod layouts;
mod lives;
mod load;
mod orders;
mod owners;
mod parked;
mod poison;
mod renames;
mod sandbox;
mod sleeper;
mod vital;
