//! Disks from files. Only raw images are read: the file's bytes are the disk's bytes.
//!
//! A format is a type that implements [`ImageReader`]. `run` writes an image onto a disk with
//! [`load`], and the command line sends one to a daemon. Nothing is guessed: a file that begins or
//! ends like another format is refused. A guest can write such bytes to a raw disk; then you must
//! say that its image is raw.
//!
//! | file | what it holds |
//! |---|---|
//! | `reader` | the trait of all formats, and how an image gets onto a disk without its zeros |
//! | `raw` | raw images, from files, devices and pipes |
//! | `format` | known formats, and how to recognise them |
//! | `marks` | signatures that take more than a few bytes to recognise |
//! | `hint` | how to convert a file that isn't a raw image |

mod format;
mod hint;
mod marks;
mod raw;
mod reader;

pub use format::{Format, HEAD_BYTES, KNOWN, Kind, Known, Probe, TAIL_BYTES, Way, probe};
pub use hint::Origin;
pub use raw::{Opening, RawImage, RawPipe, open};
pub use reader::{ImageReader, data_runs, load};

use std::io;
use std::path::PathBuf;

use crate::store::{self, Bytes};

/// Why an image can't be read or written onto a disk.
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
    /// The image has a format that isn't supported.
    #[error(
        "{what} is {name}, not raw; {hint}, or use --format raw to take its bytes as they are",
        name = known.name
    )]
    Format {
        /// The file or the pipe, in words.
        what: String,
        /// Its format.
        known: &'static Known,
        /// How to convert it.
        hint: String,
    },
    /// The file was written to while it was read.
    #[error(
        "image {path:?} was changed while it was read; the disk stays as it was: try again when \
         nothing writes to it"
    )]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// The image is larger than the disk.
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
    /// The disk refuses the image's bytes.
    #[error(transparent)]
    Store(#[from] store::Error),
}
