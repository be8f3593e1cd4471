//! Sizes as people write them: `1G` is 1073741824 bytes, as for QEMU; `1GB` could mean two things.

use parse_size::Config;

/// A number of bytes: bare, or with `K`, `M`, `G`, `T`, `P` or `KiB`…, powers of 1024.
pub(super) fn parse_size(text: &str) -> Result<u64, String> {
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
                "{unit} could mean powers of 1000 or of 1024; write {digits}{letter} for 1024"
            ));
        }
        _ => return Err(format!("unknown unit {unit:?}; use K, M, G, T or P")),
    }
    Config::new()
        .with_binary()
        .parse_size(text)
        .map_err(|error| format!("not a size: {error}; use a number as in 512M or 1.5G"))
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
}
