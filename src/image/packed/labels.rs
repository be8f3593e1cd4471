//! What ramblk writes into skippable frames of a zstd file, which other programs ignore: labels in
//! front of all frames, and an index behind them with the kind and the digest of each.
//!
//! Both are little-endian. The labels are `RAMBLKHD`, a byte of version 1, and three texts, each
//! behind a byte with its length: the content's identifier, that of its base, and the name of the
//! base's image. The index is `RAMBLKIX`, version 1, a byte 2 for BLAKE3, the number of frames (4
//! bytes), the size of the content (8 bytes), and for each frame of content a byte with its kind
//! and the digest of its compressed bytes.

use super::super::writer::{Base, Labels};

/// One of the numbers of skippable frames (RFC 8878, 3.1.2).
pub(super) const MAGIC: u32 = 0x184d_2a5d;
/// Before the content of a skippable frame.
pub(super) const SKIPPABLE_BYTES: usize = 8;
const FRONT: &[u8; 8] = b"RAMBLKHD";
const INDEX: &[u8; 8] = b"RAMBLKIX";
const VERSION: u8 = 1;
const BLAKE3: u8 = 2;
/// The longest frame of labels: three texts of 255 bytes.
pub(in crate::image) const MOST_FRONT_BYTES: usize = SKIPPABLE_BYTES + 9 + 3 * 256;
/// Before the entries of an index.
pub(super) const INDEX_BYTES: usize = 8 + 2 + 4 + 8;
/// The bytes of an entry.
pub(super) const ENTRY_BYTES: usize = 1 + 32;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Bytes.
    Data = 0,
    /// Zeros.
    Zero = 1,
    /// As in the base; decompressed it is zeros.
    Unchanged = 2,
}

/// The labels in front of a file, and how long their frame is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::image) struct Front(pub(in crate::image) Labels, pub(super) u64);

impl Front {
    /// The labels at the beginning of a file, of which at least [`MOST_FRONT_BYTES`] are here, or
    /// all.
    pub(in crate::image) fn parse(head: &[u8]) -> Option<Self> {
        let content = skippable(head)?;
        let rest = content.strip_prefix(FRONT)?.strip_prefix(&[VERSION])?;
        let mut rest = rest;
        let mut text = || {
            let (&length, more) = rest.split_first()?;
            let (text, more) = more.split_at_checked(usize::from(length))?;
            rest = more;
            let text = String::from_utf8_lossy(text).into_owned();
            Some((length > 0).then_some(text))
        };
        let (content_id, base_id, name) = (text()?, text()?, text()?);
        let has_base = base_id.is_some() || name.is_some();
        let base = has_base.then_some(Base {
            content_id: base_id,
            name,
            format: None,
        });
        let length = (SKIPPABLE_BYTES + content.len()) as u64;
        Some(Self(Labels { content_id, base }, length))
    }

    /// The frame. Texts longer than 255 bytes are cut.
    pub(super) fn frame(labels: &Labels) -> Vec<u8> {
        let base = labels.base.as_ref();
        let mut content = [&FRONT[..], &[VERSION]].concat();
        for text in [
            labels.content_id.as_deref(),
            base.and_then(|base| base.content_id.as_deref()),
            base.and_then(|base| base.name.as_deref()),
        ] {
            let text = text.unwrap_or_default();
            let length = u8::try_from(text.len()).unwrap_or(u8::MAX);
            content.push(length);
            content.extend_from_slice(&text.as_bytes()[..usize::from(length)]);
        }
        frame(&content)
    }
}

/// The content of the skippable frame at the beginning.
fn skippable(bytes: &[u8]) -> Option<&[u8]> {
    let rest = bytes.strip_prefix(&MAGIC.to_le_bytes())?;
    let (length, rest) = rest.split_first_chunk()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    rest.get(..length)
}

fn frame(content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len()).unwrap_or(u32::MAX);
    [&MAGIC.to_le_bytes(), &length.to_le_bytes(), content].concat()
}

/// The beginning of an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Index {
    pub(super) frames: u32,
    pub(super) size_bytes: u64,
}

impl Index {
    /// Parse what a skippable frame of `packed_bytes` begins with.
    pub(super) fn parse(
        head: &[u8; SKIPPABLE_BYTES + INDEX_BYTES],
        packed_bytes: u64,
    ) -> Option<Self> {
        let rest = head.strip_prefix(&MAGIC.to_le_bytes())?;
        let (length, rest) = rest.split_first_chunk()?;
        let rest = rest.strip_prefix(INDEX)?.strip_prefix(&[VERSION, BLAKE3])?;
        let (frames, rest) = rest.split_first_chunk()?;
        let frames = u32::from_le_bytes(*frames);
        let size_bytes = u64::from_le_bytes(*rest.first_chunk()?);
        let wanted = INDEX_BYTES as u64 + u64::from(frames) * ENTRY_BYTES as u64;
        let is_whole = u64::from(u32::from_le_bytes(*length)) == wanted
            && wanted + SKIPPABLE_BYTES as u64 == packed_bytes;
        is_whole.then_some(Self { frames, size_bytes })
    }
}

/// The frame of an index with these entries.
pub(super) fn index_frame(entries: &[(Kind, [u8; 32])], size_bytes: u64) -> Vec<u8> {
    let frames = u32::try_from(entries.len()).unwrap_or(u32::MAX);
    let mut content = [&INDEX[..], &[VERSION, BLAKE3]].concat();
    content.extend_from_slice(&frames.to_le_bytes());
    content.extend_from_slice(&size_bytes.to_le_bytes());
    for (kind, digest) in entries {
        content.push(*kind as u8);
        content.extend_from_slice(digest);
    }
    frame(&content)
}

/// An entry of an index.
pub(super) fn entry(bytes: &[u8; ENTRY_BYTES]) -> Option<(Kind, [u8; 32])> {
    let (kind, digest) = bytes.split_first()?;
    let kind = match kind {
        0 => Kind::Data,
        1 => Kind::Zero,
        2 => Kind::Unchanged,
        _ => return None,
    };
    Some((kind, digest.try_into().ok()?))
}
