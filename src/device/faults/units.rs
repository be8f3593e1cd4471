//! Ranges, times and probabilities as text, each in a form that is read as exactly the same.

use std::time::Duration;

use super::rule::{Probability, Span};
use crate::store::{Bytes, SECTOR_BYTES};

/// The longest time: a day.
const MOST_TIME: Duration = Duration::from_secs(24 * 60 * 60);

/// A whole number.
pub(super) fn parse_count(text: &str) -> Option<u64> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_plain)
}

/// A size: a number of bytes, with K, M, G or T for powers of 1024.
pub(super) fn parse_size(text: &str) -> Option<u64> {
    let units = [('K', 10), ('M', 20), ('G', 30), ('T', 40), ('P', 50)];
    for (unit, bits) in units {
        if let Some(number) = text.strip_suffix(unit) {
            return parse_count(number)?.checked_mul(1 << bits);
        }
    }
    parse_count(text)
}

/// A size as [`parse_size()`] reads it.
pub(super) fn size(bytes: u64) -> String {
    Bytes(bytes).exact()
}

/// A range: `START+LEN`, whole sectors.
pub(super) fn parse_span(text: &str) -> Option<Span> {
    let (start, len) = text.split_once('+')?;
    let (start_bytes, len_bytes) = (parse_size(start)?, parse_size(len)?);
    let is_whole = |bytes: u64| bytes.is_multiple_of(SECTOR_BYTES);
    let is_fine = len_bytes > 0
        && is_whole(start_bytes)
        && is_whole(len_bytes)
        && start_bytes.checked_add(len_bytes).is_some();
    is_fine.then_some(Span {
        start_bytes,
        len_bytes,
    })
}

/// A range as [`parse_span`] reads it.
pub(super) fn span(span: Span) -> String {
    format!("{}+{}", size(span.start_bytes), size(span.len_bytes))
}

/// Units of time, each with its nanoseconds, the longest first.
const UNITS: [(&str, u64); 6] = [
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

/// A time: a whole number and its unit, at most a day.
pub(super) fn parse_time(text: &str) -> Option<Duration> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    // As in times elsewhere, where `m` could be taken for a size.
    let unit = if unit == "min" { "m" } else { unit };
    let (_, ns) = UNITS.into_iter().find(|(name, _)| *name == unit)?;
    let time = Duration::from_nanos(parse_count(number)?.checked_mul(ns)?);
    (time <= MOST_TIME).then_some(time)
}

/// A time as [`parse_time`] reads it, in the longest unit that is exact.
pub(super) fn time(time: Duration) -> String {
    let ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    let exact = UNITS.into_iter().find(|(_, unit)| ns.is_multiple_of(*unit));
    let (name, unit) = exact.filter(|_| ns > 0).unwrap_or(("s", 1_000_000_000));
    format!("{}{name}", ns / unit)
}

/// A probability: above 0 and at most 1, in steps of a millionth.
pub(super) fn parse_probability(text: &str) -> Option<Probability> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if part.len() > 6 || !is_digits(part) || text.ends_with('.') {
        return None;
    }
    let whole: u32 = u32::try_from(parse_count(whole)?).ok()?;
    let part: u32 = format!("{part:0<6}").parse().ok()?;
    let millionths = whole.checked_mul(Probability::WHOLE)?.checked_add(part)?;
    Probability::from_millionths(millionths)
}

/// A probability as [`parse_probability`] reads it.
pub(super) fn probability(probability: Probability) -> String {
    let (whole, part) = (
        probability.0 / Probability::WHOLE,
        probability.0 % Probability::WHOLE,
    );
    let part = format!("{part:06}");
    let part = part.trim_end_matches('0');
    match part {
        "" => whole.to_string(),
        part => format!("{whole}.{part}"),
    }
}
