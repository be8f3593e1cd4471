//! The media type that the caller prefers (RFC 9110, 12.5.1).

use axum::http::HeaderMap;
use axum::http::header::ACCEPT;

/// How much the caller prefers a media type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// The quality in thousandths; 0 means not acceptable.
    pub(crate) quality: u16,
    /// Whether the type is named, and not only covered by a wildcard.
    pub(crate) named: bool,
}

/// How much the caller prefers this media type. Without an `Accept` every type is acceptable.
pub(crate) fn wanted(headers: &HeaderMap, media_type: &str) -> Wanted {
    let values = headers.get_all(ACCEPT).iter();
    let lists = values.filter_map(|value| value.to_str().ok());
    let mut ranges = lists.flat_map(|list| list.split(',')).peekable();
    let (mut best, mut quality) = (0, if ranges.peek().is_none() { 1000 } else { 0 });
    for range in ranges {
        let mut parts = range.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default().to_ascii_lowercase();
        let specific = specific(&name, media_type);
        if specific > best {
            best = specific;
            quality = parts.find_map(weight).unwrap_or(1000);
        }
    }
    Wanted {
        quality,
        named: best == 3,
    }
}

/// How closely a range matches a media type: 0 is not at all.
fn specific(range: &str, media_type: &str) -> u8 {
    match range.strip_suffix("/*") {
        _ if range == media_type => 3,
        Some("*") => 1,
        Some(kind) if media_type.split('/').next() == Some(kind) => 2,
        _ => 0,
    }
}

/// Parse `q=0.5`. A weight that can't be parsed counts as not acceptable.
fn weight(parameter: &str) -> Option<u16> {
    let (name, value) = parameter.split_once('=')?;
    if !name.trim().eq_ignore_ascii_case("q") {
        return None;
    }
    let weight: f32 = value.trim().parse().unwrap_or(0.0);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is between 0 and 1000"
    )]
    Some((weight.clamp(0.0, 1.0) * 1000.0) as u16)
}
