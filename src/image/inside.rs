//! The image in a stream, compressed or not: raw, or qcow2, which needs a temporary file, because
//! its tables may be anywhere.

use std::sync::Arc;

use super::known::{Content, Format, ImageFormat, Origin, Packing};
use super::medium::{ReadAt, Stream};
use super::opening::{Opening, peek, probe_head};
use super::packed::{
    Front, PackedReader, SeekableReader, Sequential, Unpacked, is_a_change, unpack,
};
use super::qcow2::{Chain, Qcow2Reader};
use super::reader::ImageReader;
use super::{Error, spool};

/// What a qcow2 image has beside its disk's content, at most: tables, and what was there before.
const MOST_BESIDE_BYTES: u64 = 64 << 20;

/// An image in a compressed file. If `content` is unknown, it is looked for.
pub(super) fn seekable(
    medium: Arc<dyn ReadAt>,
    packing: Packing,
    content: Option<Content>,
    how: &Opening<'_>,
) -> Result<Box<dyn ImageReader>, Error> {
    if packing == Packing::Zstd
        && content != Some(Content::Qcow2)
        && let Some(reader) = SeekableReader::open(&medium, how)?
        && (content.is_some() || reader.is_known_raw() || begins_raw(&medium)?)
    {
        return Ok(Box::new(reader));
    }
    packed(Sequential::stream(medium), packing, content, how)
}

/// Whether the content of a zstd file doesn't begin like another format.
fn begins_raw(medium: &Arc<dyn ReadAt>) -> Result<bool, Error> {
    let stream = Sequential::stream(Arc::clone(medium));
    let (mut unpacked, _) = unpack(stream, Packing::Zstd)?;
    Ok(probe_head(unpacked.head()?).is_none())
}

/// An image in a compressed stream.
pub(super) fn packed(
    stream: Stream,
    packing: Packing,
    mut content: Option<Content>,
    how: &Opening<'_>,
) -> Result<Box<dyn ImageReader>, Error> {
    let (head, stream) = peek(stream)?;
    let front = Front::parse(&head).filter(|_| packing == Packing::Zstd);
    if let Some(base) = front.as_ref().and_then(|front| front.0.base.as_ref()) {
        if !how.without_base {
            return Err(is_a_change(&stream.name, base.content_id.as_deref()));
        }
        return change(stream, how);
    }
    if front.is_some() {
        // The content of a file that ramblk wrote is raw, whatever it begins with.
        content = Some(Content::Raw);
    }
    let (identity, packed_bytes) = (stream.identity.clone(), stream.size_bytes);
    let (unpacked, read_bytes) = unpack(stream, packing)?;
    let (inner, content) = match content {
        Some(content) => (open_as(unpacked, content, how)?, content),
        None => look(unpacked, how)?,
    };
    let format = ImageFormat::Packed(packing, content);
    let done = (read_bytes, packed_bytes);
    Ok(Box::new(PackedReader::new(inner, format, identity, done)))
}

fn open_as(
    unpacked: Unpacked,
    content: Content,
    how: &Opening<'_>,
) -> Result<Box<dyn ImageReader>, Error> {
    match content {
        Content::Raw => Ok(Box::new(unpacked.into_raw(None))),
        Content::Qcow2 => qcow2(unpacked.into_stream(), how),
    }
}

/// Find out what the content of a compressed stream is.
fn look(
    mut unpacked: Unpacked,
    how: &Opening<'_>,
) -> Result<(Box<dyn ImageReader>, Content), Error> {
    match probe_head(unpacked.head()?) {
        None => {
            let command = how.pipe_command.unwrap_or("COMMAND");
            Ok((Box::new(unpacked.into_raw(Some(command))), Content::Raw))
        }
        Some(known) if known.format == Format::Qcow2 => {
            Ok((qcow2(unpacked.into_stream(), how)?, Content::Qcow2))
        }
        Some(known) => Err(Error::Format {
            what: format!("the content of {:?}", unpacked.name()),
            known,
            hint: known.hint(Origin::Request),
        }),
    }
}

/// A qcow2 image in a stream.
pub(super) fn qcow2(stream: Stream, how: &Opening<'_>) -> Result<Box<dyn ImageReader>, Error> {
    let (head, stream) = peek(stream)?;
    // The size that it says, which is checked when it is opened.
    let size = head.get(24..).and_then(<[u8]>::first_chunk);
    let size = size.map_or(0, |bytes| u64::from_be_bytes(*bytes));
    let disk_bytes = how.most_bytes.unwrap_or(size).min(size);
    let most_bytes = disk_bytes
        .saturating_add(disk_bytes / 16)
        .saturating_add(MOST_BESIDE_BYTES);
    let medium = Arc::new(spool::keep(stream, most_bytes)?);
    let chain = Chain::open(medium, how)?;
    Ok(Box::new(Qcow2Reader::new(chain, how)))
}

/// A change of another image, whose index is at its end.
fn change(stream: Stream, how: &Opening<'_>) -> Result<Box<dyn ImageReader>, Error> {
    let name = stream.name.clone();
    let medium: Arc<dyn ReadAt> =
        Arc::new(spool::keep(stream, how.most_bytes.unwrap_or(u64::MAX))?);
    let reader = SeekableReader::open(&medium, how)?;
    let reader = reader.ok_or_else(|| Error::Damaged {
        name,
        what: "it is a change of another image, and is cut off".into(),
    })?;
    Ok(Box::new(reader))
}
