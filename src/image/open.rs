//! Opening an image: its format is named, or found by how it begins and ends.

use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use super::format::{HEAD_BYTES, Known, TAIL_BYTES, probe};
use super::hint::Origin;
use super::medium::{Medium, ReadAt, Stream};
use super::raw::{RawImage, RawStream, fill, refuse};
use super::reader::ImageReader;
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
    /// A command that reads an image from a pipe, as in `ramblk import vm1 -`. It is named to the
    /// user if the image must be converted first.
    pub pipe_command: Option<&'a str>,
}

/// Open a file, a block device, or anything else that can be read, as a pipe.
///
/// # Errors
/// [`Error::Read`], [`Error::Format`], and what is wrong with the image.
pub fn open(path: &Path, how: &Opening<'_>) -> Result<Box<dyn ImageReader>, Error> {
    open_medium(Medium::open(path)?, how)
}

/// Open an image wherever its bytes are.
///
/// # Errors
/// [`Error::Read`], [`Error::Format`], and what is wrong with the image.
pub fn open_medium(medium: Medium, how: &Opening<'_>) -> Result<Box<dyn ImageReader>, Error> {
    match medium {
        Medium::Seekable(medium) => seekable(medium, how),
        Medium::Stream(stream) => streamed(stream, how),
    }
}

fn seekable(medium: Arc<dyn ReadAt>, how: &Opening<'_>) -> Result<Box<dyn ImageReader>, Error> {
    if how.format.is_none()
        && let Some(known) = probe_medium(&*medium)?
    {
        let (path, reader) = (Path::new(medium.name()), how.pipe_command);
        return Err(Error::Format {
            what: format!("image {:?}", medium.name()),
            known,
            hint: known.hint(Origin::File { path, reader }),
        });
    }
    Ok(Box::new(RawImage::new(medium)))
}

fn streamed(mut stream: Stream, how: &Opening<'_>) -> Result<Box<dyn ImageReader>, Error> {
    if how.format.is_some() {
        return Ok(Box::new(RawStream::new(stream, None)));
    }
    let command = how.pipe_command.unwrap_or("COMMAND");
    let mut head = vec![0; HEAD_BYTES];
    let filled = fill(&mut stream.bytes, &mut head);
    let filled = filled.map_err(|source| Error::Read {
        name: stream.name.clone(),
        source,
    })?;
    head.truncate(filled);
    // If this is shorter, it is all of the content.
    let tail = match head.len() < HEAD_BYTES {
        true => &head[head.len().saturating_sub(TAIL_BYTES)..],
        false => &[],
    };
    refuse(probe(&head, tail), command)?;
    stream.bytes = Box::new(io::Cursor::new(head).chain(stream.bytes));
    Ok(Box::new(RawStream::new(stream, Some(command))))
}

/// The format that a medium has by its beginning and end, if it isn't raw.
fn probe_medium(medium: &dyn ReadAt) -> Result<Option<&'static Known>, Error> {
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
