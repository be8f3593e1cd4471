//! How the life of a disk ends: checking the setting, and what is kept of it beside the setting.
//!
//! Ends are on the boot clock, which goes on while the host sleeps, and is the same for a process
//! that takes up the disks. After another start of the host it is another clock, and a time to live
//! begins again.

use std::sync::OnceLock;

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use super::problems::invalid;
use crate::model::{Life, Problem};

/// The shortest and the longest time to live, in milliseconds: a second and ten years.
const LEAST_TTL_MS: u64 = 1000;
const MOST_TTL_MS: u64 = 315_360_000_000;
/// The longest time to wait for a front end: a day.
const MOST_GRACE_MS: u64 = 86_400_000;

/// Milliseconds on the boot clock.
pub(crate) fn now_ms() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
    let millis = u64::try_from(now.tv_nsec / 1_000_000).unwrap_or_default();
    seconds.saturating_mul(1000).saturating_add(millis)
}

/// A number for this start of the host.
fn boot() -> u64 {
    static BOOT: OnceLock<u64> = OnceLock::new();
    *BOOT.get_or_init(|| {
        let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let digits: String = id
            .chars()
            .filter(char::is_ascii_hexdigit)
            .take(16)
            .collect();
        u64::from_str_radix(&digits, 16).unwrap_or_default()
    })
}

/// Check the setting.
///
/// # Errors
/// `invalid`, with the field.
pub(crate) fn check_life(life: &Life) -> Result<(), Problem> {
    if let Some(ms) = life.ttl_ms.filter(|&ms| ms < LEAST_TTL_MS) {
        let detail = format!("a time to live of {ms} ms is over at once: give 1 s or more");
        return Err(invalid("life.ttl_ms", detail));
    }
    if let Some(ms) = life.ttl_ms.filter(|&ms| ms > MOST_TTL_MS) {
        let detail = format!("a time to live of {ms} ms: give ten years or less, or none");
        return Err(invalid("life.ttl_ms", detail));
    }
    let Some(grace_ms) = life.grace_ms else {
        return Ok(());
    };
    if life.on_detach.is_keep() {
        let detail = "a time to wait for a front end needs on_detach reset or destroy".to_owned();
        return Err(invalid("life.grace_ms", detail));
    }
    if grace_ms > MOST_GRACE_MS {
        let detail = format!("{grace_ms} ms to wait for a front end: give a day or less");
        return Err(invalid("life.grace_ms", detail));
    }
    Ok(())
}

/// What a disk keeps of its life beside the setting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Lived {
    /// Which start of the host the next field is about.
    #[serde(skip_serializing_if = "is_zero")]
    boot: u64,
    /// When its time is over, on the boot clock.
    #[serde(skip_serializing_if = "Option::is_none")]
    ends_at_ms: Option<u64>,
    /// Whether a front end was connected since it was made or reset.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) used: bool,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes it so")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Lived {
    /// The beginning of a life.
    pub(crate) fn begin(life: &Life) -> Self {
        Self::default().with_ttl(life)
    }

    /// The same, with a time to live that begins now.
    pub(crate) fn with_ttl(self, life: &Life) -> Self {
        Self {
            boot: life.ttl_ms.map_or(0, |_| boot()),
            ends_at_ms: life.ttl_ms.map(|ms| now_ms().saturating_add(ms)),
            ..self
        }
    }

    /// The same, for a process that takes up the disk.
    pub(crate) fn taken_up(self, life: &Life) -> Self {
        match self.ends_at_ms {
            Some(_) if self.boot != boot() => self.with_ttl(life),
            _ => self,
        }
    }

    /// The same, of a disk that has the content again that it was made with.
    pub(crate) fn unused(self) -> Self {
        Self {
            used: false,
            ..self
        }
    }

    /// When its time is over, on the boot clock.
    pub(crate) fn ends_at_ms(&self) -> Option<u64> {
        self.ends_at_ms
    }

    /// Whether there is nothing to keep.
    pub(crate) fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::OnDetach;

    #[test]
    fn a_life_ends_at_a_possible_time() {
        let life = |ttl_ms, on_detach, grace_ms| Life {
            ttl_ms,
            on_detach,
            grace_ms,
        };
        for good in [
            Life::default(),
            life(Some(1000), OnDetach::Keep, None),
            life(Some(MOST_TTL_MS), OnDetach::Reset, Some(0)),
            life(None, OnDetach::Destroy, Some(MOST_GRACE_MS)),
        ] {
            assert!(check_life(&good).is_ok(), "{good:?}");
        }
        for bad in [
            life(Some(0), OnDetach::Keep, None),
            life(Some(999), OnDetach::Keep, None),
            life(Some(u64::MAX), OnDetach::Keep, None),
            life(None, OnDetach::Keep, Some(1)),
            life(None, OnDetach::Reset, Some(MOST_GRACE_MS + 1)),
        ] {
            assert!(check_life(&bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_time_to_live_goes_on_in_the_next_process_and_begins_again_on_another_host() {
        let life = Life {
            ttl_ms: Some(60_000),
            ..Life::default()
        };
        let lived = Lived::begin(&life);
        assert_eq!(lived.taken_up(&life), lived);
        let elsewhere = Lived {
            boot: lived.boot ^ 1,
            ends_at_ms: Some(1),
            used: true,
        };
        let again = elsewhere.taken_up(&life);
        assert!(again.used && again.ends_at_ms >= lived.ends_at_ms);
        assert_eq!(Lived::begin(&Life::default()), Lived::default());
    }
}
