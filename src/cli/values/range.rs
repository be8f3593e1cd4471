//! A range of a disk: `OFFSET+LENGTH`.

use super::size::parse_size;

/// A range in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) struct Range {
    pub(in crate::cli) start: u64,
    pub(in crate::cli) length: u64,
}

/// `1G+512`, `0+4K`.
pub(in crate::cli) fn parse_range(text: &str) -> Result<Range, String> {
    let parts = text.split_once('+');
    let (start, length) = parts.ok_or("give an offset and a length, as in 1G+512")?;
    let (start, length) = (parse_size(start)?, parse_size(length)?);
    Ok(Range { start, length })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_an_offset_and_a_length() {
        let (start, length) = (1 << 30, 512);
        assert_eq!(parse_range("1G+512").unwrap(), Range { start, length });
        for text in ["", "1G", "+5", "1+", "1+2+3", "a+b"] {
            assert!(parse_range(text).is_err(), "{text}");
        }
    }
}
