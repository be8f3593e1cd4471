//! Disks from files. Only raw images are read: the file's bytes are the disk's bytes.
//!
//! Nothing here interprets what an image says. A file that begins like another format is refused,
//! not guessed at: a guest can write such a beginning onto a disk that is raw.

use std::fs::File;
use std::io::{self, Read};
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
        "image {path:?} looks like {format}; only raw images are read: \
         qemu-img convert -O raw {path:?} {path:?}.raw"
    )]
    Format {
        /// The file.
        path: PathBuf,
        /// The format it looks like.
        format: &'static str,
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

/// The format that a file which begins with `start` seems to have, if it isn't a raw image.
pub fn format_of(start: &[u8]) -> Option<&'static str> {
    let formats: [(&[u8], &str); 5] = [
        (b"QFI\xfb", "qcow2"),
        (b"KDMV", "VMDK"),
        (b"vhdxfile", "VHDX"),
        (b"conectix", "VHD"),
        (b"\x28\xb5\x2f\xfd", "zstd"),
    ];
    let found = formats
        .into_iter()
        .find(|(magic, _)| start.starts_with(magic));
    found.map(|(_, format)| format)
}

/// A raw image that can be read.
#[derive(Debug)]
pub struct RawImage {
    path: PathBuf,
    file: File,
    size_bytes: u64,
}

impl RawImage {
    /// Open a file, or block device, as a raw image.
    ///
    /// # Errors
    /// [`Error::Read`], [`Error::Format`].
    pub fn open(path: &Path) -> Result<Self, Error> {
        let failed = |source| Error::Read {
            path: path.to_owned(),
            source,
        };
        let mut file = File::open(path).map_err(failed)?;
        let size_bytes = rustix::fs::seek(&file, SeekFrom::End(0)).map_err(|e| failed(e.into()))?;
        rustix::fs::seek(&file, SeekFrom::Start(0)).map_err(|e| failed(e.into()))?;
        let mut magic = [0; 8];
        let mut read = 0;
        while read < magic.len() {
            match file.read(&mut magic[read..]).map_err(failed)? {
                0 => break,
                count => read += count,
            }
        }
        if let Some(format) = format_of(&magic) {
            return Err(Error::Format {
                path: path.to_owned(),
                format,
            });
        }
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
