//! How an image is opened, and how its format is recognised.

use std::sync::Arc;

use super::format::{HEAD_BYTES, Known, TAIL_BYTES, probe};
use super::medium::ReadAt;
use super::{Error, ImageFormat};

/// How to open an image.
#[derive(Clone, Debug, Default)]
pub struct Opening<'a> {
    /// Its format. Without it the format is found by how the image begins and ends. If it is named,
    /// nothing is looked for, also not inside of a compressed image.
    pub format: Option<ImageFormat>,
    /// The images that it is a change of: its own base, the base of that, and so on.
    pub backing: Vec<Arc<dyn ReadAt>>,
    /// Whether to look for bases that aren't in `backing` beside the image, by the names in it.
    pub follow_backing: bool,
    /// Read only what the image has itself, and no base.
    pub without_base: bool,
    /// The most bytes that its content may have: those of the disk that it is for.
    pub most_bytes: Option<u64>,
    /// A command that reads an image from a pipe, as in `ramblk import vm1 -`. It is named to the
    /// user if the image must be converted first.
    pub pipe_command: Option<&'a str>,
}

/// The format that a medium has by its beginning and end, if it isn't raw.
pub(super) fn probe_medium(medium: &dyn ReadAt) -> Result<Option<&'static Known>, Error> {
    let size_bytes = medium.size_bytes();
    let (mut head, mut tail) = ([0; HEAD_BYTES], [0; TAIL_BYTES]);
    let short = |most: usize| usize::try_from(size_bytes).map_or(most, |bytes| bytes.min(most));
    let (head, tail) = (
        &mut head[..short(HEAD_BYTES)],
        &mut tail[..short(TAIL_BYTES)],
    );
    let read = medium
        .read_at(0, head)
        .and_then(|()| medium.read_at(size_bytes - tail.len() as u64, tail));
    read.map_err(|source| Error::Read {
        name: medium.name().to_owned(),
        source,
    })?;
    Ok(probe(head, tail))
}
