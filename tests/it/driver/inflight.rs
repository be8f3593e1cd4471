//! The region that outlives a back end: which requests the back end took from its rings and has not
//! returned ("Inflight I/O tracking", split virtqueues). A front end keeps its descriptor and
//! passes it to the next back end.
//!
//! Here the region is read and written through its file, field by field, at offsets taken from the
//! specification a second time.

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;

use rustix::fs::{MemfdFlags, memfd_create};

use super::client::{Client, PATIENCE, code};
use super::wire::{Answer, NEED_REPLY, REPLY, VERSION};

/// Bytes before the entries of a queue: features, version, desc_num, last_batch_head, used_idx.
pub(crate) const HEADER: u64 = 16;
/// Bytes of an entry: inflight, five of padding, next, counter.
pub(crate) const ENTRY: u64 = 16;

/// A region as the front end knows it.
#[derive(Debug)]
pub(crate) struct Inflight {
    pub(crate) file: File,
    pub(crate) size: u64,
    pub(crate) offset: u64,
    pub(crate) queues: u16,
    pub(crate) entries: u16,
}

/// The 24 bytes of GET_INFLIGHT_FD and SET_INFLIGHT_FD.
pub(crate) fn description(size: u64, offset: u64, queues: u16, entries: u16) -> Vec<u8> {
    let mut bytes = [size.to_le_bytes(), offset.to_le_bytes()].concat();
    bytes.extend([queues.to_le_bytes(), entries.to_le_bytes()].concat());
    bytes.resize(24, 0);
    bytes
}

fn stride(entries: u16) -> u64 {
    (HEADER + ENTRY * u64::from(entries)).next_multiple_of(64)
}

impl Inflight {
    /// The region that the back end creates for `queues` rings of `entries` entries.
    pub(crate) fn ask(client: &Client, queues: u16, entries: u16) -> Self {
        let flags = if client.acks { NEED_REPLY } else { 0 };
        let request = description(0, 0, queues, entries);
        assert!(client.send(code::GET_INFLIGHT_FD, flags, &request, &[]));
        let Answer::Message(mut reply) = client.wire.receive(PATIENCE) else {
            panic!("no inflight region");
        };
        let header = (reply.code, reply.flags, reply.payload.len());
        assert_eq!(header, (code::GET_INFLIGHT_FD, VERSION | REPLY, 24));
        assert_eq!(reply.fds.len(), 1, "descriptors with the inflight region");
        let word = |at: usize| u64::from_le_bytes(reply.payload[at..at + 8].try_into().unwrap());
        let (size, offset) = (word(0), word(8));
        assert_eq!(reply.payload[16..], request[16..], "queues and their size");
        Self {
            file: reply.fds.remove(0).into(),
            size,
            offset,
            queues,
            entries,
        }
    }

    /// A region of zeros as another back end might create it, starting inside its file.
    pub(crate) fn new(queues: u16, entries: u16) -> Self {
        let stride = (HEADER + ENTRY * u64::from(entries)).next_multiple_of(64);
        let (size, offset) = (stride * u64::from(queues), 4096);
        let file = File::from(memfd_create("inflight", MemfdFlags::CLOEXEC).unwrap());
        file.set_len(offset + size.next_multiple_of(4096)).unwrap();
        Self {
            file,
            size,
            offset,
            queues,
            entries,
        }
    }

    pub(crate) fn description(&self) -> Vec<u8> {
        description(self.size, self.offset, self.queues, self.entries)
    }

    /// SET_INFLIGHT_FD.
    pub(crate) fn give(&self, client: &Client) {
        let fds = [self.file.as_fd()];
        client.tell(code::SET_INFLIGHT_FD, &self.description(), &fds);
    }

    /// Bytes of one queue's part for the requested number of entries.
    pub(crate) fn stride(&self) -> u64 {
        stride(self.entries)
    }

