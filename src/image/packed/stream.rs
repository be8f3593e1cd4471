//! Decompressing a stream on a thread of its own.

use std::fmt::{self, Debug};
use std::io::{self, BufRead, BufReader, Read};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

use flate2::bufread::MultiGzDecoder;
use liblzma::bufread::XzDecoder;
use liblzma::stream::MtStreamBuilder;

use super::super::Error;
use super::super::known::{HEAD_BYTES, ImageFormat, Packing};
use super::super::medium::{ReadAt, Stream};
use super::super::raw::{Pieces, RawStream, fill};
use super::super::reader::{About, Extents, ImageReader, Part};
use crate::threads::{self, Role};

/// How much is read of the source, and decompressed, at once.
const READ_BYTES: usize = 1 << 20;
/// Pieces that are decompressed ahead.
const AHEAD: usize = 4;
/// The most memory that the decompressor of xz may take: `xz -9` needs 65 MiB for each thread.
const MOST_XZ_BYTES: u64 = 256 << 20;

/// A file or object, read from its beginning to its end.
#[derive(Debug)]
pub(in crate::image) struct Sequential {
    medium: Arc<dyn ReadAt>,
    at: u64,
}

impl Sequential {
    /// It as a stream, which is verified at its end.
    pub(in crate::image) fn stream(medium: Arc<dyn ReadAt>) -> Stream {
        Stream {
            name: medium.name().to_owned(),
            size_bytes: Some(medium.size_bytes()),
            identity: medium.identity().map(str::to_owned),
            bytes: Box::new(Self { medium, at: 0 }),
        }
    }
}

impl Read for Sequential {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let left = self.medium.size_bytes() - self.at;
        let length = usize::try_from(left).map_or(into.len(), |left| left.min(into.len()));
        if length == 0 && !into.is_empty() {
            self.medium.verify().map_err(io::Error::other)?;
        }
        self.medium.read_at(self.at, &mut into[..length])?;
        self.at += length as u64;
        Ok(length)
    }
}

/// What was decompressed, or why it can't be.
type Piece = Result<Vec<u8>, Failure>;

/// Why there is no more.
#[derive(Debug)]
enum Failure {
    Read(io::Error),
    Damaged(io::Error),
}

/// Decompress `stream` on a thread of its own: the content, and how many bytes of the source were
/// read.
pub(in crate::image) fn unpack(
    stream: Stream,
    packing: Packing,
) -> Result<(Unpacked, Arc<AtomicU64>), Error> {
    let Stream {
        name,
        bytes,
        size_bytes,
        ..
    } = stream;
    let read_bytes = Arc::new(AtomicU64::new(0));
    let source = Source {
        bytes,
        size_bytes,
        read_bytes: Arc::clone(&read_bytes),
    };
    let (sender, pieces) = sync_channel(AHEAD);
    let (returned, spares) = channel();
    let spawned = threads::spawn(Role::Image, move || {
        produce(source, packing, &sender, &spares);
    });
    spawned.map_err(|source| Error::Read {
        name: name.clone(),
        source,
    })?;
    let unpacked = Unpacked {
        name,
        pieces,
        returned,
        first: None,
        ended: false,
    };
    Ok((unpacked, read_bytes))
}

/// The compressed bytes, counted. Errors of the source are told from those of the decompressor.
struct Source {
    bytes: Box<dyn Read + Send>,
    size_bytes: Option<u64>,
    read_bytes: Arc<AtomicU64>,
}

/// An error of the source.
#[derive(Debug)]
struct SourceError(io::Error);

impl fmt::Display for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl std::error::Error for SourceError {}

impl Read for Source {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.bytes.read(into).map_err(|error| match error.kind() {
            io::ErrorKind::Interrupted => error,
            _ => io::Error::other(SourceError(error)),
        })?;
        let so_far = self.read_bytes.fetch_add(read as u64, Ordering::Relaxed);
        match self.size_bytes {
            Some(size_bytes) if read == 0 && so_far != size_bytes && !into.is_empty() => {
                let text = format!("it ended after {so_far} of {size_bytes} bytes");
                let error = io::Error::new(io::ErrorKind::UnexpectedEof, text);
                Err(io::Error::other(SourceError(error)))
            }
            _ => Ok(read),
        }
    }
}

