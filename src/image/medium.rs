//! Where the bytes of an image are: a file or an object of which any part can be read, or a stream.
//!
//! A format reads from a [`ReadAt`] and doesn't know whether it is a file of this host. Objects of
//! other hosts are written elsewhere; this room has no network.

use std::fmt::{self, Debug};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::SeekFrom;
use rustix::io::Errno;

use super::Error;

/// Bytes of which any part can be read: a file, or an object on another host.
///
/// All methods may be called by several threads at the same time.
pub trait ReadAt: Debug + Send + Sync {
    /// What messages call it: a path, or a URL without secrets.
    fn name(&self) -> &str;

    /// How long it is, in bytes. It stays the same while it is open.
    fn size_bytes(&self) -> u64;

    /// What changes when the bytes do: a strong `ETag`, a digest, or the inode and when it was
    /// written. `None` if there is no such thing.
    fn identity(&self) -> Option<&str>;

    /// Fill `into` with the bytes from `at_bytes` on. The range ends within [`Self::size_bytes`].
    ///
    /// # Errors
    /// They can't be read, or are known to be those of another version.
    fn read_at(&self, at_bytes: u64, into: &mut [u8]) -> io::Result<()>;

    /// Where the next bytes that may not be zero begin, at `at_bytes` or later; `None` if only
    /// zeros follow.
    ///
    /// # Errors
    /// The system can't tell.
    fn next_data(&self, at_bytes: u64) -> io::Result<Option<u64>> {
        Ok(Some(at_bytes).filter(|&at| at < self.size_bytes()))
    }

    /// Check that the bytes which were read are those of one version.
    ///
    /// # Errors
    /// [`Error::Changed`] if it was written to since it was opened, [`Error::Read`].
    fn verify(&self) -> Result<(), Error>;

    /// Open the object with this name in the same folder. The name has no separator in it.
    ///
    /// # Errors
    /// It isn't there, or this kind of object has no folder.
    fn beside(&self, name: &str) -> Result<Arc<dyn ReadAt>, Error> {
        Err(Error::Read {
            name: name.to_owned(),
            source: io::Error::other(format!("{:?} has no folder to look for it in", self.name())),
        })
    }
}

/// Bytes that can be read once, from the first to the last.
pub struct Stream {
    /// What messages call it.
    pub name: String,
    /// The bytes. A read that fails ends the stream.
    pub bytes: Box<dyn Read + Send>,
    /// How many there are, if that is known. Fewer or more are an error.
    pub size_bytes: Option<u64>,
    /// As [`ReadAt::identity`].
    pub identity: Option<String>,
}

impl Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Stream({:?})", self.name)
    }
}

/// Where the bytes of an image are.
#[derive(Debug)]
pub enum Medium {
    /// Any part can be read.
    Seekable(Arc<dyn ReadAt>),
    /// They come once, in order.
    Stream(Stream),
}

impl Medium {
    /// A file, a block device, or anything else that can be read, as a stream.
    ///
    /// # Errors
    /// [`Error::Read`].
    pub fn open(path: &Path) -> Result<Self, Error> {
        let file = File::open(path).map_err(|source| failed(path, source))?;
        let kind = file.metadata().map_err(|source| failed(path, source))?;
        let kind = kind.file_type();
        if kind.is_file() || kind.is_block_device() {
            return Ok(Self::Seekable(Arc::new(FileMedium::new(path, file)?)));
        }
        Ok(Self::stream(&path.to_string_lossy(), Box::new(file)))
    }

    /// A stream of which nothing but its name is known.
    pub fn stream(name: &str, bytes: Box<dyn Read + Send>) -> Self {
        Self::Stream(Stream {
            name: name.to_owned(),
            bytes,
            size_bytes: None,
            identity: None,
        })
    }

    /// What messages call it.
    pub fn name(&self) -> &str {
        match self {
            Self::Seekable(medium) => medium.name(),
            Self::Stream(stream) => &stream.name,
        }
    }

    /// How many bytes it has, if that is known.
    pub fn size_bytes(&self) -> Option<u64> {
        match self {
            Self::Seekable(medium) => Some(medium.size_bytes()),
            Self::Stream(stream) => stream.size_bytes,
        }
    }

    /// As [`ReadAt::identity`].
    pub fn identity(&self) -> Option<&str> {
        match self {
            Self::Seekable(medium) => medium.identity(),
            Self::Stream(stream) => stream.identity.as_deref(),
        }
    }
}

/// A file or block device.
#[derive(Debug)]
pub struct FileMedium {
    path: PathBuf,
    name: String,
    file: File,
    size_bytes: u64,
    identity: String,
}

impl FileMedium {
    /// Open a file or block device.
    ///
    /// # Errors
    /// [`Error::Read`].
    pub fn open(path: &Path) -> Result<Self, Error> {
        let file = File::open(path).map_err(|source| failed(path, source))?;
        Self::new(path, file)
    }

    /// An open file or block device; messages call it by its path.
    ///
    /// # Errors
    /// [`Error::Read`].
    pub fn new(path: &Path, file: File) -> Result<Self, Error> {
        let size_bytes = end_of(&file).map_err(|source| failed(path, source))?;
        Ok(Self {
            path: path.to_owned(),
            name: path.to_string_lossy().into_owned(),
            identity: identity(&file, size_bytes).map_err(|source| failed(path, source))?,
            file,
            size_bytes,
        })
    }
}

impl ReadAt for FileMedium {
    fn name(&self) -> &str {
        &self.name
    }

    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    fn identity(&self) -> Option<&str> {
        Some(&self.identity)
    }

    fn read_at(&self, at_bytes: u64, into: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(into, at_bytes)
    }

    fn next_data(&self, at_bytes: u64) -> io::Result<Option<u64>> {
        if at_bytes >= self.size_bytes {
            return Ok(None);
        }
        match rustix::fs::seek(&self.file, SeekFrom::Data(at_bytes)) {
            // A file that grows meanwhile is read up to the size that it had.
            Ok(start) => Ok(Some(start).filter(|&start| start < self.size_bytes)),
            Err(Errno::NXIO) => Ok(None),
            // This file system, or device, has no holes.
            Err(Errno::INVAL | Errno::OPNOTSUPP) => Ok(Some(at_bytes)),
            Err(errno) => Err(errno.into()),
        }
    }

    fn verify(&self) -> Result<(), Error> {
        let now = end_of(&self.file).and_then(|size| identity(&self.file, size));
        if now.map_err(|source| failed(&self.path, source))? == self.identity {
            return Ok(());
        }
        Err(Error::Changed {
            name: self.name.clone(),
        })
    }

    fn beside(&self, name: &str) -> Result<Arc<dyn ReadAt>, Error> {
        let path = self.path.with_file_name(name);
        // A pipe there would be waited for.
        let kind = std::fs::metadata(&path).map_err(|source| failed(&path, source))?;
        if !kind.is_file() && !kind.file_type().is_block_device() {
            return Err(failed(&path, io::Error::other("it isn't a file")));
        }
        Ok(Arc::new(Self::open(&path)?))
    }
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
        name: path.to_string_lossy().into_owned(),
        source,
    }
}
