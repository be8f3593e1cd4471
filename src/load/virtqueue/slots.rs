//! Requests: each slot has a header, a status, data and a chain of descriptors of its own, laid
//! once, so that a request costs the driver two or three stores.
//!
//! Header and status of a slot share a cache line that no other slot has, as they do in Linux.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use virtio_bindings::{virtio_blk as blk, virtio_ring as vring};

use crate::load::virtqueue::memory::Memory;
use crate::load::virtqueue::ring::{RingLayout, low16};

/// The guest-physical address of the memory. Not 0, so that nothing works by accident.
pub(in crate::load) const GUEST_START: u64 = 0x4000_0000;

/// Bytes of a slot's line: header at 0, status at 16, range of a discard at 32.
const LINE_BYTES: usize = 64;
const LINE_WORDS: usize = LINE_BYTES / 8;

/// The value of a status byte that the back end has not written.
pub(in crate::load) const UNSET: u8 = 0xFF;

/// Not in flight.
const IDLE: u64 = u64::MAX;

/// A head that belongs to no slot.
const NO_SLOT: u16 = u16::MAX;

/// The kind of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::load) enum Kind {
    Read,
    Write,
    Discard,
    WriteZeroes,
    Flush,
}

impl Kind {
    const fn number(self) -> u32 {
        match self {
            Self::Read => blk::VIRTIO_BLK_T_IN,
            Self::Write => blk::VIRTIO_BLK_T_OUT,
            Self::Discard => blk::VIRTIO_BLK_T_DISCARD,
            Self::WriteZeroes => blk::VIRTIO_BLK_T_WRITE_ZEROES,
            Self::Flush => blk::VIRTIO_BLK_T_FLUSH,
        }
    }
}

/// The shape of requests.
#[derive(Clone, Copy, Debug)]
pub(in crate::load) struct Shape {
    /// The most requests in flight.
    pub(in crate::load) depth: u16,
    /// Bytes of data of a request.
    pub(in crate::load) block_bytes: u32,
    /// The most bytes of data of a descriptor.
    pub(in crate::load) segment_bytes: u32,
    /// Whether chains are in indirect tables.
    pub(in crate::load) indirect: bool,
    /// Flags of a write-zeroes request.
    pub(in crate::load) zeroes_flags: u32,
}

impl Shape {
    /// Descriptors with data in a request.
    pub(in crate::load) fn segments(&self) -> u32 {
        self.block_bytes.div_ceil(self.segment_bytes)
    }

    /// Descriptors of the longest chain.
    pub(in crate::load) fn chain(&self) -> u32 {
        2 + self.segments()
    }

    /// Descriptors that the ring needs.
    pub(in crate::load) fn ring_descriptors(&self) -> u32 {
        let each = if self.indirect { 1 } else { self.chain() };
        u32::from(self.depth) * each
    }
}

/// The places of a queue's parts in the memory, in bytes from its start.
#[derive(Clone, Copy, Debug)]
pub(in crate::load) struct Layout {
    pub(in crate::load) ring: RingLayout,
    lines_bytes: usize,
    tables_bytes: usize,
    data_bytes: usize,
}

impl Layout {
    /// A queue that begins at `at_bytes`, and its end.
    pub(in crate::load) fn new(shape: &Shape, ring_size: u16, at_bytes: usize) -> (Self, usize) {
        let depth = usize::from(shape.depth);
        let (ring, lines_bytes) = RingLayout::new(ring_size, at_bytes);
        let tables_bytes = (lines_bytes + depth * LINE_BYTES).next_multiple_of(4096);
        let table = if shape.indirect {
            16 * shape.chain() as usize
        } else {
            0
        };
        let data_bytes = (tables_bytes + depth * table).next_multiple_of(4096);
        let end = (data_bytes + depth * shape.block_bytes as usize).next_multiple_of(4096);
        let layout = Self {
            ring,
            lines_bytes,
            tables_bytes,
            data_bytes,
        };
        (layout, end)
    }
}

/// All slots of one queue.
#[derive(Debug)]
pub(in crate::load) struct Slots<'m> {
    shape: Shape,
    layout: Layout,
    lines: &'m [AtomicU64],
    data: &'m [AtomicU64],
    /// The ring's table, or the slots' indirect tables.
    table: &'m [AtomicU64],
    /// The slot of each head.
    slot_of: Vec<u16>,
    /// The kind for which each slot's chain is laid out.
    laid: Vec<Kind>,
    /// When each slot's request began, in ns, or [`IDLE`].
    begun_ns: Vec<u64>,
    /// The block of each slot's request.
    blocks: Vec<u64>,
}

impl<'m> Slots<'m> {
    /// All slots, laid out for `kind`; `ring_table` is the ring's.
    ///
    /// # Errors
    /// They don't fit into the memory.
    pub(in crate::load) fn new(
        memory: &'m Memory,
        (shape, layout): (Shape, Layout),
        ring_table: &'m [AtomicU64],
        kind: Kind,
    ) -> io::Result<Self> {
        let depth = usize::from(shape.depth);
        let words = shape.block_bytes as usize / 8;
        let chain = shape.chain() as usize;
        let table = if shape.indirect {
            memory.words64(layout.tables_bytes, 2 * chain * depth)?
        } else {
            ring_table
        };
        let mut slots = Self {
            shape,
            layout,
            lines: memory.words64(layout.lines_bytes, depth * LINE_WORDS)?,
            data: memory.words64(layout.data_bytes, depth * words)?,
            table,
            slot_of: vec![NO_SLOT; usize::from(layout.ring.size)],
            laid: vec![kind; depth],
            begun_ns: vec![IDLE; depth],
            blocks: vec![0; depth],
        };
        for slot in 0..depth {
            slots.lines[slot * LINE_WORDS].store(u64::from(kind.number()), Ordering::Relaxed);
            slots.lay(slot, kind, ring_table);
            let head = usize::from(slots.head(slot));
            slots.slot_of[head] = low16(slot as u64);
        }
        Ok(slots)
    }

