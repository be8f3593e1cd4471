//! All tests that need no virtual machine, in one program. Names of tests are sentences.
//!
//! | room | what it is about |
//! |---|---|
//! | `store` | the store |
//! | `device` | the device without a ring around it |
//! | `io` | requests, sent to the built program |
//! | `queues` | rings and the threads that serve them |
//! | `sessions` | front ends |
//! | `disks` | the disks of a daemon, called as the API calls them |
//! | `api` | the REST API |
//! | `state` | where disks lie while no daemon runs |
//! | `verbs` | the command line of a daemon |
//! | `crash` | what a crash may leave of a disk |
//! | `nbd` | disks over NBD |
//! | `remote` | images on other hosts |
//! | `programs` | the programs as processes |
//! | `images` | images beside `qemu-img` and the compressors |
//! | `pages` | the commands of the pages, run as a reader would |
//! | `house` | sources and pages |
//! | `driver` | a front end and a driver that can make every mistake |
//! | `harness` | the built program, serving one disk for one test |
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "a test fails by panicking, and its numbers are small"
)]

mod api;
mod crash;
mod device;
mod disks;
#[allow(dead_code, reason = "shared with tests/hostile and its benchmark")]
mod driver;
#[allow(dead_code, reason = "as above")]
mod harness;
mod house;
mod images;
mod io;
mod nbd;
mod pages;
mod programs;
mod queues;
mod remote;
mod sessions;
mod state;
mod store;
mod verbs;
