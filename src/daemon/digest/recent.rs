//! Digests of snapshots that were computed lately. A snapshot never changes, and neither does its
//! digest.

use std::collections::VecDeque;

use blake3::Hash;
use parking_lot::Mutex;

/// How many are kept: some kilobytes' worth.
const MOST: usize = 64;

/// Digests, each with the number of its disk and its range.
#[derive(Debug, Default)]
pub(crate) struct Recent(Mutex<VecDeque<([u64; 3], Hash)>>);

impl Recent {
    /// The digest that was kept under this key.
    pub(crate) fn kept(&self, key: [u64; 3]) -> Option<Hash> {
        let recent = self.0.lock();
        let found = recent.iter().find(|(had, _)| *had == key);
        found.map(|(_, hash)| *hash)
    }

    /// Keep a digest, instead of the oldest one if there are many.
    pub(crate) fn keep(&self, key: [u64; 3], hash: Hash) {
        let mut recent = self.0.lock();
        recent.retain(|(had, _)| *had != key);
        recent.push_back((key, hash));
        if recent.len() > MOST {
            recent.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_digests_are_kept_each_under_its_own_key() {
        let recent = Recent::default();
        let hash = |number: u64| blake3::hash(&number.to_le_bytes());
        for number in 0..=MOST as u64 {
            recent.keep([number, 0, 1], hash(number));
        }
        assert_eq!(recent.kept([0, 0, 1]), None, "the oldest");
        assert_eq!(recent.kept([1, 0, 1]), Some(hash(1)));
        assert_eq!(recent.kept([1, 0, 2]), None, "another range");
    }
}