/// Decompress all of it, and send it piece by piece, until the other side is gone. `spares` are
/// pieces that are not needed any more.
fn produce(source: Source, packing: Packing, to: &SyncSender<Piece>, spares: &Receiver<Vec<u8>>) {
    let end = decoder(source, packing).and_then(|mut decoder| {
        loop {
            let mut piece = spares.try_recv().unwrap_or_default();
            piece.resize(READ_BYTES, 0);
            let length = fill(&mut *decoder, &mut piece)?;
            piece.truncate(length);
            if to.send(Ok(piece)).is_err() || length == 0 {
                return Ok(());
            }
        }
    });
    if let Err(error) = end {
        // If the other side is gone, the error has no reader.
        let _ = to.send(Err(failure(error)));
    }
}

fn failure(error: io::Error) -> Failure {
    match error.downcast::<SourceError>() {
        Ok(SourceError(error)) => Failure::Read(error),
        Err(error) => Failure::Damaged(error),
    }
}

fn decoder(source: Source, packing: Packing) -> io::Result<Box<dyn Read>> {
    let source = BufReader::with_capacity(READ_BYTES, source);
    Ok(match packing {
        Packing::Gzip => Box::new(MultiGzDecoder::new(source)),
        Packing::Xz => Box::new(XzStreams::new(source)?),
        Packing::Zstd => Box::new(zstd::stream::read::Decoder::with_buffer(source)?),
    })
}

/// Streams of xz that follow each other, with zeros between them.
struct XzStreams(Option<XzDecoder<BufReader<Source>>>);

impl XzStreams {
    /// A decoder that uses several threads, if the stream has several blocks.
    fn new(source: BufReader<Source>) -> io::Result<Self> {
        let threads = std::thread::available_parallelism().map_or(2, NonZeroUsize::get);
        let threads = u32::try_from(threads.clamp(2, 8)).unwrap_or(2);
        let stream = MtStreamBuilder::new()
            .threads(threads)
            .memlimit_threading(MOST_XZ_BYTES)
            .memlimit_stop(MOST_XZ_BYTES)
            .decoder()?;
        Ok(Self(Some(XzDecoder::new_stream(source, stream))))
    }
}

impl Read for XzStreams {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            let Some(decoder) = &mut self.0 else {
                return Ok(0);
            };
            let length = decoder.read(into)?;
            if length > 0 || into.is_empty() {
                return Ok(length);
            }
            let Some(mut source) = self.0.take().map(XzDecoder::into_inner) else {
                return Ok(0);
            };
            loop {
                let bytes = source.fill_buf()?;
                let (length, padding) = (bytes.len(), bytes.iter().take_while(|&&it| it == 0));
                let padding = padding.count();
                source.consume(padding);
                match (length, padding) {
                    (0, _) => return Ok(0),
                    (length, padding) if padding == length => {}
                    _ => break,
                }
            }
            *self = Self::new(source)?;
        }
    }
}

/// The content of a compressed stream, as it comes from the thread.
pub(in crate::image) struct Unpacked {
    name: String,
    pieces: Receiver<Piece>,
    returned: Sender<Vec<u8>>,
    /// A piece that was only looked at.
    first: Option<Vec<u8>>,
    ended: bool,
}

impl Unpacked {
    /// What messages call it.
    pub(in crate::image) fn name(&self) -> &str {
        &self.name
    }

    /// The first bytes, by which the format is recognised.
    pub(in crate::image) fn head(&mut self) -> Result<&[u8], Error> {
        let first = match self.first.take() {
            Some(first) => first,
            None => self
                .receive()
                .map_err(|source| Error::read(&self.name, source))?,
        };
        let first = self.first.insert(first);
        Ok(&first[..first.len().min(HEAD_BYTES)])
    }

