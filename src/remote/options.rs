//! How images on other hosts are opened and written.

use super::http::patience::Patience;
use crate::image::{Digest, ImageFormat, Medium, Written};

/// How to open an image on another host.
#[derive(Clone, Debug, Default)]
pub struct Opening {
    /// How long to wait for it.
    pub patience: Patience,
    /// The platform to choose where there are several: `ARCHITECTURE` or `OS/ARCHITECTURE`, as
    /// registries name them. Without it, this host's.
    pub platform: Option<String>,
    /// The digest that it must have.
    pub digest: Option<Digest>,
}

/// An image on another host.
#[derive(Debug)]
pub struct Opened {
    /// Its bytes.
    pub medium: Medium,
    /// Its format, if the place says it.
    pub format: Option<ImageFormat>,
}

/// How to write an image to another host.
#[derive(Clone, Debug)]
pub struct Writing {
    /// How long to wait for it.
    pub patience: Patience,
    /// Whether to replace what is there.
    pub overwrite: bool,
    /// The most bytes that the image may have.
    pub most_bytes: u64,
    /// Its format.
    pub format: Written,
    /// The size of the disk in bytes.
    pub disk_bytes: u64,
    /// The platform of the disk, as in [`Opening`].
    pub platform: Option<String>,
    /// The command that ends an upload whose process was killed: it gets the place as one more
    /// word, and calls [`keep`](super::keep). Without one, only this process ends it.
    pub keeper: Option<Vec<String>>,
}
