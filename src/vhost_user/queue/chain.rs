//! Walking the chain of descriptors of a request of any shape (virtio 1.3 §2.7.5).
//!
//! Every descriptor is copied once, and the length of a walk is bounded. If a chain can't be
//! followed, or is longer than any request, only that request fails: its head is returned to the
//! driver, and the queue goes on. Indirect tables are served even if their feature was not
//! negotiated, and at any ring size, since some drivers violate either rule.
#![allow(unsafe_code)]

use super::pieces::Pieces;
use super::split::{DESC_BYTES, Descriptor, F_INDIRECT, F_NEXT, F_WRITE, SplitQueue};
use crate::device::SEG_MAX;
use crate::store::Source;
use crate::vhost_user::memory::map::MemoryMap;

/// The most descriptors of a request on a ring that is not longer than this, as in QEMU
/// (`VIRTQUEUE_MAX_SIZE`). On a longer ring a request may have as many as the ring.
pub(super) const LONGEST_CHAIN: u16 = 1024;
/// Header and status come on top of the data segments.
const _: () = assert!(SEG_MAX + 2 <= LONGEST_CHAIN as u32);
/// The most descriptors to read of a chain that is too long, in search of its status byte.
const MOST_FOLLOWED: u16 = 4096;

/// Why a request fails before its header is parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ChainFault {
    #[error("next descriptor {next} in a table of {entries}")]
    Next { next: u16, entries: u32 },
    #[error("a chain of more than {limit} descriptors: a loop, or longer than any request")]
    TooLong { limit: u16 },
    #[error("an indirect table inside an indirect table")]
    Nested,
    #[error("a descriptor with both INDIRECT and NEXT")]
    IndirectNext,
    #[error("an indirect table of {len} bytes at {address:#x}")]
    IndirectTable { address: u64, len: u32 },
}

/// Where a chain's descriptors are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Table {
    /// In the queue's own table.
    Queue,
    /// In an indirect table.
    Indirect { address: u64, len: u32 },
}

/// The place of a descriptor.
#[derive(Clone, Copy, Debug)]
struct At {
    table: Table,
    /// Below the number of entries of the table.
    index: u16,
}

/// The place of the next descriptor of the chain, if there is one.
type Following = Result<Option<At>, ChainFault>;

/// How many descriptors a chain may have on a queue of `size`. A driver must not exceed the queue
/// size (§2.7.5.3.1), but Linux fills indirect tables up to `seg_max`, and Windows beyond that.
pub(super) fn longest_chain(size: u16) -> u16 {
    size.max(LONGEST_CHAIN)
}

/// Collect the buffers of the chain that starts at `head`, which is below the queue's size. If the
/// chain can't be followed, only the status byte remains, if one was found.
///
/// # Errors
/// The chain can't be followed.
#[inline]
pub(super) fn collect(
    queue: &SplitQueue,
    head: u16,
    pieces: &mut Pieces,
) -> Result<(), ChainFault> {
    pieces.clear();
    let mut walk = Walk {
        queue,
        memory: queue.memory(),
        limit: longest_chain(queue.size()),
        walked: 0,
        pieces,
    };
    let result = walk.through_queue(head);
    let walked = walk.walked;
    if result.is_err() {
        pieces.refuse();
    }
    pieces.end(walked);
    result
}

/// A walk along one chain.
struct Walk<'a> {
    queue: &'a SplitQueue,
    memory: &'a MemoryMap,
    /// The most descriptors of the chain, and how many were read.
    limit: u16,
    walked: u32,
    pieces: &'a mut Pieces,
}

