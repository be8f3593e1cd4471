//! Who caused an event, and which event it was.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Kinds of actors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ActorKind {
    /// The daemon by itself.
    #[default]
    Daemon,
    /// A client of the API.
    Client,
    /// A front end.
    FrontEnd,
}

/// Who caused an event.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Actor {
    /// What kind of actor it is.
    pub kind: ActorKind,
    /// The user of its process, when it connected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// Its process, when it connected, if that has a number in the daemon's namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// The name of that process, at most 15 bytes, if it was still there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<String>,
    /// The number of its session, if it is a front end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<u64>,
}

/// An event in the stream, as text `RUN-NUMBER`: the run of the daemon in 8 hexadecimal digits, and
/// the event's number in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventId {
    /// The run of the daemon.
    pub run: u32,
    /// The number of the event.
    pub number: u64,
}

impl EventId {
    /// A run as text.
    pub fn run_text(run: u32) -> String {
        format!("{run:08x}")
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}-{}", self.run, self.number)
    }
}

impl FromStr for EventId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refused = || {
            format!(
                "{text:?} is not the id of an event: use one that a stream had, as in 3f29a1c0-17"
            )
        };
        let (run, number) = text.split_once('-').ok_or_else(refused)?;
        let is_run = run.len() == 8 && run.bytes().all(|it| it.is_ascii_hexdigit());
        let is_number = !number.is_empty() && number.bytes().all(|it| it.is_ascii_digit());
        if !is_run || !is_number {
            return Err(refused());
        }
        Ok(Self {
            run: u32::from_str_radix(run, 16).map_err(|_| refused())?,
            number: number.parse().map_err(|_| refused())?,
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_its_run_and_its_number() {
        let id: EventId = "00f29a1c-17".parse().unwrap();
        assert_eq!((id.run, id.number), (0xf2_9a1c, 17));
        assert_eq!(id.to_string(), "00f29a1c-17");
        for text in [
            "",
            "17",
            "f29a1c-17",
            "00f29a1c-",
            "00f29a1c-+7",
            "+0f29a1c-1",
            "00f29a1c-1-2",
        ] {
            let refused = text.parse::<EventId>().unwrap_err();
            assert!(refused.contains(text), "{refused}");
        }
    }
}
