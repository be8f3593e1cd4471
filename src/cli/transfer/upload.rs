//! Uploading an image to a daemon, as frames.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::progress::Progress;
use crate::cli::error::Error;
use crate::client::Bytes;
use crate::daemon;
use crate::image::{self, Opening, RawPipe, data_runs};
use crate::model::frames::{MOST_BYTES, header};

/// Longest name of an image that the daemon keeps.
const MOST_NAME_BYTES: usize = 255;

/// An image to send: a file, a block device or a pipe.
#[derive(Debug)]
pub(in crate::cli) struct ImageUpload {
    path: PathBuf,
    image: Box<dyn image::ImageReader>,
    size_bytes: Option<u64>,
    /// Its identifier.
    id: Option<String>,
}

impl ImageUpload {
    /// Open a file, or stdin if it is `-`.
    ///
    /// # Errors
    /// It can't be read, or does not look like a raw image.
    pub(in crate::cli) fn open(path: &Path, how: Opening) -> Result<Self, Error> {
        let (path, image) = match path == Path::new("-") {
            true => {
                let path = Path::new("stdin");
                let pipe = RawPipe::new(path, Box::new(io::stdin()), how)?;
                (path, Box::new(pipe) as Box<dyn image::ImageReader>)
            }
            false => (path, image::open(path, how)?),
        };
        Ok(Self {
            path: path.to_owned(),
            size_bytes: image.size_bytes(),
            id: image.identity().map(str::to_owned),
            image,
        })
    }

    /// Its size in bytes, if that is known before all of it was read.
    pub(in crate::cli) fn size_bytes(&self) -> Option<u64> {
        self.size_bytes
    }

    /// The same image, which must have this size in bytes, with this identifier.
    ///
    /// # Errors
    /// The image is a file of another size, or is empty.
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

    /// Its name: the absolute path, or the end of a long one.
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

    /// Its identifier.
    pub(in crate::cli) fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// The frames of a disk of `disk_bytes` that begins with this image. If they end too early, the
    /// [`Trouble`] has the reason.
    pub(in crate::cli) fn frames(self, disk_bytes: u64, progress: Progress) -> (Frames, Trouble) {
        let trouble = Trouble::default();
        let frames = Frames {
            trouble: trouble.clone(),
            chunk: vec![0; MOST_BYTES],
            ready: VecDeque::new(),
            next: 0,
            upload: self,
            disk_bytes,
            progress,
            ended: false,
        };
        (frames, trouble)
    }
}

/// The error for an empty image, which is most likely a mistake.
fn nothing(path: &Path) -> Error {
    Error::Other(format!(
        "image {path:?} has no bytes: the disk stays as it is; the program that writes the image \
         may have failed"
    ))
}

/// What turned out to be wrong with an image while it was read.
#[derive(Clone, Debug, Default)]
pub(in crate::cli) struct Trouble(Arc<Mutex<Option<Error>>>);

impl Trouble {
    /// Take the error, if there is one.
    pub(in crate::cli) fn take(&self) -> Option<Error> {
        self.0.lock().take()
    }

    /// Keep the error. Returns one that ends the frames.
    fn tell(&self, error: Error) -> io::Error {
        *self.0.lock() = Some(error);
        io::Error::other("the image can't be sent")
    }
}

/// Frames, made one by one: runs of pages that aren't all zeros.
#[derive(Debug)]
pub(in crate::cli) struct Frames {
    upload: ImageUpload,
    chunk: Vec<u8>,
    /// Frames of the part that was read last.
    ready: VecDeque<Bytes>,
    /// Where to read next, in bytes.
    next: u64,
    disk_bytes: u64,
    progress: Progress,
    trouble: Trouble,
    ended: bool,
}

impl Iterator for Frames {
    type Item = io::Result<Bytes>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(frame) = self.ready.pop_front() {
                return Some(Ok(frame));
            }
            if self.ended {
                return None;
            }
            if let Err(error) = self.read() {
                self.ended = true;
                return Some(Err(self.trouble.tell(error)));
            }
        }
    }
}

impl Frames {
    /// Read the next part and make frames of it. At the end of the image, make the last frame.
    fn read(&mut self) -> Result<(), Error> {
        self.progress.at(self.next);
        let Some(part) = self.upload.image.read(self.next, &mut self.chunk)? else {
            self.ended = true;
            let end = self.end()?;
            self.ready.push_back(frame(end, &[]));
            return Ok(());
        };
        self.next = part.end;
        if self.next > self.disk_bytes {
            return Err(Error::Other(format!(
                "{} has more bytes than the disk, which has {}; the disk stays as it was",
                self.upload.path.display(),
                daemon::Bytes(self.disk_bytes)
            )));
        }
        let filled = usize::try_from(part.end - part.start).unwrap_or(usize::MAX);
        let runs = data_runs(part.start, &self.chunk[..filled]);
        self.ready.extend(runs.map(|(at, bytes)| frame(at, bytes)));
        Ok(())
    }

    /// Where the image ends, in bytes, if that is the expected length.
    fn end(&self) -> Result<u64, Error> {
        let ImageUpload { path, image, .. } = &self.upload;
        let end = image.end_bytes()?;
        if end == 0 {
            return Err(nothing(path));
        }
        match self.upload.size_bytes {
            Some(size) if size != end => Err(Error::Other(format!(
                "{} ended after {} and not after the {} of --image-size; the disk stays as it was",
                path.display(),
                daemon::Bytes(end),
                daemon::Bytes(size)
            ))),
            _ => Ok(end),
        }
    }
}

/// A frame's bytes.
fn frame(start_bytes: u64, bytes: &[u8]) -> Bytes {
    [&header(start_bytes, bytes.len() as u64), bytes]
        .concat()
        .into()
}
