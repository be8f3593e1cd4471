//! An image of a disk that is written, in the format that was asked for.

use std::io;
use std::ops::Range;
use std::path::Path;

use clap::{Args, ValueEnum};

use super::helper::keeper;
use super::output::output;
use super::source::without_secrets;
use crate::cli::error::Error;
use crate::image::{self, Creating, ImageWriter, Labels, Outline, Output, Written};
use crate::remote::{self, Patience, Place, Writing};

/// The format of an image that is written.
#[derive(Clone, Copy, Debug, Default, Args)]
pub(in crate::cli) struct WriteFormatArg {
    /// Format of the image. By default FILE tells it: .qcow2, .zst, or raw. zst is zstd in parts
    /// that can be read by themselves; 'zstd -d' makes a raw image of it.
    #[arg(long, value_enum, value_name = "FORMAT")]
    format: Option<WriteFormat>,

    /// Compress qcow2 with zstd, which QEMU reads from version 5.1 on.
    #[arg(long)]
    compress: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum WriteFormat {
    // Doc comments here would add paragraphs to the help.
    Raw,
    Qcow2,
    Zst,
}

/// How names of images end that are not raw, and that aren't written either.
const FOREIGN: [&str; 16] = [
    "gz", "tgz", "xz", "bz2", "lz4", "zip", "7z", "zstd", "qcow", "qed", "vmdk", "vdi", "vhd",
    "vhdx", "ova", "dmg",
];

impl WriteFormatArg {
    /// The format of the image at `path`.
    ///
    /// # Errors
    /// It is compressed already, or can't be; its name is that of a format which isn't written.
    pub(in crate::cli) fn written(self, path: &Path) -> Result<Written, Error> {
        let suffix = path.extension().and_then(|suffix| suffix.to_str());
        let is_foreign = |suffix: &str| FOREIGN.contains(&suffix.to_ascii_lowercase().as_str());
        let by_name = match suffix {
            // A tag has no suffix. This is what other programs expect there.
            _ if matches!(Place::parse(path), Ok(Place::Oci(_))) => WriteFormat::Zst,
            Some("qcow2") => WriteFormat::Qcow2,
            Some("zst") => WriteFormat::Zst,
            Some(suffix) if self.format.is_none() && is_foreign(suffix) => {
                return Err(Error::Usage(format!(
                    "{} would be a raw image: give --format raw, or a name that ends in .qcow2, \
                     .zst or .raw",
                    without_secrets(path)
                )));
            }
            _ => WriteFormat::Raw,
        };
        let compressed = self.compress;
        match self.format.unwrap_or(by_name) {
            WriteFormat::Qcow2 => Ok(Written::Qcow2 { compressed }),
            _ if compressed => Err(Error::Usage(
                "--compress is for qcow2: add --format qcow2, or use --format zst instead".into(),
            )),
            WriteFormat::Raw => Ok(Written::Raw),
            WriteFormat::Zst => Ok(Written::Zstd),
        }
    }
}

/// What an image is written to. A file gets its name only once the image is complete.
#[derive(Debug)]
pub(in crate::cli) struct Destination {
    output: Box<dyn Output>,
    format: Written,
    is_stdout: bool,
}

impl Destination {
    /// Open a file, device or stdout for an image of a disk of `size_bytes`.
    ///
    /// # Errors
    /// It can't be written, exists without `overwrite`, or is a device that is too small.
    pub(in crate::cli) fn open(
        path: &Path,
        size_bytes: u64,
        overwrite: bool,
        format: Written,
    ) -> Result<Self, Error> {
        let place = Place::parse(path)?;
        let output = match &place {
            Place::Local(path) => {
                let length = (format == Written::Raw).then_some(size_bytes);
                output(path, length, overwrite)?
            }
            place => {
                let how = Writing {
                    patience: Patience::default(),
                    overwrite,
                    // What formats add to the disk's bytes.
                    most_bytes: size_bytes + size_bytes / 64 + (64 << 20),
                    format,
                    disk_bytes: size_bytes,
                    platform: None,
                    keeper: Some(keeper()),
                };
                remote::create(place, &how)?
            }
        };
        Ok(Self {
            output,
            format,
            is_stdout: path == Path::new("-"),
        })
    }

    /// Whether [`Destination::begin`] should know where the image will have data.
    pub(in crate::cli) fn wants_outline(&self) -> bool {
        self.format.wants_outline(&*self.output)
    }

    /// Begin with the image.
    ///
    /// # Errors
    /// It can't be written; the system has no threads or temporary files left.
    pub(in crate::cli) fn begin(
        self,
        labels: Labels,
        outline: Option<Outline>,
    ) -> Result<Sink, Error> {
        let (format, is_stdout) = (self.format, self.is_stdout);
        let how = Creating {
            format,
            labels,
            outline,
        };
        let image = image::create(self.output, how);
        let image = image.map_err(|error| told(is_stdout, error))?;
        Ok(Sink { image, is_stdout })
    }
}

/// An image that is written.
#[derive(Debug)]
pub(in crate::cli) struct Sink {
    image: Box<dyn ImageWriter>,
    is_stdout: bool,
}

impl Sink {
    /// Write bytes. What was not written before them becomes zeros.
    pub(in crate::cli) fn write(&mut self, start_bytes: u64, bytes: &[u8]) -> Result<(), Error> {
        let written = self.image.data(start_bytes, bytes);
        written.map_err(|error| told(self.is_stdout, error))
    }

    /// Name a range of zeros, which an image with a base has to say.
    pub(in crate::cli) fn zero(&mut self, range_bytes: Range<u64>) -> Result<(), Error> {
        let written = self.image.zero(range_bytes);
        written.map_err(|error| told(self.is_stdout, error))
    }

    /// Complete the image, which ends here, and give it its name.
    pub(in crate::cli) fn finish(self, end_bytes: u64) -> Result<(), Error> {
        let finished = self.image.finish(end_bytes);
        finished.map_err(|error| told(self.is_stdout, error))
    }
}

/// A reader of stdout that is gone is no error to tell.
fn told(is_stdout: bool, error: image::Error) -> Error {
    match error {
        image::Error::Write { source, .. }
            if is_stdout && source.kind() == io::ErrorKind::BrokenPipe =>
        {
            Error::Output(source)
        }
        error => error.into(),
    }
}
