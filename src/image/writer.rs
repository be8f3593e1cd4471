//! Writing an image: the trait of all formats, and what their bytes go into.

use std::fmt::Debug;
use std::io::{self, Write};
use std::ops::Range;
use std::sync::LazyLock;

use super::Error;

/// Zeros, for what has no holes: at least a cluster of qcow2. In the program they would be as many
/// bytes of the file.
pub(super) static ZEROS: LazyLock<Vec<u8>> = LazyLock::new(|| vec![0; 64 << 10]);

/// What an image's bytes go into, front to back: a file, stdout, an object on another host.
///
/// Dropping it before [`Self::finish`] leaves nothing behind, as far as that can be done.
pub trait Output: Write + Debug + Send {
    /// What messages call it.
    fn name(&self) -> &str;

    /// Go on behind this many zeros, which may become a hole.
    ///
    /// # Errors
    /// It can't be written.
    fn skip(&mut self, length_bytes: u64) -> io::Result<()> {
        let mut left = length_bytes;
        while left > 0 {
            let part = usize::try_from(left).map_or(ZEROS.len(), |left| left.min(ZEROS.len()));
            self.write_all(&ZEROS[..part])?;
            left -= part as u64;
        }
        Ok(())
    }

    /// How many of the first bytes [`Self::rewrite_head`] can replace: 0 for a pipe. An object that
    /// is uploaded in parts can hold the first one back.
    fn head_bytes(&self) -> u64 {
        0
    }

    /// Replace bytes at the beginning, which were written before.
    ///
    /// # Errors
    /// It can't be written, or these are more than [`Self::head_bytes`].
    fn rewrite_head(&mut self, head: &[u8]) -> io::Result<()> {
        let _ = head;
        Err(io::Error::from(io::ErrorKind::NotSeekable))
    }

    /// Everything is written: make it last, and give it its name.
    ///
    /// # Errors
    /// It can't be written.
    fn finish(self: Box<Self>) -> Result<(), Error>;
}

/// An image that is being written, from its first byte to its last.
///
/// What no call names is a hole: zeros, or, in an image with a base, the base's bytes.
pub trait ImageWriter: Debug + Send {
    /// Write bytes. `at_bytes` is at or after the end of the last call's range.
    ///
    /// # Errors
    /// They can't be written.
    fn data(&mut self, at_bytes: u64, bytes: &[u8]) -> Result<(), Error>;

    /// A range of zeros, which has to be named over a base only. It begins at or after the end of
    /// the last call's range.
    ///
    /// # Errors
    /// It can't be written.
    fn zero(&mut self, range_bytes: Range<u64>) -> Result<(), Error>;

    /// Complete the image, whose content ends here, and [finish](Output::finish) its output.
    ///
    /// # Errors
    /// It can't be written.
    fn finish(self: Box<Self>, end_bytes: u64) -> Result<(), Error>;
}

/// What an image says about its content.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels {
    /// The content's identifier, which no other content has.
    pub content_id: Option<String>,
    /// What the image is a change of: what it doesn't name is as there.
    pub base: Option<Base>,
}

/// The content that an image is a change of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base {
    /// Its identifier, if it has one.
    pub content_id: Option<String>,
    /// The name of its image, which is in the same folder.
    pub name: Option<String>,
    /// The format of that image, as qcow2 names it: `raw` or `qcow2`.
    pub format: Option<String>,
}
