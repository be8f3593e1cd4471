//! Saved states of VMs, as far as their disks are concerned.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Which saved state of a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum StateChoice {
    /// The one that was saved last.
    Last,
    /// The one with this number.
    Number(u64),
}

impl FromStr for StateChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.eq_ignore_ascii_case("last") {
            return Ok(Self::Last);
        }
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        let number = text.parse().ok().filter(|_| digits);
        number.map(Self::Number).ok_or_else(|| {
            format!("{text:?} is no saved state: give its number among those of the disk, or last")
        })
    }
}

impl TryFrom<String> for StateChoice {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl fmt::Display for StateChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Last => f.write_str("last"),
            Self::Number(number) => write!(f, "{number}"),
        }
    }
}

impl From<StateChoice> for String {
    fn from(choice: StateChoice) -> Self {
        choice.to_string()
    }
}

/// The saved state that a disk was forked from, and can load.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ClonedState {
    /// The disk that it was saved of, as long as that exists.
    pub disk: Option<String>,
    /// Its number among the states of that disk.
    pub number: u64,
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_the_last_one_or_has_a_number() {
        assert_eq!("LAST".parse(), Ok(StateChoice::Last));
        assert_eq!("12".parse(), Ok(StateChoice::Number(12)));
        for other in ["", "first", "-1", "+1", "1.0", "18446744073709551616"] {
            let refused = other.parse::<StateChoice>().unwrap_err();
            assert!(refused.contains(other), "{refused}");
        }
    }
}
