//! Small words of the command line: labels, targets, bounds.

use std::collections::BTreeMap;

use crate::cli::error::Error;
use crate::cli::values::size::{human, parse_size};
use crate::model::{Disk, DiskState, Import, Share, Target};

/// A label as `key=value`, or `key-` to remove it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) struct Label {
    pub(in crate::cli) key: String,
    /// `None` removes it.
    pub(in crate::cli) value: Option<String>,
}

/// `key=value`.
pub(in crate::cli) fn parse_label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("give a key and a value, as in vm=web-1".into()),
    }
}

/// `key=value`, or `key-`.
pub(in crate::cli) fn parse_label_change(text: &str) -> Result<Label, String> {
    if let Ok((key, value)) = parse_label(text) {
        let value = Some(value);
        return Ok(Label { key, value });
    }
    match text.strip_suffix('-') {
        Some(key) if !key.is_empty() && !key.contains('=') => Ok(Label {
            key: key.to_owned(),
            value: None,
        }),
        _ => Err("give a key and a value, as in vm=web-1, or vm- to remove it".into()),
    }
}

/// Labels by key; a key that is given twice is an error.
pub(in crate::cli) fn unique(
    labels: &[(String, String)],
) -> Result<BTreeMap<String, String>, Error> {
    by_key(labels.iter().cloned())
}

/// Changes of labels by key, likewise.
pub(in crate::cli) fn changes(labels: &[Label]) -> Result<BTreeMap<String, Option<String>>, Error> {
    by_key(labels.iter().cloned().map(|it| (it.key, it.value)))
}

fn by_key<V>(labels: impl Iterator<Item = (String, V)>) -> Result<BTreeMap<String, V>, Error> {
    let mut by_key = BTreeMap::new();
    for (key, value) in labels {
        if by_key.contains_key(&key) {
            return Err(Error::Usage(format!(
                "label {key:?} is given twice: give it once"
            )));
        }
        by_key.insert(key, value);
    }
    Ok(by_key)
}

/// `NAME` or `NAME@SNAPSHOT`.
pub(in crate::cli) fn parse_target(text: &str) -> Result<Target, String> {
    let (disk, snapshot) = match text.split_once('@') {
        Some((disk, snapshot)) => (disk, Some(snapshot)),
        None => (text, None),
    };
    if disk.is_empty() || snapshot.is_some_and(|name| name.is_empty() || name.contains('@')) {
        return Err("give the name of a disk, or NAME@SNAPSHOT".into());
    }
    Ok(Target {
        disk: disk.to_owned(),
        snapshot: snapshot.map(str::to_owned),
    })
}

/// A value that the word `none` removes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) enum OrNone<T> {
    /// The word `none`.
    None,
    /// A value.
    Some(T),
}

impl<T> OrNone<T> {
    pub(in crate::cli) fn option(self) -> Option<T> {
        match self {
            Self::None => None,
            Self::Some(value) => Some(value),
        }
    }
}

/// A size, or `none`.
pub(in crate::cli) fn parse_size_or_none(text: &str) -> Result<OrNone<u64>, String> {
    match text {
        "none" => Ok(OrNone::None),
        _ => parse_size(text)
            .map(OrNone::Some)
            .map_err(|error| format!("{error}, or none")),
    }
}

/// A whole number from 1 on, or `none`.
pub(in crate::cli) fn parse_count_or_none(text: &str) -> Result<OrNone<u64>, String> {
    match (text, text.parse()) {
        ("none", _) => Ok(OrNone::None),
        (_, Ok(count)) if count > 0 => Ok(OrNone::Some(count)),
        _ => Err("give a whole number from 1 on, or none".into()),
    }
}

/// A name, or `none`.
pub(in crate::cli) fn parse_name_or_none(text: &str) -> Result<OrNone<String>, String> {
    match text {
        "none" => Ok(OrNone::None),
        "" => Err("give a name, or none".into()),
        name => Ok(OrNone::Some(name.to_owned())),
    }
}

/// A note on queues that are served differently, if any are.
pub(in crate::cli) fn queues(count: u16, how: &str) -> String {
    match count {
        0 => String::new(),
        _ => format!("; queues {how}: {count}"),
    }
}

/// A disk's state.
pub(in crate::cli) fn state(disk: &Disk) -> &'static str {
    match disk.state {
        DiskState::Ok => "ok",
        DiskState::Full => "full",
        DiskState::Stalled => "stalled",
        DiskState::Failed => "failed",
        DiskState::Unreachable => "unreachable",
        DiskState::Importing => "importing",
    }
}

/// How many front ends may use a disk.
pub(in crate::cli) fn share(share: Share) -> &'static str {
    match share {
        Share::None => "one front end",
        Share::Ro => "any number of front ends, read-only",
        Share::Rw => "any number of front ends, all writing",
    }
}

/// The progress of an import.
pub(in crate::cli) fn import(import: &Import) -> String {
    let total = import.total_bytes;
    let total = total.map_or_else(|| "an unknown total".into(), human);
    let who = match import.uploading {
        true => "",
        false => ", and no client sends more",
    };
    format!("{} of {total} received{who}", human(import.done_bytes))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn labels_are_set_and_taken_away() {
        assert_eq!(parse_label("a=b=c"), Ok(("a".into(), "b=c".into())));
        assert_eq!(parse_label_change("a=").unwrap().value, Some(String::new()));
        assert_eq!(parse_label_change("a-").unwrap().value, None);
        assert_eq!(
            parse_label_change("a-=x-").unwrap().value,
            Some("x-".into())
        );
        for text in ["a", "=b", "", "-"] {
            assert!(
                parse_label(text).is_err() && parse_label_change(text).is_err(),
                "{text}"
            );
        }
    }

    #[test]
    fn a_target_is_a_disk_or_its_snapshot() {
        assert_eq!(parse_target("a").unwrap().snapshot, None);
        assert_eq!(parse_target("a@b").unwrap().snapshot, Some("b".into()));
        for text in ["", "@b", "a@", "a@b@c"] {
            assert!(parse_target(text).is_err(), "{text}");
        }
    }

    #[test]
    fn none_takes_away() {
        assert_eq!(parse_size_or_none("none"), Ok(OrNone::None));
        assert_eq!(parse_size_or_none("1K"), Ok(OrNone::Some(1024)));
        assert_eq!(parse_count_or_none("7"), Ok(OrNone::Some(7)));
        assert!(parse_count_or_none("0").is_err() && parse_count_or_none("1K").is_err());
    }
}
