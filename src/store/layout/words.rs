//! Words of a block as values, with texts and sums in them.

use std::sync::atomic::Ordering;

use crate::store::memory::arena::{Arena, BLOCK_WORDS, Block};

/// All words of a block, as values.
pub(crate) type Words = [u64; BLOCK_WORDS];

/// FNV-1a over words: finds damage, not malice.
pub(super) fn sum(words: impl Iterator<Item = u64>) -> u64 {
    words.fold(0xcbf2_9ce4_8422_2325, |sum, word| {
        (sum ^ word)
            .wrapping_mul(0x0000_0100_0000_01b3)
            .rotate_left(29)
    })
}

pub(super) fn get(arena: &Arena, block: Block, index: usize) -> u64 {
    arena.word(block, index).load(Ordering::Acquire)
}

pub(super) fn put(arena: &Arena, block: Block, index: usize, value: u64) {
    arena.word(block, index).store(value, Ordering::Release);
}

/// The words of a block, as they are now.
pub(super) fn words(arena: &Arena, block: Block) -> Words {
    std::array::from_fn(|at| get(arena, block, at))
}

pub(super) fn to_words(bytes: &[u8]) -> impl Iterator<Item = u64> {
    bytes.chunks(8).map(|chunk| {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        u64::from_le_bytes(word)
    })
}

pub(super) fn to_bytes(words: &[u64], len: usize) -> Vec<u8> {
    let words = words.iter().take(len.div_ceil(8));
    let mut bytes: Vec<u8> = words.flat_map(|word| word.to_le_bytes()).collect();
    bytes.truncate(len);
    bytes
}
