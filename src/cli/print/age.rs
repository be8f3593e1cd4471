//! How long ago something was, for people.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Seconds since a moment; 0 if that isn't known or yet to come.
pub(in crate::cli) fn age_seconds(created_ns: u64) -> u64 {
    let created = UNIX_EPOCH + Duration::from_nanos(created_ns);
    match created_ns {
        0 => 0,
        _ => SystemTime::now()
            .duration_since(created)
            .map_or(0, |it| it.as_secs()),
    }
}

/// A time in its two largest units, as in `3d4h`.
pub(in crate::cli) fn age(seconds: u64) -> String {
    let units = [(86_400, "d"), (3600, "h"), (60, "m"), (1, "s")];
    let at = units
        .iter()
        .position(|(unit, _)| seconds >= *unit)
        .unwrap_or(3);
    let (unit, name) = units[at];
    let mut text = format!("{}{name}", seconds / unit);
    if let Some((below, name)) = units.get(at + 1) {
        let rest = seconds % unit / below;
        if rest > 0 {
            text += &format!("{rest}{name}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_said_in_two_units() {
        for (seconds, text) in [
            (0, "0s"),
            (59, "59s"),
            (61, "1m1s"),
            (3600, "1h"),
            (97_200, "1d3h"),
        ] {
            assert_eq!(age(seconds), text);
        }
    }
}
