//! The moments at which a crash is looked at.

use std::str::FromStr;

use crate::crash::Moment;
use crate::crash::log::{Log, NEVER, Request, What};

/// Which moments of a log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum At {
    /// Before each flush completes, and each write that is then stable at once, and the end:
    /// whatever a crash at another moment may leave, a crash at one of these may leave too.
    #[default]
    Any,
    /// Before the K-th flush completes, counted from 1.
    Flush(u64),
    /// When the first mark with this text is made.
    Mark(String),
    /// When the K-th write has completed, counted from 1.
    Write(u64),
}

/// No such moment.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AtError {
    /// It can't be parsed.
    #[error("{0:?} is no moment: use any, flush:K, mark:TEXT or write:K")]
    Unknown(String),
    /// The log doesn't have it.
    #[error("the log has no {what}: it has {flushes} flushes, {writes} writes and {marks} marks")]
    Missing {
        /// What was asked for.
        what: String,
        /// How many flushes there are.
        flushes: usize,
        /// How many writes.
        writes: usize,
        /// How many marks.
        marks: usize,
    },
}

impl FromStr for At {
    type Err = AtError;

    fn from_str(text: &str) -> Result<Self, AtError> {
        let unknown = || AtError::Unknown(text.to_owned());
        let number = |text: &str| text.parse().ok().filter(|&number: &u64| number > 0);
        match text.split_once(':') {
            None if text == "any" => Ok(Self::Any),
            Some(("flush", count)) => Ok(Self::Flush(number(count).ok_or_else(unknown)?)),
            Some(("write", count)) => Ok(Self::Write(number(count).ok_or_else(unknown)?)),
            Some(("mark", text)) if !text.is_empty() => Ok(Self::Mark(text.to_owned())),
            _ => Err(unknown()),
        }
    }
}

/// A moment at which a crash is looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Point {
    /// When.
    pub moment: Moment,
    /// How many flushes had completed.
    pub flushes: u64,
    /// How many marks had been made.
    pub marks: usize,
}

/// The moments `at` of a log, in order.
///
/// # Errors
/// [`AtError::Missing`].
pub fn points(log: &Log, at: &At) -> Result<Vec<Point>, AtError> {
    let completed = |is: fn(&What) -> bool| {
        let all = log.requests.iter().filter(|request| is(&request.what));
        let moments = all.map(|request| request.completed);
        let mut moments: Vec<u64> = moments.filter(|&moment| moment != NEVER).collect();
        moments.sort_unstable();
        moments
    };
    let flushes = completed(|what| *what == What::Flush);
    let writes = completed(|what| *what == What::Write);
    let marks = completed(|what| matches!(what, What::Mark(_)));
    let nth = |moments: &[u64], number: u64| {
        let index = usize::try_from(number - 1).ok();
        index.and_then(|index| moments.get(index).copied())
    };
    let found = match at {
        At::Any => {
            let makes_stable = |it: &&Request| it.at_once || it.what == What::Flush;
            let all = log.requests.iter().filter(makes_stable);
            let all = all.map(|it| it.completed).filter(|&it| it != NEVER);
            let before = all.map(|completed| completed.saturating_sub(1));
            let mut all: Vec<u64> = before.chain([log.end()]).collect();
            all.sort_unstable();
            all.dedup();
            Some(all)
        }
        At::Flush(number) => nth(&flushes, *number).map(|completed| vec![completed - 1]),
        At::Write(number) => nth(&writes, *number).map(|completed| vec![completed]),
        At::Mark(text) => {
            let mut all = log.requests.iter();
            let mark = all.find(|request| request.mark() == Some(text));
            mark.map(|mark| vec![mark.completed])
        }
    };
    let missing = || AtError::Missing {
        what: match at {
            At::Any => "moment".into(),
            At::Flush(number) => format!("flush {number}"),
            At::Write(number) => format!("write {number}"),
            At::Mark(text) => format!("mark {text:?}"),
        },
        flushes: flushes.len(),
        writes: writes.len(),
        marks: marks.len(),
    };
    let before = |moments: &[u64], moment: u64| moments.partition_point(|&it| it <= moment);
    let point = |moment: u64| Point {
        moment: Moment(moment),
        flushes: before(&flushes, moment) as u64,
        marks: before(&marks, moment),
    };
    Ok(found.ok_or_else(missing)?.into_iter().map(point).collect())
}
