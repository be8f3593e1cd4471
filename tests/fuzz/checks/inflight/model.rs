//! The stores that a device makes to guest memory and to the region, in order, so that it can be
//! killed between any two of them.

use super::{AVAIL, BUFFERS, DATA, LARGEST, QUEUE_BYTES, USED};

/// Bytes before the entries of a queue.
pub(crate) const HEADER: usize = 16;
/// Offsets in that header.
pub(crate) const VERSION: usize = 8;
pub(crate) const DESC_NUM: usize = 10;
pub(crate) const LAST: usize = 12;
pub(crate) const NOTED: usize = 14;

/// Where a store goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Memory,
    Region,
}

/// Guest memory and the region, and the last stores to them.
#[derive(Clone, Debug)]
pub(crate) struct State {
    pub(crate) memory: Vec<u8>,
    pub(crate) region: Vec<u8>,
    /// Where the queue's part of the region is.
    pub(crate) base: usize,
    pub(crate) size: u16,
    log: Vec<(Place, usize, Vec<u8>)>,
}

impl State {
    pub(crate) fn new(memory: Vec<u8>, region: Vec<u8>, queue: u16, size: u16) -> Self {
        Self {
            memory,
            region,
            base: usize::from(queue) * QUEUE_BYTES,
            size,
            log: Vec::new(),
        }
    }

    fn store(&mut self, place: Place, at: usize, bytes: &[u8]) {
        let image = match place {
            Place::Memory => &mut self.memory,
            Place::Region => &mut self.region,
        };
        image[at..at + bytes.len()].copy_from_slice(bytes);
        self.log.push((place, at, bytes.to_vec()));
    }

    /// Clear the list of stores, and return its length.
    pub(crate) fn begin(&mut self) -> usize {
        std::mem::take(&mut self.log).len()
    }

    /// The state as if the device had died after `count` stores since `before`.
    pub(crate) fn after(&self, before: &Self, count: usize) -> Self {
        let mut state = before.clone();
        state.log.clear();
        for (place, at, bytes) in self.log.iter().take(count) {
            state.store(*place, *at, bytes);
        }
        state.log.clear();
        state
    }

    pub(crate) fn stores(&self) -> usize {
        self.log.len()
    }

    pub(crate) fn memory_u16(&self, at: usize) -> u16 {
        u16::from_le_bytes([self.memory[at], self.memory[at + 1]])
    }

    pub(crate) fn used_index(&self) -> u16 {
        self.memory_u16(USED + 2)
    }

    pub(crate) fn avail_index(&self) -> u16 {
        self.memory_u16(AVAIL + 2)
    }

    /// The head in the used ring at `index`.
    pub(crate) fn used_id(&self, index: u16) -> u16 {
        self.memory_u16(USED + 4 + usize::from(index % self.size) * 8)
    }

    pub(crate) fn header(&self, field: usize) -> u16 {
        let at = self.base + field;
        u16::from_le_bytes([self.region[at], self.region[at + 1]])
    }

    pub(crate) fn set_header(&mut self, field: usize, value: u16) {
        self.store(Place::Region, self.base + field, &value.to_le_bytes());
    }

    pub(crate) fn entry(&self, head: u16) -> usize {
        self.base + HEADER + usize::from(head) * 16
    }

    pub(crate) fn mark(&self, head: u16) -> u8 {
        self.region[self.entry(head)]
    }

    pub(crate) fn set_mark(&mut self, head: u16, mark: u8) {
        self.store(Place::Region, self.entry(head), &[mark]);
    }

    pub(crate) fn next(&self, head: u16) -> u16 {
        let at = self.entry(head) + 6;
        u16::from_le_bytes([self.region[at], self.region[at + 1]])
    }

    pub(crate) fn counter(&self, head: u16) -> u64 {
        let at = self.entry(head) + 8;
        u64::from_le_bytes(std::array::from_fn(|i| self.region[at + i]))
    }

    /// The specification's recovery: the heads to serve again, in order.
    pub(crate) fn recover(&mut self) -> Result<Vec<u16>, &'static str> {
        let used = self.used_index();
        match self.header(VERSION) {
            0 => self.begin_anew(used),
            // A ring of another length belonged to another driver.
            1 if ![self.size, LARGEST].contains(&self.header(DESC_NUM)) => {
                (0..LARGEST).for_each(|head| self.set_mark(head, 0));
                self.set_header(VERSION, 0);
                self.begin_anew(used);
            }
            1 => {
                let returned = used.wrapping_sub(self.header(NOTED));
                if returned > self.size {
                    (0..self.size).for_each(|head| self.set_mark(head, 0));
                } else {
                    let mut head = self.header(LAST);
                    for _ in 0..returned {
                        if head >= self.size {
                            return Err("Head");
                        }
                        self.set_mark(head, 0);
                        head = self.next(head);
                    }
                }
                self.set_header(NOTED, used);
            }
            _ => return Err("Version"),
        }
        let marked = (0..self.size).filter(|&head| self.mark(head) == 1);
        let mut heads: Vec<u16> = marked.collect();
        heads.sort_by_key(|&head| (self.counter(head), head));
        // More than the driver ever requested: it waits for none of them.
        if heads.len() > usize::from(self.avail_index().wrapping_sub(used)) {
            heads.drain(..).for_each(|head| self.set_mark(head, 0));
        }
        Ok(heads)
    }

    fn begin_anew(&mut self, used: u16) {
        self.set_header(DESC_NUM, self.size);
        self.set_header(LAST, 0);
        self.set_header(NOTED, used);
        self.set_header(VERSION, 1);
    }

    pub(crate) fn take(&mut self, head: u16, counter: u64) {
        let at = self.entry(head) + 8;
        self.store(Place::Region, at, &counter.to_le_bytes());
        self.set_mark(head, 1);
    }

    /// The buffer of a plain request.
    pub(crate) fn fill(&mut self, head: u16, answer: u8) {
        self.store(Place::Memory, BUFFERS + usize::from(head), &[answer]);
    }

    pub(crate) fn complete(&mut self, head: u16, index: u16, answer: u8, len: u32) {
        self.store(Place::Memory, DATA + usize::from(head), &[answer]);
        let at = USED + 4 + usize::from(index % self.size) * 8;
        self.store(Place::Memory, at, &u32::from(head).to_le_bytes());
        self.store(Place::Memory, at + 4, &len.to_le_bytes());
    }

    /// Show a batch to the driver.
    pub(crate) fn publish(&mut self, batch: &[u16], index: u16) {
        for &head in batch {
            let before = self.header(LAST);
            let at = self.entry(head) + 6;
            self.store(Place::Region, at, &before.to_le_bytes());
            self.set_header(LAST, head);
        }
        self.store(Place::Memory, USED + 2, &index.to_le_bytes());
        batch.iter().for_each(|&head| self.set_mark(head, 0));
        self.set_header(NOTED, index);
    }
}
