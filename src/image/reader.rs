//! Reading an image: the trait that every format implements, and what works with any of them.

use std::fmt::Debug;
use std::ops::Range;

use super::Error;
use crate::store::{self, Disk, is_zero};

/// How much [`load`] reads at once.
const CHUNK_BYTES: usize = 1 << 20;
/// The unit in which zeros are left out: a page of the store.
#[allow(clippy::cast_possible_truncation, reason = "4096")]
pub(super) const PAGE_BYTES: usize = store::PAGE_BYTES as usize;

/// The content of an image, read from its beginning to its end.
pub trait ImageReader: Debug + Send {
    /// The size of the content in bytes, if it is known before all of it was read.
    fn size_bytes(&self) -> Option<u64>;

    /// An identifier of this content, if there is one. It changes when the image is written to.
    fn identity(&self) -> Option<&str>;

    /// Read the next part that may have data, and return its range in bytes. It begins at
    /// `from_bytes` or later, at a multiple of a page (4096 bytes), and fills `chunk`, whose length
    /// is a multiple of a page too, unless the content ends before. Skipped bytes are zeros.
    /// `from_bytes` is 0 or the end of the last part.
    ///
    /// # Errors
    /// [`Error::Read`], and [`Error::Format`] if that is known only now.
    fn read(&mut self, from_bytes: u64, chunk: &mut [u8]) -> Result<Option<Range<u64>>, Error>;

    /// The size of the content in bytes, after all of it was read.
    ///
    /// # Errors
    /// [`Error::Changed`] if the image was written to meanwhile, [`Error::Read`].
    fn end_bytes(&self) -> Result<u64, Error>;
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
/// [`Error::Read`]; [`Error::Store`], also if the image is longer than the disk.
pub fn load(source: &mut dyn ImageReader, disk: &Disk) -> Result<(), Error> {
    let (disk_bytes, sector_bytes) = (disk.capacity().bytes(), disk.sector_size().bytes());
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut at = 0;
    while let Some(part) = source.read(at, &mut chunk)? {
        let filled = usize::try_from(part.end - part.start).unwrap_or(usize::MAX);
        for (start, bytes) in data_runs(part.start, &chunk[..filled]) {
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
        at = part.end;
    }
    Ok(())
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
