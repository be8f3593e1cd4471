//! The identifier of a disk, which virtio-blk's GET_ID returns.

use crate::store::Sink;

/// Bytes of a serial on the wire (`VIRTIO_BLK_ID_BYTES`, virtio 1.3 §5.2.6).
pub const SERIAL_BYTES: usize = 20;

/// A serial as GET_ID returns it: at most 20 bytes, padded with NUL. One of 20 bytes has no NUL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Serial([u8; SERIAL_BYTES]);

/// Why a text can't be a serial.
#[derive(Debug, thiserror::Error)]
pub enum SerialError {
    /// Too long, or empty: guests would show nothing.
    #[error("a serial has 1 to {SERIAL_BYTES} bytes; {serial:?} has {len}", len = serial.len())]
    Length {
        /// The text at fault.
        serial: String,
    },
    /// Characters that guests would replace in `/dev/disk/by-id`.
    #[error("serial {serial:?} has a character other than a printable ASCII one")]
    Characters {
        /// The text at fault.
        serial: String,
    },
}

impl Serial {
    /// The serial with this text.
    ///
    /// # Errors
    /// [`SerialError`] if it is empty, has more than 20 bytes, or has any that isn't printable
    /// ASCII.
    pub fn new(text: &str) -> Result<Self, SerialError> {
        if text.is_empty() || text.len() > SERIAL_BYTES {
            return Err(SerialError::Length {
                serial: text.to_owned(),
            });
        }
        if !text
            .bytes()
            .all(|byte| byte.is_ascii_graphic() || byte == b' ')
        {
            return Err(SerialError::Characters {
                serial: text.to_owned(),
            });
        }
        let mut bytes = [0; SERIAL_BYTES];
        bytes[..text.len()].copy_from_slice(text.as_bytes());
        Ok(Self(bytes))
    }

    /// The default serial of a disk: its name. If the name is longer than 20 bytes, it is the
    /// name's first 11 characters and a hash of the whole name, so that two long names differ.
    ///
    /// # Errors
    /// The same as [`Serial::new`].
    pub fn for_name(name: &str) -> Result<Self, SerialError> {
        if name.len() <= SERIAL_BYTES {
            return Self::new(name);
        }
        let head: String = name.chars().take(11).collect();
        Self::new(&format!("{head}-{:08x}", fnv1a_32(name.as_bytes())))
    }

    /// The text, without padding.
    pub fn text(&self) -> &str {
        let len = self
            .0
            .iter()
            .position(|&byte| byte == 0)
            .unwrap_or(SERIAL_BYTES);
        std::str::from_utf8(&self.0[..len]).unwrap_or_default()
    }

    /// Copy as many of the 20 bytes as the buffers hold. Returns their number.
    pub(super) fn copy_to(&self, to: &[Sink<'_>]) -> u64 {
        let mut done = 0;
        for piece in to {
            done += piece.copy_from(&self.0[done..]);
        }
        done as u64
    }
}

/// FNV-1a, 32 bits. A serial must be the same in all versions, which no hasher of `std` promises.
fn fnv1a_32(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, &byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_20_bytes_is_its_own_serial() {
        let name = "a2345678901234567890";
        assert_eq!(Serial::for_name(name).unwrap().text(), name);
    }

    #[test]
    fn long_names_keep_11_characters_and_differ() {
        let one = Serial::for_name("golden-image-of-web-server-1").unwrap();
        let two = Serial::for_name("golden-image-of-web-server-2").unwrap();
        assert_eq!(one.text().len(), SERIAL_BYTES);
        assert!(one.text().starts_with("golden-imag-"));
        assert_ne!(one, two);
        // Fixed for ever: guests find their disk by it.
        assert_eq!(one.text(), "golden-imag-fad9b33d");
    }

    #[test]
    fn serials_that_a_guest_could_not_show_are_refused() {
        for text in ["", "123456789012345678901", "a\nb", "é"] {
            assert!(Serial::new(text).is_err(), "{text:?}");
        }
    }
}