    pub(crate) fn queue(&self, index: u16) -> Track<'_> {
        let at = self.offset + self.stride() * u64::from(index);
        let (region, entries) = (self, self.entries);
        Track {
            region,
            at,
            entries,
        }
    }

    /// The part of a queue with more entries than requested, which ramblk keeps behind all the
    /// others.
    pub(crate) fn long_queue(&self, index: u16) -> Track<'_> {
        let first = self.offset + self.stride() * u64::from(self.queues);
        let at = first + stride(1024) * u64::from(index);
        let (region, entries) = (self, 1024);
        Track {
            region,
            at,
            entries,
        }
    }
}

/// One queue's part of a region.
#[derive(Clone, Copy)]
pub(crate) struct Track<'a> {
    region: &'a Inflight,
    at: u64,
    entries: u16,
}

impl Track<'_> {
    fn get<const N: usize>(&self, offset: u64) -> [u8; N] {
        let mut bytes = [0; N];
        let file = &self.region.file;
        file.read_exact_at(&mut bytes, self.at + offset).unwrap();
        bytes
    }

    fn set(&self, offset: u64, bytes: &[u8]) {
        let file = &self.region.file;
        file.write_all_at(bytes, self.at + offset).unwrap();
    }

    fn get_16(&self, offset: u64) -> u16 {
        u16::from_le_bytes(self.get(offset))
    }

    fn set_16(&self, offset: u64, value: u16) {
        self.set(offset, &value.to_le_bytes());
    }

    pub(crate) fn features(&self) -> u64 {
        u64::from_le_bytes(self.get(0))
    }

    pub(crate) fn version(&self) -> u16 {
        self.get_16(8)
    }

    pub(crate) fn set_version(&self, version: u16) {
        self.set_16(8, version);
    }

    pub(crate) fn desc_num(&self) -> u16 {
        self.get_16(10)
    }

    pub(crate) fn set_desc_num(&self, entries: u16) {
        self.set_16(10, entries);
    }

    pub(crate) fn last_batch_head(&self) -> u16 {
        self.get_16(12)
    }

    pub(crate) fn set_last_batch_head(&self, head: u16) {
        self.set_16(12, head);
    }

    pub(crate) fn used_idx(&self) -> u16 {
        self.get_16(14)
    }

    pub(crate) fn set_used_idx(&self, index: u16) {
        self.set_16(14, index);
    }

    fn entry(head: u16) -> u64 {
        HEADER + ENTRY * u64::from(head)
    }

    pub(crate) fn inflight(&self, head: u16) -> bool {
        self.get::<1>(Self::entry(head)) != [0]
    }

    pub(crate) fn set_inflight(&self, head: u16, inflight: bool) {
        self.set(Self::entry(head), &[u8::from(inflight)]);
    }

    pub(crate) fn next(&self, head: u16) -> u16 {
        self.get_16(Self::entry(head) + 6)
    }

    pub(crate) fn set_next(&self, head: u16, next: u16) {
        self.set_16(Self::entry(head) + 6, next);
    }

    pub(crate) fn counter(&self, head: u16) -> u64 {
        u64::from_le_bytes(self.get(Self::entry(head) + 8))
    }

    pub(crate) fn set_counter(&self, head: u16, counter: u64) {
        self.set(Self::entry(head) + 8, &counter.to_le_bytes());
    }

    /// The heads that the region says are owed after a crash, in order, given the ring's used
    /// index. By the specification; writes nothing.
    pub(crate) fn owed(&self, used_idx: u16) -> Vec<u16> {
        let mut owed = self.marked();
        let mut head = self.last_batch_head();
        for _ in 0..used_idx.wrapping_sub(self.used_idx()) {
            owed.retain(|marked| *marked != head);
            head = self.next(head);
        }
        owed.sort_by_key(|head| self.counter(*head));
        owed
    }

    /// The heads that are marked as taken and not returned.
    pub(crate) fn marked(&self) -> Vec<u16> {
        let heads = 0..self.entries;
        heads.filter(|head| self.inflight(*head)).collect()
    }
}
