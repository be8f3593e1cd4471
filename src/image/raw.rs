//! Raw images: files, block devices and objects with their holes, and streams.

use std::io::{self, Read};
use std::ops::Range;
use std::sync::Arc;

use super::medium::{ReadAt, Stream};
use super::reader::{About, ImageReader, PAGE_BYTES, Part, data_runs};
use super::writer::{ImageWriter, Output};
use super::{Error, ImageFormat, Known, Origin, Probe};

/// How much is read at once.
const CHUNK_BYTES: usize = 1 << 20;

/// A raw image of which any part can be read.
#[derive(Debug)]
pub(super) struct RawImage {
    medium: Arc<dyn ReadAt>,
    about: About,
    chunk: Vec<u8>,
    /// Everything before this was read.
    at_bytes: u64,
}

impl RawImage {
    /// All bytes of `medium`, as they are.
    pub(super) fn new(medium: Arc<dyn ReadAt>) -> Self {
        let about = About {
            size_bytes: Some(medium.size_bytes()),
            identity: medium.identity().map(str::to_owned),
            ..About::new(medium.name(), ImageFormat::Raw)
        };
        Self {
            medium,
            about,
            chunk: Vec::new(),
            at_bytes: 0,
        }
    }

    fn failed(&self, source: io::Error) -> Error {
        Error::read(&self.about.name, source)
    }

    /// The range of the next data, which begins at a page of the disk, whatever the granularity of
    /// the file's holes.
    fn next_start(&self, from_bytes: u64) -> Result<Option<u64>, Error> {
        let data = self.medium.next_data(from_bytes);
        let data = data.map_err(|source| self.failed(source))?;
        Ok(data.map(|data| data / PAGE_BYTES as u64 * PAGE_BYTES as u64))
    }
}

impl ImageReader for RawImage {
    fn about(&self) -> &About {
        &self.about
    }

    fn next(&mut self) -> Result<Option<Part<'_>>, Error> {
        let Some(start_bytes) = self.next_start(self.at_bytes)? else {
            self.at_bytes = self.medium.size_bytes();
            return Ok(None);
        };
        self.chunk.resize(CHUNK_BYTES, 0);
        let rest = self.medium.size_bytes() - start_bytes;
        let length = usize::try_from(rest).map_or(CHUNK_BYTES, |rest| rest.min(CHUNK_BYTES));
        let read = self.medium.read_at(start_bytes, &mut self.chunk[..length]);
        read.map_err(|source| self.failed(source))?;
        self.at_bytes = start_bytes + length as u64;
        let bytes = &self.chunk[..length];
        Ok(Some(Part::Data { start_bytes, bytes }))
    }

    fn swap(&mut self, spare: Vec<u8>) -> Vec<u8> {
        std::mem::replace(&mut self.chunk, spare)
    }

    fn end_bytes(&mut self) -> Result<u64, Error> {
        self.medium.verify()?;
        Ok(self.medium.size_bytes())
    }

    fn progress(&self) -> (u64, Option<u64>) {
        (self.at_bytes, self.about.size_bytes)
    }
}

/// The bytes of a stream, in pieces that pass on the memory that they are in.
pub(super) trait Pieces: Send {
    /// The next piece, and none at the end. All but the last are of whole pages. `spare` is memory
    /// for later ones.
    fn next(&mut self, spare: Vec<u8>) -> io::Result<Vec<u8>>;
}

impl Pieces for Box<dyn Read + Send> {
    fn next(&mut self, mut spare: Vec<u8>) -> io::Result<Vec<u8>> {
        spare.resize(CHUNK_BYTES, 0);
        let filled = fill(self, &mut spare)?;
        spare.truncate(filled);
        Ok(spare)
    }
}

/// A raw image from a stream. It can be read once, and its size is known only at its end.
pub(super) struct RawStream {
    about: About,
    pieces: Box<dyn Pieces>,
    chunk: Vec<u8>,
    /// Bytes that were read.
    read_bytes: u64,
    /// What recognises other formats, and the command that reads a pipe.
    probe: Option<(Probe, String)>,
}

impl std::fmt::Debug for RawStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RawStream({:?})", self.about.name)
    }
}

