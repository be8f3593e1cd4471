//! Names of states.
//!
//! | name | the state |
//! |---|---|
//! | `120:first.5` | at moment 120 the first 5 volatile writes are there, the others are lost |
//! | `120:first.5~0-3@512` | and of the sixth the units 0, 1 and 2, of 512 bytes |
//! | `120:all-17-19` | all are there, but for entries 17 and 19 of the log |
//! | `120:all-17~18.0-1.3-4@4096` | and of entry 18 there are units 0 and 3 |
//! | `120:none+17` | only entry 17 is there |
//! | `120:subset.7f`, `120:reorder-torn.7f@512` | what the seed 7f (hexadecimal) decides |

use std::fmt::{self, Write as _};
use std::ops::Range;
use std::str::FromStr;

use crate::crash::{Choice, Fate, Keep, Moment, Policy, TearUnit, Window};

/// The name of a state: from it and the log the same bytes come on any machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateName {
    /// When the crash was.
    pub moment: Moment,
    /// What is there of the volatile writes.
    pub shape: Shape,
    /// The unit of torn writes.
    pub unit: TearUnit,
}

/// What is there of the volatile writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shape {
    /// This number of the first ones, and these units of the next.
    First(usize, Vec<Range<u64>>),
    /// All but these, by their entry: with some of their units, or without.
    All(Vec<(u64, Vec<Range<u64>>)>),
    /// None but these: with some of their units, or whole.
    None(Vec<(u64, Vec<Range<u64>>)>),
    /// What a policy decides.
    Drawn {
        /// Any of [`Keep`] that draws for each write.
        keep: Keep,
        /// Whether writes are torn.
        is_torn: bool,
        /// The seed.
        seed: u64,
    },
}

/// Not a state's name, or not one of this log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// It can't be parsed.
    #[error("{0:?} is no state's name: take it from a report, as in 120:all-17")]
    Unknown(String),
    /// The window doesn't have the write.
    #[error("entry {0} of the log is no volatile write at moment {1}: the name is of another log")]
    NoWrite(u64, u64),
}

impl StateName {
    /// The choice of this name in the window at its moment.
    ///
    /// # Errors
    /// [`NameError::NoWrite`].
    pub fn choice(&self, window: &Window) -> Result<Choice, NameError> {
        let volatile: Vec<usize> = window.volatile().collect();
        let units = |at: usize| self.unit.count(window.writes()[at].write.range);
        let mut fates = vec![Fate::Kept; window.len()];
        match &self.shape {
            Shape::First(count, torn) => {
                for (place, &at) in volatile.iter().enumerate() {
                    match place.cmp(count) {
                        std::cmp::Ordering::Less => {}
                        std::cmp::Ordering::Equal => {
                            fates[at] = Fate::of_units(torn.clone(), units(at));
                        }
                        std::cmp::Ordering::Greater => fates[at] = Fate::Lost,
                    }
                }
            }
            Shape::All(exceptions) => {
                for (number, torn) in exceptions {
                    let at = self.place(window, &volatile, *number)?;
                    fates[at] = Fate::of_units(torn.clone(), units(at));
                }
            }
            Shape::None(exceptions) => {
                for &at in &volatile {
                    fates[at] = Fate::Lost;
                }
                for (number, torn) in exceptions {
                    let at = self.place(window, &volatile, *number)?;
                    fates[at] = match torn.is_empty() {
                        true => Fate::Kept,
                        false => Fate::of_units(torn.clone(), units(at)),
                    };
                }
            }
            Shape::Drawn {
                keep,
                is_torn,
                seed,
            } => {
                let policy = Policy::new(*keep, *is_torn, false, self.unit);
                let unknown = |_| NameError::Unknown(self.to_string());
                return Ok(policy.map_err(unknown)?.choose(window, *seed));
            }
        }
        let order = (0..window.len()).collect();
        Ok(Choice::new(fates, order, self.unit))
    }

    fn place(&self, window: &Window, volatile: &[usize], number: u64) -> Result<usize, NameError> {
        let mut all = volatile.iter().copied();
        let found = all.find(|&at| window.writes()[at].write.number == number);
        found.ok_or(NameError::NoWrite(number, self.moment.0))
    }
}

fn put_runs(f: &mut String, before: char, runs: &[Range<u64>]) {
    for (index, run) in runs.iter().enumerate() {
        let before = if index == 0 { before } else { '.' };
        let _ = write!(f, "{before}{}-{}", run.start, run.end);
    }
}

impl fmt::Display for StateName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        match &self.shape {
            Shape::First(count, torn) => {
                let _ = write!(text, "first.{count}");
                put_runs(&mut text, '~', torn);
            }
            Shape::All(exceptions) => {
                text.push_str("all");
                put_exceptions(&mut text, '-', exceptions);
            }
            Shape::None(exceptions) => {
                text.push_str("none");
                put_exceptions(&mut text, '+', exceptions);
            }
            Shape::Drawn {
                keep,
                is_torn,
                seed,
            } => {
                let keep = match keep {
                    Keep::Reorder => "reorder",
                    Keep::Subset | Keep::None | Keep::All | Keep::Prefix => "subset",
                };
                let torn = if *is_torn { "-torn" } else { "" };
                let _ = write!(text, "{keep}{torn}.{seed:x}");
            }
        }
        write!(f, "{}:{text}", self.moment.0)?;
        match text.contains('~') || text.contains("-torn") {
            true => write!(f, "@{}", self.unit.bytes()),
            false => Ok(()),
        }
    }
}

