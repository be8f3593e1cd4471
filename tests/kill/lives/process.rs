//! What the daemon's process holds.

use std::fs::{read_dir, read_to_string};

/// Descriptors, threads, and memory that is not a file's.
#[derive(Clone, Copy, Debug)]
pub(super) struct Holds {
    pub(super) descriptors: usize,
    pub(super) threads: usize,
    pub(super) anonymous_kib: u64,
}

impl Holds {
    pub(super) fn of(pid: u32) -> Self {
        let count = |what: &str| read_dir(format!("/proc/{pid}/{what}")).unwrap().count();
        let status = read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("RssAnon:"));
        let kib = line.and_then(|line| line.split_whitespace().next());
        Self {
            descriptors: count("fd"),
            threads: count("task"),
            anonymous_kib: kib.unwrap().parse().unwrap(),
        }
    }
}
