//! Disks from images, and images from disks.
//!
//! An image's bytes are a [`Medium`]: a file or an object of which any part can be read, or a
//! stream. [`open_medium`] makes an [`ImageReader`] of it, whatever its format. `run` writes an
//! image onto a disk with [`load`], and the command line sends one to a daemon. An [`ImageWriter`]
//! writes an image front to back into an [`Output`].
//!
//! A guest can write anything to its raw disk, also the beginning of another format. So a format
//! that was named is not looked for, and what is known to be raw is never taken for something else.
//!
//! | file | what it holds |
//! |---|---|
//! | `reader` | the trait of all formats, and how an image gets onto a disk without its zeros |
//! | `medium` | where an image's bytes are: files, objects, streams |
//! | `raw` | raw images |
//! | `open` | opening an image, whatever its format |
//! | `opening` | how an image is opened, and how its format is recognised |
//! | `packed` | compressed images: streams, and zstd in frames that can be found |
//! | `ordered` | work on several threads, in order |
//! | `qcow2` | qcow2 images |
//! | `inside` | the image in a stream, compressed or not |
//! | `digest` | checking an image by its digest |
//! | `kept` | an image that is kept until its digest is known |
//! | `spool` | unnamed temporary files for what can't be read, or written, in order |
//! | `create` | writing an image, whatever its format |
//! | `writer` | the trait that writes an image, and where its bytes go |
//! | `known` | formats, also those that aren't read: how to recognise and convert them |

mod create;
#[cfg(feature = "formats")]
mod digest;
#[cfg(feature = "formats")]
mod inside;
#[cfg(feature = "formats")]
mod kept;
mod known;
mod medium;
mod open;
mod opening;
#[cfg(feature = "formats")]
mod ordered;
#[cfg(feature = "formats")]
mod packed;
#[cfg(feature = "formats")]
mod qcow2;
mod raw;
mod reader;
#[cfg(feature = "formats")]
mod spool;
mod writer;

pub use create::{Creating, Written, create};
#[cfg(feature = "formats")]
pub use digest::{Digest, hash};
#[cfg(feature = "formats")]
pub use kept::keep;
pub use known::{
    Content, Format, HEAD_BYTES, ImageFormat, KNOWN, Kind, Known, Origin, Packing, Probe,
    TAIL_BYTES, Way, probe,
};
pub use medium::{FileMedium, Medium, ReadAt, Stream};
pub use open::{open, open_medium};
pub use opening::Opening;
#[cfg(feature = "formats")]
pub use qcow2::Outline;
pub use reader::{About, Extents, ImageReader, Part, data_runs, load};
pub use writer::{Base, ImageWriter, Labels, Output};

use std::io;

use crate::store::{self, Bytes};

/// Why an image can't be read or written onto a disk.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file can't be read.
    #[error("can't read image {name:?}: {source}")]
    Read {
        /// The file or object.
        name: String,
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
        "image {name:?} was changed while it was read; the disk stays as it was: try again when \
         nothing writes to it"
    )]
    Changed {
        /// The file or object.
        name: String,
    },
    /// What the image says can't be, or it is cut off.
    #[error("image {name:?} is damaged: {what}; get it again, or check it where it was made")]
    Damaged {
        /// The file or object.
        name: String,
        /// What is wrong, with the value.
        what: String,
    },
    /// The image needs something that isn't supported.
    #[error("image {name:?} {what}")]
    Unsupported {
        /// The file or object.
        name: String,
        /// What it needs, and what to do.
        what: String,
    },
    /// The bytes aren't those that were asked for.
    #[error(
        "image {name:?} has the digest {found} and not {wanted}, so nothing is made of it: get it \
         again, or check the digest"
    )]
    Digest {
        /// The file or object.
        name: String,
        /// The digest that was asked for.
        wanted: String,
        /// The digest that it has.
        found: String,
    },
    /// The image can't be written.
    #[error("can't write {name:?}: {source}")]
    Write {
        /// The file or object.
        name: String,
        /// The system's reason.
        source: io::Error,
    },
    /// There is no temporary file for an image that can't be read or written in order.
    #[error(
        "{name:?} needs a temporary file, and there is none: {source}; name another folder in the \
         variable TMPDIR"
    )]
    Temporary {
        /// The file or object.
        name: String,
        /// The system's reason.
        source: io::Error,
    },
    /// The image is larger than the disk.
    #[error(
        "image {name:?} has {} and does not fit into a disk of {}",
        Bytes(*image_bytes), Bytes(*disk_bytes)
    )]
    TooLarge {
        /// The file or object.
        name: String,
        /// Its size.
        image_bytes: u64,
        /// The disk's size.
        disk_bytes: u64,
    },
    /// The disk refuses the image's bytes.
    #[error(transparent)]
    Store(#[from] store::Error),
}

impl Error {
    /// The error of an image that can't be read. Streams inside of streams pass on what was wrong
    /// with the outer one.
    pub(crate) fn read(name: &str, source: io::Error) -> Self {
        source
            .downcast::<Self>()
            .unwrap_or_else(|source| Self::Read {
                name: name.to_owned(),
                source,
            })
    }
}
