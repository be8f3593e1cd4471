//! Which volatile writes a power cut keeps.

use super::choice::{Choice, Fate};
use super::random::Draws;
use super::tear::TearUnit;
use super::window::{Window, Windowed};
use super::write::WriteKind;
use crate::store::ByteRange;

/// Which volatile writes are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Keep {
    /// None.
    #[default]
    None,
    /// All.
    All,
    /// All up to a random one, and none after it.
    Prefix,
    /// Each with a chance of one in two, in their order.
    Subset,
    /// The same, and of overlapping ones any may be the last.
    Reorder,
}

/// How a power cut decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    keep: Keep,
    is_torn: bool,
    is_garbage: bool,
    unit: TearUnit,
}

/// A policy that contradicts itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("nothing is kept, so nothing can be torn or garbage; keep all, a prefix, or a subset")]
pub struct PolicyError;

/// A torn write of at most that many units keeps any of their subsets, a larger one a few runs.
const MOST_SUBSET_UNITS: u64 = 64;
/// How many ends of runs a larger torn write has.
const MOST_CUTS: u64 = 16;
/// A larger write or discard is not replaced by garbage, which would take its size in memory.
const MOST_GARBAGE_BYTES: u64 = 16 << 20;

/// The parts of what a seed decides; the fates of writes are parts 0, 1, 2 and so on.
const PREFIX_PART: u64 = u64::MAX;
const ORDER_PART: u64 = u64::MAX - 1;

impl Policy {
    /// A policy. `is_torn`: writes that are kept may be torn at `unit`; with [`Keep::All`] and
    /// [`Keep::Prefix`] it is the last one that is. `is_garbage`: writes may leave random bytes.
    ///
    /// # Errors
    /// [`PolicyError`] if nothing is kept, but torn or garbage.
    pub fn new(
        keep: Keep,
        is_torn: bool,
        is_garbage: bool,
        unit: TearUnit,
    ) -> Result<Self, PolicyError> {
        if keep == Keep::None && (is_torn || is_garbage) {
            return Err(PolicyError);
        }
        Ok(Self {
            keep,
            is_torn,
            is_garbage,
            unit,
        })
    }

    /// Whether a write to this range can leave garbage: that of a huge one would take its size in
    /// memory.
    pub fn leaves_garbage(range: ByteRange) -> bool {
        range.len_bytes() <= MOST_GARBAGE_BYTES
    }

    /// The unit at which writes are torn.
    pub fn unit(&self) -> TearUnit {
        self.unit
    }

    /// Decide about each write of a window.
    pub fn choose(&self, window: &Window, seed: u64) -> Choice {
        let volatile: Vec<usize> = window.volatile().collect();
        let kept = match self.keep {
            Keep::None => 0,
            Keep::Prefix => {
                let ends = volatile.len() as u64 + 1;
                let kept = Draws::part(seed, PREFIX_PART).below(ends);
                usize::try_from(kept).unwrap_or(0)
            }
            Keep::All | Keep::Subset | Keep::Reorder => volatile.len(),
        };
        let mut fates = vec![Fate::Kept; window.len()];
        for (place, at) in volatile.iter().enumerate() {
            fates[*at] = if place < kept {
                let is_last = place + 1 == kept;
                let draws = Draws::part(seed, place as u64);
                self.fate(&window.writes()[*at], is_last, draws)
            } else {
                Fate::Lost
            };
        }
        let order = match self.keep {
            Keep::Reorder => reordered(window, Draws::part(seed, ORDER_PART)),
            _ => (0..window.len()).collect(),
        };
        Choice::new(fates, order, self.unit)
    }

    fn fate(&self, write: &Windowed, is_last: bool, mut draws: Draws) -> Fate {
        // Always the same draws, so that one switch doesn't change what another decides.
        let is_kept = draws.one_in(2);
        let is_torn = draws.one_in(2);
        let is_garbage = draws.one_in(8);
        let shape = draws.draw();
        let range = write.write.range;
        let is_each = matches!(self.keep, Keep::Subset | Keep::Reorder);
        if self.is_garbage && is_garbage && Self::leaves_garbage(range) {
            return Fate::Garbage(shape);
        }
        if is_each && !is_kept {
            return Fate::Lost;
        }
        if self.is_torn && (if is_each { is_torn } else { is_last }) {
            return torn(self.unit.count(range), Draws::new(shape));
        }
        Fate::Kept
    }
}

/// A random set of units of a write; all of them is kept, none is lost.
fn torn(units: u64, mut draws: Draws) -> Fate {
    let mut runs = Vec::new();
    if units <= MOST_SUBSET_UNITS {
        let kept = draws.draw();
        let is_kept = |unit: u64| unit < units && kept >> unit & 1 == 1;
        let mut at = 0;
        while at < units {
            let start = at;
            while is_kept(at) {
                at += 1;
            }
            if start < at {
                runs.push(start..at);
            }
            at += 1;
        }
    } else {
        let mut cuts: Vec<u64> = (0..=draws.below(MOST_CUTS))
            .map(|_| draws.below(units + 1))
            .collect();
        cuts.push(if draws.one_in(2) { 0 } else { units });
        cuts.sort_unstable();
        cuts.dedup();
        for pair in cuts.chunks_exact(2) {
            runs.push(pair[0]..pair[1]);
        }
    }
    Fate::of_units(runs, units)
}

/// A random order that keeps what must precede what. Stable writes keep their own order.
fn reordered(window: &Window, mut draws: Draws) -> Vec<usize> {
    let mut places: Vec<usize> = (0..window.len()).collect();
    draws.shuffle(&mut places);
    let is_stable = |at: usize| window.writes()[at].is_stable;
    let stable: Vec<usize> = (0..window.len()).filter(|at| is_stable(*at)).collect();
    // The volatile writes before each of the stable ones, and behind the last.
    let mut before: Vec<Vec<usize>> = vec![Vec::new(); stable.len() + 1];
    let mut passed = 0;
    for &at in &places {
        if is_stable(at) {
            passed += 1;
            continue;
        }
        let least = stable.iter().rposition(|&it| window.must_precede(it, at));
        let most = stable.iter().position(|&it| window.must_precede(at, it));
        let least = least.map_or(0, |place| place + 1);
        let most = most.unwrap_or(stable.len()).max(least);
        before[passed.clamp(least, most)].push(at);
    }
    let mut stable = stable.into_iter();
    let each = before.into_iter().flat_map(|mut volatile| {
        volatile.extend(stable.next());
        volatile
    });
    each.collect()
}

/// How a write is called in reports.
impl WriteKind {
    /// Its name: `write`, `discard` or `write-zeroes`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Write => "write",
            Self::Discard => "discard",
            Self::Zeroes => "write-zeroes",
        }
    }
}
