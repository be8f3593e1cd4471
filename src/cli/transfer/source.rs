//! A raw image, from a file, a block device or stdin, as frames.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use rustix::fs::SeekFrom;
use rustix::io::Errno;

use super::frames::{MOST_BYTES, frame};
use super::progress::Progress;
use crate::cli::error::Error;
use crate::client::Bytes;
use crate::daemon::{
    self, ContentOrigin, HEAD_BYTES, KnownFormat, Probe, TAIL_BYTES, probe, probe_file,
};

/// The grain at which zeros are left out: a page of the store.
const PAGE_BYTES: usize = 4096;
/// Longest name of an image that the daemon keeps.
const MOST_NAME_BYTES: usize = 255;

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
    /// What tells it from other images.
    id: Option<String>,
    /// What told the file from others when it was opened.
    identity: String,
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
        let identity = identity(&file, size_bytes).map_err(failed)?;
        Ok(Self {
            path: path.to_owned(),
            id: Some(identity.clone()),
            identity,
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
            id: None,
            identity: String::new(),
        })
    }

    /// Its size, if that is known before all of it was read.
    pub(in crate::cli) fn size_bytes(&self) -> Option<u64> {
        self.size_bytes
    }

    /// The same, which must have this length, and which this tells from others.
    ///
    /// # Errors
    /// If it is a file of another length, or has none.
    pub(in crate::cli) fn expect(
        self,
        bytes: Option<u64>,
        id: Option<&str>,
    ) -> Result<Self, Error> {
        if let (Some(had), Some(bytes)) = (self.size_bytes, bytes)
            && had != bytes
        {
            return Err(Error::Usage(format!(
                "image {:?} has {} and not the {} of --image-size",
                self.path,
                daemon::Bytes(had),
                daemon::Bytes(bytes)
            )));
        }
        let size_bytes = self.size_bytes.or(bytes);
        if size_bytes == Some(0) {
            return Err(nothing(&self.path));
        }
        let id = id.map(str::to_owned).or(self.id);
        Ok(Self {
            size_bytes,
            id,
            ..self
        })
    }

    /// What it is called: the path from the root, or the end of a long one.
    pub(in crate::cli) fn name(&self) -> String {
        let whole = std::fs::canonicalize(&self.path);
        let name = whole.unwrap_or_else(|_| self.path.clone());
        let name: String = name.to_string_lossy().replace(char::is_control, "?");
        let mut from = name.len().saturating_sub(MOST_NAME_BYTES);
        while !name.is_char_boundary(from) {
            from += 1;
        }
        name[from..].to_owned()
    }

    /// What tells it from other images.
    pub(in crate::cli) fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// All frames of a disk of `disk_bytes` that begins with this image, and what is wrong with it
    /// if they end too early.
    pub(in crate::cli) fn frames(self, disk_bytes: u64, progress: Progress) -> (Frames, Trouble) {
        let trouble = Trouble::default();
        let frames = Frames {
            trouble: trouble.clone(),
            chunk: vec![0; MOST_BYTES],
            filled: 0,
            looked: 0,
            chunk_at: 0,
            next: 0,
            source: self,
            disk_bytes,
            progress,
            ended: false,
        };
        (frames, trouble)
    }
}

/// What tells a file from others and from what it was before: its number and length, and when its
/// bytes and anything else about it changed last: a clock alone is too coarse. A device has only a
/// number.
fn identity(file: &File, size_bytes: u64) -> io::Result<String> {
    let about = file.metadata()?;
    if about.file_type().is_block_device() {
        return Ok(format!("device {:#x} of {size_bytes} bytes", about.rdev()));
    }
    Ok(format!(
        "inode {}, {size_bytes} bytes, written {}.{:09}, changed {}.{:09}",
        about.ino(),
        about.mtime(),
        about.mtime_nsec(),
        about.ctime(),
        about.ctime_nsec()
    ))
}

/// Nobody means to empty a disk so.
fn nothing(path: &Path) -> Error {
    Error::Other(format!(
        "image {path:?} has no bytes: the disk stays as it is; what was to write it may have failed"
    ))
}

/// What is wrong with an image, once that is known.
#[derive(Clone, Debug, Default)]
pub(in crate::cli) struct Trouble(Arc<Mutex<Option<Error>>>);

impl Trouble {
    /// It, if there is any.
    pub(in crate::cli) fn take(&self) -> Option<Error> {
        self.0.lock().take()
    }

    /// Say it; the frames break off then.
    fn tell(&self, error: Error) -> io::Error {
        *self.0.lock() = Some(error);
        io::Error::other("the image can't be sent")
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
    trouble: Trouble,
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
                    let end = self.end().map_err(|error| self.trouble.tell(error));
                    return Some(end.map(|end| frame(end, &[])));
                }
                Err(error) => {
                    self.ended = true;
                    return Some(Err(self.trouble.tell(error)));
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

    /// Where the image ends, if all of it was read as it was when that began.
    fn end(&self) -> Result<u64, Error> {
        let path = &self.source.path;
        match &self.source.from {
            Origin::File(file) => {
                let size = rustix::fs::seek(file, SeekFrom::End(0));
                let size = size.map_err(|errno| failed(path, errno.into()))?;
                let now = identity(file, size).map_err(|source| failed(path, source))?;
                if now != self.source.identity {
                    return Err(Error::Other(format!(
                        "image {path:?} was changed while it was read; the disk stays as it was: \
                         try again when nobody writes to it"
                    )));
                }
                Ok(size)
            }
            Origin::Pipe(_) if self.next == 0 => Err(nothing(path)),
            Origin::Pipe(_) => match &self.source.size_bytes {
                Some(size) if *size != self.next => Err(Error::Other(format!(
                    "{} ended after {} and not after the {} of --image-size; the disk stays as it \
                     was",
                    path.display(),
                    daemon::Bytes(self.next),
                    daemon::Bytes(*size)
                ))),
                _ => Ok(self.next),
            },
        }
    }

    /// Read the next part; false when there is none.
    fn fill(&mut self) -> Result<bool, Error> {
        let read = self
            .read()
            .map_err(|source| failed(&self.source.path, source))?;
        let Some(read) = read else { return Ok(false) };
        self.next = self.chunk_at + read as u64;
        if self.next > self.disk_bytes {
            return Err(Error::Other(format!(
                "{} has more bytes than the disk, which has {}; the disk stays as it was",
                self.source.path.display(),
                daemon::Bytes(self.disk_bytes)
            )));
        }
        self.filled = read;
        Ok(read > 0)
    }

    /// Read the next part that may hold data into the chunk; `None` after the last one.
    fn read(&mut self) -> io::Result<Option<usize>> {
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
                    return Ok(None);
                };
                // Pages of the file are pages of the disk, whatever the grain of its holes.
                self.chunk_at = data / PAGE_BYTES as u64 * PAGE_BYTES as u64;
                let rest = usize::try_from(size - self.chunk_at).unwrap_or(usize::MAX);
                let read = rest.min(MOST_BYTES);
                file.read_exact_at(&mut self.chunk[..read], self.chunk_at)?;
                read
            }
        };
        Ok(Some(read))
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