fn put_exceptions(text: &mut String, whole: char, exceptions: &[(u64, Vec<Range<u64>>)]) {
    // A dash behind a torn one would be read as a part of it.
    let (torn, gone): (Vec<_>, Vec<_>) = exceptions.iter().partition(|(_, torn)| !torn.is_empty());
    for (number, torn) in gone.into_iter().chain(torn) {
        let sign = if torn.is_empty() { whole } else { '~' };
        let _ = write!(text, "{sign}{number}");
        put_runs(text, '.', torn);
    }
}

impl FromStr for StateName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let unknown = || NameError::Unknown(text.to_owned());
        let (moment, rest) = text.split_once(':').ok_or_else(unknown)?;
        let moment = Moment(moment.parse().map_err(|_| unknown())?);
        let (shape, unit) = match rest.split_once('@') {
            Some((shape, unit)) => {
                let bytes = unit.parse().map_err(|_| unknown())?;
                (shape, TearUnit::new(bytes).map_err(|_| unknown())?)
            }
            None => (rest, TearUnit::SECTOR),
        };
        let shape = shape_of(shape).ok_or_else(unknown)?;
        Ok(Self {
            moment,
            shape,
            unit,
        })
    }
}

fn shape_of(text: &str) -> Option<Shape> {
    if let Some(rest) = text.strip_prefix("first.") {
        let (count, torn) = match rest.split_once('~') {
            Some((count, runs)) => (count, runs_of(runs.split('.'))?),
            None => (rest, Vec::new()),
        };
        return Some(Shape::First(count.parse().ok()?, torn));
    }
    if let Some(rest) = text.strip_prefix("all") {
        return exceptions_of(rest, '-').map(Shape::All);
    }
    if let Some(rest) = text.strip_prefix("none") {
        return exceptions_of(rest, '+').map(Shape::None);
    }
    let (word, seed) = text.split_once('.')?;
    let seed = u64::from_str_radix(seed, 16).ok()?;
    let (keep, is_torn) = match word {
        "subset" => (Keep::Subset, false),
        "subset-torn" => (Keep::Subset, true),
        "reorder" => (Keep::Reorder, false),
        "reorder-torn" => (Keep::Reorder, true),
        _ => return None,
    };
    Some(Shape::Drawn {
        keep,
        is_torn,
        seed,
    })
}

/// Runs of units: in order, apart, and none of them empty.
fn runs_of<'t>(parts: impl Iterator<Item = &'t str>) -> Option<Vec<Range<u64>>> {
    let mut runs: Vec<Range<u64>> = Vec::new();
    for part in parts {
        let (start, end) = part.split_once('-')?;
        let run = start.parse().ok()?..end.parse().ok()?;
        let is_after = runs.last().is_none_or(|last| last.end < run.start);
        if run.is_empty() || !is_after {
            return None;
        }
        runs.push(run);
    }
    Some(runs)
}

fn exceptions_of(text: &str, whole: char) -> Option<Vec<(u64, Vec<Range<u64>>)>> {
    let mut exceptions = Vec::new();
    let mut rest = text;
    while let Some(sign) = rest.chars().next() {
        // No sign is longer than a byte.
        rest = rest.get(1..)?;
        // The dash of a run is no sign.
        let end = match sign {
            '~' => rest.find(['~', '+']).unwrap_or(rest.len()),
            _ if sign == whole => rest.find(['~', whole]).unwrap_or(rest.len()),
            _ => return None,
        };
        let (one, after) = rest.split_at(end);
        rest = after;
        let mut parts = one.split('.');
        let number = parts.next()?.parse().ok()?;
        let torn = runs_of(parts)?;
        if (sign == '~') == torn.is_empty() {
            return None;
        }
        exceptions.push((number, torn));
    }
    Some(exceptions)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn runs() -> impl Strategy<Value = Vec<Range<u64>>> {
        proptest::collection::btree_set(0_u64..40, 0..3).prop_map(|starts| {
            let starts = starts.into_iter();
            starts.map(|start| start * 3..start * 3 + 2).collect()
        })
    }

    fn exceptions() -> impl Strategy<Value = Vec<(u64, Vec<Range<u64>>)>> {
        proptest::collection::vec((0_u64..1000, runs()), 0..4)
    }

    fn shapes() -> impl Strategy<Value = Shape> {
        let keep = prop_oneof![Just(Keep::Subset), Just(Keep::Reorder)];
        prop_oneof![
            (0_usize..100, runs()).prop_map(|(count, torn)| Shape::First(count, torn)),
            exceptions().prop_map(|mut all| {
                all.sort_by_key(|(_, torn)| !torn.is_empty());
                Shape::All(all)
            }),
            exceptions().prop_map(|mut all| {
                all.sort_by_key(|(_, torn)| !torn.is_empty());
                Shape::None(all)
            }),
            (keep, any::<bool>(), any::<u64>()).prop_map(|(keep, is_torn, seed)| Shape::Drawn {
                keep,
                is_torn,
                seed,
            }),
        ]
    }

    proptest! {
        #[test]
        fn a_name_is_read_as_it_was_written(moment: u64, shape in shapes(), unit in 0_u32..3) {
            let unit = TearUnit::new(512 << unit).unwrap();
            let name = StateName { moment: Moment(moment), shape, unit };
            let text = name.to_string();
            let read: StateName = text.parse().unwrap();
            prop_assert_eq!(read.to_string(), text);
            prop_assert_eq!(read.shape, name.shape);
        }

        #[test]
        fn no_text_makes_it_panic(
            text in "[0-9]{1,3}:(all|none|first\\.|subset\\.)[-+~.@0-9a-fé]{0,20}",
        ) {
            let _ = text.parse::<StateName>();
        }
    }
}
