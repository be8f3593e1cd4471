//! The digest of an image, which the API and images have in common.

use std::fmt;
use std::str::FromStr;

/// What every digest begins with.
const PREFIX: &str = "sha256:";
const DIGEST_BYTES: usize = 32;

/// The SHA-256 digest of a file as it was published: `sha256:` and 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; DIGEST_BYTES]);

/// A text isn't a digest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a digest: write sha256: and 64 hexadecimal digits")]
pub struct NoDigest {
    /// The text.
    pub text: String,
}

impl Digest {
    /// The pattern of a digest, for the OpenAPI document.
    pub const PATTERN: &'static str = "^sha256:[0-9a-f]{64}$";

    /// Its digits without the algorithm.
    pub fn hex(&self) -> String {
        let mut hex = String::with_capacity(2 * DIGEST_BYTES);
        for byte in self.0 {
            for half in [byte >> 4, byte & 15] {
                hex.extend(char::from_digit(u32::from(half), 16));
            }
        }
        hex
    }
}

impl From<[u8; DIGEST_BYTES]> for Digest {
    fn from(bytes: [u8; DIGEST_BYTES]) -> Self {
        Self(bytes)
    }
}

impl FromStr for Digest {
    type Err = NoDigest;

    fn from_str(text: &str) -> Result<Self, NoDigest> {
        let refused = || NoDigest {
            text: text.to_owned(),
        };
        let hex = text.strip_prefix(PREFIX).ok_or_else(refused)?.as_bytes();
        if hex.len() != 2 * DIGEST_BYTES {
            return Err(refused());
        }
        let digit = |at: usize| char::from(hex[at]).to_digit(16).ok_or_else(refused);
        let mut bytes = [0; DIGEST_BYTES];
        for (at, byte) in bytes.iter_mut().enumerate() {
            // Two digits are at most 255.
            *byte = u8::try_from(digit(2 * at)? << 4 | digit(2 * at + 1)?).unwrap_or_default();
        }
        Ok(Self(bytes))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_its_algorithm_and_64_digits_and_nothing_else_is_one() {
        let text = format!("sha256:{}", "0123456789abcdef".repeat(4));
        let digest: Digest = text.parse().unwrap();
        assert_eq!(digest.to_string(), text);
        assert_eq!(text.to_uppercase().parse::<Digest>().ok(), None);
        let upper = format!("sha256:{}", "0123456789ABCDEF".repeat(4));
        assert_eq!(upper.parse::<Digest>().unwrap(), digest);
        for wrong in [
            "",
            "sha256:",
            "sha512:00",
            &text[..70],
            &format!("{text}0"),
            &text[7..],
        ] {
            assert!(wrong.parse::<Digest>().is_err(), "{wrong}");
        }
        let accented = format!("sha256:{}", "é".repeat(32));
        assert!(accented.parse::<Digest>().is_err());
    }
}
