//! The expected content of a disk: stretches of sectors and their fillings. Sectors outside all
//! stretches are unmapped.

use std::collections::BTreeMap;

use super::noise;

/// The content of a mapped sector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fill {
    /// Zeros.
    Zero,
    /// The bytes that [`noise::fill`] makes from this tag.
    Tag(u64),
}

/// A sector's filling; `None` is unmapped and reads zero.
pub(crate) type Sector = Option<Fill>;

/// Whether a sector that should be `sector` may have these bytes.
pub(crate) fn holds(sector: Sector, number: u64, bytes: &[u8]) -> bool {
    match sector {
        Some(Fill::Tag(tag)) => noise::is(tag, number, bytes),
        Some(Fill::Zero) | None => noise::is_zero(bytes),
    }
}

/// A disk's content: starts of stretches, with their ends and fillings. Stretches never overlap.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Content {
    stretches: BTreeMap<u64, (u64, Fill)>,
    mapped: u64,
}

impl Content {
    /// Mapped sectors.
    pub(crate) fn mapped(&self) -> u64 {
        self.mapped
    }

    pub(crate) fn get(&self, sector: u64) -> Sector {
        let (_, &(end, fill)) = self.stretches.range(..=sector).next_back()?;
        (sector < end).then_some(fill)
    }

    /// Fill a range, or unmap it.
    pub(crate) fn set(&mut self, start: u64, sectors: u64, fill: Sector) {
        let end = start + sectors;
        if sectors == 0 {
            return;
        }
        self.cut(start);
        self.cut(end);
        let gone: Vec<u64> = self
            .stretches
            .range(start..end)
            .map(|(&at, _)| at)
            .collect();
        for at in gone {
            let (end, _) = self.stretches.remove(&at).unwrap();
            self.mapped -= end - at;
        }
        if let Some(fill) = fill {
            self.stretches.insert(start, (end, fill));
            self.mapped += sectors;
        }
    }

    /// Split the stretch that crosses `at`.
    fn cut(&mut self, at: u64) {
        let Some((&start, &(end, fill))) = self.stretches.range(..at).next_back() else {
            return;
        };
        if end > at {
            self.stretches.insert(start, (at, fill));
            self.stretches.insert(at, (end, fill));
        }
    }

    /// Unmap everything from `sectors` on.
    pub(crate) fn truncate(&mut self, sectors: u64) {
        self.set(sectors, u64::MAX - sectors, None);
    }

    /// The stretches in a range, cut to it, with their fillings; gaps are left out.
    pub(crate) fn within(
        &self,
        start: u64,
        end: u64,
    ) -> impl Iterator<Item = (u64, u64, Fill)> + '_ {
        let before = self.stretches.range(..start).next_back();
        before
            .into_iter()
            .chain(self.stretches.range(start..end.max(start)))
            .map(move |(&at, &(till, fill))| (at.max(start), till.min(end), fill))
            .filter(|(at, till, _)| at < till)
    }

    /// Mapped ranges as start and end, in groups of `group` sectors, which are mapped if any of
    /// theirs is; adjacent ranges are joined.
    pub(crate) fn ranges(&self, group: u64) -> Vec<(u64, u64)> {
        let mut ranges: Vec<(u64, u64)> = Vec::new();
        for (&start, &(end, _)) in &self.stretches {
            let (start, end) = (start / group, end.div_ceil(group));
            match ranges.last_mut() {
                Some(last) if last.1 >= start => last.1 = end,
                _ => ranges.push((start, end)),
            }
        }
        ranges
    }

    /// The first group of `group` sectors at or after group `start` that is mapped, as any of its
    /// sectors is (or isn't), or `size`, which is in groups.
    pub(crate) fn seek(&self, start: u64, mapped: bool, size: u64, group: u64) -> u64 {
        let mut all = self.within(start * group, size * group);
        if mapped {
            return all.next().map_or(size, |(at, ..)| at / group);
        }
        let mut at = start;
        for (from, till, _) in all {
            if from / group > at {
                break;
            }
            at = till.div_ceil(group);
        }
        at
    }
}
