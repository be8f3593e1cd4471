//! The content of a sector: the number of the write that it comes from, and noise derived from it.

pub(crate) const SECTOR: usize = 512;

/// Zeros, as before the first write or after a discard.
pub(crate) const NONE: u32 = 0;

fn word(version: u32, ring: u32, sector: u64, at: usize) -> u64 {
    if at == 0 {
        return u64::from(version);
    }
    let seed = u64::from(version) << 32 | u64::from(ring) << 24 | sector << 7 | at as u64;
    (seed ^ seed >> 29)
        .wrapping_mul(0xbf58_476d_1ce4_e5b9)
        .rotate_left(31)
}

/// What write number `version` of ring `ring` puts into a sector.
pub(crate) fn sector(version: u32, ring: u32, sector: u64) -> [u8; SECTOR] {
    let mut bytes = [0; SECTOR];
    if version != NONE {
        for (at, bytes) in bytes.chunks_exact_mut(8).enumerate() {
            bytes.copy_from_slice(&word(version, ring, sector, at).to_le_bytes());
        }
    }
    bytes
}

/// The write that these bytes come from: `None` if from none, or from several.
pub(crate) fn version(bytes: &[u8], ring: u32, number: u64) -> Option<u32> {
    let first = u64::from_le_bytes(bytes[..8].try_into().unwrap());
    let version = u32::try_from(first).ok()?;
    (bytes == sector(version, ring, number)).then_some(version)
}

#[test]
fn a_mixture_is_no_version() {
    let mut bytes = sector(7, 1, 100);
    assert_eq!(version(&bytes, 1, 100), Some(7));
    assert_eq!(version(&bytes, 1, 101), None);
    assert_eq!(version(&bytes, 2, 100), None);
    bytes[256..].copy_from_slice(&sector(8, 1, 100)[256..]);
    assert_eq!(version(&bytes, 1, 100), None);
    assert_eq!(version(&[0; SECTOR], 1, 100), Some(NONE));
}
