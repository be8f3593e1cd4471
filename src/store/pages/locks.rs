//! The locks of one disk.

use crate::store::base::sync::{RwLock, RwLockWriteGuard};

const SHARDS: usize = 64;

/// A lock with its own cache line.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Shard(RwLock<()>);

/// The locks of a disk's leaves, which are distributed over 64 shards by number.
#[derive(Debug)]
pub(crate) struct ShardLocks([Shard; SHARDS]);

/// All shards of a disk, held exclusively. Functions that change the whole tree take this.
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

    /// Lock all shards, which waits for all requests that use a leaf. The caller must not hold any
    /// shard. Shards are locked by number.
    pub(crate) fn lock_all(&self) -> AllShards<'_> {
        AllShards {
            _shards: self.0.iter().map(|shard| shard.0.write()).collect(),
        }
    }
}
