//! A raw image, from a file, a block device or stdin, as frames.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, FileTypeExt};
use std::path::{Path, PathBuf};

use hyper::body::Bytes;
use rustix::fs::SeekFrom;
use rustix::io::Errno;

use super::frames::{MOST_BYTES, frame};
use super::progress::Progress;
use crate::cli::error::Error;
use crate::daemon::{
    self, ContentOrigin, HEAD_BYTES, KnownFormat, Probe, TAIL_BYTES, probe, probe_file,
};

/// The grain at which zeros are left out: a page of the store.
const PAGE_BYTES: usize = 4096;

/// How an image is taken.
#[derive(Clone, Copy, Debug)]
pub(in crate::cli) struct Taking<'a> {
    /// Its bytes are the disk's, whatever they look like.
    pub(in crate::cli) as_it_is: bool,
    /// What reads the same from a pipe, as in `ramblk import vm1 -`.
    pub(in crate::cli) reader: &'a str,
}

impl Taking<'_> {
    fn refusal(self, path: Option<&Path>, known: &KnownFormat) -> String {
        let reader = self.reader;
        let (what, from) = match path {
            Some(path) => {
                let reader = Some(reader);
                (
                    format!("image {path:?}"),
                    ContentOrigin::File { path, reader },
                )
            }
            None => (
                "what comes from the pipe".into(),
                ContentOrigin::Pipe { reader },
            ),
        };
        let (name, hint) = (known.name, known.hint(from));
        format!(
            "{what} is {name}, not raw; {hint}, or say --format raw to take its bytes as they are"
        )
    }
}

/// An image that can be read.
#[derive(Debug)]
pub(in crate::cli) struct Source {
    path: PathBuf,
    from: Origin,
    size_bytes: Option<u64>,
    ending: Option<Ending>,
}

/// What is seen of the end of a pipe, and what to say if it is of a foreign format.
#[derive(Debug)]
struct Ending {
    probe: Probe,
    reader: String,
}

enum Origin {
    /// Something with holes, perhaps, that can be read at any place.
    File(File),
    /// Something that comes once; what was read already to know its format.
    Pipe(Box<dyn Read + Send>),
}

impl std::fmt::Debug for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(file) => file.fmt(f),
            Self::Pipe(_) => f.write_str("Pipe"),
        }
    }
}

impl Source {
    /// Open a file, or stdin if it is `-`.
    ///
    /// # Errors
    /// What can't be read, and what is no raw image as far as its beginning tells, and the end of a
    /// file.
    pub(in crate::cli) fn open(path: &Path, how: Taking) -> Result<Self, Error> {
        if path == Path::new("-") {
            return Self::pipe(Path::new("stdin"), Box::new(io::stdin()), how);
        }
        let failed = |source| failed(path, source);
        let file = File::open(path).map_err(failed)?;
        let kind = file.metadata().map_err(failed)?.file_type();
        if !kind.is_file() && !kind.is_block_device() {
            return Self::pipe(path, Box::new(file), how);
        }
        let size_bytes = rustix::fs::seek(&file, SeekFrom::End(0)).map_err(|e| failed(e.into()))?;
        rustix::fs::seek(&file, SeekFrom::Start(0)).map_err(|e| failed(e.into()))?;
        if !how.as_it_is
            && let Some(known) = probe_file(&file, size_bytes).map_err(failed)?
        {
            return Err(Error::Other(how.refusal(Some(path), known)));
        }
        Ok(Self {
            path: path.to_owned(),
            from: Origin::File(file),
            size_bytes: Some(size_bytes),
            ending: None,
        })
    }

    fn pipe(path: &Path, mut pipe: Box<dyn Read + Send>, how: Taking) -> Result<Self, Error> {
        let (mut head, mut ending) = (Vec::new(), None);
        if !how.as_it_is {
            head = start(&mut pipe).map_err(|source| failed(path, source))?;
            // A short one is all that there is.
            let tail = match head.len() < HEAD_BYTES {
                true => &head[head.len().saturating_sub(TAIL_BYTES)..],
                false => &[],
            };
            if let Some(known) = probe(&head, tail) {
                return Err(Error::Other(how.refusal(None, known)));
            }
            ending = Some(Ending {
                probe: Probe::default(),
                reader: how.reader.to_owned(),
            });
        }
        Ok(Self {
            path: path.to_owned(),
            from: Origin::Pipe(Box::new(io::Cursor::new(head).chain(pipe))),
            size_bytes: None,
            ending,
        })
    }

    /// Its size, if that is known before all of it was read.
    pub(in crate::cli) fn size_bytes(&self) -> Option<u64> {
        self.size_bytes
    }

    /// All frames of a disk of `disk_bytes` that begins with this image.
    pub(in crate::cli) fn frames(self, disk_bytes: u64, progress: Progress) -> Frames {
        Frames {
            chunk: vec![0; MOST_BYTES],
            filled: 0,
            looked: 0,
            chunk_at: 0,
            next: 0,
            source: self,
            disk_bytes,
            progress,
            ended: false,
        }
    }
}

