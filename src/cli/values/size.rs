//! Sizes as people write them: `1G` is 1073741824 bytes, as for QEMU; `1GB` could mean two things.

use parse_size::Config;

use crate::daemon::Bytes;

/// A number of bytes: bare, or with `K`, `M`, `G`, `T`, `P` or `KiB`…, powers of 1024.
pub(in crate::cli) fn parse_size(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = &text[digits.len()..];
    if digits.is_empty()
        || !digits
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'.')
    {
        return Err("give a number of bytes, or one with K, M, G or T, as in 512M".into());
    }
    match unit.to_ascii_uppercase().as_str() {
        "" | "K" | "M" | "G" | "T" | "P" | "KIB" | "MIB" | "GIB" | "TIB" | "PIB" => {}
        "KB" | "MB" | "GB" | "TB" | "PB" => {
            let letter = &unit[..1];
            return Err(format!(
                "{unit} could mean powers of 1000 or of 1024; write {digits}{letter} for \
                 powers of 1024"
            ));
        }
        _ => return Err(format!("unknown unit {unit:?}; use K, M, G, T or P")),
    }
    Config::new()
        .with_binary()
        .parse_size(text)
        .map_err(|error| format!("not a size: {error}; use a number as in 512M or 1.5G"))
}

/// A new size, or a change of size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum NewSize {
    /// This many bytes.
    To(u64),
    /// This many bytes more.
    Plus(u64),
    /// This many bytes less.
    Minus(u64),
}

/// `20G`, `+5G`, `-5G`.
pub(in crate::cli) fn parse_new_size(text: &str) -> Result<NewSize, String> {
    let more = text.strip_prefix('+').map(parse_size);
    let less = text.strip_prefix('-').map(parse_size);
    match (more, less) {
        (Some(more), _) => more.map(NewSize::Plus),
        (_, Some(less)) => less.map(NewSize::Minus),
        _ => parse_size(text).map(NewSize::To),
    }
}

/// A size for people: three digits or so, in powers of 1024.
pub(in crate::cli) fn human(bytes: u64) -> String {
    Bytes(bytes).short()
}

/// A size for people, with the exact number.
pub(in crate::cli) fn human_and_exact(bytes: u64) -> String {
    match human(bytes) {
        short if short == bytes.to_string() => format!("{short} bytes"),
        short => format!("{short} ({bytes} bytes)"),
    }
}

/// The shortest form that [`parse_size()`] reads as exactly this number: `10G`, `513K`, `513`.
pub(in crate::cli) fn exact(bytes: u64) -> String {
    Bytes(bytes).exact()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn suffixes_are_powers_of_1024() {
        for (text, bytes) in [
            ("0", 0),
            ("512", 512),
            ("64K", 65536),
            ("1G", 1 << 30),
            ("1GiB", 1 << 30),
            ("1g", 1 << 30),
            ("1.5M", 3 << 19),
            ("64T", 64 << 40),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn ambiguous_and_senseless_sizes_are_refused_with_advice() {
        for text in [
            "1GB", "1kB", "", "G", "-1", "+1G", "1e3", "1_000", "1X", "0x10", "1 G", "1..5G",
        ] {
            assert!(parse_size(text).is_err(), "{text}");
        }
        assert!(parse_size("10GB").unwrap_err().contains("write 10G"));
        assert!(parse_size("99999999999G").is_err(), "must not saturate");
    }

    #[test]
    fn changes_have_a_sign() {
        assert_eq!(parse_new_size("20G"), Ok(NewSize::To(20 << 30)));
        assert_eq!(parse_new_size("+5G"), Ok(NewSize::Plus(5 << 30)));
        assert_eq!(parse_new_size("-512"), Ok(NewSize::Minus(512)));
        assert!(parse_new_size("+-5G").is_err() && parse_new_size("+").is_err());
    }

    #[test]
    fn sizes_for_people_are_short_and_those_for_files_exact() {
        for (bytes, short, whole) in [
            (0, "0", "0"),
            (1023, "1023", "1023"),
            (1024, "1K", "1K"),
            (1536, "1.5K", "1536"),
            (10 << 30, "10G", "10G"),
            ((10 << 30) + 512, "10G", "10737418752"),
            (513 << 10, "513K", "513K"),
            (u64::MAX, "16383P", "18446744073709551615"),
        ] {
            assert_eq!((human(bytes), exact(bytes)), (short.into(), whole.into()));
            assert_eq!(parse_size(&exact(bytes)), Ok(bytes));
        }
        assert_eq!(human_and_exact(512), "512 bytes");
        assert_eq!(human_and_exact(1 << 20), "1M (1048576 bytes)");
    }
}
