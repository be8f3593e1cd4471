//! Checking an image by its digest: of the file or object as it was published, before anything is
//! decompressed.

use std::fmt;
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};

use super::Error;
use super::medium::{Medium, ReadAt, Stream};
use super::reader::{About, Extents, ImageReader, Part};
pub use crate::digest::Digest;
use crate::threads::{self, Role};

/// How much is hashed at once.
const CHUNK_BYTES: usize = 1 << 20;

/// Open an image whose medium must have this digest. It is known when all of it was read: only
/// then does [`ImageReader::end_bytes`] succeed.
pub(super) fn checked(
    medium: Medium,
    wanted: Digest,
    open: impl FnOnce(Medium) -> Result<Box<dyn ImageReader>, Error>,
) -> Result<Box<dyn ImageReader>, Error> {
    let name = medium.name().to_owned();
    let (medium, hash) = match medium {
        Medium::Seekable(medium) => {
            let hash = Hash::Aside(Aside::start(Arc::clone(&medium))?);
            (Medium::Seekable(medium), hash)
        }
        Medium::Stream(stream) => {
            let found = Arc::new(Mutex::new(None));
            let hash = Hash::OnTheWay(Arc::clone(&found));
            (Medium::Stream(hashed(stream, found)), hash)
        }
    };
    Ok(Box::new(Checked {
        inner: open(medium)?,
        name,
        wanted,
        hash,
    }))
}

/// A stream that is hashed while it is read.
pub(super) fn hashed(stream: Stream, found: Arc<Mutex<Option<Digest>>>) -> Stream {
    let bytes = Hashed {
        bytes: stream.bytes,
        hasher: Sha256::new(),
        found,
    };
    Stream {
        bytes: Box::new(bytes),
        ..stream
    }
}

struct Hashed {
    bytes: Box<dyn Read + Send>,
    hasher: Sha256,
    found: Arc<Mutex<Option<Digest>>>,
}

impl Read for Hashed {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let length = self.bytes.read(into)?;
        self.hasher.update(&into[..length]);
        if length == 0 && !into.is_empty() {
            let digest = self.hasher.clone().finalize();
            *self.found.lock() = Some(Digest::from(<[u8; 32]>::from(digest)));
        }
        Ok(length)
    }
}

/// A thread that hashes a file or object from its beginning to its end, while others read it in
/// any order.
struct Aside {
    thread: Option<JoinHandle<io::Result<Digest>>>,
    stop: Arc<AtomicBool>,
}

impl Aside {
    fn start(medium: Arc<dyn ReadAt>) -> Result<Self, Error> {
        let name = medium.name().to_owned();
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let thread = threads::spawn(Role::Image, move || hash_unless(&*medium, &told));
        let thread = thread.map_err(|source| Error::Read { name, source })?;
        Ok(Self {
            thread: Some(thread),
            stop,
        })
    }

    fn join(&mut self) -> io::Result<Digest> {
        let panicked = || io::Error::other("bug: the thread that hashes it panicked");
        let thread = self.thread.take().ok_or_else(panicked)?;
        thread.join().map_err(|_| panicked())?
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn hash_unless(medium: &dyn ReadAt, stop: &AtomicBool) -> io::Result<Digest> {
    hash(medium, |_| match stop.load(Ordering::Relaxed) {
        true => Err(io::Error::other("it isn't wanted any more")),
        false => Ok(()),
    })
}

/// The digest of an image's file. `told` is called after each part with the number of bytes that
/// were read, and may end it.
///
/// # Errors
/// The image's, and those of `told`.
pub fn hash(
    medium: &dyn ReadAt,
    mut told: impl FnMut(u64) -> io::Result<()>,
) -> io::Result<Digest> {
    let mut hasher = Sha256::new();
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut at = 0;
    while at < medium.size_bytes() {
        let left = medium.size_bytes() - at;
        let length = usize::try_from(left).map_or(CHUNK_BYTES, |left| left.min(CHUNK_BYTES));
        medium.read_at(at, &mut chunk[..length])?;
        hasher.update(&chunk[..length]);
        at += length as u64;
        told(at)?;
    }
    Ok(Digest::from(<[u8; 32]>::from(hasher.finalize())))
}

enum Hash {
    Aside(Aside),
    OnTheWay(Arc<Mutex<Option<Digest>>>),
}

/// An image that is whole only if its digest is the right one.
struct Checked {
    inner: Box<dyn ImageReader>,
    name: String,
    wanted: Digest,
    hash: Hash,
}

impl fmt::Debug for Checked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Checked({:?}, {})", self.inner, self.wanted)
    }
}

impl ImageReader for Checked {
    fn about(&self) -> &About {
        self.inner.about()
    }

    fn next(&mut self) -> Result<Option<Part<'_>>, Error> {
        self.inner.next()
    }

    fn swap(&mut self, spare: Vec<u8>) -> Vec<u8> {
        self.inner.swap(spare)
    }

    fn end_bytes(&mut self) -> Result<u64, Error> {
        let end_bytes = self.inner.end_bytes()?;
        let name = || self.name.clone();
        let found = match &mut self.hash {
            Hash::Aside(aside) => aside
                .join()
                .map_err(|source| Error::read(&self.name, source))?,
            Hash::OnTheWay(found) => found.lock().ok_or_else(|| Error::Damaged {
                name: name(),
                what: "it goes on behind its end".into(),
            })?,
        };
        match found == self.wanted {
            true => Ok(end_bytes),
            false => Err(Error::Digest {
                name: name(),
                wanted: self.wanted.to_string(),
                found: found.to_string(),
            }),
        }
    }

    fn progress(&self) -> (u64, Option<u64>) {
        self.inner.progress()
    }

    fn extents(&mut self) -> Result<Option<Extents>, Error> {
        self.inner.extents()
    }
}