    /// The head of a slot's chain in the ring's table.
    #[inline]
    pub(in crate::load) fn head(&self, slot: usize) -> u16 {
        let each = if self.shape.indirect {
            1
        } else {
            u64::from(self.shape.chain())
        };
        low16(slot as u64 * each)
    }

    /// Write a request into a slot. Its head may be pushed then.
    #[inline]
    pub(in crate::load) fn prepare(
        &mut self,
        slot: usize,
        kind: Kind,
        block: u64,
        (begun_ns, ring_table): (u64, &[AtomicU64]),
    ) {
        let line = &self.lines[slot * LINE_WORDS..][..LINE_WORDS];
        let sectors = self.shape.block_bytes >> 9;
        let sector = block * u64::from(sectors);
        match kind {
            Kind::Read | Kind::Write => line[1].store(sector, Ordering::Relaxed),
            Kind::Discard | Kind::WriteZeroes => line[4].store(sector, Ordering::Relaxed),
            Kind::Flush => {}
        }
        line[2].store(u64::from(UNSET), Ordering::Relaxed);
        self.begun_ns[slot] = begun_ns;
        self.blocks[slot] = block;
        if self.laid[slot] != kind {
            line[0].store(u64::from(kind.number()), Ordering::Relaxed);
            line[1].store(
                match kind {
                    Kind::Read | Kind::Write => sector,
                    _ => 0,
                },
                Ordering::Relaxed,
            );
            self.lay(slot, kind, ring_table);
        }
    }

    /// The slot of a completed head, and when its request began; `None` if no request in flight has
    /// that head.
    #[inline]
    pub(in crate::load) fn finish(&mut self, head: u32) -> Option<(usize, u64)> {
        let slot = usize::from(*self.slot_of.get(head as usize)?);
        let begun = self.begun_ns.get_mut(slot)?;
        let at = std::mem::replace(begun, IDLE);
        (at != IDLE).then_some((slot, at))
    }

    /// The status of a slot.
    #[inline]
    pub(in crate::load) fn status(&self, slot: usize) -> u8 {
        self.lines[slot * LINE_WORDS + 2]
            .load(Ordering::Relaxed)
            .to_le_bytes()[0]
    }

    /// The kind and the block of a slot's last request.
    pub(in crate::load) fn request(&self, slot: usize) -> (Kind, u64) {
        (self.laid[slot], self.blocks[slot])
    }

    /// A slot's data.
    pub(in crate::load) fn data(&self, slot: usize) -> &'m [AtomicU64] {
        let words = self.shape.block_bytes as usize / 8;
        &self.data[slot * words..][..words]
    }

    /// Write the descriptors for a kind of request. Unchanged ones are not written, and so stay in
    /// the caches of both sides.
    #[cold]
    fn lay(&mut self, slot: usize, kind: Kind, ring_table: &[AtomicU64]) {
        let chain = self.shape.chain() as usize;
        let line = GUEST_START + (self.layout.lines_bytes + slot * LINE_BYTES) as u64;
        let range = self.shape.block_bytes >> 9;
        let flags = match kind {
            Kind::WriteZeroes => self.shape.zeroes_flags,
            _ => 0,
        };
        let range = u64::from(range) | u64::from(flags) << 32;
        self.lines[slot * LINE_WORDS + 5].store(range, Ordering::Relaxed);
        let direction = match kind {
            Kind::Read => vring::VRING_DESC_F_WRITE,
            _ => 0,
        };
        let mut pieces = vec![(line, 16, 0)];
        match kind {
            Kind::Read | Kind::Write => self.data_pieces(slot, direction, &mut pieces),
            Kind::Discard | Kind::WriteZeroes => pieces.push((line + 32, 16, 0)),
            Kind::Flush => {}
        }
        pieces.push((line + 16, 1, vring::VRING_DESC_F_WRITE));
        let first = slot * chain;
        let base = if self.shape.indirect { 0 } else { first };
        let last = pieces.len() - 1;
        for (at, (address, len, flags)) in pieces.into_iter().enumerate() {
            let (next, more) = if at < last {
                (base + at + 1, vring::VRING_DESC_F_NEXT)
            } else {
                (0, 0)
            };
            let rest = u64::from(len) | u64::from(flags | more) << 32 | (next as u64) << 48;
            put(self.table, first + at, address, rest);
        }
        if self.shape.indirect {
            let table = (self.layout.tables_bytes + slot * chain * 16) as u64;
            let flags = u64::from(vring::VRING_DESC_F_INDIRECT) << 32;
            let rest = (16 * (last as u64 + 1)) | flags;
            put(ring_table, slot, GUEST_START + table, rest);
        }
        self.laid[slot] = kind;
    }

    fn data_pieces(&self, slot: usize, direction: u32, into: &mut Vec<(u64, u32, u32)>) {
        let block_bytes = self.shape.block_bytes;
        let start = self.layout.data_bytes + slot * block_bytes as usize;
        let mut at = 0;
        while at < block_bytes {
            let len = self.shape.segment_bytes.min(block_bytes - at);
            into.push((GUEST_START + start as u64 + u64::from(at), len, direction));
            at += len;
        }
    }
}

/// Write a descriptor, unless it is unchanged.
fn put(table: &[AtomicU64], index: usize, address: u64, rest: u64) {
    for (word, value) in [(2 * index, address), (2 * index + 1, rest)] {
        if table[word].load(Ordering::Relaxed) != value {
            table[word].store(value, Ordering::Relaxed);
        }
    }
}
