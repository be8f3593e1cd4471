//! SHA-256 digests, as registries name what they store, made on the way.

use sha2::{Digest as _, Sha256};

use super::error::Fault;
use crate::image::Digest;

/// The digest of these bytes.
pub(super) fn of(bytes: &[u8]) -> Digest {
    Digest::from(<[u8; 32]>::from(Sha256::digest(bytes)))
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
        let found = Digest::from(<[u8; 32]>::from(self.hasher.clone().finalize()));
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
