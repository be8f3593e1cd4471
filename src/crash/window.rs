//! The writes that a crash decides about.

use super::write::Logged;

/// A write of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Windowed {
    /// The write.
    pub write: Logged,
    /// It is stable, so it is kept in every state. It is here only because overlapping volatile
    /// writes came before it.
    pub is_stable: bool,
}

/// The writes that a crash decides about, in the order in which reads saw them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Window {
    writes: Vec<Windowed>,
}

impl Window {
    /// A window of these writes, in the order in which reads saw them, then those that no read saw.
    pub fn new(writes: Vec<Windowed>) -> Self {
        Self { writes }
    }

    /// Its writes, in order.
    pub fn writes(&self) -> &[Windowed] {
        &self.writes
    }

    /// How many writes it has, volatile or not.
    pub fn len(&self) -> usize {
        self.writes.len()
    }

    /// Whether a crash has nothing to decide.
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    /// The places of the volatile writes.
    pub fn volatile(&self) -> impl Iterator<Item = usize> {
        let all = self.writes.iter().enumerate();
        all.filter(|(_, write)| !write.is_stable).map(|(at, _)| at)
    }

    /// Whether the write at `first` must be applied before the one at `then` in every state. They
    /// overlap, the first one is stable, and reads saw the second on top of it; or the second one
    /// is stable, and was submitted after the first had completed.
    pub fn must_precede(&self, first: usize, then: usize) -> bool {
        let (a, b) = (&self.writes[first], &self.writes[then]);
        let is_fixed = match (a.is_stable, b.is_stable) {
            (true, _) => first < then,
            (false, true) => a.write.is_done_before(&b.write),
            (false, false) => false,
        };
        is_fixed && a.write.overlaps(&b.write)
    }
}