impl RawStream {
    /// All bytes of `stream`. With the command that reads a pipe, formats other than raw are
    /// refused as soon as they show.
    pub(super) fn new(stream: Stream, pipe_command: Option<&str>) -> Self {
        let about = About {
            size_bytes: stream.size_bytes,
            identity: stream.identity,
            ..About::new(&stream.name, ImageFormat::Raw)
        };
        Self::of_pieces(about, Box::new(stream.bytes), pipe_command)
    }

    /// All bytes of these pieces, of which this is known.
    pub(super) fn of_pieces(
        about: About,
        pieces: Box<dyn Pieces>,
        pipe_command: Option<&str>,
    ) -> Self {
        Self {
            about,
            pieces,
            chunk: Vec::new(),
            read_bytes: 0,
            probe: pipe_command.map(|command| (Probe::default(), command.to_owned())),
        }
    }

    fn failed(&self, source: io::Error) -> Error {
        Error::read(&self.about.name, source)
    }
}

impl ImageReader for RawStream {
    fn about(&self) -> &About {
        &self.about
    }

    fn next(&mut self) -> Result<Option<Part<'_>>, Error> {
        let next = self.pieces.next(std::mem::take(&mut self.chunk));
        self.chunk = next.map_err(|source| self.failed(source))?;
        let bytes = &self.chunk[..];
        if let Some((probe, command)) = &mut self.probe {
            let known = match bytes {
                [] => probe.end(),
                bytes => probe.take(bytes),
            };
            refuse(known, command)?;
        }
        let start_bytes = self.read_bytes;
        self.read_bytes += bytes.len() as u64;
        Ok((!bytes.is_empty()).then_some(Part::Data { start_bytes, bytes }))
    }

    fn swap(&mut self, spare: Vec<u8>) -> Vec<u8> {
        std::mem::replace(&mut self.chunk, spare)
    }

    fn end_bytes(&mut self) -> Result<u64, Error> {
        let end_bytes = self.read_bytes;
        match self.about.size_bytes {
            Some(size_bytes) if size_bytes != end_bytes => {
                let text = format!("it ended after {end_bytes} of {size_bytes} bytes");
                Err(self.failed(io::Error::new(io::ErrorKind::UnexpectedEof, text)))
            }
            _ => Ok(end_bytes),
        }
    }

    fn progress(&self) -> (u64, Option<u64>) {
        (self.read_bytes, self.about.size_bytes)
    }
}

/// A raw image that is written. Pages of zeros become holes where the output has any.
#[derive(Debug)]
pub(super) struct RawWriter {
    output: Box<dyn Output>,
    /// Everything before this is written.
    at_bytes: u64,
}

impl RawWriter {
    pub(super) fn new(output: Box<dyn Output>) -> Self {
        let at_bytes = 0;
        Self { output, at_bytes }
    }

    fn skip_to(&mut self, at_bytes: u64) -> io::Result<()> {
        let length = at_bytes.saturating_sub(self.at_bytes);
        self.at_bytes += length;
        match length {
            0 => Ok(()),
            length => self.output.skip(length),
        }
    }

    fn failed(&self, source: io::Error) -> Error {
        Error::Write {
            name: self.output.name().to_owned(),
            source,
        }
    }
}

impl ImageWriter for RawWriter {
    fn data(&mut self, at_bytes: u64, bytes: &[u8]) -> Result<(), Error> {
        for (start, run) in data_runs(at_bytes, bytes) {
            let done = self
                .skip_to(start)
                .and_then(|()| self.output.write_all(run));
            done.map_err(|source| self.failed(source))?;
            self.at_bytes += run.len() as u64;
        }
        Ok(())
    }

    fn zero(&mut self, _: Range<u64>) -> Result<(), Error> {
        Ok(())
    }

    fn finish(mut self: Box<Self>, end_bytes: u64) -> Result<(), Error> {
        self.skip_to(end_bytes)
            .map_err(|source| self.failed(source))?;
        self.output.finish()
    }
}

/// Refuse content from a pipe if it has a known format.
pub(super) fn refuse(known: Option<&'static Known>, command: &str) -> Result<(), Error> {
    known.map_or(Ok(()), |known| {
        Err(Error::Format {
            what: "the content of the pipe".into(),
            known,
            hint: known.hint(Origin::Pipe { reader: command }),
        })
    })
}

/// Fill `into`, unless the content ends before.
pub(super) fn fill(bytes: &mut dyn Read, into: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < into.len() {
        match bytes.read(&mut into[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
