//! A request that is decided about.

use std::time::Instant;

use super::rule::{Span, TargetOperation};

/// A request that is decided about.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// Its operation.
    pub operation: TargetOperation,
    /// Its ranges; a flush has none.
    pub spans: &'a [Span],
    /// The disk's size.
    pub size_bytes: u64,
    /// Whether a request that finds no memory waits for some.
    pub waits_for_memory: bool,
    /// The present moment.
    pub now: Instant,
}

impl Target<'_> {
    pub(super) fn first(&self) -> Span {
        let none = Span {
            start_bytes: 0,
            len_bytes: 0,
        };
        self.spans.first().copied().unwrap_or(none)
    }

    pub(super) fn bytes(&self) -> u64 {
        let lens = self.spans.iter().map(|span| span.len_bytes);
        lens.fold(0, u64::saturating_add)
    }
}
