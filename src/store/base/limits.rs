//! Bounds of the store that callers may run into.

/// The largest disk, in bytes: 64 TiB.
pub const MAX_CAPACITY_BYTES: u64 = 64 << 40;

/// The longest key of a disk, in bytes.
pub const MAX_KEY_BYTES: usize = 64;

/// The most bytes of settings that a disk keeps for its owner.
pub const MAX_SETTINGS_BYTES: usize = 4096;

/// The most disks and snapshots. The table has room for more, but counts must not overflow.
pub const MOST_DISKS: usize = 60_000;

/// How many words a store keeps for its owner.
pub const OWNER_WORDS: usize = 8;

/// The layout that this code writes.
///
/// In layout 2 the owner's settings no longer repeat fields of the record, and `READ_ONLY` means
/// that only the owner may write. The words of the store itself are as in layout 1, so records of
/// both layouts are read in the same way.
pub(crate) const LAYOUT: u64 = 2;
/// The oldest layout that this code reads. [`Store::carry_over`](crate::store::Store::carry_over)
/// converts it to [`LAYOUT`].
pub(crate) const OLDEST_LAYOUT: u64 = 1;
