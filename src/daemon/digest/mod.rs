//! The BLAKE3 digest of content that is mostly zeros, in time that follows what is mapped.
//!
//! BLAKE3 is a tree over chunks of 1 KiB. Each chunk's hash contains its number, so subtrees of
//! zeros differ by their place, and each must be computed once. [`zeros`] has those of the first
//! TiB from 16 MiB up (64 MiB beyond 16 GiB, 128 MiB beyond 64 GiB). So what is hashed are the
//! pieces of 1 MiB with something mapped in them, and the zeros of the granules around these.
//!
//! | file | what it holds |
//! |---|---|
//! | `zeros` | the subtrees of zeros, by place |
//! | `recent` | digests that were computed lately |
//! | `mod` | the digest of content, in steps |

pub(crate) mod recent;
pub(crate) mod zeros;

use blake3::Hash;
use blake3::hazmat::{
    ChainingValue, HasherExt, Mode, left_subtree_len, max_subtree_len, merge_subtrees_non_root,
    merge_subtrees_root,
};

use self::zeros::GRANULE_BYTES;

/// The bytes of content that are read and hashed at a time: a subtree.
const PIECE_BYTES: u64 = 1 << 20;

/// Content whose digest is computed: where something is mapped, and its bytes.
pub(crate) struct Content<N, R> {
    /// Returns start and length of the mapped extent that contains or follows an offset.
    pub(crate) next_mapped: N,
    /// Fills a buffer with the bytes from an offset on.
    pub(crate) read: R,
}

/// A digest that is being computed.
#[derive(Debug)]
pub(crate) struct Digest {
    length_bytes: u64,
    at_bytes: u64,
    /// Up to here nothing is mapped, from `at_bytes` on.
    zero_until_bytes: u64,
    /// Subtrees before `at_bytes`, each with its length: shorter and shorter, but that the last two
    /// may be equal.
    subtrees: Vec<(ChainingValue, u64)>,
    piece: Vec<u8>,
}

impl Digest {
    /// The digest of `length_bytes` of content.
    pub(crate) fn new(length_bytes: u64) -> Self {
        Self {
            length_bytes,
            at_bytes: 0,
            zero_until_bytes: 0,
            subtrees: Vec::new(),
            piece: Vec::new(),
        }
    }

    /// Hash about `most_bytes` more. Returns the digest once all is hashed.
    ///
    /// # Errors
    /// The content's.
    pub(crate) fn step<E>(
        &mut self,
        content: &Content<
            impl Fn(u64) -> Result<Option<(u64, u64)>, E>,
            impl Fn(u64, &mut [u8]) -> Result<(), E>,
        >,
        most_bytes: u64,
    ) -> Result<Option<Hash>, E> {
        if self.length_bytes <= PIECE_BYTES {
            // One piece has no subtrees to merge.
            let bytes = self.fill(self.length_bytes, content)?;
            return Ok(Some(blake3::hash(bytes)));
        }
        let mut hashed_bytes = 0;
        while self.at_bytes < self.length_bytes {
            if hashed_bytes >= most_bytes {
                return Ok(None);
            }
            hashed_bytes += self.subtree(content)?;
        }
        Ok(self.root())
    }

    /// Add the next subtree. Returns how many bytes that hashed.
    fn subtree<E>(
        &mut self,
        content: &Content<
            impl Fn(u64) -> Result<Option<(u64, u64)>, E>,
            impl Fn(u64, &mut [u8]) -> Result<(), E>,
        >,
    ) -> Result<u64, E> {
        let at = self.at_bytes;
        if self.zero_until_bytes <= at {
            let next = (content.next_mapped)(at)?;
            let start = next.map_or(self.length_bytes, |(start, _)| start);
            self.zero_until_bytes = start.min(self.length_bytes);
        }
        // The whole content is no subtree of its own.
        let most = max_subtree_len(at).unwrap_or(u64::MAX);
        let most = most.min(left_subtree_len(self.length_bytes));
        let zeros = self.zero_until_bytes.saturating_sub(at).min(most);
        let zeros = 1 << zeros.max(1).ilog2();
        if let Some((value, length)) = zeros::at(at, zeros) {
            self.push(value, length);
            // Merging costs as much as hashing 64 bytes.
            return Ok(length / GRANULE_BYTES * 64);
        }
        if zeros >= PIECE_BYTES {
            self.push(zeros::hashed(at, PIECE_BYTES), PIECE_BYTES);
            return Ok(PIECE_BYTES);
        }
        let length = PIECE_BYTES.min(most).min(self.length_bytes - at);
        let mut hasher = blake3::Hasher::new();
        hasher.set_input_offset(at);
        hasher.update(self.fill(length, content)?);
        self.push(hasher.finalize_non_root(), length);
        Ok(length)
    }

    fn fill<E>(
        &mut self,
        length: u64,
        content: &Content<impl Sized, impl Fn(u64, &mut [u8]) -> Result<(), E>>,
    ) -> Result<&[u8], E> {
        self.piece
            .resize(usize::try_from(length).unwrap_or(usize::MAX), 0);
        (content.read)(self.at_bytes, &mut self.piece)?;
        Ok(&self.piece)
    }

