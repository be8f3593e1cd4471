//! zstd frames that are nothing but zeros, made and recognised without decompressing them
//! (RFC 8878, 3.1.1).

const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// The size of the content in 4 bytes, and a window.
const DESCRIPTOR: u8 = 0x80;
/// A window of 128 KiB, the largest block.
const WINDOW: u8 = 7 << 3;
const BLOCK_BYTES: u64 = 128 << 10;
const HEADER_BYTES: u64 = 10;
/// A block of one byte that is repeated.
const REPEATED: u32 = 1 << 1;

/// The longest hole in one frame: a frame of 8 KiB.
pub(super) const MOST_HOLE_BYTES: u64 = 256 << 20;

/// How long the frame of a hole is.
pub(super) fn packed_bytes(length_bytes: u64) -> u64 {
    HEADER_BYTES + 4 * length_bytes.div_ceil(BLOCK_BYTES)
}

/// The frame of a hole that has at least one byte, and at most [`MOST_HOLE_BYTES`].
pub(super) fn frame(length_bytes: u64) -> Vec<u8> {
    debug_assert!((1..=MOST_HOLE_BYTES).contains(&length_bytes), "not a hole");
    let short = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
    let mut frame = Vec::with_capacity(16 << 10);
    frame.extend_from_slice(&MAGIC);
    frame.extend_from_slice(&[DESCRIPTOR, WINDOW]);
    frame.extend_from_slice(&short(length_bytes).to_le_bytes());
    let mut left = length_bytes;
    while left > 0 {
        let length = left.min(BLOCK_BYTES);
        left -= length;
        let header = short(length) << 3 | REPEATED | u32::from(left == 0);
        frame.extend_from_slice(&header.to_le_bytes()[..3]);
        frame.push(0);
    }
    frame
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn a_hole_is_as_many_zeros_for_any_decoder() {
        for length in [
            1,
            4096,
            BLOCK_BYTES,
            BLOCK_BYTES + 1,
            5 << 20,
            MOST_HOLE_BYTES,
        ] {
            let frame = frame(length);
            assert_eq!(frame.len() as u64, packed_bytes(length));
            let mut reader = zstd::stream::read::Decoder::new(&frame[..]).unwrap();
            let mut all = Vec::new();
            std::io::Read::read_to_end(&mut reader, &mut all).unwrap();
            assert!(all.len() as u64 == length && all.iter().all(|&byte| byte == 0));
        }
    }
}