    /// A raw image of these bytes. With the command that reads a pipe, formats other than raw are
    /// refused as soon as they show.
    pub(in crate::image) fn into_raw(self, pipe_command: Option<&str>) -> RawStream {
        let about = About::new(&self.name, ImageFormat::Raw);
        RawStream::of_pieces(about, Box::new(self), pipe_command)
    }

    /// These bytes, to be read in parts of any length.
    pub(in crate::image) fn into_stream(self) -> Stream {
        Stream {
            name: self.name.clone(),
            bytes: Box::new(ByPiece {
                pieces: self,
                piece: Vec::new(),
                at: 0,
            }),
            size_bytes: None,
            identity: None,
        }
    }

    /// The next piece from the thread.
    fn receive(&mut self) -> io::Result<Vec<u8>> {
        if self.ended {
            return Ok(Vec::new());
        }
        let gone = |_| io::Error::other("bug: the thread that decompresses it panicked");
        match self.pieces.recv().map_err(gone)? {
            Ok(piece) => {
                self.ended = piece.is_empty();
                Ok(piece)
            }
            Err(Failure::Read(error)) => Err(error),
            Err(Failure::Damaged(error)) => {
                let error = Error::Damaged {
                    name: self.name.clone(),
                    what: format!("it can't be decompressed: {error}"),
                };
                Err(io::Error::new(io::ErrorKind::InvalidData, error))
            }
        }
    }
}

impl Pieces for Unpacked {
    fn next(&mut self, spare: Vec<u8>) -> io::Result<Vec<u8>> {
        if spare.capacity() > 0 {
            // After the last piece the thread needs none.
            let _ = self.returned.send(spare);
        }
        match self.first.take() {
            Some(first) => Ok(first),
            None => self.receive(),
        }
    }
}

/// Pieces that are read in parts.
struct ByPiece {
    pieces: Unpacked,
    piece: Vec<u8>,
    at: usize,
}

impl Read for ByPiece {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.at == self.piece.len() {
            let read = std::mem::take(&mut self.piece);
            (self.piece, self.at) = (self.pieces.next(read)?, 0);
        }
        let length = into.len().min(self.piece.len() - self.at);
        into[..length].copy_from_slice(&self.piece[self.at..self.at + length]);
        self.at += length;
        Ok(length)
    }
}

/// An image inside of a compressed one.
pub(in crate::image) struct PackedReader {
    inner: Box<dyn ImageReader>,
    about: About,
    read_bytes: Arc<AtomicU64>,
    packed_bytes: Option<u64>,
}

impl Debug for PackedReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PackedReader({:?})", self.inner)
    }
}

impl PackedReader {
    pub(in crate::image) fn new(
        inner: Box<dyn ImageReader>,
        format: ImageFormat,
        identity: Option<String>,
        (read_bytes, packed_bytes): (Arc<AtomicU64>, Option<u64>),
    ) -> Self {
        let mut about = About {
            format,
            identity,
            ..inner.about().clone()
        };
        if let Some(bytes) = packed_bytes {
            about.properties.push(("packed bytes", bytes.to_string()));
        }
        Self {
            inner,
            about,
            read_bytes,
            packed_bytes,
        }
    }
}

impl ImageReader for PackedReader {
    fn about(&self) -> &About {
        &self.about
    }

    fn next(&mut self) -> Result<Option<Part<'_>>, Error> {
        self.inner.next()
    }

    fn swap(&mut self, spare: Vec<u8>) -> Vec<u8> {
        self.inner.swap(spare)
    }

    fn end_bytes(&mut self) -> Result<u64, Error> {
        self.inner.end_bytes()
    }

    fn progress(&self) -> (u64, Option<u64>) {
        match self.about.size_bytes {
            Some(_) => self.inner.progress(),
            None => (self.read_bytes.load(Ordering::Relaxed), self.packed_bytes),
        }
    }

    fn extents(&mut self) -> Result<Option<Extents>, Error> {
        self.inner.extents()
    }
}
