//! A walk along the descriptors of one request (virtio 1.3 §2.7.5), whatever its shape.
//!
//! Every descriptor is read once, into memory of our own, and a chain has an end: more descriptors
//! than a request may have are an error, as are indexes out of range and tables within tables.
#![allow(unsafe_code)]

use virtio_queue::desc::split::Descriptor;

use super::ring::{DESC_BYTES, F_INDIRECT, F_NEXT, Ring, RingError, decode};
use crate::store::Source;

/// Where a chain's descriptors are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Table {
    /// In the ring's own table.
    Ring,
    /// In a table of the guest's, for this request.
    Indirect { address: u64, entries: u16 },
}

impl Ring {
    /// Collect the pieces of the chain that starts at `head`.
    pub(super) fn walk(&mut self, head: u16) -> Result<(), RingError> {
        self.pieces.clear();
        let limit = self.longest_chain();
        let mut table = Table::Ring;
        let mut index = head;
        let mut steps = 0;
        loop {
            let descriptor = self.fetch(table, index)?;
            if descriptor.flags() & F_INDIRECT != 0 {
                table = self.enter(table, descriptor)?;
                index = 0;
                continue;
            }
            steps += 1;
            if steps > limit {
                return Err(RingError::Loop { limit });
            }
            self.pieces.add(&self.memory, descriptor);
            if descriptor.flags() & F_NEXT == 0 {
                return Ok(());
            }
            index = descriptor.next();
            let size = match table {
                Table::Ring => self.size(),
                Table::Indirect { entries, .. } => entries,
            };
            if index >= size {
                return Err(RingError::Next { next: index, size });
            }
        }
    }

    /// The indirect table that a descriptor refers to, whose WRITE flag means nothing (§2.7.5.3).
    fn enter(&self, from: Table, referring: Descriptor) -> Result<Table, RingError> {
        let (address, len) = (referring.addr().0, referring.len());
        if from != Table::Ring {
            return Err(RingError::Nested);
        }
        if !self.may_be_indirect() {
            return Err(RingError::IndirectUnasked);
        }
        if referring.flags() & F_NEXT != 0 {
            return Err(RingError::IndirectNext);
        }
        let entries = u16::try_from(len / 16).unwrap_or(u16::MAX);
        if !len.is_multiple_of(16) || entries == 0 || entries > self.longest_chain() {
            return Err(RingError::IndirectTable { address, len });
        }
        Ok(Table::Indirect { address, entries })
    }

    /// Descriptor `index`, which is below the size of `table`.
    fn fetch(&self, table: Table, index: u16) -> Result<Descriptor, RingError> {
        let Table::Indirect { address, entries } = table else {
            return Ok(self.descriptor(index));
        };
        address
            .checked_add(u64::from(index) * DESC_BYTES)
            .and_then(|at| self.read_16(at))
            .map(decode)
            .ok_or(RingError::IndirectTable {
                address,
                len: u32::from(entries) * 16,
            })
    }

    /// 16 bytes at a guest address, which may lie across two regions.
    fn read_16(&self, address: u64) -> Option<[u8; 16]> {
        let mut bytes = [0; 16];
        let mut done = 0;
        while done < bytes.len() {
            let at = address.checked_add(done as u64)?;
            let range = self.memory.host(at, (bytes.len() - done) as u64)?;
            // SAFETY: `host` gives mapped memory, which `self.memory` keeps mapped.
            let piece = unsafe { Source::new(range.ptr, range.len) };
            done += piece.copy_to(&mut bytes[done..]);
        }
        Some(bytes)
    }
}
