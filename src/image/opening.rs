//! How an image is opened, and how its format is recognised.

use std::io::{self, Read};
use std::sync::Arc;

#[cfg(feature = "formats")]
use super::digest::Digest;
use super::known::{Content, Format, HEAD_BYTES, Known, Packing, TAIL_BYTES, probe};
use super::medium::{ReadAt, Stream};
use super::raw::fill;
use super::{Error, ImageFormat};

/// How to open an image.
#[derive(Clone, Debug, Default)]
pub struct Opening<'a> {
    /// Its format. Without it the format is found by how the image begins and ends. If it is named,
    /// nothing is looked for, also not inside of a compressed image.
    pub format: Option<ImageFormat>,
    /// The images that it is a change of: its own base, the base of that, and so on.
    pub backing: Vec<Arc<dyn ReadAt>>,
    /// Whether to look for bases that aren't in `backing` beside the image, by the names in it.
    pub follow_backing: bool,
    /// Read only what the image has itself, and no base.
    pub without_base: bool,
    /// The most bytes that its content may have: those of the disk that it is for.
    pub most_bytes: Option<u64>,
    /// The digest of the file or object as it was published, which the image must have.
    #[cfg(feature = "formats")]
    pub digest: Option<Digest>,
    /// A command that reads an image from a pipe, as in `ramblk import vm1 -`. It is named to the
    /// user if the image must be converted first.
    pub pipe_command: Option<&'a str>,
}

/// The format that a medium has by its beginning and end, if it isn't raw.
pub(super) fn probe_medium(medium: &dyn ReadAt) -> Result<Option<&'static Known>, Error> {
    let size_bytes = medium.size_bytes();
    let (mut head, mut tail) = ([0; HEAD_BYTES], [0; TAIL_BYTES]);
    let short = |most: usize| usize::try_from(size_bytes).map_or(most, |bytes| bytes.min(most));
    let (head, tail) = (
        &mut head[..short(HEAD_BYTES)],
        &mut tail[..short(TAIL_BYTES)],
    );
    let read = medium
        .read_at(0, head)
        .and_then(|()| medium.read_at(size_bytes - tail.len() as u64, tail));
    read.map_err(|source| Error::Read {
        name: medium.name().to_owned(),
        source,
    })?;
    Ok(probe(head, tail))
}

/// The first bytes of a stream, by which its format is recognised, and the stream with them.
pub(super) fn peek(mut stream: Stream) -> Result<(Vec<u8>, Stream), Error> {
    let mut head = vec![0; HEAD_BYTES];
    let filled = fill(&mut stream.bytes, &mut head);
    let filled = filled.map_err(|source| Error::read(&stream.name, source))?;
    head.truncate(filled);
    stream.bytes = Box::new(io::Cursor::new(head.clone()).chain(stream.bytes));
    Ok((head, stream))
}

/// The format of a stream with these first bytes, if it isn't raw as far as they show.
pub(super) fn probe_head(head: &[u8]) -> Option<&'static Known> {
    // If this is shorter, it is all of the content.
    let tail = match head.len() < HEAD_BYTES {
        true => &head[head.len().saturating_sub(TAIL_BYTES)..],
        false => &[],
    };
    probe(head, tail)
}

/// The format to read an image by that begins like this one.
pub(super) fn readable(known: &Known) -> Option<ImageFormat> {
    if !cfg!(feature = "formats") {
        return None;
    }
    let packed = |packing| Some(ImageFormat::Packed(packing, Content::Raw));
    match known.format {
        Format::Qcow2 => Some(ImageFormat::Qcow2),
        Format::Gzip => packed(Packing::Gzip),
        Format::Xz => packed(Packing::Xz),
        Format::Zstd => packed(Packing::Zstd),
        _ => None,
    }
}
