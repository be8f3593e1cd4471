//! Many requests at once whose completions can be told apart.

use super::kind::IN;
use super::ring::Ring;

/// Prepare `count` reads in the slots 3 i, 3 i + 1, 3 i + 2, all into one buffer.
pub(crate) fn prepare_reads(ring: &Ring, count: u16) {
    let pieces = ring.lay_out(IN, 0, &[], 65536);
    for i in 0..count {
        ring.direct(3 * i, &pieces);
    }
}

/// Publish `count` prepared reads without a kick.
pub(crate) fn publish_reads(ring: &mut Ring, count: u16) {
    (0..count).for_each(|i| ring.put(3 * i));
    ring.publish();
}

/// Take these completions, in order and each once, and check that there are no more.
pub(crate) fn take_reads(ring: &mut Ring, range: std::ops::Range<u16>) {
    for i in range {
        assert_eq!(ring.wait().id, u32::from(3 * i));
    }
    assert_eq!(ring.used_idx(), ring.seen, "more completions than requests");
}
