//! The digest of an image, as text in requests and answers.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub use crate::digest::{Digest, NoDigest};

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, into: S) -> Result<S::Ok, S::Error> {
        into.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}
