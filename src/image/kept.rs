//! An image that is kept in a temporary file until its digest is known.

use std::io::{self, Read};
use std::sync::Arc;

use parking_lot::Mutex;

use super::digest::{Digest, hashed};
use super::medium::{Medium, ReadAt};
use super::packed::Sequential;
use super::{Error, spool};

/// Keep all of `medium` in a temporary file, and find its digest on the way. `told` hears how many
/// bytes have come.
///
/// # Errors
/// [`Error::Read`], [`Error::Temporary`].
pub fn keep(
    medium: Medium,
    told: impl FnMut(u64) + Send + 'static,
) -> Result<(Medium, Digest), Error> {
    let stream = match medium {
        Medium::Seekable(medium) => Sequential::stream(medium),
        Medium::Stream(stream) => stream,
    };
    let (name, size_bytes) = (stream.name.clone(), stream.size_bytes);
    let found = Arc::new(Mutex::new(None));
    let mut stream = hashed(stream, Arc::clone(&found));
    stream.bytes = Box::new(Counted {
        bytes: stream.bytes,
        read_bytes: 0,
        told,
    });
    let file = spool::keep(stream, u64::MAX)?;
    let found = *found.lock();
    match found {
        Some(digest) if size_bytes.is_none_or(|size| size == file.size_bytes()) => {
            Ok((Medium::Seekable(Arc::new(file)), digest))
        }
        _ => {
            let text = format!("it ended after {} bytes", file.size_bytes());
            let source = io::Error::new(io::ErrorKind::UnexpectedEof, text);
            Err(Error::Read { name, source })
        }
    }
}

/// A stream whose bytes are counted.
struct Counted<F> {
    bytes: Box<dyn Read + Send>,
    read_bytes: u64,
    told: F,
}

impl<F: FnMut(u64)> Read for Counted<F> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let length = self.bytes.read(into)?;
        self.read_bytes += length as u64;
        (self.told)(self.read_bytes);
        Ok(length)
    }
}
