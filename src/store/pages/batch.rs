//! Several small reads and overwrites at once, whose waits for memory overlap.
//!
//! A copy of 4 KiB from somewhere on the disk waits for memory nearly all of the time. Locks are
//! fences, which no copy can overlap with, so all ranges are looked up and locked first; then one
//! is copied while the memory of the next is on its way.
//!
//! Shards are taken as they come and not in their order, so never with waiting: what can't be had
//! at once, or is more than an overwrite, is refused, and its caller asks for it by itself when the
//! batch has run.

use arrayvec::ArrayVec;

use super::leaf::Stretch;
use super::map::PageMap;
use crate::store::base::buf::{Data, Piece};
use crate::store::base::range::ByteRange;
use crate::store::base::sync::RwLockReadGuard;
use crate::store::memory::arena::NEAR_BYTES;

/// Ranges in one batch, at most.
pub const MOST_BATCHED: usize = 16;

/// How many ranges ahead memory is asked for. More makes what is near go far away again.
const AHEAD: usize = 2;
/// How much of a range is asked for: the processor sees by itself where a longer copy goes on.
const AHEAD_BYTES: usize = 4096;

#[derive(Debug)]
struct Item<'d> {
    stretch: Stretch,
    data: Data<'d>,
    _lock: RwLockReadGuard<'d, ()>,
}

/// Reads and overwrites that are carried out together by [`Batch::run`]. While it lives,
/// whatever wants to change their leaves waits.
#[derive(Debug)]
pub struct Batch<'d> {
    map: &'d PageMap,
    writable: bool,
    /// Not an array of options: to make and move one costs more than a look-up.
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

    /// Add a read or a write. `false`: not possible in this batch; [`Batch::run`] it, and ask for
    /// this one by itself.
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

    /// Carry out what was added, and be empty again.
    pub fn run(&mut self) {
        let arena = self.map.tree.nodes.arena();
        let items = &self.items[..];
        let prefetch = |item: Option<&Item<'d>>| {
            if let Some(item) = item
                && let Stretch::At(block, offset) = item.stretch
            {
                match item.data {
                    // Its stores go past the caches.
                    Data::Out(from) if from.len() > NEAR_BYTES => {}
                    data => arena.prefetch(block, offset, data.len().min(AHEAD_BYTES)),
                }
            }
        };
        // The first has nothing to overlap with: it is copied at once.
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
