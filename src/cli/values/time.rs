//! Times in milliseconds, and how they are written.

use std::time::Duration;

use super::or_none::OrNone;
use super::span::parse_span;

/// A time in milliseconds.
pub(in crate::cli) fn parse_time(text: &str) -> Result<u64, String> {
    let time = parse_span(text)?;
    // Ten years are far fewer.
    Ok(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

/// A time in milliseconds, or `none`.
pub(in crate::cli) fn parse_time_or_none(text: &str) -> Result<OrNone<u64>, String> {
    match text {
        "none" => Ok(OrNone::None),
        _ => parse_time(text)
            .map(OrNone::Some)
            .map_err(|error| format!("{error}, or none")),
    }
}

/// A number of milliseconds as a time, exactly.
pub(in crate::cli) fn time(ms: u64) -> String {
    humantime::format_duration(Duration::from_millis(ms)).to_string()
}

/// The same for people: its two largest units.
pub(in crate::cli) fn about(ms: u64) -> String {
    let seconds = Duration::from_secs(ms.div_ceil(1000));
    let text = humantime::format_duration(seconds).to_string();
    let words = text.split(' ').take(2);
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_units() {
        for (text, ms) in [
            ("500ms", 500),
            ("30s", 30_000),
            ("10min", 600_000),
            ("1h", 3_600_000),
            ("1h 30m", 5_400_000),
            ("2d", 172_800_000),
        ] {
            assert_eq!(parse_time(text), Ok(ms), "{text}");
            assert_eq!(parse_time(&time(ms)), Ok(ms), "{text}");
        }
        for text in ["", "30", "-1s", "1x", "soon", "99999999999999999999h"] {
            assert!(
                parse_time(text).unwrap_err().contains("as in 90s"),
                "{text}"
            );
        }
        assert_eq!(parse_time_or_none("none"), Ok(OrNone::None));
        assert_eq!(about(5_400_000), "1h 30m");
        assert_eq!(about(200), "1s");
        assert_eq!(about(93_784_000), "1day 2h");
    }
}
