//! What the tests are made of: [`Ramblk`], the program under test as a process, and [`Guest`], a
//! virtual machine on a given vhost-user socket. Neither knows the other.

mod console;
mod daemon;
mod guest;
mod machine;
mod process;
mod qmp;
mod ramblk;

use std::time::{Duration, Instant};

pub(crate) use daemon::Daemon;
pub(crate) use guest::Guest;
pub(crate) use machine::{Bus, Machine, guest_file};
pub(crate) use ramblk::Ramblk;

/// One mebibyte.
pub(crate) const MIB: u64 = 1 << 20;

/// How long the host waits for one thing from a guest. On a busy machine even an emulated boot can
/// take many times its usual three seconds.
const PATIENCE: Duration = Duration::from_secs(120);

/// Call `probe` until it returns a value or `limit` has passed.
pub(crate) fn poll<T>(limit: Duration, mut probe: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + limit;
    loop {
        if let Some(found) = probe() {
            return Some(found);
        }
        if Instant::now() >= end {
            return None;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// `len` bytes in which neighbouring blocks differ, the same in every run.
pub(crate) fn pattern(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        // xorshift64: fast, and good enough to tell any two blocks apart.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// `len` bytes of the output of the guest's `seq FIRST 99999999`.
pub(crate) fn numbers(first: usize, len: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(len + 9);
    for number in first.. {
        if bytes.len() >= len {
            break;
        }
        bytes.extend_from_slice(number.to_string().as_bytes());
        bytes.push(b'\n');
    }
    bytes.truncate(len);
    bytes
}

/// The SHA-256 of a file as the guest's `sum` prints it.
pub(crate) fn sha256(path: &std::path::Path) -> String {
    let output = std::process::Command::new("sha256sum")
        .arg(path)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "sha256sum {}: {output:?}",
        path.display()
    );
    let line = String::from_utf8(output.stdout).unwrap();
    line.split_whitespace().next().unwrap().to_owned()
}
