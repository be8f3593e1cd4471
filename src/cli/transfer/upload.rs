//! Uploading an image to a daemon, as frames.

use std::collections::VecDeque;
use std::io::{self, IsTerminal};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;

use super::pool::Pool;
use super::progress::Progress;
use crate::cli::error::Error;
use crate::cli::print::output::Output;
use crate::client::Bytes;
use crate::daemon;
use crate::image::{self, Labels, Medium, Opening, Part, data_runs};
use crate::model::frames::{MOST_BYTES, header, zeros_header};

/// Longest name of an image that the daemon keeps.
const MOST_NAME_BYTES: usize = 255;

/// An image to send.
#[derive(Debug)]
pub(in crate::cli) struct ImageUpload {
    name: String,
    image: Box<dyn image::ImageReader>,
    size_bytes: Option<u64>,
    /// Its identifier.
    id: Option<String>,
    /// Whether progress is in bytes of data.
    counts_data: bool,
    /// Whether it is sent as a change of other content.
    is_change: bool,
}

impl ImageUpload {
    /// Open an image.
    ///
    /// # Errors
    /// It can't be read, or its format isn't supported.
    pub(in crate::cli) fn open(medium: Medium, how: &Opening) -> Result<Self, Error> {
        let image = image::open_medium(medium, how)?;
        Ok(Self {
            name: image.about().name.clone(),
            size_bytes: image.about().size_bytes,
            id: image.about().identity.clone(),
            counts_data: false,
            is_change: how.without_base,
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
                self.name,
                daemon::Bytes(had),
                daemon::Bytes(bytes)
            )));
        }
        let size_bytes = self.size_bytes.or(bytes);
        if size_bytes == Some(0) {
            return Err(nothing(&self.name));
        }
        let id = id.map(str::to_owned).or(self.id);
        Ok(Self {
            size_bytes,
            id,
            ..self
        })
    }

    /// Its name: the absolute path of a file, or the end of a long one.
    pub(in crate::cli) fn name(&self) -> String {
        image_name(Path::new(&self.name))
    }

    /// Its identifier.
    pub(in crate::cli) fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// What it says about its content.
    pub(in crate::cli) fn labels(&self) -> &Labels {
        &self.image.about().labels
    }

    /// Whether it is sent as a change of other content.
    pub(in crate::cli) fn is_change(&self) -> bool {
        self.is_change
    }

    /// How far it is, by its data if that is known and shown, or else by what was read.
    ///
    /// # Errors
    /// The image is damaged.
    pub(in crate::cli) fn progress(&mut self, output: Output) -> Result<Progress, Error> {
        let is_shown = output == Output::Json || io::stderr().is_terminal();
        let extents = match is_shown {
            true => self.image.extents()?,
            false => None,
        };
        self.counts_data = extents.is_some();
        let total = extents.map(|extents| extents.data_bytes);
        let total = total.or(self.image.progress().1);
        Ok(Progress::new("import", total, output))
    }

    /// The frames of a disk of `disk_bytes` that begins with this image. If they end too early, the
    /// [`Trouble`] has the reason.
    pub(in crate::cli) fn frames(self, disk_bytes: u64, progress: Progress) -> (Frames, Trouble) {
        let trouble = Trouble::default();
        let frames = Frames {
            trouble: trouble.clone(),
            ready: VecDeque::new(),
            pool: Pool::default(),
            upload: self,
            disk_bytes,
            progress,
            data_bytes: 0,
            ended: false,
        };
        (frames, trouble)
    }
}

/// The name of the image at `path`: the absolute path, or the end of a long one.
pub(in crate::cli) fn image_name(path: &Path) -> String {
    let whole = std::fs::canonicalize(path);
    let name = whole.unwrap_or_else(|_| path.to_owned());
    let name: String = name.to_string_lossy().replace(char::is_control, "?");
    let mut from = name.len().saturating_sub(MOST_NAME_BYTES);
    while !name.is_char_boundary(from) {
        from += 1;
    }
    name[from..].to_owned()
}

/// The error for an empty image, which is most likely a mistake.
fn nothing(name: &str) -> Error {
    Error::Other(format!(
        "image {name:?} has no bytes: the disk stays as it is; the program that writes the image \
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
    /// Frames of the part that was read last.
    ready: VecDeque<Bytes>,
    pool: Pool,
    disk_bytes: u64,
    progress: Progress,
    /// Bytes of data so far.
    data_bytes: u64,
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
        let part = self.upload.image.next()?;
        let range = match &part {
            None => {
                self.ended = true;
                let end = self.end()?;
                self.ready.push_back(header(end, 0).to_vec().into());
                return Ok(());
            }
            Some(Part::Data { start_bytes, bytes }) => {
                *start_bytes..*start_bytes + bytes.len() as u64
            }
            Some(Part::Zero(range)) => range.clone(),
        };
        if range.end > self.disk_bytes {
            return Err(Error::Other(format!(
                "{} has more bytes than the disk, which has {}; the disk stays as it was",
                self.upload.name,
                daemon::Bytes(self.disk_bytes)
            )));
        }
        if self.upload.is_change
            && let Some(Part::Zero(zeros)) = &part
        {
            let header = zeros_header(zeros.start, zeros.end - zeros.start);
            self.ready.push_back(header.to_vec().into());
        }
        if let Some(Part::Data { start_bytes, bytes }) = part {
            self.data_bytes += bytes.len() as u64;
            // Zeros in a change replace what was there.
            let runs: Vec<(u64, Range<usize>)> = match self.upload.is_change {
                true => vec![(start_bytes, 0..bytes.len())],
                false => runs(start_bytes, bytes).collect(),
            };
            self.send(runs);
        }
        let done = match self.upload.counts_data {
            true => self.data_bytes,
            false => self.upload.image.progress().0,
        };
        self.progress.at(done);
        Ok(())
    }

    /// Make frames of these runs of the part that was read last.
    fn send(&mut self, runs: Vec<(u64, Range<usize>)>) {
        if runs.is_empty() {
            return;
        }
        let memory = self.upload.image.swap(self.pool.spare());
        let memory = self.pool.lend(memory);
        for (mut at, mut run) in runs {
            while !run.is_empty() {
                let length = run.len().min(MOST_BYTES);
                let frame = header(at, length as u64);
                self.ready.push_back(frame.to_vec().into());
                let end = run.start + length;
                self.ready.push_back(memory.slice(run.start..end));
                (at, run.start) = (at + length as u64, end);
            }
        }
    }

    /// Where the image ends, in bytes, if that is the expected length.
    fn end(&mut self) -> Result<u64, Error> {
        let ImageUpload {
            name,
            image,
            size_bytes,
            ..
        } = &mut self.upload;
        let end = image.end_bytes()?;
        if end == 0 {
            return Err(nothing(name));
        }
        match *size_bytes {
            Some(size) if size != end => Err(Error::Other(format!(
                "{name} ended after {} and not after the {} of --image-size; the disk stays as it \
                 was",
                daemon::Bytes(end),
                daemon::Bytes(size)
            ))),
            _ => Ok(end),
        }
    }
}

/// The runs of pages with data, each with its offset and its place in `bytes`.
fn runs(start_bytes: u64, bytes: &[u8]) -> impl Iterator<Item = (u64, Range<usize>)> {
    data_runs(start_bytes, bytes).map(move |(at, run)| {
        // It is a part of `bytes`.
        let start = usize::try_from(at - start_bytes).unwrap_or(bytes.len());
        (at, start..(start + run.len()).min(bytes.len()))
    })
}
