//! The states of a window: which of its writes each one has, in a fixed order.

use std::ops::Range;

use super::name::{Shape, StateName};
use crate::crash::{Draws, Fate, Keep, Moment, Policy, TearUnit, Window};

/// All states are tried of a window with up to that many parts, each of which is there or not: its
/// writes, or their units if writes are torn.
const ALL_PARTS: u64 = 6;
/// All pairs are left out of up to that many writes.
const ALL_PAIRS: usize = 16;
/// A torn write of up to that many units is cut at each of them.
const ALL_CUTS: u64 = 9;

/// Which states of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The unit in which writes are torn.
    pub unit: TearUnit,
    /// Only states that this keeps.
    pub keep: Option<Keep>,
    /// Whether writes are torn at all.
    pub is_torn: bool,
    /// Whether writes leave random bytes.
    pub is_garbage: bool,
    /// How many random states a window has beside the systematic ones, if these aren't all.
    pub random: u64,
    /// The seed of the random ones.
    pub seed: u64,
}

/// The states of the window at a moment: first those with the first writes only, as after a crash
/// at another moment; then all of a small window, and of a larger one those without a single write,
/// with a single one, and without a pair; then torn writes and garbage; and then random ones. The
/// plan's [`Keep`] leaves some of these out.
pub fn states(window: &Window, moment: Moment, plan: &Plan) -> Vec<StateName> {
    let mut shapes = Shapes {
        window,
        plan,
        volatile: window.volatile().collect(),
        draws: Draws::part(plan.seed, moment.0),
        all: Vec::new(),
    };
    let is_all = match plan.keep {
        Some(Keep::None) => shapes.prefixes(0..1),
        Some(Keep::All) => {
            let count = shapes.volatile.len();
            let last = count.saturating_sub(1);
            shapes.prefixes(count..count + 1) & shapes.torn_ends(last) & shapes.garbage_ends(last)
        }
        Some(Keep::Prefix) => {
            let count = shapes.volatile.len();
            shapes.prefixes(0..count + 1) & shapes.torn_ends(0) & shapes.garbage_ends(0)
        }
        None | Some(Keep::Subset | Keep::Reorder) => shapes.subsets(),
    };
    if !is_all {
        shapes.random();
    }
    let named = |shape| StateName {
        moment,
        shape,
        unit: plan.unit,
    };
    shapes.all.into_iter().map(named).collect()
}

/// The states of a window, as they are listed. Each function says whether these are all of their
/// kind.
struct Shapes<'w> {
    window: &'w Window,
    plan: &'w Plan,
    /// The places of the volatile writes.
    volatile: Vec<usize>,
    draws: Draws,
    all: Vec<Shape>,
}

