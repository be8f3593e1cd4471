//! Unnamed temporary files: for a stream whose format must be read in any order, and for an image
//! whose beginning is known only at its end, if its output can't be changed any more.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::Error;
use super::medium::{FileMedium, Stream};
use super::raw::fill;
use super::writer::Output;
use crate::store::Bytes;

/// How much is copied at once.
const CHUNK_BYTES: usize = 1 << 20;

/// Keeps what is written in a temporary file, and passes it on when it is complete.
#[derive(Debug)]
pub(super) struct Spooled {
    file: File,
    /// The name of the output.
    name: String,
    into: Box<dyn Output>,
}

impl Spooled {
    /// Make `output` one whose beginning can be changed, if it isn't that.
    pub(super) fn wrap(output: Box<dyn Output>, head_bytes: u64) -> Result<Box<dyn Output>, Error> {
        if output.head_bytes() >= head_bytes {
            return Ok(output);
        }
        let name = output.name().to_owned();
        let file = temporary(&name)?;
        let into = output;
        Ok(Box::new(Self { file, name, into }))
    }

    fn pass_on(&mut self) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(0))?;
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            match self.file.read(&mut chunk)? {
                0 => return Ok(()),
                length => self.into.write_all(&chunk[..length])?,
            }
        }
    }
}

impl Write for Spooled {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Output for Spooled {
    fn name(&self) -> &str {
        &self.name
    }

    fn head_bytes(&self) -> u64 {
        u64::MAX
    }

    fn rewrite_head(&mut self, head: &[u8]) -> io::Result<()> {
        self.file.write_all_at(head, 0)
    }

    fn finish(mut self: Box<Self>) -> Result<(), Error> {
        self.pass_on().map_err(|source| Error::Write {
            name: self.name.clone(),
            source,
        })?;
        self.into.finish()
    }
}

/// Keep a stream of at most `most_bytes` in a temporary file, so that any part can be read.
pub(super) fn keep(mut stream: Stream, most_bytes: u64) -> Result<FileMedium, Error> {
    let mut file = temporary(&stream.name)?;
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut left = most_bytes;
    loop {
        let filled = fill(&mut stream.bytes, &mut chunk);
        let filled = filled.map_err(|source| Error::read(&stream.name, source))?;
        if filled == 0 {
            return FileMedium::new(Path::new(&stream.name), file);
        }
        left = left
            .checked_sub(filled as u64)
            .ok_or_else(|| Error::Damaged {
                name: stream.name.clone(),
                what: format!(
                    "it has more than {}, which is more than an image of its disk can have",
                    Bytes(most_bytes)
                ),
            })?;
        let written = file.write_all(&chunk[..filled]);
        written.map_err(|source| Error::Temporary {
            name: stream.name.clone(),
            source,
        })?;
    }
}

/// A file that is gone when it is closed.
fn temporary(name: &str) -> Result<File, Error> {
    tempfile::tempfile().map_err(|source| Error::Temporary {
        name: name.to_owned(),
        source,
    })
}
