//! Where the content of two disks differs.
//!
//! Parts that both share are skipped without reading; the rest is compared byte by byte. So it
//! takes as long as it takes to read what was written since the two were one, and all of both if
//! they never were.

use super::reader::{Reader, reader};
use crate::daemon::disks::registry::Disks;
use crate::daemon::disks::settings::names::Target;
use crate::model::{Difference, DifferenceKind, Problem};
use crate::store::{Differences, SECTOR_BYTES, is_zero};

/// The bytes to compare in one step: some milliseconds' worth.
const STEP_BYTES: u64 = 32 << 20;

/// A comparison of two disks, each at one moment.
#[derive(Debug)]
pub struct Comparison {
    from: Reader,
    to: Reader,
    differences: Differences,
    /// The unit in which differences are told.
    unit_bytes: u64,
    /// What lies before this was compared.
    done_bytes: u64,
    /// A difference that the next one may continue.
    last: Option<Difference>,
    buffers: [Vec<u8>; 2],
}

/// What a step of a comparison found.
#[derive(Debug, Default)]
pub struct Found {
    /// Differences, in order. Neighbours differ in their kind.
    pub differences: Vec<Difference>,
    /// Whether there are no more.
    pub ended: bool,
}

impl Comparison {
    /// The sizes of both, in bytes.
    pub fn sizes(&self) -> (u64, u64) {
        (self.from.size_bytes(), self.to.size_bytes())
    }

    /// The content from which the other one differs.
    pub fn from(&self) -> &Reader {
        &self.from
    }

    /// The content that differs from the other one.
    pub fn to(&self) -> &Reader {
        &self.to
    }

    /// Compare some more, which takes some milliseconds.
    ///
    /// # Errors
    /// One of the disks is gone.
    pub fn step(&mut self) -> Result<Found, Problem> {
        let mut found = Found::default();
        let mut compared_bytes = 0;
        while compared_bytes < STEP_BYTES {
            let Some(extent) = self.differences.next() else {
                found.differences.extend(self.last.take());
                found.ended = true;
                break;
            };
            let start = extent.start_sector * SECTOR_BYTES;
            let end = start + extent.sectors * SECTOR_BYTES;
            // Whole units, of which the extent before may have had the first one. What the second
            // disk doesn't have can't differ.
            let start = (start / self.unit_bytes * self.unit_bytes).max(self.done_bytes);
            let end = end
                .next_multiple_of(self.unit_bytes)
                .min(self.to.size_bytes());
            let length = end.saturating_sub(start);
            self.compare(start, length, &mut found.differences)?;
            self.done_bytes = start + length;
            compared_bytes += length;
        }
        Ok(found)
    }

    /// Begin again: the same differences follow.
    pub fn restart(&mut self) {
        self.differences.restart();
        (self.done_bytes, self.last) = (0, None);
    }

    fn compare(
        &mut self,
        start: u64,
        length: u64,
        found: &mut Vec<Difference>,
    ) -> Result<(), Problem> {
        let size = usize::try_from(length).unwrap_or(usize::MAX);
        let [had, has] = &mut self.buffers;
        had.clear();
        had.resize(size, 0);
        has.clear();
        has.resize(size, 0);
        let there = self.from.size_bytes().saturating_sub(start).min(length);
        let there = usize::try_from(there).unwrap_or(usize::MAX);
        if let Some(part) = had.get_mut(..there).filter(|part| !part.is_empty()) {
            self.from.read(start, part)?;
        }
        if size > 0 {
            self.to.read(start, has)?;
        }
        let unit = usize::try_from(self.unit_bytes).unwrap_or(usize::MAX);
        let blocks = had.chunks(unit).zip(has.chunks(unit));
        let mut at = start;
        for (one, two) in blocks {
            if one != two {
                let kind = match is_zero(two) {
                    true => DifferenceKind::Zero,
                    false => DifferenceKind::Data,
                };
                let next = Difference {
                    start_bytes: at,
                    length_bytes: two.len() as u64,
                    kind,
                };
                match &mut self.last {
                    Some(last) if last.kind == kind && last.end_bytes() == at => {
                        last.length_bytes += next.length_bytes;
                    }
                    last => found.extend(last.replace(next)),
                }
            }
            at += two.len() as u64;
        }
        Ok(())
    }
}

/// Begin to compare a disk or snapshot, as it is now, with another one: how `to` differs from
/// `from`, in units of `unit_bytes` (a power of two), or of a block if that is larger.
///
/// # Errors
/// `not-found`; `over-budget`.
pub fn begin(
    disks: &Disks,
    from: &Target,
    to: &Target,
    unit_bytes: u64,
) -> Result<Comparison, Problem> {
    debug_assert!(unit_bytes.is_power_of_two());
    let (from, to) = (reader(disks, from)?, reader(disks, to)?);
    let differences = disks.store().differences(from.key(), to.key())?;
    let unit = from.block_bytes().max(to.block_bytes());
    Ok(Comparison {
        differences,
        unit_bytes: unit.max(unit_bytes),
        done_bytes: 0,
        last: None,
        buffers: Default::default(),
        from,
        to,
    })
}
