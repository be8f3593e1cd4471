//! Labels, as in `vm=web-1`.

use std::collections::BTreeMap;

use crate::cli::error::Error;

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
}
