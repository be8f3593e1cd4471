//! What one can wait for of a disk.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Disk, DiskState, Stats};

/// Something that becomes true of a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// A front end is connected.
    Attached,
    /// No front end is connected.
    Detached,
    /// Its first content is complete.
    Imported,
    /// No request was made, or is being served, for this time.
    Quiet {
        /// In milliseconds.
        ms: u64,
    },
    /// A figure has reached a value.
    Reached {
        /// Which one.
        figure: Figure,
        /// The least value: bytes, or a number of requests.
        least: u64,
    },
}

/// A figure of a disk: a counter of its requests since it was created or the daemon started, or an
/// amount of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Figure {
    /// Reads.
    Reads,
    /// Writes.
    Writes,
    /// Flushes.
    Flushes,
    /// Discards.
    Discards,
    /// Requests that completed with an error.
    Errors,
    /// Bytes read.
    Read,
    /// Bytes written.
    Written,
    /// Bytes discarded.
    Discarded,
    /// Bytes of mapped sectors.
    Mapped,
    /// Bytes of memory that are charged to the disk.
    Charged,
}

impl Figure {
    /// All of them, with their names.
    pub const ALL: [(&'static str, Self); 10] = [
        ("reads", Self::Reads),
        ("writes", Self::Writes),
        ("flushes", Self::Flushes),
        ("discards", Self::Discards),
        ("errors", Self::Errors),
        ("read", Self::Read),
        ("written", Self::Written),
        ("discarded", Self::Discarded),
        ("mapped", Self::Mapped),
        ("charged", Self::Charged),
    ];

    /// Whether it is in bytes.
    pub fn is_bytes(self) -> bool {
        use Figure::{Charged, Discarded, Mapped, Read, Written};
        matches!(self, Read | Written | Discarded | Mapped | Charged)
    }

    fn name(self) -> &'static str {
        let found = Self::ALL.iter().find(|(_, figure)| *figure == self);
        found.map_or("", |(name, _)| name)
    }

    /// Its value, from a disk and its counters.
    pub fn of(self, disk: &Disk, stats: &Stats) -> u64 {
        let one = |kind: &str| stats.operations.get(kind);
        let count = |kind| one(kind).map_or(0, |it| it.completed);
        let bytes = |kind| one(kind).map_or(0, |it| it.bytes);
        match self {
            Self::Reads => count("read"),
            Self::Writes => count("write"),
            Self::Flushes => count("flush"),
            Self::Discards => count("discard"),
            Self::Errors => stats.operations.values().map(|it| it.errors).sum(),
            Self::Read => bytes("read"),
            Self::Written => bytes("write"),
            Self::Discarded => bytes("discard"),
            Self::Mapped => disk.mapped_bytes,
            Self::Charged => disk.charged_bytes,
        }
    }
}

impl Condition {
    /// Parse a condition, with functions for the forms that a time and a size have here.
    ///
    /// # Errors
    /// The text has none of the forms, which the error lists, or its number is wrong.
    pub fn parse(
        text: &str,
        ms: impl Fn(&str) -> Result<u64, String>,
        bytes: impl Fn(&str) -> Result<u64, String>,
    ) -> Result<Self, String> {
        match text {
            "attached" => return Ok(Self::Attached),
            "detached" => return Ok(Self::Detached),
            "imported" => return Ok(Self::Imported),
            _ => {}
        }
        if let Some(time) = text.strip_prefix("quiet=") {
            return Ok(Self::Quiet { ms: ms(time)? });
        }
        let refused = || {
            let figures = Figure::ALL.map(|(name, _)| name).join(", ");
            format!(
                "{text:?} is nothing to wait for: use attached, detached, imported, quiet=TIME, or \
                 FIGURE>=NUMBER with one of {figures}"
            )
        };
        let (name, least) = text.split_once(">=").ok_or_else(refused)?;
        let found = Figure::ALL.iter().find(|(known, _)| *known == name);
        let (_, figure) = *found.ok_or_else(refused)?;
        let least = match figure.is_bytes() {
            true => bytes(least)?,
            false => whole(least)?,
        };
        Ok(Self::Reached { figure, least })
    }

    /// Whether it holds of a disk with these counters. A condition on time holds once the counters
    /// have been the same for that time, which only an observer knows.
    pub fn holds(self, disk: &Disk, stats: &Stats) -> bool {
        match self {
            Self::Attached => disk.attached,
            Self::Detached => !disk.attached,
            Self::Imported => disk.state != DiskState::Importing,
            Self::Quiet { .. } => false,
            Self::Reached { figure, least } => figure.of(disk, stats) >= least,
        }
    }
}

/// A number of decimal digits.
fn whole(text: &str) -> Result<u64, String> {
    let is_whole = !text.is_empty() && text.bytes().all(|it| it.is_ascii_digit());
    let number = text.parse().ok().filter(|_| is_whole);
    number.ok_or_else(|| format!("{text:?} is not a whole number, as in 64"))
}

/// As the API has it: `quiet=2000ms`, and sizes in bytes.
impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Attached => f.write_str("attached"),
            Self::Detached => f.write_str("detached"),
            Self::Imported => f.write_str("imported"),
            Self::Quiet { ms } => write!(f, "quiet={ms}ms"),
            Self::Reached { figure, least } => write!(f, "{}>={least}", figure.name()),
        }
    }
}

impl FromStr for Condition {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let ms = |time: &str| match time.strip_suffix("ms") {
            Some(number) => whole(number),
            None => Err(format!(
                "{time:?} is not a time: give milliseconds, as in 2000ms"
            )),
        };
        Self::parse(text, ms, whole)
    }
}

/// What became of waiting.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Waited {
    /// The disk.
    pub disk: String,
    /// What was waited for.
    #[serde(rename = "for")]
    pub condition: String,
    /// Whether it holds. If not, the time was up.
    pub met: bool,
    /// How long it took, in nanoseconds.
    pub waited_ns: u64,
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn what_one_can_wait_for_has_one_form_in_the_api() {
        for text in [
            "attached",
            "detached",
            "imported",
            "quiet=2000ms",
            "written>=67108864",
        ] {
            assert_eq!(text.parse::<Condition>().unwrap().to_string(), text);
        }
        for (name, _) in Figure::ALL {
            let text = format!("{name}>=1");
            assert_eq!(text.parse::<Condition>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "gone",
            "quiet",
            "quiet=2",
            "quiet=2s",
            "written>=64M",
            "written>1",
            "written>=-1",
            "writes>=",
            "size>=1",
            "writes>=99999999999999999999",
        ] {
            assert!(text.parse::<Condition>().is_err(), "{text}");
        }
    }
}
