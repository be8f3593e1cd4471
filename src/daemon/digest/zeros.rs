//! Subtrees of zeros in BLAKE3's tree: each by its place.
//!
//! `zeros.bin` has the chaining values of the first TiB, 32 bytes each, in granules that grow with
//! their place ([`PARTS`]). Larger subtrees are merged from them. `scripts/zero-digests` makes the
//! file, which takes a TiB of hashing.
//!
//! The finer the granules, the less zeros are hashed around scattered pages, and the larger the
//! program: the table is 296 KiB of it. ext4 has something at every 2 GiB. Around that there are
//! 0.4 GiB of zeros to hash on an empty disk of 20 GiB, 4.5 GiB on one of 100 GiB, and 63 GiB on
//! one of a TiB, at 3 to 7 GiB per second.

use blake3::hazmat::{ChainingValue, HasherExt, Mode, merge_subtrees_non_root};

/// The least bytes of zeros that a value of the table stands for.
pub(crate) const GRANULE_BYTES: u64 = 16 << 20;
/// The parts of the table: where each begins, and the bytes of zeros that each value in it stands
/// for.
const PARTS: [(u64, u64); 3] = [
    (0, GRANULE_BYTES),
    (16 << 30, 64 << 20),
    (64 << 30, 128 << 20),
];
/// The bytes of zeros that the table covers.
pub(crate) const COVERED_BYTES: u64 = 1 << 40;
/// The length of a chaining value.
const VALUE_BYTES: usize = 32;

/// The table.
static TABLE: &[u8; 296 << 10] = include_bytes!("zeros.bin");

/// The length of the granules from `start` on, and the number of the first of them.
fn granule(start: u64) -> (u64, u64) {
    let (mut number, mut part) = (0, PARTS[0]);
    for next in &PARTS[1..] {
        if start < next.0 {
            break;
        }
        number += (next.0 - part.0) / part.1;
        part = *next;
    }
    (part.1, number + (start - part.0) / part.1)
}

/// The largest subtree in the table of at most `length` zeros at `start`, and its length. Both are
/// multiples of a power of two that `length` is.
pub(crate) fn at(start: u64, length: u64) -> Option<(ChainingValue, u64)> {
    debug_assert!(length.is_power_of_two() && start.is_multiple_of(length));
    let length = length.min(COVERED_BYTES);
    if start >= COVERED_BYTES || length < granule(start).0 {
        return None;
    }
    Some((merged(start, length)?, length))
}

fn merged(start: u64, length: u64) -> Option<ChainingValue> {
    let (granule_bytes, number) = granule(start);
    if length == granule_bytes {
        let number = usize::try_from(number).ok()?;
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
    // As many chunks as any processor hashes at once.
    let zeros = [0; 16 << 10];
    let mut left = length;
    while left > 0 {
        let now = usize::try_from(left).unwrap_or(usize::MAX).min(zeros.len());
        hasher.update(&zeros[..now]);
        left -= now as u64;
    }
    hasher.finalize_non_root()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    /// Start and length of what each value of the table stands for.
    fn granules() -> Vec<(u64, u64)> {
        let mut found = Vec::new();
        let mut start = 0;
        while start < COVERED_BYTES {
            let (length, number) = granule(start);
            assert_eq!(
                number,
                found.len() as u64,
                "granules at {start} have no gap"
            );
            found.push((start, length));
            start += length;
        }
        found
    }

    #[test]
    fn values_of_the_table_are_those_of_zeros_at_their_places() {
        let granules = granules();
        assert_eq!(granules.len() * VALUE_BYTES, TABLE.len());
        let any = || granules[fastrand::usize(..granules.len())];
        let mut tried = vec![granules[0], granules[granules.len() - 1], any(), any()];
        for (start, _) in PARTS {
            let first = granules.iter().position(|it| it.0 == start).unwrap();
            tried.extend(&granules[first.saturating_sub(1)..first + 2]);
        }
        for (start, length) in tried {
            let (value, had) = at(start, length).unwrap();
            assert_eq!(had, length);
            assert_eq!(value, hashed(start, length), "the granule at {start}");
            assert!(at(start, length / 2).is_none(), "half of that at {start}");
        }
        for start in [12 * GRANULE_BYTES, PARTS[1].0 - 4 * GRANULE_BYTES] {
            let (value, _) = at(start, 4 * GRANULE_BYTES).unwrap();
            assert_eq!(value, hashed(start, 4 * GRANULE_BYTES), "four granules");
        }
        assert!(at(COVERED_BYTES, GRANULE_BYTES).is_none());
    }

    /// Takes minutes: `scripts/zero-digests` and `scripts/soak` run it. With a path in
    /// `RAMBLK_ZERO_TABLE` it writes the table there.
    #[test]
    #[ignore = "hashes a TiB"]
    fn the_whole_table_is_right() {
        let granules = granules().into_iter();
        let values = granules.flat_map(|(start, length)| hashed(start, length));
        if let Some(path) = std::env::var_os("RAMBLK_ZERO_TABLE") {
            let table: Vec<u8> = values.collect();
            return std::fs::write(path, table).unwrap();
        }
        let differing = values.zip(TABLE).position(|(wanted, had)| wanted != *had);
        assert_eq!(differing, None, "the first wrong byte");
    }
}