    fn push(&mut self, value: ChainingValue, length: u64) {
        // More follows, so two equal neighbours are no root.
        while let [.., (left, one), (right, two)] = self.subtrees[..]
            && one == two
        {
            let merged = merge_subtrees_non_root(&left, &right, Mode::Hash);
            self.subtrees.truncate(self.subtrees.len() - 2);
            self.subtrees.push((merged, one + two));
        }
        self.subtrees.push((value, length));
        self.at_bytes += length;
    }

    /// Merge all subtrees, of which there are at least two.
    fn root(&mut self) -> Option<Hash> {
        let (mut right, _) = self.subtrees.pop()?;
        while let Some((left, _)) = self.subtrees.pop() {
            if self.subtrees.is_empty() {
                return Some(merge_subtrees_root(&left, &right, Mode::Hash));
            }
            right = merge_subtrees_non_root(&left, &right, Mode::Hash);
        }
        None
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::convert::Infallible;

    use super::*;

    const KIB: u64 = 1 << 10;
    const MIB: u64 = 1 << 20;

    /// The digest of zeros with these stretches of data in them, hashed in steps.
    fn digest(length: u64, data: &[(u64, Vec<u8>)], step: u64) -> Hash {
        let content = Content {
            next_mapped: |at: u64| {
                let behind = data.iter().find(|(start, it)| start + it.len() as u64 > at);
                let found = behind.map(|(start, it)| {
                    let from = at.max(*start);
                    (from, start + it.len() as u64 - from)
                });
                Ok::<_, Infallible>(found)
            },
            read: |at: u64, into: &mut [u8]| {
                into.fill(0);
                for (start, bytes) in data {
                    let skip = usize::try_from(at.saturating_sub(*start)).unwrap();
                    let to = usize::try_from(start.saturating_sub(at)).unwrap();
                    if let (Some(from), Some(to)) = (bytes.get(skip..), into.get_mut(to..)) {
                        let both = from.len().min(to.len());
                        to[..both].copy_from_slice(&from[..both]);
                    }
                }
                Ok(())
            },
        };
        let mut digest = Digest::new(length);
        loop {
            if let Some(hash) = digest.step(&content, step).unwrap() {
                return hash;
            }
        }
    }

    /// What BLAKE3 itself says.
    fn plain(length: u64, data: &[(u64, Vec<u8>)]) -> Hash {
        let mut whole = vec![0; usize::try_from(length).unwrap()];
        for (start, bytes) in data {
            let start = usize::try_from(*start).unwrap();
            whole[start..start + bytes.len()].copy_from_slice(bytes);
        }
        blake3::hash(&whole)
    }

    #[test]
    fn content_of_any_length_has_the_digest_of_its_bytes() {
        let lengths = [
            0,
            1,
            KIB,
            KIB + 1,
            MIB - 1,
            MIB,
            MIB + 1,
            2 * MIB,
            3 * MIB + 512,
            16 * MIB,
            16 * MIB + 1,
            32 * MIB,
            48 * MIB + 512,
            64 * MIB,
        ];
        for length in lengths {
            assert_eq!(
                digest(length, &[], MIB),
                plain(length, &[]),
                "{length} zeros"
            );
            let mut data = vec![
                (0, vec![1; 700]),
                (length / 2, vec![2; 5000]),
                (length, vec![]),
            ];
            data.push((length.saturating_sub(1), vec![3]));
            data.retain(|(start, it)| start + it.len() as u64 <= length);
            data.sort();
            let (had, wanted) = (digest(length, &data, 1), plain(length, &data));
            assert_eq!(had, wanted, "{length} with data");
        }
    }

    #[test]
    fn data_at_any_place_among_zeros_has_the_digest_of_its_bytes() {
        let seed = std::env::var("RAMBLK_SEED")
            .ok()
            .and_then(|it| it.parse().ok());
        let seed = seed.unwrap_or_else(|| fastrand::u64(..));
        let mut random = fastrand::Rng::with_seed(seed);
        for _ in 0..8 {
            let length = random.u64(MIB..80 * MIB);
            let mut data: Vec<(u64, Vec<u8>)> = Vec::new();
            let mut at = 0;
            loop {
                at += 1 << random.u32(9..25);
                let bytes = vec![random.u8(1..); random.usize(1..200_000)];
                let end = at + bytes.len() as u64;
                if end > length {
                    break;
                }
                data.push((at, bytes));
                at = end;
            }
            let step = 1 << random.u32(0..24);
            let (had, wanted) = (digest(length, &data, step), plain(length, &data));
            assert_eq!(had, wanted, "RAMBLK_SEED={seed}: {length}");
        }
    }

    #[test]
    fn an_empty_tebibyte_takes_no_time_and_has_a_known_digest() {
        let table = digest(1 << 40, &[], u64::MAX);
        // The same tree, merged level by level.
        let mut level: Vec<ChainingValue> = (0..1 << 13)
            .map(|at| zeros::at(at * 128 * MIB, 128 * MIB).unwrap().0)
            .collect();
        while level.len() > 2 {
            let pairs = level.chunks_exact(2);
            let merge =
                |pair: &[ChainingValue]| merge_subtrees_non_root(&pair[0], &pair[1], Mode::Hash);
            level = pairs.map(merge).collect();
        }
        assert_eq!(table, merge_subtrees_root(&level[0], &level[1], Mode::Hash));
    }
}
