//! Lengths of time, as in `90s`, `10m` or `1h 30m`.

use std::time::Duration;

/// The longest time, ten years: beyond that it is a mistake, or an overflow somewhere.
const MOST: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// A number with a unit, or several of them.
pub(in crate::cli) fn parse_span(text: &str) -> Result<Duration, String> {
    let refused =
        || format!("{text:?} is not a time: give a number with ms, s, m, h or d, as in 90s or 10m");
    let span = humantime::parse_duration(text).map_err(|_| refused())?;
    match span <= MOST {
        true => Ok(span),
        false => Err(format!(
            "{text:?} is more than ten years: give a shorter time"
        )),
    }
}

/// How long something may take: a time, or a plain number of seconds. It is never 0.
pub(in crate::cli) fn parse_timeout(text: &str) -> Result<Duration, String> {
    let is_number = text.bytes().all(|it| it.is_ascii_digit() || it == b'.');
    let seconds = is_number.then(|| text.parse().ok()).flatten();
    let span = match seconds.map(Duration::try_from_secs_f64) {
        Some(Ok(span)) if span <= MOST => span,
        _ => parse_span(text)?,
    };
    match span.is_zero() {
        false => Ok(span),
        true => Err(format!("nothing ends within {text}: give a longer time")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_a_unit() {
        for (text, ms) in [
            ("90s", 90_000),
            ("10m", 600_000),
            ("1h 30m", 5_400_000),
            ("5ms", 5),
        ] {
            assert_eq!(parse_span(text), Ok(Duration::from_millis(ms)));
        }
        for text in ["", "10", "-1s", "m", "1x", "1000y", "99999999999999999999s"] {
            assert!(parse_span(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_timeout_may_be_plain_seconds_and_is_never_0() {
        for (text, ms) in [
            ("1s", 1000),
            ("500ms", 500),
            ("2m", 120_000),
            ("60", 60_000),
        ] {
            assert_eq!(parse_timeout(text), Ok(Duration::from_millis(ms)));
        }
        assert_eq!(parse_timeout("0.3"), Ok(Duration::from_millis(300)));
        for text in [
            "", ".", "1.2.3", "-1", "inf", "nan", "1e3", "0", "0s", "0.0", "1x",
        ] {
            assert!(parse_timeout(text).is_err(), "{text}");
        }
        for text in ["9999999999", "99999999999999999999999", "1000y"] {
            assert!(parse_timeout(text).is_err(), "{text}");
        }
    }
}