/// The first bytes, or as many as there are.
fn start(mut from: impl Read) -> io::Result<Vec<u8>> {
    let mut head = Vec::with_capacity(HEAD_BYTES);
    from.by_ref()
        .take(HEAD_BYTES as u64)
        .read_to_end(&mut head)?;
    Ok(head)
}

fn failed(path: &Path, source: io::Error) -> Error {
    Error::File {
        what: "read image",
        path: path.to_owned(),
        source,
    }
}

impl Ending {
    /// Look at the next part of a pipe; an empty one is its end.
    fn look(&mut self, part: &[u8]) -> io::Result<()> {
        let known = match part {
            [] => self.probe.end(),
            part => self.probe.take(part),
        };
        let how = Taking {
            as_it_is: false,
            reader: &self.reader,
        };
        known.map_or(Ok(()), |known| {
            Err(io::Error::other(how.refusal(None, known)))
        })
    }
}

/// Frames, made one by one: runs of pages that aren't all zeros.
#[derive(Debug)]
pub(in crate::cli) struct Frames {
    source: Source,
    /// What was read last, and how much of it.
    chunk: Vec<u8>,
    filled: usize,
    /// How much of it has gone into frames, or was zeros.
    looked: usize,
    /// Where it lies in the disk.
    chunk_at: u64,
    /// Where to read next.
    next: u64,
    disk_bytes: u64,
    progress: Progress,
    ended: bool,
}

impl Iterator for Frames {
    type Item = io::Result<Bytes>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.ended {
            if let Some(frame) = self.cut() {
                return Some(Ok(frame));
            }
            match self.fill() {
                Ok(true) => {}
                Ok(false) => {
                    self.ended = true;
                    return Some(Ok(frame(self.disk_bytes, &[])));
                }
                Err(error) => {
                    self.ended = true;
                    return Some(Err(error));
                }
            }
        }
        None
    }
}

impl Frames {
    /// The next run of pages with something in them, out of what was read.
    fn cut(&mut self) -> Option<Bytes> {
        let pages = self.chunk[self.looked..self.filled].chunks(PAGE_BYTES);
        let empty = |page: &&[u8]| page.iter().all(|&byte| byte == 0);
        let skipped: usize = pages.clone().take_while(empty).map(<[u8]>::len).sum();
        let start = self.looked + skipped;
        let run = self.chunk[start..self.filled].chunks(PAGE_BYTES);
        let len: usize = run.take_while(|page| !empty(page)).map(<[u8]>::len).sum();
        self.looked = start + len;
        let at = self.chunk_at + start as u64;
        (len > 0).then(|| frame(at, &self.chunk[start..start + len]))
    }

    /// Read the next part; false when there is none.
    fn fill(&mut self) -> io::Result<bool> {
        self.progress.at(self.next);
        (self.looked, self.filled) = (0, 0);
        let read = match &mut self.source.from {
            Origin::Pipe(pipe) => {
                self.chunk_at = self.next;
                let read = fill_from(pipe, &mut self.chunk)?;
                if let Some(ending) = &mut self.source.ending {
                    ending.look(&self.chunk[..read])?;
                }
                read
            }
            Origin::File(file) => {
                let size = self.source.size_bytes.unwrap_or(0);
                let Some(data) = next_data(file, self.next, size)? else {
                    return Ok(false);
                };
                // Pages of the file are pages of the disk, whatever the grain of its holes.
                self.chunk_at = data / PAGE_BYTES as u64 * PAGE_BYTES as u64;
                let rest = usize::try_from(size - self.chunk_at).unwrap_or(usize::MAX);
                let read = rest.min(MOST_BYTES);
                file.read_exact_at(&mut self.chunk[..read], self.chunk_at)?;
                read
            }
        };
        self.next = self.chunk_at + read as u64;
        if self.next > self.disk_bytes {
            return Err(io::Error::other(format!(
                "{} has more bytes than the disk, which has {}",
                self.source.path.display(),
                daemon::Bytes(self.disk_bytes)
            )));
        }
        // What is left of a last page is zeros, up to the end of the disk.
        let room = usize::try_from(self.disk_bytes - self.chunk_at).unwrap_or(usize::MAX);
        self.filled = read.next_multiple_of(PAGE_BYTES).min(room);
        self.chunk[read..self.filled].fill(0);
        Ok(read > 0)
    }
}

/// Fill all of it, unless the end comes first.
fn fill_from(pipe: &mut impl Read, into: &mut [u8]) -> io::Result<usize> {
    let mut read = 0;
    while read < into.len() {
        match pipe.read(&mut into[read..]) {
            Ok(0) => break,
            Ok(count) => read += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(read)
}

/// Where the next data at or after `at` starts, as far as the file system can tell.
fn next_data(file: &File, at: u64, size_bytes: u64) -> io::Result<Option<u64>> {
    if at >= size_bytes {
        return Ok(None);
    }
    match rustix::fs::seek(file, SeekFrom::Data(at)) {
        // A file that grows meanwhile is read up to the size that it had.
        Ok(start) => Ok(Some(start).filter(|&start| start < size_bytes)),
        Err(Errno::NXIO) => Ok(None),
        // A file system, or device, that knows no holes.
        Err(Errno::INVAL | Errno::OPNOTSUPP) => Ok(Some(at)),
        Err(errno) => Err(errno.into()),
    }
}
