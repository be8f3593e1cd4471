//! Formatting a number of bytes for messages: short, and exact.

use std::fmt;

/// Letters of the units, from the largest, and their powers of two.
const UNITS: [(char, u32); 5] = [('P', 50), ('T', 40), ('G', 30), ('M', 20), ('K', 10)];

/// A number of bytes for people: `10G`, `512 bytes`, or `1.5G (1610612737 bytes)` where the short
/// form leaves something out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bytes(pub u64);

impl Bytes {
    /// Three digits or so, in powers of 1024, rounded down.
    pub fn short(self) -> String {
        let bytes = self.0;
        let Some((letter, shift)) = UNITS.into_iter().find(|(_, shift)| bytes >> shift > 0) else {
            return bytes.to_string();
        };
        let tenths = (u128::from(bytes) * 10) >> shift;
        match (tenths / 10, tenths % 10) {
            (whole, tenth) if whole < 10 && tenth > 0 => format!("{whole}.{tenth}{letter}"),
            (whole, _) => format!("{whole}{letter}"),
        }
    }

    /// In the largest unit of which there is a whole number: `10G`, `513K`, `513`.
    pub fn exact(self) -> String {
        let bytes = self.0;
        let fits = |(_, shift): &(char, u32)| bytes > 0 && bytes.trailing_zeros() >= *shift;
        match UNITS.into_iter().find(fits) {
            Some((letter, shift)) => format!("{}{letter}", bytes >> shift),
            None => bytes.to_string(),
        }
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (short, bytes) = (self.short(), self.0);
        match bytes {
            1 => f.write_str("1 byte"),
            ..1024 => write!(f, "{bytes} bytes"),
            _ if short == self.exact() => f.write_str(&short),
            _ => write!(f, "{short} ({bytes} bytes)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_in_a_sentence_is_short_and_leaves_nothing_out() {
        for (bytes, text) in [
            (0, "0 bytes"),
            (1, "1 byte"),
            (1023, "1023 bytes"),
            (1024, "1K"),
            (1536, "1.5K (1536 bytes)"),
            (10 << 30, "10G"),
            ((10 << 30) + 512, "10G (10737418752 bytes)"),
            (513 << 10, "513K"),
            (u64::MAX, "16383P (18446744073709551615 bytes)"),
        ] {
            assert_eq!(Bytes(bytes).to_string(), text);
        }
    }
}
