//! Which saved state of a disk: its name in the store, and what a clone knows of the one that it
//! was forked from.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::names::STATE_PREFIX;

/// The name of a saved state: the disk's number in the store, and the state's number among those of
/// the disk. No other state of this store ever has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StateName {
    pub(crate) disk: u64,
    pub(crate) number: u64,
}

impl StateName {
    /// The name that is the store's `key`, if it is one.
    pub(crate) fn parse(key: &str) -> Option<Self> {
        let (disk, number) = key.strip_prefix(STATE_PREFIX)?.split_once('.')?;
        let name = Self {
            disk: disk.parse().ok()?,
            number: number.parse().ok()?,
        };
        // One name has one form, without signs and leading zeros.
        (name.to_string() == key).then_some(name)
    }
}

/// The store's key of the state's snapshot.
impl fmt::Display for StateName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{STATE_PREFIX}{}.{}", self.disk, self.number)
    }
}

/// The state that a clone was forked from. It can load that one, besides its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Birth {
    pub(crate) state: StateName,
    /// The size that the state has. The clone may have been resized since.
    pub(crate) size_bytes: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_its_key_and_nothing_else_is() {
        let name = StateName {
            disk: 7,
            number: 12,
        };
        assert_eq!(name.to_string(), "@state.7.12");
        assert_eq!(StateName::parse("@state.7.12"), Some(name));
        for other in [
            "",
            "vm1",
            "@state.",
            "@state.7",
            "@state.7.",
            "@state.+7.12",
            "@state.07.12",
            "@state.7.12.1",
            "@state.7.99999999999999999999",
        ] {
            assert_eq!(StateName::parse(other), None, "{other}");
        }
    }
}
