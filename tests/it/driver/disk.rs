//! A ready disk: attached, with running queues, and one call per request.

use std::path::Path;
use std::sync::Arc;

use super::client::Client;
use super::memory::Memory;
use super::ring::{Piece, Ring, WRITE, readable_at, writable_at};
use super::{feature, kind, status};

/// Offsets in a queue's area.
pub(crate) const HEADER: u64 = 0;
pub(crate) const STATUS: u64 = 0x100;
pub(crate) const TABLE: u64 = 0x1000;
pub(crate) const DATA: u64 = 0x2_0000;

/// Everything a Linux guest would accept.
pub(crate) const ALL: u64 = u64::MAX;

/// The 16 bytes that begin every request (virtio 1.3 §5.2.6).
pub(crate) fn request_header(kind: u32, sector: u64) -> Vec<u8> {
    [
        kind.to_le_bytes().as_slice(),
        &[0; 4],
        &sector.to_le_bytes(),
    ]
    .concat()
}

/// One segment of a discard or write-zeroes request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Segment {
    pub(crate) sector: u64,
    pub(crate) sectors: u32,
    pub(crate) flags: u32,
}

pub(crate) fn segment(sector: u64, sectors: u32, flags: u32) -> Segment {
    Segment {
        sector,
        sectors,
        flags,
    }
}

pub(crate) fn encode(segments: &[Segment]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for s in segments {
        bytes.extend(s.sector.to_le_bytes());
        bytes.extend(s.sectors.to_le_bytes());
        bytes.extend(s.flags.to_le_bytes());
    }
    bytes
}

/// The result of a request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) status: u8,
    /// The length in the used element.
    pub(crate) len: u32,
    /// The device-writable bytes before the status, 0xdd where the device wrote nothing.
    pub(crate) data: Vec<u8>,
}

impl Ring {
    /// Write the header, the data of the driver, and 0xdd into the rest, and return the usual
    /// pieces.
    pub(crate) fn lay_out(&self, kind: u32, sector: u64, out: &[u8], room: usize) -> Vec<Piece> {
        self.mem
            .write(self.area(HEADER), &request_header(kind, sector));
        self.mem.write(self.area(DATA), out);
        self.mem
            .fill(self.area(DATA) + out.len() as u64, room, 0xdd);
        self.mem.fill(self.area(STATUS), 1, status::UNTOUCHED);
        let mut pieces = vec![readable_at(self.area(HEADER), 16)];
        if !out.is_empty() {
            pieces.push(readable_at(self.area(DATA), out.len() as u32));
        }
        if room > 0 {
            pieces.push(writable_at(self.area(DATA) + out.len() as u64, room as u32));
        }
        pieces.push(writable_at(self.area(STATUS), 1));
        pieces
    }

    pub(crate) fn status(&self) -> u8 {
        self.mem.read(self.area(STATUS), 1)[0]
    }

    /// Complete one request in the usual layout. On rings with fewer than four entries the pieces
    /// go into an indirect table.
    pub(crate) fn request(&mut self, kind: u32, sector: u64, out: &[u8], room: usize) -> Reply {
        let pieces = self.lay_out(kind, sector, out, room);
        let head = if pieces.len() <= usize::from(self.size) {
            self.direct(0, &pieces)
        } else {
            self.indirect(0, &[], self.area(TABLE), &pieces, 0)
        };
        let len = self.complete(head);
        let data = self.mem.read(self.area(DATA) + out.len() as u64, room);
        Reply {
            status: self.status(),
            len,
            data,
        }
    }

    pub(crate) fn read(&mut self, sector: u64, len: usize) -> Result<Vec<u8>, u8> {
        let reply = self.request(kind::IN, sector, &[], len);
        if reply.status == status::OK {
            Ok(reply.data)
        } else {
            Err(reply.status)
        }
    }

    fn done(reply: &Reply) -> Result<(), u8> {
        if reply.status == status::OK {
            Ok(())
        } else {
            Err(reply.status)
        }
    }

    pub(crate) fn write(&mut self, sector: u64, data: &[u8]) -> Result<(), u8> {
        Self::done(&self.request(kind::OUT, sector, data, 0))
    }

    pub(crate) fn flush(&mut self) -> Result<(), u8> {
        Self::done(&self.request(kind::FLUSH, 0, &[], 0))
    }

    pub(crate) fn discard(&mut self, segments: &[Segment]) -> Result<(), u8> {
        Self::done(&self.request(kind::DISCARD, 0, &encode(segments), 0))
    }

    pub(crate) fn write_zeroes(&mut self, segments: &[Segment]) -> Result<(), u8> {
        Self::done(&self.request(kind::WRITE_ZEROES, 0, &encode(segments), 0))
    }
}

/// Complete the chain in each possible layout: direct, all in an indirect table, and the first
/// pieces direct with the rest in a table. Returns the used lengths.
pub(crate) fn all_ways(
    ring: &mut Ring,
    pieces: &[Piece],
    mut check: impl FnMut(&Ring, u32, usize),
) {
    for way in 0..pieces.len().min(4) + 1 {
        ring.mem.fill(ring.area(STATUS), 1, status::UNTOUCHED);
        let head = if way == 0 {
            ring.direct(7, pieces)
        } else {
            let (direct, rest) = pieces.split_at(way - 1);
            // The WRITE flag on the referring descriptor is ignored (§2.7.5.3.2).
            let extra = if way % 2 == 0 { WRITE } else { 0 };
            ring.indirect(7, direct, ring.area(TABLE), rest, extra)
        };
        let len = ring.complete(head);
        check(ring, len, way);
    }
}

/// A connection with running queues.
pub(crate) struct Disk {
    pub(crate) client: Client,
    pub(crate) mem: Arc<Memory>,
    pub(crate) queues: Vec<Ring>,
}

impl Disk {
    /// Connect with one queue of 256 entries and all features that are offered.
    pub(crate) fn attach(socket: &Path) -> Self {
        Self::attach_with(socket, ALL, 1, 256)
    }

    /// Connect with `queues` queues of `size` entries, and the offered features that are in
    /// `features`.
    pub(crate) fn attach_with(socket: &Path, features: u64, queues: u32, size: u16) -> Self {
        let mut disk = Self::prepare(socket, features);
        let event_idx = features & feature::EVENT_IDX != 0;
        for index in 0..queues {
            let ring = Ring::new(&disk.mem, index, size, event_idx);
            disk.client.start(&ring);
            disk.queues.push(ring);
        }
        disk
    }

    /// Connect, negotiate and share memory, but start no queue.
    pub(crate) fn prepare(socket: &Path, features: u64) -> Self {
        let client = Client::negotiated(socket, features);
        let mem = Arc::new(Memory::standard());
        client.set_memory(&mem);
        Self {
            client,
            mem,
            queues: Vec::new(),
        }
    }

    /// Queue 0.
    pub(crate) fn q(&mut self) -> &mut Ring {
        &mut self.queues[0]
    }

    pub(crate) fn capacity(&self) -> u64 {
        self.client.capacity()
    }
}
