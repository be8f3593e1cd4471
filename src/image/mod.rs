//! Disks from files. Only raw images are read: the file's bytes are the disk's bytes.
//!
//! Nothing here interprets what an image says. A file that begins or ends like another format is
//! refused, not guessed at: a guest can write such bytes onto a disk that is raw, and whoever knows
//! that they are meant says so.
//!
//! | file | what it holds |
//! |---|---|
//! | `format` | formats that are known, and how they are told |
//! | `marks` | beginnings and ends that a few bytes don't tell |
//! | `hint` | what to do about a file that is no raw image |

mod format;
mod hint;
mod marks;

pub use format::{Format, HEAD_BYTES, KNOWN, Kind, Known, Probe, TAIL_BYTES, Way, probe};
pub use hint::Origin;

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::SeekFrom;
use rustix::io::Errno;

use crate::store::{self, Bytes, Disk};

/// How much is read at once.
const CHUNK_BYTES: usize = 1 << 20;
/// The grain at which zeros are left out.
#[allow(clippy::cast_possible_truncation, reason = "4096")]
const PAGE_BYTES: usize = store::PAGE_BYTES as usize;

/// What can go wrong with an image.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file can't be read.
    #[error("can't read image {path:?}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// It is of a format that isn't read here.
    #[error(
        "image {path:?} is {name}, not raw; {hint}, or say --format raw to take its bytes as they \
         are",
        name = known.name,
        hint = known.hint(Origin::File { path, reader: None })
    )]
    Format {
        /// The file.
        path: PathBuf,
        /// The format that it has.
        known: &'static Known,
    },
    /// It does not fit.
    #[error(
        "image {path:?} has {} and does not fit into a disk of {}",
        Bytes(*image_bytes), Bytes(*disk_bytes)
    )]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        image_bytes: u64,
        /// The disk's size.
        disk_bytes: u64,
    },
    /// The disk refuses its bytes.
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// A raw image that can be read.
#[derive(Debug)]
pub struct RawImage {
    path: PathBuf,
    file: File,
    size_bytes: u64,
}

impl RawImage {
    /// Open a file, or block device, that is a raw image as far as can be told.
    ///
    /// # Errors
    /// [`Error::Read`], [`Error::Format`].
    pub fn open(path: &Path) -> Result<Self, Error> {
        let image = Self::open_as_it_is(path)?;
        match probe_file(&image.file, image.size_bytes).map_err(|e| image.failed(e))? {
            None => Ok(image),
            Some(known) => Err(Error::Format {
                path: image.path,
                known,
            }),
        }
    }

    /// Open a file, or block device, whose bytes are the disk's whatever they look like.
    ///
    /// # Errors
    /// [`Error::Read`].
    pub fn open_as_it_is(path: &Path) -> Result<Self, Error> {
        let failed = |source| Error::Read {
            path: path.to_owned(),
            source,
        };
        let file = File::open(path).map_err(failed)?;
        let size_bytes = rustix::fs::seek(&file, SeekFrom::End(0)).map_err(|e| failed(e.into()))?;
        rustix::fs::seek(&file, SeekFrom::Start(0)).map_err(|e| failed(e.into()))?;
        Ok(Self {
            path: path.to_owned(),
            file,
            size_bytes,
        })
    }

    /// Its size in bytes.
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Write it onto the beginning of an empty disk. Holes, and pages of zeros, stay unmapped; a
    /// last sector that the image fills only partly is filled up with zeros.
    ///
    /// # Errors
    /// [`Error::TooLarge`] before anything is written, [`Error::Read`], [`Error::Store`].
    pub fn load(&self, disk: &Disk) -> Result<(), Error> {
        let disk_bytes = disk.capacity().bytes();
        if self.size_bytes > disk_bytes {
            let image_bytes = self.size_bytes;
            return Err(Error::TooLarge {
                path: self.path.clone(),
                image_bytes,
                disk_bytes,
            });
        }
        let mut chunk = vec![0; CHUNK_BYTES];
        let mut at = 0;
        while let Some(start) = self.next_data(at)? {
            // Pages of the file are pages of the disk, whatever the grain of its holes.
            at = start / PAGE_BYTES as u64 * PAGE_BYTES as u64;
            let rest = usize::try_from(self.size_bytes - at).unwrap_or(usize::MAX);
            let len = rest.min(CHUNK_BYTES);
            self.file
                .read_exact_at(&mut chunk[..len], at)
                .map_err(|e| self.failed(e))?;
            chunk[len..].fill(0);
            self.write_pages(disk, at, &chunk[..len.next_multiple_of(PAGE_BYTES)])?;
            at += len as u64;
        }
        Ok(())
    }

    fn write_pages(&self, disk: &Disk, at: u64, bytes: &[u8]) -> Result<(), Error> {
        for (start, page) in (at..).step_by(PAGE_BYTES).zip(bytes.chunks(PAGE_BYTES)) {
            if page.iter().all(|&byte| byte == 0) {
                continue;
            }
            // The last page of a disk whose size is no multiple of a page.
            let rest = usize::try_from(disk.capacity().bytes() - start).unwrap_or(usize::MAX);
            let sector_bytes = disk.sector_size().bytes();
            disk.write(start / sector_bytes, &[&page[..rest.min(PAGE_BYTES)]])?;
        }
        Ok(())
    }

    /// Where the next data at or after `at` starts, as far as the file system can tell.
    fn next_data(&self, at: u64) -> Result<Option<u64>, Error> {
        if at >= self.size_bytes {
            return Ok(None);
        }
        match rustix::fs::seek(&self.file, SeekFrom::Data(at)) {
            // A file that grows meanwhile is read up to the size that it had.
            Ok(start) => Ok(Some(start).filter(|&start| start < self.size_bytes)),
            Err(Errno::NXIO) => Ok(None),
            // A file system, or device, that knows no holes.
            Err(Errno::INVAL | Errno::OPNOTSUPP) => Ok(Some(at)),
            Err(errno) => Err(self.failed(errno.into())),
        }
    }

    fn failed(&self, source: io::Error) -> Error {
        Error::Read {
            path: self.path.clone(),
            source,
        }
    }
}

/// The format that a file of this size has, by its beginning and end, if it isn't raw.
///
/// # Errors
/// If it can't be read.
pub fn probe_file(file: &File, size_bytes: u64) -> io::Result<Option<&'static Known>> {
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
