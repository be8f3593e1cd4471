//! Raw images: files and block devices with their holes, and pipes.

use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::SeekFrom;
use rustix::io::Errno;

use super::reader::{self, PAGE_BYTES};
use super::{Error, HEAD_BYTES, ImageReader, Known, Origin, Probe, TAIL_BYTES, probe};
use crate::store::Disk;

/// How to open an image.
#[derive(Clone, Copy, Debug, Default)]
pub struct Opening<'a> {
    /// Take its bytes as they are, whatever format they look like.
    pub as_it_is: bool,
    /// A command that reads an image from a pipe, as in `ramblk import vm1 -`. It is named to the
    /// user if the image must be converted first.
    pub pipe_command: Option<&'a str>,
}

/// Open a file, a block device, or anything else that can be read, as a pipe.
///
/// # Errors
/// [`Error::Read`], [`Error::Format`].
pub fn open(path: &Path, how: Opening<'_>) -> Result<Box<dyn ImageReader>, Error> {
    let file = File::open(path).map_err(|source| failed(path, source))?;
    let kind = file.metadata().map_err(|source| failed(path, source))?;
    let kind = kind.file_type();
    if kind.is_file() || kind.is_block_device() {
        return Ok(Box::new(RawImage::new(path, file, how)?));
    }
    Ok(Box::new(RawPipe::new(path, Box::new(file), how)?))
}

/// A raw image in a file or on a block device.
#[derive(Debug)]
pub struct RawImage {
    path: PathBuf,
    file: File,
    size_bytes: u64,
    identity: String,
}

impl RawImage {
    /// Open a file or block device that looks like a raw image.
    ///
    /// # Errors
    /// [`Error::Read`], [`Error::Format`].
    pub fn open(path: &Path) -> Result<Self, Error> {
        let file = File::open(path).map_err(|source| failed(path, source))?;
        Self::new(path, file, Opening::default())
    }

    /// Open a file, or block device, and take its bytes as they are.
    ///
    /// # Errors
    /// [`Error::Read`].
    pub fn open_as_it_is(path: &Path) -> Result<Self, Error> {
        let file = File::open(path).map_err(|source| failed(path, source))?;
        let how = Opening {
            as_it_is: true,
            ..Opening::default()
        };
        Self::new(path, file, how)
    }

    fn new(path: &Path, file: File, how: Opening<'_>) -> Result<Self, Error> {
        let failed = |source| failed(path, source);
        let size_bytes = end_of(&file).map_err(failed)?;
        rustix::fs::seek(&file, SeekFrom::Start(0)).map_err(|errno| failed(errno.into()))?;
        if !how.as_it_is
            && let Some(known) = probe_file(&file, size_bytes).map_err(failed)?
        {
            let reader = how.pipe_command;
            return Err(Error::Format {
                what: format!("image {path:?}"),
                known,
                hint: known.hint(Origin::File { path, reader }),
            });
        }
        Ok(Self {
            path: path.to_owned(),
            identity: identity(&file, size_bytes).map_err(failed)?,
            file,
            size_bytes,
        })
    }

    /// Its size in bytes.
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Write it onto the beginning of an empty disk, as [`load`](reader::load) does.
    ///
    /// # Errors
    /// [`Error::TooLarge`] before anything is written, [`Error::Read`], [`Error::Store`].
    pub fn load(&self, disk: &Disk) -> Result<(), Error> {
        let (image_bytes, disk_bytes) = (self.size_bytes, disk.capacity().bytes());
        if image_bytes > disk_bytes {
            return Err(Error::TooLarge {
                path: self.path.clone(),
                image_bytes,
                disk_bytes,
            });
        }
        reader::load(&mut &*self, disk)
    }

    /// Where the next data at or after `at` starts, as far as the file system knows.
    fn next_data(&self, at: u64) -> io::Result<Option<u64>> {
        if at >= self.size_bytes {
            return Ok(None);
        }
        match rustix::fs::seek(&self.file, SeekFrom::Data(at)) {
            // A file that grows meanwhile is read up to the size that it had.
            Ok(start) => Ok(Some(start).filter(|&start| start < self.size_bytes)),
            Err(Errno::NXIO) => Ok(None),
            // This file system, or device, has no holes.
            Err(Errno::INVAL | Errno::OPNOTSUPP) => Ok(Some(at)),
            Err(errno) => Err(errno.into()),
        }
    }

    fn read_part(&self, from_bytes: u64, chunk: &mut [u8]) -> io::Result<Option<Range<u64>>> {
        let Some(data) = self.next_data(from_bytes)? else {
            return Ok(None);
        };
        // Start at a page of the disk, whatever the granularity of the file's holes.
        let start = data / PAGE_BYTES as u64 * PAGE_BYTES as u64;
        let rest = usize::try_from(self.size_bytes - start).unwrap_or(usize::MAX);
        let length = rest.min(chunk.len());
        self.file.read_exact_at(&mut chunk[..length], start)?;
        Ok(Some(start..start + length as u64))
    }
}

impl ImageReader for &RawImage {
    fn size_bytes(&self) -> Option<u64> {
        Some(self.size_bytes)
    }

    fn identity(&self) -> Option<&str> {
        Some(&self.identity)
    }