impl Walk<'_> {
    /// Walk a chain in the queue's own table, where most chains lie as a whole. If it refers to an
    /// indirect table, the walk continues in `through_tables`, which reads that descriptor again.
    #[inline]
    fn through_queue(&mut self, head: u16) -> Result<(), ChainFault> {
        let mut index = head;
        while self.walked < u32::from(self.limit) {
            let Some(descriptor) = self.queue.descriptor(index) else {
                let (next, entries) = (index, u32::from(self.queue.size()));
                return Err(ChainFault::Next { next, entries });
            };
            if descriptor.has(F_INDIRECT) {
                break;
            }
            self.walked += 1;
            self.pieces.add(self.memory, descriptor);
            if !descriptor.has(F_NEXT) {
                return Ok(());
            }
            index = descriptor.next;
        }
        let table = Table::Queue;
        self.through_tables(At { table, index })
    }

    fn through_tables(&mut self, from: At) -> Result<(), ChainFault> {
        let mut next = Some(from);
        while let Some(at) = next {
            let (descriptor, following) = self.follow(at)?;
            if self.walked == u32::from(self.limit) {
                return self.find_status(descriptor, following);
            }
            self.walked += 1;
            self.pieces.add(self.memory, descriptor);
            next = following?;
        }
        Ok(())
    }

    /// The chain is too long: go on from `descriptor` to find its last writable byte.
    #[cold]
    fn find_status(
        &mut self,
        mut descriptor: Descriptor,
        mut next: Following,
    ) -> Result<(), ChainFault> {
        let limit = self.limit;
        let mut last = None;
        for _ in limit..limit.max(MOST_FOLLOWED) {
            self.walked += 1;
            if descriptor.has(F_WRITE) && descriptor.len > 0 {
                last = Some(descriptor);
            }
            let Ok(Some(at)) = next else {
                break;
            };
            let Ok(following) = self.follow(at) else {
                break;
            };
            (descriptor, next) = following;
        }
        if let Some(last) = last {
            self.pieces.clear();
            self.pieces.add(self.memory, last);
        }
        Err(ChainFault::TooLong { limit })
    }

    /// The descriptor at a place, and the place of the next one. A descriptor that refers to an
    /// indirect table stands for the table's first descriptor.
    #[inline]
    fn follow(&self, at: At) -> Result<(Descriptor, Following), ChainFault> {
        let mut table = at.table;
        let mut descriptor = self.fetch(at)?;
        if descriptor.has(F_INDIRECT) {
            table = Self::enter(table, descriptor)?;
            descriptor = self.fetch(At { table, index: 0 })?;
            if descriptor.has(F_INDIRECT) {
                return Err(ChainFault::Nested);
            }
        }
        if !descriptor.has(F_NEXT) {
            return Ok((descriptor, Ok(None)));
        }
        let index = descriptor.next;
        let entries = match table {
            Table::Queue => u32::from(self.queue.size()),
            Table::Indirect { len, .. } => len / 16,
        };
        let following = if u32::from(index) < entries {
            Ok(Some(At { table, index }))
        } else {
            let next = index;
            Err(ChainFault::Next { next, entries })
        };
        Ok((descriptor, following))
    }

    /// The indirect table that a descriptor refers to. Its WRITE flag is ignored (§2.7.5.3.2).
    fn enter(from: Table, referring: Descriptor) -> Result<Table, ChainFault> {
        let (address, len) = (referring.addr, referring.len);
        if from != Table::Queue {
            return Err(ChainFault::Nested);
        }
        if referring.has(F_NEXT) {
            return Err(ChainFault::IndirectNext);
        }
        if len == 0 || !len.is_multiple_of(16) {
            return Err(ChainFault::IndirectTable { address, len });
        }
        Ok(Table::Indirect { address, len })
    }

    #[inline]
    fn fetch(&self, at: At) -> Result<Descriptor, ChainFault> {
        let Table::Indirect { address, len } = at.table else {
            let (next, entries) = (at.index, u32::from(self.queue.size()));
            let found = self.queue.descriptor(at.index);
            return found.ok_or(ChainFault::Next { next, entries });
        };
        address
            .checked_add(u64::from(at.index) * DESC_BYTES)
            .and_then(|at| self.read_16(at))
            .map(Descriptor::from_le)
            .ok_or(ChainFault::IndirectTable { address, len })
    }

    /// 16 bytes at a guest address, which may lie across two regions.
    fn read_16(&self, address: u64) -> Option<[u8; 16]> {
        let mut bytes = [0; 16];
        let mut done = 0;
        while done < bytes.len() {
            let at = address.checked_add(done as u64)?;
            let range = self.memory.host(at, (bytes.len() - done) as u64)?;
            // SAFETY: `host` returns mapped memory, which the map keeps mapped.
            let piece = unsafe { Source::new(range.ptr, range.len) };
            done += piece.copy_to(&mut bytes[done..]);
        }
        Some(bytes)
    }
}
