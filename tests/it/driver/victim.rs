//! A disk that others attack, and the check that it does not mind.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use std::io::pipe;

use super::client::Client;
use super::data::pattern;
use super::disk::{ALL, Disk};
use super::memory::Memory;
use crate::harness::{Ramblk, eventually};

/// A disk with bytes on it.
pub(crate) struct Victim {
    pub(crate) ramblk: Ramblk,
    fds: usize,
    threads: usize,
    pub(crate) mappings: usize,
}

impl Victim {
    pub(crate) fn new() -> Self {
        let ramblk = Ramblk::run(&[]);
        let mut disk = Disk::attach(ramblk.socket());
        disk.q().write(1000, &pattern(8192, 42)).unwrap();
        drop(disk);
        // The first session may have left things that stay; the second can't leave more.
        std::thread::sleep(Duration::from_millis(50));
        let (fds, threads, mappings) = (ramblk.fds(), ramblk.threads(), ramblk.mappings());
        Self {
            ramblk,
            fds,
            threads,
            mappings,
        }
    }

    pub(crate) fn client(&self) -> Client {
        Client::negotiated(self.ramblk.socket(), ALL)
    }

    /// A negotiated client with memory.
    pub(crate) fn with_memory(&self) -> (Client, Memory) {
        let (client, memory) = (self.client(), Memory::standard());
        client.set_memory(&memory);
        (client, memory)
    }

    /// An honest front end finds its bytes and can write, and nothing of the others is left.
    pub(crate) fn is_unharmed(&self, by: &str) {
        let mut disk = Disk::attach(self.ramblk.socket());
        assert_eq!(
            disk.q().read(1000, 8192),
            Ok(pattern(8192, 42)),
            "after {by}"
        );
        assert_eq!(disk.q().write(0, &[1; 512]), Ok(()), "after {by}");
        drop(disk);
        eventually(
            &format!("descriptors and threads are given back after {by}"),
            || self.ramblk.fds() <= self.fds && self.ramblk.threads() <= self.threads,
        );
    }
}

/// Descriptors that are neither files nor eventfds, by name.
pub(crate) fn odd_descriptors() -> Vec<(&'static str, OwnedFd)> {
    let (socket, _) = UnixStream::pair().unwrap();
    let (reader, _) = pipe().unwrap();
    let (_, writer) = pipe().unwrap();
    vec![
        ("closed socket", socket.into()),
        ("pipe without a writer", reader.into()),
        ("pipe without a reader", writer.into()),
        ("null device", File::open("/dev/null").unwrap().into()),
        ("directory", File::open("/proc/self").unwrap().into()),
        ("regular file", tempfile::tempfile().unwrap().into()),
    ]
}
