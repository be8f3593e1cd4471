//! Bytes of a sector that identify their writer and place: a tag, the sector's number, and noise
//! derived from both. The noise is cut from one pool, so it is cheap to make and to compare.

use std::sync::OnceLock;

use super::random::{Random, mix};

const POOL_WORDS: usize = 16384;
const HEADER: usize = 16;

fn pool() -> &'static [u8] {
    static POOL: OnceLock<Vec<u8>> = OnceLock::new();
    POOL.get_or_init(|| {
        let mut random = Random::new(0x6e6f_6973_6521);
        (0..POOL_WORDS)
            .flat_map(|_| random.next().to_le_bytes())
            .collect()
    })
}

fn body(tag: u64, sector: u64, len: usize) -> &'static [u8] {
    let offsets = (POOL_WORDS * 8 - len) as u64;
    let at = (mix(tag ^ mix(sector)) % offsets) as usize;
    &pool()[at..at + len]
}

fn header(tag: u64, sector: u64) -> [u8; HEADER] {
    let mut bytes = [0; HEADER];
    bytes[..8].copy_from_slice(&tag.to_le_bytes());
    bytes[8..].copy_from_slice(&(sector ^ mix(tag)).to_le_bytes());
    bytes
}

/// The bytes that `tag` writes to `sector`.
pub(crate) fn fill(tag: u64, sector: u64, into: &mut [u8]) {
    let body = body(tag, sector, into.len() - HEADER);
    into[..HEADER].copy_from_slice(&header(tag, sector));
    into[HEADER..].copy_from_slice(body);
}

/// Whether these are the bytes that `tag` writes to `sector`.
pub(crate) fn is(tag: u64, sector: u64, bytes: &[u8]) -> bool {
    bytes[..HEADER] == header(tag, sector)
        && bytes[HEADER..] == *body(tag, sector, bytes.len() - HEADER)
}

/// Whether all bytes are zero.
pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    bytes.chunks_exact(8).all(|word| word == [0; 8])
}

/// Whether these are the bytes of any single write to `sector`.
pub(crate) fn is_anyones(sector: u64, bytes: &[u8]) -> bool {
    let tag = u64::from_le_bytes(bytes[..8].try_into().unwrap());
    is_zero(bytes) || is(tag, sector, bytes)
}

/// `sectors` sectors starting at `start`, as `tag` writes them.
pub(crate) fn run(tag: u64, start: u64, sectors: u64, sector_bytes: u64) -> Vec<u8> {
    let mut bytes = vec![0; (sectors * sector_bytes) as usize];
    for (at, sector) in bytes.chunks_exact_mut(sector_bytes as usize).enumerate() {
        fill(tag, start + at as u64, sector);
    }
    bytes
}
