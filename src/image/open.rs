//! Opening an image: its format is named, or found by how it begins and ends.

use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use super::format::{Format, HEAD_BYTES, Known, TAIL_BYTES, probe};
use super::hint::Origin;
use super::medium::{Medium, ReadAt, Stream};
use super::opening::{Opening, probe_medium};
#[cfg(feature = "formats")]
use super::qcow2::{Chain, Qcow2Reader};
use super::raw::{RawImage, RawStream, fill, refuse};
use super::reader::ImageReader;
use super::{Error, ImageFormat};

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
    let known = match how.format {
        None => probe_medium(&*medium)?,
        Some(_) => None,
    };
    let format = how.format.or_else(|| match known {
        None => Some(ImageFormat::Raw),
        Some(known) => readable(known),
    });
    match (format, known) {
        (Some(ImageFormat::Raw), _) => Ok(Box::new(RawImage::new(medium))),
        #[cfg(feature = "formats")]
        (Some(ImageFormat::Qcow2), _) => {
            let chain = Chain::open(medium, how)?;
            Ok(Box::new(Qcow2Reader::new(chain, how)))
        }
        (_, Some(known)) => {
            let (path, reader) = (Path::new(medium.name()), how.pipe_command);
            Err(Error::Format {
                what: format!("image {:?}", medium.name()),
                known,
                hint: known.hint(Origin::File { path, reader }),
            })
        }
        (_, None) => Err(Error::Unsupported {
            name: medium.name().to_owned(),
            what: "has a format that this build does not read".into(),
        }),
    }
}

/// The format to read a file with this beginning by.
fn readable(known: &Known) -> Option<ImageFormat> {
    match known.format {
        #[cfg(feature = "formats")]
        Format::Qcow2 => Some(ImageFormat::Qcow2),
        _ => None,
    }
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
