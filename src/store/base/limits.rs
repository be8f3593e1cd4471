//! Bounds of the store that callers may run into.

/// The largest disk, in bytes: 64 TiB.
pub const MAX_CAPACITY_BYTES: u64 = 64 << 40;

/// Longest key of a disk, in bytes.
pub const MAX_KEY_BYTES: usize = 64;

/// Most bytes of settings that a disk keeps for its owner.
pub const MAX_SETTINGS_BYTES: usize = 4096;

/// Most disks and snapshots. Less than the table has room for, so that counts can't overflow.
pub const MOST_DISKS: usize = 60_000;

/// How many words a store keeps for its owner.
pub const OWNER_WORDS: usize = 8;

/// The layout that this code writes.
///
/// 2: the owner's settings no longer repeat what the record says, and `READ_ONLY` means that only
/// the owner may write. The words of the store itself are as in layout 1, so that a
/// record which was written under either is read alike.
pub(crate) const LAYOUT: u64 = 2;
/// The oldest one that it reads. [`Store::carry_over`](crate::store::Store::carry_over) makes it
/// [`LAYOUT`].
pub(crate) const OLDEST_LAYOUT: u64 = 1;
