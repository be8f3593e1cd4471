//! ramblk under real guests: Linux, firmware and boot loaders, on QEMU's own vhost-user-blk device.
//!
//! `scripts/setup` builds the Linux that boots here. Each test passes its guest a shell script,
//! which runs as root with the disk at `/dev/vda` (`guest/init` has what it may call). Meanwhile
//! the test watches the ramblk process from outside.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a failed step is a failed test, and the figures measured belong on the terminal"
)]

#[path = "../it/pages/blocks.rs"]
#[allow(dead_code, reason = "shared with tests/it, which runs the other pages")]
mod blocks;
mod disks;
mod endings;
mod harness;
mod machines;
