//! The fate of each write of a window: kept, lost, torn, or garbage.

use std::ops::Range;

use super::tear::TearUnit;
use super::window::Window;
use super::write::Logged;

/// What becomes of a write.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Fate {
    /// All of it is there.
    Kept,
    /// Nothing of it is.
    Lost,
    /// These of the tear units that it touches are there, counted from 0: runs in ascending order,
    /// that don't touch each other, not empty, not all.
    Torn(Vec<Range<u64>>),
    /// Random bytes of this seed are there instead.
    Garbage(u64),
}

impl Fate {
    /// The fate of a write of `units` of which these runs are there.
    pub fn of_units(runs: Vec<Range<u64>>, units: u64) -> Self {
        match &runs[..] {
            [] => Self::Lost,
            [all] if all.start == 0 && all.end >= units => Self::Kept,
            _ => Self::Torn(runs),
        }
    }
}

/// One state that a crash may leave of a window.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Choice {
    fates: Vec<Fate>,
    order: Vec<usize>,
    unit: TearUnit,
}

/// A write that is not wholly there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss<'c> {
    /// The write.
    pub write: Logged,
    /// What became of it; not [`Fate::Kept`].
    pub fate: &'c Fate,
}

impl Choice {
    /// A choice: the fate of each write of a window, by its place, and the places in the order in
    /// which to apply them.
    pub fn new(fates: Vec<Fate>, order: Vec<usize>, unit: TearUnit) -> Self {
        Self { fates, order, unit }
    }

    /// What becomes of each write, by its place in the window.
    pub fn fates(&self) -> &[Fate] {
        &self.fates
    }

    /// The places of the window's writes, in the order in which to apply them.
    pub fn order(&self) -> &[usize] {
        &self.order
    }

    /// The unit at which writes are torn.
    pub fn unit(&self) -> TearUnit {
        self.unit
    }

    /// The writes that are not wholly there, in the order of the window.
    pub fn losses<'c>(&'c self, window: &'c Window) -> impl Iterator<Item = Loss<'c>> {
        let all = window.writes().iter().zip(&self.fates);
        all.filter(|(_, fate)| **fate != Fate::Kept)
            .map(|(windowed, fate)| Loss {
                write: windowed.write,
                fate,
            })
    }

    /// Whether a crash may leave it of this window: each write has a fate and a place in the order,
    /// stable ones are kept, and what must precede what does.
    pub fn is_legal(&self, window: &Window) -> bool {
        let count = window.len();
        if self.fates.len() != count || self.order.len() != count {
            return false;
        }
        let mut place = vec![usize::MAX; count];
        for (position, at) in self.order.iter().enumerate() {
            match place.get_mut(*at) {
                Some(place) if *place == usize::MAX => *place = position,
                _ => return false,
            }
        }
        let mut all = window.writes().iter().enumerate();
        all.all(|(at, windowed)| {
            let follows = (0..count).all(|other| {
                other == at || !window.must_precede(other, at) || place[other] < place[at]
            });
            follows && (!windowed.is_stable || self.fates[at] == Fate::Kept)
        })
    }
}