    fn read(&mut self, from_bytes: u64, chunk: &mut [u8]) -> Result<Option<Range<u64>>, Error> {
        let read = self.read_part(from_bytes, chunk);
        read.map_err(|source| failed(&self.path, source))
    }

    fn end_bytes(&self) -> Result<u64, Error> {
        let now = end_of(&self.file).and_then(|size| Ok((size, identity(&self.file, size)?)));
        let (size_bytes, now) = now.map_err(|source| failed(&self.path, source))?;
        if now != self.identity {
            let path = self.path.clone();
            return Err(Error::Changed { path });
        }
        Ok(size_bytes)
    }
}

impl ImageReader for RawImage {
    fn size_bytes(&self) -> Option<u64> {
        Some(self.size_bytes)
    }

    fn identity(&self) -> Option<&str> {
        Some(&self.identity)
    }

    fn read(&mut self, from_bytes: u64, chunk: &mut [u8]) -> Result<Option<Range<u64>>, Error> {
        ImageReader::read(&mut &*self, from_bytes, chunk)
    }

    fn end_bytes(&self) -> Result<u64, Error> {
        ImageReader::end_bytes(&self)
    }
}

/// A raw image from a pipe. It can be read once, and its size is known only at its end.
pub struct RawPipe {
    path: PathBuf,
    pipe: Box<dyn Read + Send>,
    /// Bytes that were read.
    read_bytes: u64,
    /// What recognises other formats, and the command that reads a pipe.
    probe: Option<(Probe, String)>,
}

impl std::fmt::Debug for RawPipe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RawPipe({:?})", self.path)
    }
}

impl RawPipe {
    /// Begin to read a pipe, which `path` names in messages.
    ///
    /// # Errors
    /// [`Error::Read`], [`Error::Format`].
    pub fn new(
        path: &Path,
        mut pipe: Box<dyn Read + Send>,
        how: Opening<'_>,
    ) -> Result<Self, Error> {
        let (mut head, mut following) = (Vec::new(), None);
        if !how.as_it_is {
            let read = pipe.by_ref().take(HEAD_BYTES as u64).read_to_end(&mut head);
            read.map_err(|source| failed(path, source))?;
            // If this is shorter, it is all of the content.
            let tail = match head.len() < HEAD_BYTES {
                true => &head[head.len().saturating_sub(TAIL_BYTES)..],
                false => &[],
            };
            let command = how.pipe_command.unwrap_or("COMMAND");
            refuse(probe(&head, tail), command)?;
            following = Some((Probe::default(), command.to_owned()));
        }
        Ok(Self {
            path: path.to_owned(),
            pipe: Box::new(io::Cursor::new(head).chain(pipe)),
            read_bytes: 0,
            probe: following,
        })
    }
}

impl ImageReader for RawPipe {
    fn size_bytes(&self) -> Option<u64> {
        None
    }

    fn identity(&self) -> Option<&str> {
        None
    }

    fn read(&mut self, _: u64, chunk: &mut [u8]) -> Result<Option<Range<u64>>, Error> {
        let filled = fill(&mut self.pipe, chunk).map_err(|source| failed(&self.path, source))?;
        if let Some((probe, command)) = &mut self.probe {
            let known = match filled {
                0 => probe.end(),
                filled => probe.take(&chunk[..filled]),
            };
            refuse(known, command)?;
        }
        let start = self.read_bytes;
        self.read_bytes += filled as u64;
        Ok((filled > 0).then_some(start..self.read_bytes))
    }

    fn end_bytes(&self) -> Result<u64, Error> {
        Ok(self.read_bytes)
    }
}

/// Refuse content from a pipe if it has a known format.
fn refuse(known: Option<&'static Known>, command: &str) -> Result<(), Error> {
    known.map_or(Ok(()), |known| {
        Err(Error::Format {
            what: "the content of the pipe".into(),
            known,
            hint: known.hint(Origin::Pipe { reader: command }),
        })
    })
}

/// Fill `into`, unless the content ends before.
fn fill(pipe: &mut impl Read, into: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < into.len() {
        match pipe.read(&mut into[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

fn end_of(file: &File) -> io::Result<u64> {
    Ok(rustix::fs::seek(file, SeekFrom::End(0))?)
}

/// The identity of a file's content: its inode number and length, and when its bytes and its inode
/// last changed. A time alone is too coarse. A device has only a number.
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

fn failed(path: &Path, source: io::Error) -> Error {
    Error::Read {
        path: path.to_owned(),
        source,
    }
}

/// The format that a file of this size has, by its beginning and end, if it isn't raw.
fn probe_file(file: &File, size_bytes: u64) -> io::Result<Option<&'static Known>> {
    let (mut head, mut tail) = ([0; HEAD_BYTES], [0; TAIL_BYTES]);
    let short = |most: usize| usize::try_from(size_bytes).map_or(most, |bytes| bytes.min(most));
    let (head, tail) = (
        &mut head[..short(HEAD_BYTES)],
        &mut tail[..short(TAIL_BYTES)],
    );
    file.read_exact_at(head, 0)?;
    file.read_exact_at(tail, size_bytes - tail.len() as u64)?;
    Ok(probe(head, tail))
}