impl Shapes<'_> {
    fn number(&self, place: usize) -> u64 {
        self.window.writes()[self.volatile[place]].write.number
    }

    fn units(&self, place: usize) -> u64 {
        let range = self.window.writes()[self.volatile[place]].write.range;
        self.plan.unit.count(range)
    }

    /// Those with that many of the first writes, and no others.
    fn prefixes(&mut self, counts: Range<usize>) -> bool {
        let each = counts.map(|count| Shape::First(count, Fate::Lost));
        self.all.extend(each);
        true
    }

    /// Those with a torn write as the last one, from this place on.
    fn torn_ends(&mut self, from: usize) -> bool {
        if !self.plan.is_torn {
            return true;
        }
        let places = from..self.volatile.len();
        places.fold(true, |is_all, place| {
            let units = self.units(place);
            let cut = |torn| Shape::First(place, Fate::Torn(vec![torn]));
            self.all.extend(cuts(units).map(cut));
            is_all && units <= 2
        })
    }

    /// Those with garbage as the last write, from this place on.
    fn garbage_ends(&mut self, from: usize) -> bool {
        if !self.plan.is_garbage {
            return true;
        }
        for place in from..self.volatile.len() {
            let last = self.garbage(place).map(|fate| Shape::First(place, fate));
            self.all.extend(last);
        }
        false
    }

    fn garbage(&mut self, place: usize) -> Option<Fate> {
        let range = self.window.writes()[self.volatile[place]].write.range;
        let seed = self.draws.draw();
        Policy::leaves_garbage(range).then_some(Fate::Garbage(seed))
    }

    /// Any of the writes, and any part of them.
    fn subsets(&mut self) -> bool {
        let count = self.volatile.len();
        self.prefixes(0..count + 1);
        let parts: Vec<u64> = (0..count)
            .map(|place| match self.plan.is_torn {
                true => self.units(place),
                false => 1,
            })
            .collect();
        let is_small = parts
            .iter()
            .try_fold(0_u64, |sum, &part| sum.checked_add(part));
        let is_small = is_small.is_some_and(|sum| sum <= ALL_PARTS);
        if is_small {
            self.every(&parts);
        } else {
            self.losses();
            self.torn_ends(0);
        }
        self.garbage_ends(0);
        if self.plan.is_garbage {
            for place in 0..count.saturating_sub(1) {
                let number = self.number(place);
                let among = self.garbage(place);
                let among = among.map(|fate| Shape::All(vec![(number, fate)]));
                self.all.extend(among);
            }
        }
        is_small && !self.plan.is_garbage && !self.has_orders()
    }

    /// Every choice of the parts of the writes: at most [`ALL_PARTS`].
    fn every(&mut self, parts: &[u64]) {
        let sum: u64 = parts.iter().sum();
        for kept in 0..1_u64 << sum {
            let (mut rest, mut exceptions) = (kept, Vec::new());
            for (place, &part) in parts.iter().enumerate() {
                let units = (0..part).filter(|unit| rest >> unit & 1 == 1);
                let fate = Fate::of_units(runs(units), part);
                rest >>= part;
                if fate != Fate::Kept {
                    exceptions.push((self.number(place), fate));
                }
            }
            // Those are there already.
            let is_prefix = kept & (kept + 1) == 0;
            if !is_prefix || exceptions.iter().any(|(_, fate)| *fate != Fate::Lost) {
                self.all.push(Shape::All(exceptions));
            }
        }
    }

    /// Without a single write, with a single one, and without a pair.
    fn losses(&mut self) {
        let count = self.volatile.len();
        let numbers: Vec<u64> = (0..count).map(|place| self.number(place)).collect();
        let lost = |places: &[usize]| {
            let each = places.iter().map(|&place| (numbers[place], Fate::Lost));
            Shape::All(each.collect())
        };
        let singles = 0..count.saturating_sub(1);
        self.all.extend(singles.map(|place| lost(&[place])));
        let alone = |place: usize| Shape::None(vec![(numbers[place], Fate::Kept)]);
        self.all.extend((1..count).map(alone));
        if count > ALL_PAIRS {
            return;
        }
        for second in 1..count {
            // Without the last two it is a state of the first ones.
            let firsts = (0..second).filter(|first| (*first, second) != (count - 2, count - 1));
            self.all.extend(firsts.map(|first| lost(&[first, second])));
        }
    }

    /// Whether overlapping writes in another order leave something else than the listed states.
    fn has_orders(&self) -> bool {
        if self.plan.keep == Some(Keep::Subset) {
            return false;
        }
        // What is below another write is as if it were torn there.
        let is_by_sector = self.plan.is_torn && self.plan.unit == TearUnit::SECTOR;
        let writes = self.window.writes();
        self.volatile.iter().any(|&at| {
            let mut others = writes
                .iter()
                .enumerate()
                .filter(|(other, it)| *other != at && it.write.overlaps(&writes[at].write));
            others.any(|(other, it)| match it.is_stable {
                true => {
                    let window = self.window;
                    !window.must_precede(at, other) && !window.must_precede(other, at)
                }
                false => !is_by_sector && it.write.range != writes[at].write.range,
            })
        })
    }

    /// What the plan's seed decides.
    fn random(&mut self) {
        for index in 0..self.plan.random {
            let usual = if index % 2 == 0 {
                Keep::Subset
            } else {
                Keep::Reorder
            };
            self.all.push(Shape::Drawn {
                keep: self.plan.keep.unwrap_or(usual),
                is_torn: self.plan.is_torn && (self.plan.keep.is_some() || index % 4 > 1),
                is_garbage: self.plan.is_garbage,
                seed: self.draws.draw(),
            });
        }
    }
}

/// Units in ascending order, as runs.
fn runs(units: impl Iterator<Item = u64>) -> Vec<Range<u64>> {
    let mut runs: Vec<Range<u64>> = Vec::new();
    for unit in units {
        match runs.last_mut() {
            Some(last) if last.end == unit => last.end += 1,
            _ => runs.push(unit..unit + 1),
        }
    }
    runs
}

/// The parts of a write of that many units that are tried: what lies before a cut, and behind it.
fn cuts(units: u64) -> impl Iterator<Item = Range<u64>> {
    let few = [1, units / 2, units.saturating_sub(1)];
    let at: Vec<u64> = match units {
        0 | 1 => Vec::new(),
        2..=ALL_CUTS => (1..units).collect(),
        _ => few.to_vec(),
    };
    at.into_iter().flat_map(move |at| [0..at, at..units])
}
