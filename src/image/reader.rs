//! Reading an image: the trait that every format implements, and what works with any of them.

use std::fmt::Debug;
use std::ops::Range;

use super::writer::Labels;
use super::{Error, ImageFormat};
use crate::store::{self, Disk, is_zero};

/// The unit in which zeros are left out: a page of the store.
#[allow(clippy::cast_possible_truncation, reason = "4096")]
pub(super) const PAGE_BYTES: usize = store::PAGE_BYTES as usize;

/// A part of an image's content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part<'a> {
    /// Bytes that may be zeros in part.
    Data {
        /// Where they begin.
        start_bytes: u64,
        /// The bytes.
        bytes: &'a [u8],
    },
    /// Zeros. Only an image that is opened without its base has these.
    Zero(Range<u64>),
}

/// What is known of an image before its content is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    /// What messages call it.
    pub name: String,
    /// Its format.
    pub format: ImageFormat,
    /// The size of its content in bytes, if that is known.
    pub size_bytes: Option<u64>,
    /// As [`ReadAt::identity`](super::ReadAt::identity), of all of its files.
    pub identity: Option<String>,
    /// What it says about its content.
    pub labels: Labels,
    /// Further properties for people to read, each with its name.
    pub properties: Vec<(&'static str, String)>,
}

impl About {
    /// An image of which nothing else is known.
    pub(super) fn new(name: &str, format: ImageFormat) -> Self {
        Self {
            name: name.to_owned(),
            format,
            size_bytes: None,
            identity: None,
            labels: Labels::default(),
            properties: Vec::new(),
        }
    }
}

/// How much of an image has data, as far as that is known without reading it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extents {
    /// Runs of data.
    pub count: u64,
    /// Bytes of data.
    pub data_bytes: u64,
}

/// The content of an image, read from its beginning to its end.
pub trait ImageReader: Debug + Send {
    /// What is known of it.
    fn about(&self) -> &About;

    /// Read the next part. Parts come in order. What lies between them is zeros, or, in an image
    /// that is opened without its base, the base's bytes. A part begins at a multiple of a page
    /// (4096 bytes), and its end is one too unless the content ends there; without a base, both are
    /// multiples of 512 bytes.
    ///
    /// # Errors
    /// [`Error::Read`]; [`Error::Format`] and [`Error::Damaged`] if that is known only now.
    fn next(&mut self) -> Result<Option<Part<'_>>, Error>;

    /// Take the memory of the part of data that [`Self::next`] returned last, which begins with the
    /// part's bytes, and leave `spare` in its place.
    fn swap(&mut self, spare: Vec<u8>) -> Vec<u8>;

    /// The size of the content in bytes, after all of it was read. Only when this has succeeded is
    /// the content known to be what was asked for.
    ///
    /// # Errors
    /// [`Error::Changed`] if the image was written to meanwhile, [`Error::Digest`],
    /// [`Error::Read`].
    fn end_bytes(&mut self) -> Result<u64, Error>;

    /// How much of the work is done, and in all, in bytes of the content or of a stream; `None` if
    /// the whole isn't known.
    fn progress(&self) -> (u64, Option<u64>);

    /// How much of the image has data, from its tables alone, before anything was read. `None` if
    /// it must be read to know.
    ///
    /// # Errors
    /// As [`Self::next`].
    fn extents(&mut self) -> Result<Option<Extents>, Error> {
        Ok(None)
    }
}

/// The runs of pages in `bytes` that aren't all zeros, each with its offset. `bytes` begin at
/// offset `start_bytes`, where the first page begins too. The last page may be shorter.
pub fn data_runs(start_bytes: u64, bytes: &[u8]) -> impl Iterator<Item = (u64, &[u8])> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let pages = bytes[done..].chunks(PAGE_BYTES);
        let zeros = pages.take_while(|page| is_zero(page));
        let start = done + zeros.map(<[u8]>::len).sum::<usize>();
        let pages = bytes[start..].chunks(PAGE_BYTES);
        let data = pages.take_while(|page| !is_zero(page));
        done = start + data.map(<[u8]>::len).sum::<usize>();
        (done > start).then(|| (start_bytes + start as u64, &bytes[start..done]))
    })
}

/// Write an image onto the beginning of an empty disk. Holes and pages of zeros stay unmapped. If
/// the image fills its last page only in part, the rest of that page is zeros.
///
/// # Errors
/// [`Error::TooLarge`] before anything is written, if the size is known; [`Error::Read`], and
/// whatever else the reader finds; [`Error::Store`], also if the image is longer than the disk.
pub fn load(image: &mut dyn ImageReader, disk: &Disk) -> Result<(), Error> {
    let (disk_bytes, sector_bytes) = (disk.capacity().bytes(), disk.sector_size().bytes());
    if let Some(image_bytes) = image.about().size_bytes.filter(|&it| it > disk_bytes) {
        return Err(Error::TooLarge {
            name: image.about().name.clone(),
            image_bytes,
            disk_bytes,
        });
    }
    while let Some(part) = image.next()? {
        // An empty disk has zeros everywhere.
        let Part::Data { start_bytes, bytes } = part else {
            continue;
        };
        for (start, bytes) in data_runs(start_bytes, bytes) {
            let (pages, rest) = bytes.split_at(bytes.len() / PAGE_BYTES * PAGE_BYTES);
            if !pages.is_empty() {
                disk.write(start / sector_bytes, &[pages])?;
            }
            if !rest.is_empty() {
                let at = start + pages.len() as u64;
                let mut page = [0; PAGE_BYTES];
                page[..rest.len()].copy_from_slice(rest);
                // The last page of a disk may be shorter. The disk refuses an image that is longer.
                let room = usize::try_from(disk_bytes.saturating_sub(at)).unwrap_or(PAGE_BYTES);
                let padded = &page[..room.clamp(rest.len(), PAGE_BYTES)];
                disk.write(at / sector_bytes, &[padded])?;
            }
        }
    }
    image.end_bytes().map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_the_pages_with_data() {
        let mut bytes = vec![0; 5 * PAGE_BYTES + 100];
        assert_eq!(data_runs(0, &bytes).count(), 0);
        for at in [PAGE_BYTES, 3 * PAGE_BYTES - 1, 5 * PAGE_BYTES + 99] {
            bytes[at] = 1;
        }
        let runs: Vec<_> = data_runs(512, &bytes)
            .map(|(start, run)| (start, run.len()))
            .collect();
        let page = PAGE_BYTES as u64;
        let wanted = [(512 + page, 2 * PAGE_BYTES), (512 + 5 * page, 100)];
        assert_eq!(runs, wanted);
        assert_eq!(data_runs(0, &[]).count(), 0);
    }
}
