//! Subtrees of zeros in BLAKE3's tree: each by its place.
//!
//! `zeros.bin` has the chaining values of the first TiB, 32 bytes each: of the first 256 GiB in
//! granules of 16 MiB, and from there in granules of 64 MiB. Larger subtrees are merged from them.
//! `scripts/zero-digests` makes the file, which takes a TiB of hashing.
//!
//! The finer the granules, the less zeros are hashed around scattered pages, and the larger the
//! program: the table is 896 KiB of it. A file system has metadata at every 2 GiB. With granules of
//! 16 MiB that is 2 GiB of zeros to hash in the first 256 GiB (0.3 s here); with 64 MiB it is
//! 24 GiB in the rest of a TiB.

use blake3::hazmat::{ChainingValue, HasherExt, Mode, merge_subtrees_non_root};

/// The bytes of zeros that each value in the first part of the table stands for.
pub(crate) const GRANULE_BYTES: u64 = 16 << 20;
/// The length of that part.
const FINE_BYTES: u64 = 256 << 30;
/// The bytes of zeros that each value in the rest of the table stands for.
const COARSE_BYTES: u64 = 64 << 20;
/// The bytes of zeros that the table covers.
pub(crate) const COVERED_BYTES: u64 = 1 << 40;
/// The length of a chaining value.
const VALUE_BYTES: usize = 32;
/// How many values the first part has.
const FINE: u64 = FINE_BYTES / GRANULE_BYTES;

/// The table.
static TABLE: &[u8; 896 << 10] = include_bytes!("zeros.bin");
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// The number of the table's value for what begins at `start`.
fn number(start: u64) -> u64 {
    match start.checked_sub(FINE_BYTES) {
        Some(behind) => FINE + behind / COARSE_BYTES,
        None => start / GRANULE_BYTES,
    }
}

/// The largest subtree in the table of at most `length` zeros at `start`, and its length. Both are
/// multiples of a power of two that `length` is.
pub(crate) fn at(start: u64, length: u64) -> Option<(ChainingValue, u64)> {
    debug_assert!(length.is_power_of_two() && start.is_multiple_of(length));
    let length = length.min(COVERED_BYTES);
    if start >= COVERED_BYTES || length < granule_bytes(start) {
        return None;
    }
    Some((merged(start, length)?, length))
}

/// The length of the granules from `start` on.
fn granule_bytes(start: u64) -> u64 {
    if start < FINE_BYTES {
        GRANULE_BYTES
    } else {
        COARSE_BYTES
    }
}

fn merged(start: u64, length: u64) -> Option<ChainingValue> {
    if length == granule_bytes(start) {
        let number = usize::try_from(number(start)).ok()?;
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
    use std::ops::Range;

    use super::*;

    /// How many values there are.
    const ALL: u64 = FINE + (COVERED_BYTES - FINE_BYTES) / COARSE_BYTES;

    /// What the table's value of this number stands for.
    fn granule(number: u64) -> Range<u64> {
        if number < FINE {
            let start = number * GRANULE_BYTES;
            return start..start + GRANULE_BYTES;
        }
        let start = FINE_BYTES + (number - FINE) * COARSE_BYTES;
        start..start + COARSE_BYTES
    }

    #[test]
    fn values_of_the_table_are_those_of_zeros_at_their_places() {
        let last = ALL - 1;
        let any = [fastrand::u64(..FINE), fastrand::u64(FINE..=last)];
        for number in [0, 1, FINE - 1, FINE, last].into_iter().chain(any) {
            let Range { start, end } = granule(number);
            let (value, length) = at(start, end - start).unwrap();
            assert_eq!(length, end - start);
            assert_eq!(value, hashed(start, length), "granule {number}");
        }
        for start in [12 * GRANULE_BYTES, FINE_BYTES - 4 * GRANULE_BYTES] {
            let (value, _) = at(start, 4 * GRANULE_BYTES).unwrap();
            assert_eq!(value, hashed(start, 4 * GRANULE_BYTES), "four granules");
        }
        assert!(at(FINE_BYTES, 2 * GRANULE_BYTES).is_none());
        assert!(at(COVERED_BYTES, GRANULE_BYTES).is_none());
        assert!(at(0, GRANULE_BYTES / 2).is_none());
    }

    /// Takes minutes: `scripts/zero-digests` and `scripts/soak` run it. With a path in
    /// `RAMBLK_ZERO_TABLE` it writes the table there.
    #[test]
    #[ignore = "hashes a TiB"]
    fn the_whole_table_is_right() {
        let values = (0..ALL).flat_map(|number| {
            let Range { start, end } = granule(number);
            hashed(start, end - start)
        });
        if let Some(path) = std::env::var_os("RAMBLK_ZERO_TABLE") {
            let table: Vec<u8> = values.collect();
            return std::fs::write(path, table).unwrap();
        }
        let differing = values.zip(TABLE).position(|(wanted, had)| wanted != *had);
        assert_eq!(differing, None, "the first wrong byte");
    }
}
