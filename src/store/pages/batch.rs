//! Several small reads and overwrites at once, whose waits for memory overlap.
//!
//! A copy of 4 KiB from a random place of the disk waits for memory nearly all of the time. Locks
//! are fences, with which no copy can overlap. So all ranges are looked up and locked first, and
//! then each is copied while the memory of the next is being fetched.
//!
//! Shards are locked in the order of the ranges, not by number, so a batch must never wait. A range
//! is refused if its lock is held, or if it needs more than a read or an overwrite. Its caller
//! handles it by itself when the batch has run.

use arrayvec::ArrayVec;

use super::leaf::Stretch;
use super::map::PageMap;
use crate::store::base::buf::{Data, Piece};
use crate::store::base::range::ByteRange;
use crate::store::base::sync::RwLockReadGuard;
use crate::store::memory::arena::NEAR_BYTES;

/// The most ranges of one batch.
pub const MOST_BATCHED: usize = 16;

/// How many ranges ahead to prefetch. With more, lines leave the caches again before they are used.
const AHEAD: usize = 2;
/// How much of a range to prefetch. The processor itself prefetches the rest of a longer copy.
const AHEAD_BYTES: usize = 4096;

#[derive(Debug)]
struct Item<'d> {
    stretch: Stretch,
    data: Data<'d>,
    _lock: RwLockReadGuard<'d, ()>,
}

/// Reads and overwrites that [`Batch::run`] executes together. While it exists, changes of their
/// leaves wait.
#[derive(Debug)]
pub struct Batch<'d> {
    map: &'d PageMap,
    writable: bool,
    /// Not an array of options: making and moving one costs more than a look-up.
    items: ArrayVec<Item<'d>, MOST_BATCHED>,
}

impl<'d> Batch<'d> {
    pub(crate) fn new(map: &'d PageMap, writable: bool) -> Self {
        Self {
            map,
            writable,
            items: ArrayVec::new(),
        }
    }

    /// Add a read or a write. Returns `false` if it isn't possible in this batch. Then
    /// [`Batch::run`] the batch, and do this one by itself.
    pub fn add(&mut self, range: ByteRange, data: Data<'d>) -> bool {
        let write = matches!(data, Data::Out(_));
        if self.items.is_full() || write && !self.writable || data.len() as u64 != range.len_bytes()
        {
            return false;
        }
        let Some((lock, stretch)) = self.map.locate(range, write) else {
            return false;
        };
        self.items.push(Item {
            stretch,
            data,
            _lock: lock,
        });
        true
    }

    /// Whether there is nothing to carry out.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Execute all that was added. The batch is then empty.
    pub fn run(&mut self) {
        let arena = self.map.tree.nodes.arena();
        let items = &self.items[..];
        let prefetch = |item: Option<&Item<'d>>| {
            if let Some(item) = item
                && let Stretch::At(block, offset) = item.stretch
            {
                match item.data {
                    // Not prefetched, since its stores go past the caches.
                    Data::Out(from) if from.len() > NEAR_BYTES => {}
                    data => arena.prefetch(block, offset, data.len().min(AHEAD_BYTES)),
                }
            }
        };
        // The first range has nothing to overlap with, and is copied at once.
        for ahead in 1..AHEAD {
            prefetch(items.get(ahead));
        }
        for (at, item) in items.iter().enumerate() {
            prefetch(items.get(at + AHEAD));
            match (item.stretch, item.data) {
                (Stretch::At(block, offset), Data::In(to)) => arena.copy_out(block, offset, to),
                (Stretch::At(block, offset), Data::Out(from)) if items.len() == 1 => {
                    arena.copy_in(block, offset, from);
                }
                (Stretch::At(block, offset), Data::Out(from)) => {
                    arena.copy_in_near(block, offset, from);
                }
                (Stretch::Zeros, Data::In(to)) => to.fill_zero(),
                (Stretch::Zeros, Data::Out(_)) => {}
            }
        }
        self.items.clear();
    }
}
