//! Subtrees of zeros in BLAKE3's tree: each by its place.
//!
//! `zeros.bin` has the chaining values of the first TiB in granules of 16 MiB, 32 bytes each.
//! Larger subtrees are merged from them. `scripts/zero-digests` makes the file, which takes a TiB
//! of hashing.
//!
//! The finer the granules, the less zeros are hashed around scattered pages, and the larger the
//! file. A file system of 1 TiB has metadata at every 2 GiB: with granules of 16 MiB that is 8 GiB
//! of zeros to hash (1.3 s here), with 64 MiB it is 32 GiB, and with 1 GiB half a TiB.

use blake3::hazmat::{ChainingValue, HasherExt, Mode, merge_subtrees_non_root};

/// The bytes of zeros that each value in the table stands for.
pub(crate) const GRANULE_BYTES: u64 = 16 << 20;
/// The bytes of zeros that the table covers.
pub(crate) const COVERED_BYTES: u64 = 1 << 40;
/// The length of a chaining value.
const VALUE_BYTES: usize = 32;

/// The table.
static TABLE: &[u8; 2 << 20] = include_bytes!("zeros.bin");
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// The largest subtree in the table of at most `length` zeros at `start`, and its length. Both are
/// multiples of a power of two that `length` is.
pub(crate) fn at(start: u64, length: u64) -> Option<(ChainingValue, u64)> {
    debug_assert!(length.is_power_of_two() && start.is_multiple_of(length));
    let length = length.min(COVERED_BYTES);
    if length < GRANULE_BYTES || start >= COVERED_BYTES {
        return None;
    }
    Some((merged(start, length)?, length))
}

fn merged(start: u64, length: u64) -> Option<ChainingValue> {
    if length == GRANULE_BYTES {
        let number = usize::try_from(start / GRANULE_BYTES).ok()?;
        let value = TABLE.get(number * VALUE_BYTES..)?.first_chunk()?;
        return Some(*value);
    }
    let half = length / 2;
    let (left, right) = (merged(start, half)?, merged(start + half, half)?);
    Some(merge_subtrees_non_root(&left, &right, Mode::Hash))
}

/// The subtree of `length` zeros at `start`, hashed.
pub(crate) fn hashed(start: u64, length: u64) -> ChainingValue {
    let mut hasher = blake3::Hasher::new();
    hasher.set_input_offset(start);
    let mut left = length;
    while left > 0 {
        let now = usize::try_from(left).unwrap_or(usize::MAX).min(ZEROS.len());
        hasher.update(&ZEROS[..now]);
        left -= now as u64;
    }
    hasher.finalize_non_root()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn values_of_the_table_are_those_of_zeros_at_their_places() {
        let last = COVERED_BYTES / GRANULE_BYTES - 1;
        for number in [0, 1, last, fastrand::u64(..=last), fastrand::u64(..=last)] {
            let start = number * GRANULE_BYTES;
            let (value, length) = at(start, GRANULE_BYTES).unwrap();
            assert_eq!(length, GRANULE_BYTES);
            assert_eq!(value, hashed(start, GRANULE_BYTES), "granule {number}");
        }
        let start = 12 * GRANULE_BYTES;
        let (value, _) = at(start, 4 * GRANULE_BYTES).unwrap();
        assert_eq!(value, hashed(start, 4 * GRANULE_BYTES), "four granules");
        assert!(at(COVERED_BYTES, GRANULE_BYTES).is_none());
        assert!(at(0, GRANULE_BYTES / 2).is_none());
    }

    /// Takes minutes: `scripts/zero-digests` and `scripts/soak` run it. With a path in
    /// `RAMBLK_ZERO_TABLE` it writes the table there.
    #[test]
    #[ignore = "hashes a TiB"]
    fn the_whole_table_is_right() {
        let numbers = 0..COVERED_BYTES / GRANULE_BYTES;
        let values = numbers.flat_map(|number| hashed(number * GRANULE_BYTES, GRANULE_BYTES));
        if let Some(path) = std::env::var_os("RAMBLK_ZERO_TABLE") {
            let table: Vec<u8> = values.collect();
            return std::fs::write(path, table).unwrap();
        }
        let differing = values.zip(TABLE).position(|(wanted, had)| wanted != *had);
        assert_eq!(differing, None, "the first wrong byte");
    }
}
