//! Which disk it is, and how often it was changed.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// The identity of a disk, which it keeps until it is destroyed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Identity {
    /// 122 random bits, in hexadecimal; 0 if it has none yet. Numbers of JSON have no room for it.
    #[serde(with = "hex")]
    id: u128,
    /// When it was created, in nanoseconds since 1970.
    pub(crate) created_ns: u64,
    /// How often it was changed, with its creation.
    pub(crate) generation: u64,
}

impl Identity {
    /// That of a new disk.
    pub(crate) fn new() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let created_ns = since.map_or(0, |since| since.as_nanos());
        Self {
            id: random(),
            created_ns: u64::try_from(created_ns).unwrap_or(u64::MAX),
            generation: 1,
        }
    }

    /// Whether there is none: an earlier version made the disk.
    pub(crate) fn is_nothing(&self) -> bool {
        self.id == 0
    }

    /// The same disk, changed.
    pub(crate) fn changed(self) -> Self {
        Self {
            generation: self.generation.saturating_add(1),
            ..self
        }
    }

    /// The id as a UUID of version 4 (RFC 9562, 5.4).
    pub(crate) fn uuid(&self) -> String {
        let digits = format!("{:032x}", self.id);
        let [a, b, c, d, e] = [0..8, 8..12, 12..16, 16..20, 20..32].map(|it| &digits[it]);
        format!("{a}-{b}-{c}-{d}-{e}")
    }
}

/// A number in 32 hexadecimal digits.
mod hex {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(id: &u128, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&format!("{id:032x}"))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<u128, D::Error> {
        let text = String::deserialize(from)?;
        let fits = text.len() == 32 && text.bytes().all(|it| it.is_ascii_hexdigit());
        let id = fits.then(|| u128::from_str_radix(&text, 16).ok()).flatten();
        id.ok_or_else(|| D::Error::custom(format!("{text:?} is not an id of a disk")))
    }
}

/// A random UUID as a number. Without random bytes from the system it is as random as the clock.
fn random() -> u128 {
    let mut bytes = [0; 16];
    let got = rustix::rand::getrandom(&mut bytes[..], rustix::rand::GetRandomFlags::empty());
    let random = match got {
        Ok(16) => u128::from_be_bytes(bytes),
        _ => fastrand::u128(..),
    };
    let version = 0x4_u128 << 76;
    let variant = 0b10_u128 << 62;
    (random & !(0xf << 76) & !(0b11 << 62)) | version | variant
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_a_uuid_and_stays() {
        let new = Identity::new();
        let uuid = new.uuid();
        let parts: Vec<&str> = uuid.split('-').collect();
        let lengths: Vec<usize> = parts.iter().map(|part| part.len()).collect();
        assert_eq!(lengths, [8, 4, 4, 4, 12], "{uuid}");
        assert!(
            parts[2].starts_with('4') && parts[3].starts_with(['8', '9', 'a', 'b']),
            "{uuid}"
        );
        let kept = serde_json::to_value(new).ok();
        let read = kept.and_then(|kept| serde_json::from_value::<Identity>(kept).ok());
        assert_eq!(read, Some(new));
        let changed = new.changed();
        assert_eq!((changed.uuid(), changed.generation), (uuid, 2));
        assert_ne!(Identity::new().uuid(), new.uuid());
    }
}
