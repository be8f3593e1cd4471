//! The states of a window.

use std::ops::Range;

use super::name::{Shape, StateName};
use crate::crash::{Draws, Keep, Moment, TearUnit, Window};

/// All subsets are tried of up to that many volatile writes.
const ALL_SUBSETS: usize = 6;
/// All pairs are left out of up to that many.
const ALL_PAIRS: usize = 16;
/// A torn write of up to that many units is cut at each of them.
const ALL_CUTS: u64 = 9;

/// Which states of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The unit in which writes are torn.
    pub unit: TearUnit,
    /// Whether they are torn at all.
    pub is_torn: bool,
    /// How many random states a window has beside the systematic ones, if these aren't all.
    pub random: u64,
    /// The seed of the random ones.
    pub seed: u64,
}

/// The states of the window at a moment: first those with the first writes only, as after a crash
/// at another moment; then all subsets of a small window, and of a larger one those without a
/// single write, with a single one, and without a pair; then torn writes; and then random ones.
pub fn states(window: &Window, moment: Moment, plan: &Plan) -> Vec<StateName> {
    let volatile: Vec<usize> = window.volatile().collect();
    let count = volatile.len();
    let number = |place: usize| window.writes()[volatile[place]].write.number;
    let mut shapes: Vec<Shape> = (0..=count)
        .map(|first| Shape::First(first, Vec::new()))
        .collect();
    let lost = |places: &[usize]| {
        let each = places.iter().map(|&place| (number(place), Vec::new()));
        Shape::All(each.collect())
    };
    if count <= ALL_SUBSETS {
        for kept in 0..1_usize << count {
            let is_prefix = (kept & (kept + 1)) == 0;
            let gone: Vec<usize> = (0..count).filter(|place| kept >> place & 1 == 0).collect();
            if !is_prefix {
                shapes.push(lost(&gone));
            }
        }
    } else {
        shapes.extend((0..count - 1).map(|place| lost(&[place])));
        shapes.extend((1..count).map(|place| Shape::None(vec![(number(place), Vec::new())])));
    }
    if (ALL_SUBSETS + 1..=ALL_PAIRS).contains(&count) {
        for second in 1..count {
            // Without the last two it is a state of the first ones.
            let firsts = (0..second).filter(|first| (*first, second) != (count - 2, count - 1));
            shapes.extend(firsts.map(|first| lost(&[first, second])));
        }
    }
    let mut is_all = count <= ALL_SUBSETS;
    if plan.is_torn {
        for (place, &at) in volatile.iter().enumerate() {
            let units = plan.unit.count(window.writes()[at].write.range);
            is_all &= units <= 1;
            shapes.extend(cuts(units).map(|torn| Shape::First(place, vec![torn])));
        }
    }
    if !is_all {
        let mut draws = Draws::part(plan.seed, moment.0);
        shapes.extend((0..plan.random).map(|index| Shape::Drawn {
            keep: if index % 2 == 0 {
                Keep::Subset
            } else {
                Keep::Reorder
            },
            is_torn: plan.is_torn && index % 4 > 1,
            seed: draws.draw(),
        }));
    }
    let named = |shape| StateName {
        moment,
        shape,
        unit: plan.unit,
    };
    shapes.into_iter().map(named).collect()
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
