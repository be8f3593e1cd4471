//! Bytes to write, and reproducible random numbers.

use std::time::{SystemTime, UNIX_EPOCH};

/// `len` bytes, none of them zero, that differ from those of another `seed`.
pub(crate) fn pattern(len: usize, seed: u8) -> Vec<u8> {
    (0..len)
        .map(|i| ((i % 251) as u8).wrapping_mul(31).wrapping_add(seed) | 1)
        .collect()
}

/// xorshift64*: enough for choosing sectors.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16) % end
    }
}

/// `RAMBLK_SEED`, or a new seed. Every assertion of a random test prints it.
pub(crate) fn seed() -> u64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_nanos() as u64;
    std::env::var("RAMBLK_SEED").map_or(now, |text| text.parse().unwrap())
}
