//! From a choice to content: the bytes that a disk has after a power cut.

use std::borrow::Cow;
use std::ops::Range;

use super::choice::{Choice, Fate};
use super::random::Draws;
use super::window::Window;
use super::write::{Logged, WriteKind};
use crate::store::{ByteRange, Disk, Error, Source};

/// The bytes of logged writes.
pub trait Contents<E> {
    /// These bytes of the write with this number, counted from its start.
    ///
    /// # Errors
    /// As the place where they are kept has it.
    fn bytes(&self, number: u64, part: Range<u64>) -> Result<Cow<'_, [u8]>, E>;
}

/// What a choice is applied to: the stable content, to be changed.
pub trait Medium<E> {
    /// Write `data`, which is as long as the range.
    ///
    /// # Errors
    /// As the medium has it.
    fn write(&mut self, range: ByteRange, data: &[u8]) -> Result<(), E>;

    /// Unmap the range, which then reads as zeros.
    ///
    /// # Errors
    /// As the medium has it.
    fn discard(&mut self, range: ByteRange) -> Result<(), E>;

    /// Let the range read as zeros, and stay mapped.
    ///
    /// # Errors
    /// As the medium has it.
    fn zero(&mut self, range: ByteRange) -> Result<(), E>;
}

/// A disk of a store is changed as requests change it.
impl Medium<Error> for &Disk {
    fn write(&mut self, range: ByteRange, data: &[u8]) -> Result<(), Error> {
        self.write_from(range, &[Source::from(data)])
    }

    fn discard(&mut self, range: ByteRange) -> Result<(), Error> {
        self.discard_range(range)
    }

    fn zero(&mut self, range: ByteRange) -> Result<(), Error> {
        self.write_zeroes_range(range, false)
    }
}

/// How many bytes are written at a time.
const CHUNK_BYTES: u64 = 64 << 10;

impl Choice {
    /// Apply it to a medium that has the base's content.
    ///
    /// # Errors
    /// The first of the contents or the medium. The medium is then half changed.
    pub fn apply<E>(
        &self,
        window: &Window,
        contents: &impl Contents<E>,
        medium: &mut impl Medium<E>,
    ) -> Result<(), E> {
        for at in self.order() {
            let (Some(windowed), Some(fate)) = (window.writes().get(*at), self.fates().get(*at))
            else {
                debug_assert!(false, "a choice of another window");
                continue;
            };
            let write = &windowed.write;
            match fate {
                Fate::Lost => {}
                Fate::Kept => write.apply(write.range, contents, medium)?,
                Fate::Torn(runs) => {
                    for run in runs {
                        let part = self.unit().part(write.range, run);
                        write.apply(part, contents, medium)?;
                    }
                }
                Fate::Garbage(seed) => garbage(write.range, *seed, medium)?,
            }
        }
        Ok(())
    }
}

impl Logged {
    /// Apply a part of it to a medium.
    ///
    /// # Errors
    /// As [`Choice::apply`].
    pub fn apply<E>(
        &self,
        part: ByteRange,
        contents: &impl Contents<E>,
        medium: &mut impl Medium<E>,
    ) -> Result<(), E> {
        if part.len_bytes() == 0 {
            return Ok(());
        }
        match self.kind {
            WriteKind::Discard => return medium.discard(part),
            WriteKind::Zeroes => return medium.zero(part),
            WriteKind::Write => {}
        }
        in_chunks(part, |chunk| {
            let start = chunk.start_bytes() - self.range.start_bytes();
            let data = contents.bytes(self.number, start..start + chunk.len_bytes())?;
            medium.write(chunk, &data)
        })
    }
}

fn garbage<E>(range: ByteRange, seed: u64, medium: &mut impl Medium<E>) -> Result<(), E> {
    let mut draws = Draws::new(seed);
    let mut bytes = vec![0; usize::try_from(CHUNK_BYTES.min(range.len_bytes())).unwrap_or(0)];
    in_chunks(range, |chunk| {
        let len = usize::try_from(chunk.len_bytes()).unwrap_or(0);
        let bytes = &mut bytes[..len];
        draws.fill(bytes);
        medium.write(chunk, bytes)
    })
}

fn in_chunks<E>(
    range: ByteRange,
    mut each: impl FnMut(ByteRange) -> Result<(), E>,
) -> Result<(), E> {
    let mut rest = range;
    while rest.len_bytes() > 0 {
        let (chunk, after) = rest.split_at(CHUNK_BYTES);
        each(chunk)?;
        rest = after;
    }
    Ok(())
}
