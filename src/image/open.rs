//! Opening an image: its format is named, or found by how it begins and ends.

use std::path::Path;
use std::sync::Arc;

use super::known::{Known, Origin};
use super::medium::{Medium, ReadAt, Stream};
use super::opening::{Opening, peek, probe_head, probe_medium, readable};
use super::raw::{RawImage, RawStream};
use super::reader::ImageReader;
use super::{Error, ImageFormat};
#[cfg(feature = "formats")]
use super::{digest, inside, qcow2};

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
    #[cfg(feature = "formats")]
    if let Some(digest) = how.digest {
        return digest::checked(medium, digest, |medium| open_unchecked(medium, how));
    }
    open_unchecked(medium, how)
}

fn open_unchecked(medium: Medium, how: &Opening<'_>) -> Result<Box<dyn ImageReader>, Error> {
    match medium {
        Medium::Seekable(medium) => seekable(medium, how),
        Medium::Stream(stream) => streamed(stream, how),
    }
}

fn seekable(medium: Arc<dyn ReadAt>, how: &Opening<'_>) -> Result<Box<dyn ImageReader>, Error> {
    let (format, known) = match how.format {
        Some(format) => (format, None),
        None => match probe_medium(&*medium)? {
            None => (ImageFormat::Raw, None),
            known => (known.and_then(readable).unwrap_or(ImageFormat::Raw), known),
        },
    };
    match (format, known) {
        (ImageFormat::Raw, None) => Ok(Box::new(RawImage::new(medium))),
        #[cfg(feature = "formats")]
        (ImageFormat::Qcow2, _) => {
            let chain = qcow2::Chain::open(medium, how)?;
            Ok(Box::new(qcow2::Qcow2Reader::new(chain, how)))
        }
        #[cfg(feature = "formats")]
        (ImageFormat::Packed(packing, content), known) => {
            let content = known.is_none().then_some(content);
            inside::seekable(medium, packing, content, how)
        }
        (_, Some(known)) => {
            let (path, reader) = (Path::new(medium.name()), how.pipe_command);
            let hint = known.hint(Origin::File { path, reader });
            Err(foreign(format!("image {:?}", medium.name()), known, hint))
        }
        #[cfg(not(feature = "formats"))]
        (_, None) => Err(not_built(medium.name())),
    }
}

fn streamed(stream: Stream, how: &Opening<'_>) -> Result<Box<dyn ImageReader>, Error> {
    let command = how.pipe_command.unwrap_or("COMMAND");
    let (format, known, stream) = match how.format {
        Some(format) => (format, None, stream),
        None => {
            let (head, stream) = peek(stream)?;
            let known = probe_head(&head);
            let format = known.and_then(readable).unwrap_or(ImageFormat::Raw);
            (format, known, stream)
        }
    };
    match (format, known) {
        (ImageFormat::Raw, None) => {
            // The end of a stream whose format was named isn't looked at.
            let command = how.format.is_none().then_some(command);
            Ok(Box::new(RawStream::new(stream, command)))
        }
        #[cfg(feature = "formats")]
        (ImageFormat::Qcow2, _) => inside::qcow2(stream, how),
        #[cfg(feature = "formats")]
        (ImageFormat::Packed(packing, content), known) => {
            let content = known.is_none().then_some(content);
            inside::packed(stream, packing, content, how)
        }
        (_, Some(known)) => {
            let hint = known.hint(Origin::Pipe { reader: command });
            Err(foreign("the content of the pipe".into(), known, hint))
        }
        #[cfg(not(feature = "formats"))]
        (_, None) => Err(not_built(&stream.name)),
    }
}

fn foreign(what: String, known: &'static Known, hint: String) -> Error {
    Error::Format { what, known, hint }
}

#[cfg(not(feature = "formats"))]
fn not_built(name: &str) -> Error {
    Error::Unsupported {
        name: name.to_owned(),
        what: "has a format that this program was built without".into(),
    }
}
