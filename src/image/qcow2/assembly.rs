//! Putting the clusters of a disk together from ranges of any length.

use std::ops::Range;

use super::layout::CLUSTER_BYTES;

const CLUSTER: u64 = CLUSTER_BYTES as u64;

/// The part of a range that lies in one cluster.
#[derive(Debug)]
pub(super) struct Share {
    /// The number of the cluster.
    pub(super) number: u64,
    /// Where it begins in the cluster.
    within: usize,
    /// Its place in the range.
    of_range: Range<usize>,
}

/// The shares that clusters have in a range of the disk, in order.
pub(super) fn shares(range: Range<u64>) -> impl Iterator<Item = Share> {
    let start = range.start;
    let mut at = start;
    std::iter::from_fn(move || {
        let left = range.end.checked_sub(at).filter(|&left| left > 0)?;
        let (number, within) = (at / CLUSTER, (at % CLUSTER) as usize);
        let left = usize::try_from(left).unwrap_or(usize::MAX);
        let length = left.min(CLUSTER_BYTES - within);
        let from = usize::try_from(at - start).unwrap_or(usize::MAX);
        at += length as u64;
        Some(Share {
            number,
            within,
            of_range: from..from.saturating_add(length),
        })
    })
}

/// The cluster that is put together. What is not added to it is zeros.
#[derive(Debug)]
pub(super) struct Assembly {
    number: Option<u64>,
    known_bytes: usize,
    bytes: Vec<u8>,
}

impl Assembly {
    pub(super) fn new() -> Self {
        Self {
            number: None,
            known_bytes: 0,
            bytes: vec![0; CLUSTER_BYTES],
        }
    }

    /// Whether the cluster of this number is put together.
    pub(super) fn is_at(&self, number: u64) -> bool {
        self.number == Some(number)
    }

    /// Begin with the cluster of this number.
    pub(super) fn begin(&mut self, number: u64) {
        (self.number, self.known_bytes) = (Some(number), 0);
        self.bytes.fill(0);
    }

    /// Add its share of a range of these bytes, or of zeros.
    pub(super) fn add(&mut self, share: &Share, range_bytes: Option<&[u8]>) {
        let length = share.of_range.len();
        let into = self.bytes.get_mut(share.within..share.within + length);
        let from = range_bytes.and_then(|bytes| bytes.get(share.of_range.clone()));
        if let (Some(into), Some(from)) = (into, from) {
            into.copy_from_slice(from);
        }
        self.known_bytes += length;
    }

    /// End the cluster: its number, and how much of it is known. Its bytes stay.
    pub(super) fn end(&mut self) -> Option<(u64, usize)> {
        let number = self.number.take()?;
        Some((number, self.known_bytes))
    }

    /// The bytes of the cluster that was ended.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Take the bytes of the cluster that was ended.
    pub(super) fn take(&mut self) -> Vec<u8> {
        std::mem::replace(&mut self.bytes, vec![0; CLUSTER_BYTES])
    }
}
