//! Values that `none` removes.

use super::size::parse_size;

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn none_takes_away() {
        assert_eq!(parse_size_or_none("none"), Ok(OrNone::None));
        assert_eq!(parse_size_or_none("1K"), Ok(OrNone::Some(1024)));
        assert_eq!(parse_count_or_none("7"), Ok(OrNone::Some(7)));
        assert!(parse_count_or_none("0").is_err() && parse_count_or_none("1K").is_err());
    }
}
