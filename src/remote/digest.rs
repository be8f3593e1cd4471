//! SHA-256 digests, as registries name what they store.

use std::fmt;

use sha2::{Digest as _, Sha256};

use super::error::Fault;

/// A SHA-256 digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// Read `sha256:HEX`.
    pub fn parse(text: &str) -> Option<Self> {
        let hex = text.strip_prefix("sha256:")?.as_bytes();
        let mut bytes = [0; 32];
        if hex.len() != 64 {
            return None;
        }
        for (byte, pair) in bytes.iter_mut().zip(hex.chunks(2)) {
            let digit = |at: u8| match at {
                b'0'..=b'9' => Some(at - b'0'),
                b'a'..=b'f' => Some(at - b'a' + 10),
                _ => None,
            };
            *byte = digit(pair[0])? << 4 | digit(pair[1])?;
        }
        Some(Self(bytes))
    }

    pub(super) fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The digest of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A digest that is made on the way, and the one that it must be.
#[derive(Clone, Debug)]
pub(super) struct Sum {
    hasher: Sha256,
    wanted: Digest,
}

impl Sum {
    pub(super) fn new(wanted: Digest) -> Self {
        Self {
            hasher: Sha256::new(),
            wanted,
        }
    }

    pub(super) fn add(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
    }

    /// Check it, now that all bytes were added.
    ///
    /// # Errors
    /// [`Fault::Digest`].
    pub(super) fn check(&self) -> Result<(), Fault> {
        let found = Digest(self.hasher.clone().finalize().into());
        match found == self.wanted {
            true => Ok(()),
            false => Err(Fault::Digest {
                wanted: self.wanted.to_string(),
                found: found.to_string(),
            }),
        }
    }

    /// The digest that it must be.
    pub(super) fn wanted(&self) -> Digest {
        self.wanted
    }
}
