//! When a point of a history is taken, as in `flush`, `500ms` or `64M`.

use super::size::parse_size;
use crate::model::HistorySettings;

/// When a point of a history is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Every {
    /// At each flush.
    Flush,
    /// Each time that this many milliseconds have passed.
    IntervalMs(u64),
    /// Each time that this many bytes were written.
    WrittenBytes(u64),
}

/// `flush`, a time with `ms`, `s`, `min` or `h`, or a size.
pub(in crate::cli) fn parse_every(text: &str) -> Result<Every, String> {
    if text == "flush" {
        return Ok(Every::Flush);
    }
    let units = [("ms", 1), ("min", 60_000), ("s", 1000), ("h", 3_600_000)];
    let time = units.iter().find_map(|(unit, ms)| {
        let number: u64 = text.strip_suffix(unit)?.parse().ok()?;
        number.checked_mul(*ms)
    });
    if let Some(ms) = time {
        return Ok(Every::IntervalMs(ms));
    }
    // Elsewhere `m` is minutes in times, and MiB in sizes.
    let number = text.strip_suffix('m');
    if let Some(number) = number.filter(|_| parse_size(text).is_ok()) {
        return Err(format!(
            "{text} could be minutes or MiB: write {number}min or {number}M"
        ));
    }
    // A bare number could be meant as either.
    match parse_size(text) {
        Ok(bytes) if !text.ends_with(|c: char| c.is_ascii_digit()) => {
            Ok(Every::WrittenBytes(bytes))
        }
        _ => Err(format!(
            "{text:?} is not a moment: give flush, a time as in 500ms, 2s, 1min or 1h, or a size \
             as in 64M"
        )),
    }
}

impl From<Every> for HistorySettings {
    fn from(every: Every) -> Self {
        let (interval_ms, written_bytes) = match every {
            Every::Flush => (None, None),
            Every::IntervalMs(ms) => (Some(ms), None),
            Every::WrittenBytes(bytes) => (None, Some(bytes)),
        };
        Self {
            interval_ms,
            written_bytes,
            ..Self::default()
        }
    }
}

/// The same in words.
pub(in crate::cli) fn every(settings: &HistorySettings) -> String {
    match (settings.interval_ms, settings.written_bytes) {
        (Some(ms), _) if ms.is_multiple_of(1000) => format!("{}s", ms / 1000),
        (Some(ms), _) => format!("{ms}ms"),
        (None, Some(bytes)) => super::size::exact(bytes),
        (None, None) => "flush".into(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_a_flush_a_time_or_a_size() {
        let parsed = |text| parse_every(text).unwrap();
        assert_eq!(parsed("flush"), Every::Flush);
        assert_eq!(parsed("500ms"), Every::IntervalMs(500));
        assert_eq!(parsed("2s"), Every::IntervalMs(2000));
        assert_eq!(parsed("1min"), Every::IntervalMs(60_000));
        assert_eq!(parsed("1h"), Every::IntervalMs(3_600_000));
        assert_eq!(parsed("64M"), Every::WrittenBytes(64 << 20));
        for text in [
            "",
            "64",
            "s",
            "-1s",
            "flushes",
            "1m",
            "1.5m",
            "18446744073709551615s",
        ] {
            assert!(parse_every(text).is_err(), "{text}");
        }
        assert_eq!(
            parse_every("2m").unwrap_err(),
            "2m could be minutes or MiB: write 2min or 2M"
        );
        for text in ["flush", "500ms", "2s", "64M"] {
            assert_eq!(every(&parsed(text).into()), text);
        }
    }
}
