//! The locks of one disk.

use crate::store::base::sync::{RwLock, RwLockWriteGuard};

const SHARDS: usize = 64;

/// A lock on a cache line of its own.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Shard(RwLock<()>);

/// Locks of a disk's leaves, which are spread over 64 shards by number.
#[derive(Debug)]
pub(crate) struct ShardLocks([Shard; SHARDS]);

/// All shards of a disk, held exclusively: what a function takes that changes the whole tree.
pub(crate) struct AllShards<'a> {
    /// Not an array, which would be copied whenever this moves.
    _shards: Box<[RwLockWriteGuard<'a, ()>]>,
}

impl ShardLocks {
    pub(crate) fn new() -> Box<Self> {
        Box::new(Self(std::array::from_fn(|_| Shard::default())))
    }

    /// The lock of a leaf.
    #[allow(clippy::cast_possible_truncation, reason = "below 64")]
    #[inline]
    pub(crate) fn of_leaf(&self, leaf: u64) -> &RwLock<()> {
        &self.0[(leaf % SHARDS as u64) as usize].0
    }

    /// Wait for all requests that are in a leaf, and keep others out. Takes the shards by number;
    /// the caller must hold none.
    pub(crate) fn lock_all(&self) -> AllShards<'_> {
        AllShards {
            _shards: self.0.iter().map(|shard| shard.0.write()).collect(),
        }
    }
}
