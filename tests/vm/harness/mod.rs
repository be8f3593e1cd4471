//! What the tests are made of: [`Ramblk`], the program under test as a process, and [`Guest`], a
//! virtual machine on whatever vhost-user socket it is given. Neither knows the other.

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

/// How long the host waits for any one thing from a guest: emulated on a busy machine, even a boot
/// can take many times its usual three seconds.
const PATIENCE: Duration = Duration::from_secs(120);

/// Calls `probe` until it gives something or `limit` has passed.
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

/// `len` bytes that no neighbouring blocks have in common, the same in every run.
pub(crate) fn pattern(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        // xorshift64: quick, and good enough to tell every block from every other.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// `len` bytes of what the guest's `seq FIRST 99999999` prints.
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
