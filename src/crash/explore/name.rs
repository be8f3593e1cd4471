//! Names of states, as in `120:all-17`, from which each is made again.
//!
//! | name | the state |
//! |---|---|
//! | `120:first.5` | at moment 120 the first 5 volatile writes are there, the others are lost |
//! | `120:first.5~0-3@512` | and of the sixth the units 0, 1 and 2, of 512 bytes |
//! | `120:all-17-19` | all are there, but for entries 17 and 19 of the log |
//! | `120:all-17~18.0-1.3-4@4096` | and of entry 18 there are units 0 and 3 |
//! | `120:none+17` | only entry 17 is there |
//! | `120:all-17=18.7f` | and entry 18 has random bytes of seed 7f (hexadecimal) |
//! | `120:first.5=7f` | the first 5 are there, and the sixth has random bytes |
//! | `120:subset.7f`, `120:reorder-torn.7f@512` | what the seed 7f decides |
//!
//! The last is also for `all` and `prefix`, and with `-garbage` or `-torn-garbage`.

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

/// What is there of the volatile writes. A [`Fate::Torn`] has what is there of a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shape {
    /// This number of the first ones, and the fate of the next.
    First(usize, Fate),
    /// All but these, by their entry.
    All(Vec<(u64, Fate)>),
    /// None but these.
    None(Vec<(u64, Fate)>),
    /// What a policy decides.
    Drawn {
        /// Any of [`Keep`] but none.
        keep: Keep,
        /// Whether writes are torn.
        is_torn: bool,
        /// Whether writes leave random bytes.
        is_garbage: bool,
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
        let fate = |at: usize, fate: &Fate| match fate {
            Fate::Torn(runs) => {
                let units = self.unit.count(window.writes()[at].write.range);
                Fate::of_units(runs.clone(), units)
            }
            Fate::Kept | Fate::Lost | Fate::Garbage(_) => fate.clone(),
        };
        let mut fates = vec![Fate::Kept; window.len()];
        match &self.shape {
            Shape::First(count, next) => {
                for (place, &at) in volatile.iter().enumerate().skip(*count) {
                    fates[at] = match place == *count {
                        true => fate(at, next),
                        false => Fate::Lost,
                    };
                }
            }
            Shape::All(exceptions) | Shape::None(exceptions) => {
                if matches!(self.shape, Shape::None(_)) {
                    volatile.iter().for_each(|&at| fates[at] = Fate::Lost);
                }
                for (number, exception) in exceptions {
                    let at = self.place(window, &volatile, *number)?;
                    fates[at] = fate(at, exception);
                }
            }
            Shape::Drawn {
                keep,
                is_torn,
                is_garbage,
                seed,
            } => {
                let policy = Policy::new(*keep, *is_torn, *is_garbage, self.unit);
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

/// The words of policies in names.
const KEEPS: [(&str, Keep); 4] = [
    ("all", Keep::All),
    ("prefix", Keep::Prefix),
    ("subset", Keep::Subset),
    ("reorder", Keep::Reorder),
];

/// The sign of what becomes of a write, and behind its number what more there is to say.
fn put_fate(text: &mut String, number: Option<u64>, fate: &Fate) {
    let (sign, mut more) = match fate {
        Fate::Lost => ('-', Vec::new()),
        Fate::Kept => ('+', Vec::new()),
        Fate::Garbage(seed) => ('=', vec![format!("{seed:x}")]),
        Fate::Torn(runs) => {
            let runs = runs.iter().map(|run| format!("{}-{}", run.start, run.end));
            ('~', runs.collect())
        }
    };
    if let Some(number) = number {
        more.insert(0, number.to_string());
    }
    let _ = write!(text, "{sign}{}", more.join("."));
}

impl fmt::Display for StateName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        match &self.shape {
            Shape::First(count, next) => {
                let _ = write!(text, "first.{count}");
                if *next != Fate::Lost {
                    put_fate(&mut text, None, next);
                }
            }
            Shape::All(exceptions) | Shape::None(exceptions) => {
                text.push_str(match self.shape {
                    Shape::All(_) => "all",
                    _ => "none",
                });
                for (number, fate) in exceptions {
                    put_fate(&mut text, Some(*number), fate);
                }
            }
            Shape::Drawn {
                keep,
                is_torn,
                is_garbage,
                seed,
            } => {
                let word = KEEPS.iter().find(|(_, it)| it == keep);
                text.push_str(word.map_or("none", |(word, _)| word));
                text.push_str(if *is_torn { "-torn" } else { "" });
                text.push_str(if *is_garbage { "-garbage" } else { "" });
                let _ = write!(text, ".{seed:x}");
            }
        }
        write!(f, "{}:{text}", self.moment.0)?;
        match text.contains('~') || text.contains("-torn") {
            true => write!(f, "@{}", self.unit.bytes()),
            false => Ok(()),
        }
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
    if let Some(drawn) = drawn_of(text) {
        return Some(drawn);
    }
    if let Some(rest) = text.strip_prefix("first.") {
        let end = rest.find(['~', '=']).unwrap_or(rest.len());
        let (count, next) = rest.split_at(end);
        let next = match next.chars().next() {
            Some(sign) => fate_of(sign, next.get(1..)?.split('.'))?,
            None => Fate::Lost,
        };
        return Some(Shape::First(count.parse().ok()?, next));
    }
    if let Some(rest) = text.strip_prefix("all") {
        return exceptions_of(rest, '-').map(Shape::All);
    }
    let rest = text.strip_prefix("none")?;
    exceptions_of(rest, '+').map(Shape::None)
}

/// A policy's word, with its switches and a seed.
fn drawn_of(text: &str) -> Option<Shape> {
    let (word, seed) = text.split_once('.')?;
    let seed = u64::from_str_radix(seed, 16).ok()?;
    let (word, is_garbage) = match word.strip_suffix("-garbage") {
        Some(word) => (word, true),
        None => (word, false),
    };
    let (word, is_torn) = match word.strip_suffix("-torn") {
        Some(word) => (word, true),
        None => (word, false),
    };
    let keep = KEEPS.iter().find(|(known, _)| *known == word);
    keep.map(|(_, keep)| Shape::Drawn {
        keep: *keep,
        is_torn,
        is_garbage,
        seed,
    })
}

/// The fate of a sign and of what follows it, behind the number of the write.
fn fate_of<'t>(sign: char, mut more: impl Iterator<Item = &'t str>) -> Option<Fate> {
    let fate = match sign {
        '-' => Fate::Lost,
        '+' => Fate::Kept,
        '=' => Fate::Garbage(u64::from_str_radix(more.next()?, 16).ok()?),
        '~' => {
            return runs_of(more)
                .filter(|runs| !runs.is_empty())
                .map(Fate::Torn);
        }
        _ => return None,
    };
    more.next().is_none().then_some(fate)
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

/// Exceptions, each behind its sign; `plain` is that of the ones without more to say.
fn exceptions_of(text: &str, plain: char) -> Option<Vec<(u64, Fate)>> {
    let mut exceptions = Vec::new();
    let mut rest = text;
    while let Some(sign) = rest.chars().next() {
        if ![plain, '~', '='].contains(&sign) {
            return None;
        }
        // No sign is longer than a byte.
        rest = rest.get(1..)?;
        let end = end_of(rest, sign, plain);
        let (one, after) = rest.split_at(end);
        rest = after;
        let mut parts = one.split('.');
        let number = parts.next()?.parse().ok()?;
        exceptions.push((number, fate_of(sign, parts)?));
    }
    Some(exceptions)
}

/// Where the next sign is, behind `sign`. The dash in a run of a torn write is none.
fn end_of(text: &str, sign: char, plain: char) -> usize {
    let mut may_be_run = false;
    for (at, letter) in text.char_indices() {
        match letter {
            '.' => may_be_run = sign == '~',
            '-' if may_be_run => may_be_run = false,
            '~' | '=' => return at,
            _ if letter == plain => return at,
            _ => {}
        }
    }
    text.len()
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

    fn torn() -> impl Strategy<Value = Fate> {
        let some = runs().prop_filter("a torn write has a part", |runs| !runs.is_empty());
        some.prop_map(Fate::Torn)
    }

    fn exceptions(plain: Fate) -> impl Strategy<Value = Vec<(u64, Fate)>> {
        let fate = prop_oneof![Just(plain), torn(), any::<u64>().prop_map(Fate::Garbage),];
        proptest::collection::vec((0_u64..1000, fate), 0..4)
    }

    fn shapes() -> impl Strategy<Value = Shape> {
        let keep = prop::sample::select(KEEPS.map(|(_, keep)| keep).to_vec());
        let next = prop_oneof![
            Just(Fate::Lost),
            torn(),
            any::<u64>().prop_map(Fate::Garbage)
        ];
        let drawn = (keep, any::<bool>(), any::<bool>(), any::<u64>());
        prop_oneof![
            (0_usize..100, next).prop_map(|(count, next)| Shape::First(count, next)),
            exceptions(Fate::Lost).prop_map(Shape::All),
            exceptions(Fate::Kept).prop_map(Shape::None),
            drawn.prop_map(|(keep, is_torn, is_garbage, seed)| Shape::Drawn {
                keep,
                is_torn,
                is_garbage,
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
            text in "[0-9]{1,3}:(all|none|first\\.|subset\\.)[-+~=.@0-9a-fé]{0,20}",
        ) {
            let _ = text.parse::<StateName>();
        }
    }
    #[test]
    fn names_of_earlier_reports_are_still_read() {
        for text in [
            "120:first.5",
            "120:first.5~0-3@512",
            "120:all-17-19",
            "120:all-17~18.0-1.3-4@4096",
            "120:none+17~18.0-1@512",
            "120:subset.7f",
            "120:reorder-torn.7f@512",
            "120:all-17=18.7f-19",
        ] {
            assert_eq!(text.parse::<StateName>().unwrap().to_string(), text);
        }
        for text in [
            "1:all+17",
            "1:none-17",
            "1:first.5=",
            "1:first.5~",
            "1:all-1.2",
            "1:other.1",
        ] {
            assert!(text.parse::<StateName>().is_err(), "{text}");
        }
    }
}
