//! The content that the disk must hold: each sector identifies itself and its write, and each block
//! has a generation, so that every byte that is read can be compared.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::load::Error;
use crate::load::virtqueue::slots::Kind;

/// Words of a sector.
const SECTOR_WORDS: usize = 64;

/// Set while a request for the block is in flight.
const BUSY: u32 = 1 << 31;

/// The block's content is unknown.
const UNKNOWN: u32 = 0;

/// The block reads as zeros.
const ZEROS: u32 = 1;

/// The first generation.
const FIRST: u32 = 2;

const STEP: u64 = 0x9E37_79B9_7F4A_7C15;

/// The expected content of one queue's blocks.
#[derive(Debug)]
pub(in crate::load) struct Content {
    seed: u64,
    blocks: Range<u64>,
    sectors_per_block: u64,
    states: Vec<u32>,
    /// The state of its block after each slot's request in flight.
    coming: Vec<u32>,
    last: u32,
    /// Sectors that were compared.
    pub(in crate::load) verified_sectors: u64,
}

impl Content {
    /// For the blocks that belong to this queue alone.
    pub(in crate::load) fn new(
        seed: u64,
        blocks: Range<u64>,
        block_bytes: u32,
        depth: u16,
    ) -> Self {
        let count = usize::try_from(blocks.end - blocks.start).unwrap_or(usize::MAX);
        Self {
            seed,
            blocks,
            sectors_per_block: u64::from(block_bytes >> 9),
            states: vec![UNKNOWN; count],
            coming: vec![UNKNOWN; depth.into()],
            last: FIRST - 1,
            verified_sectors: 0,
        }
    }

    /// The first block from `block` on, cyclically, that no request in flight is for. There is one,
    /// because there are more blocks than slots.
    pub(in crate::load) fn next_free(&self, mut block: u64) -> u64 {
        while self.states[self.at(block)] & BUSY != 0 {
            block += 1;
            if block == self.blocks.end {
                block = self.blocks.start;
            }
        }
        block
    }

    /// The first block from `block` on with known content.
    pub(in crate::load) fn next_known(&self, block: u64) -> Option<u64> {
        let from = self.at(block);
        let found = self.states[from..].iter().position(|&s| s != UNKNOWN)?;
        Some(block + found as u64)
    }

    /// Note that a request begins, and make a write's data.
    pub(in crate::load) fn begin(
        &mut self,
        slot: usize,
        (kind, block): (Kind, u64),
        data: &[AtomicU64],
    ) {
        let at = self.at(block);
        let now = self.states[at];
        self.coming[slot] = match kind {
            Kind::Read | Kind::Flush => now,
            Kind::Discard => UNKNOWN,
            Kind::WriteZeroes => ZEROS,
            Kind::Write => {
                self.last = if self.last >= BUSY - 1 {
                    FIRST
                } else {
                    self.last + 1
                };
                self.write(block, self.last, data);
                self.last
            }
        };
        if kind != Kind::Flush {
            self.states[at] |= BUSY;
        }
    }

    /// Note that a request has completed, and compare what was read.
    ///
    /// # Errors
    /// The content is wrong.
    pub(in crate::load) fn finish(
        &mut self,
        slot: usize,
        (kind, block): (Kind, u64),
        good: bool,
        data: &[AtomicU64],
    ) -> Result<(), Error> {
        if kind == Kind::Flush {
            return Ok(());
        }
        let at = self.at(block);
        let coming = self.coming[slot];
        self.states[at] = match kind {
            Kind::Read => self.states[at] & !BUSY,
            _ if good => coming,
            _ => UNKNOWN,
        };
        if kind == Kind::Read && good && coming != UNKNOWN {
            self.compare(block, coming, data)?;
            self.verified_sectors += self.sectors_per_block;
        }
        Ok(())
    }

    fn at(&self, block: u64) -> usize {
        usize::try_from(block - self.blocks.start).unwrap_or(usize::MAX)
    }

    fn write(&self, block: u64, generation: u32, data: &[AtomicU64]) {
        let first = block * self.sectors_per_block;
        for (sector, words) in (first..).zip(data.chunks(SECTOR_WORDS)) {
            for (word, value) in words.iter().zip(self.sector(sector, generation)) {
                word.store(value, Ordering::Relaxed);
            }
        }
    }

    fn compare(&self, block: u64, state: u32, data: &[AtomicU64]) -> Result<(), Error> {
        let first = block * self.sectors_per_block;
        for (sector, words) in (first..).zip(data.chunks(SECTOR_WORDS)) {
            let same = if state == ZEROS {
                words.iter().all(|word| word.load(Ordering::Relaxed) == 0)
            } else {
                let wanted = self.sector(sector, state);
                // Without an early exit, so that it is vectorised.
                let differ =
                    |(word, value): (&AtomicU64, u64)| word.load(Ordering::Relaxed) ^ value;
                words.iter().zip(wanted).map(differ).fold(0, |a, b| a | b) == 0
            };
            if !same {
                return Err(Error::Mismatch {
                    sector,
                    expected: Self::name(state),
                    found: self.describe(words),
                });
            }
        }
        Ok(())
    }

    /// The words of a sector.
    fn sector(&self, sector: u64, generation: u32) -> impl Iterator<Item = u64> {
        let generation = u64::from(generation);
        let sum = self.sum(sector, generation);
        let head = [self.seed, sector, generation, sum];
        let rest = (4..SECTOR_WORDS as u64).map(move |at| sum.wrapping_add(at.wrapping_mul(STEP)));
        head.into_iter().chain(rest)
    }

    fn sum(&self, sector: u64, generation: u64) -> u64 {
        let mixed = (self.seed ^ sector.wrapping_mul(STEP)).rotate_left(31) ^ generation;
        let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed ^ (mixed >> 27)
    }

    fn name(state: u32) -> String {
        if state == ZEROS {
            "zeros".into()
        } else {
            format!("write {state} of this queue")
        }
    }

    fn describe(&self, words: &[AtomicU64]) -> String {
        let found: Vec<u64> = words.iter().map(|w| w.load(Ordering::Relaxed)).collect();
        if found.iter().all(|&word| word == 0) {
            return "zeros".into();
        }
        let &[seed, sector, generation, sum, ..] = found.as_slice() else {
            return "less than a sector".into();
        };
        if seed != self.seed || sum != self.sum(sector, generation) {
            return format!("bytes that this run did not write, from {seed:#018x} on");
        }
        let wanted = u32::try_from(generation).map(|g| self.sector(sector, g));
        let torn = wanted.is_ok_and(|wanted| wanted.zip(&found).any(|(a, &b)| a != b));
        let torn = if torn { ", torn" } else { "" };
        format!("write {generation} of sector {sector}{torn}")
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    /// Blocks of 1 KiB, of which the first is 4.
    fn content() -> (Content, Vec<AtomicU64>) {
        let data = (0..2 * SECTOR_WORDS).map(|_| AtomicU64::new(0)).collect();
        (Content::new(7, 4..12, 1024, 2), data)
    }

    fn write(content: &mut Content, block: u64, data: &[AtomicU64]) {
        content.begin(0, (Kind::Write, block), data);
        content.finish(0, (Kind::Write, block), true, data).unwrap();
    }

    fn read(content: &mut Content, block: u64, data: &[AtomicU64]) -> Result<(), String> {
        content.begin(1, (Kind::Read, block), data);
        let read = content.finish(1, (Kind::Read, block), true, data);
        read.map_err(|error| error.to_string())
    }

    #[test]
    fn what_was_written_is_right_and_all_else_is_not() {
        let (_, other) = content();
        let (mut content, data) = content();
        assert_eq!(read(&mut content, 5, &data), Ok(()), "nothing is known yet");
        write(&mut content, 5, &data);
        assert_eq!(
            (read(&mut content, 5, &data), content.verified_sectors),
            (Ok(()), 2)
        );
        write(&mut content, 5, &other);
        let stale = read(&mut content, 5, &data).unwrap_err();
        assert!(stale.contains("holds write 2 of sector 10"), "{stale}");
        write(&mut content, 6, &data);
        let elsewhere = read(&mut content, 5, &data).unwrap_err();
        assert!(elsewhere.contains("of sector 12"), "{elsewhere}");
        // One bit, in the last word of the second sector.
        other[2 * SECTOR_WORDS - 1].fetch_xor(1, Ordering::Relaxed);
        let torn = read(&mut content, 5, &other).unwrap_err();
        assert!(
            torn.starts_with("sector 11") && torn.contains("torn"),
            "{torn}"
        );
    }

    #[test]
    fn zeroes_are_zeros_and_failures_and_discards_are_unknown() {
        let (mut content, data) = content();
        for (kind, good, verified) in [
            (Kind::WriteZeroes, true, 2),
            (Kind::WriteZeroes, false, 0),
            (Kind::Write, false, 0),
            (Kind::Discard, true, 0),
        ] {
            write(&mut content, 4, &data);
            content.begin(0, (kind, 4), &data);
            content.finish(0, (kind, 4), good, &data).unwrap();
            data.iter()
                .for_each(|word| word.store(0, Ordering::Relaxed));
            content.verified_sectors = 0;
            assert_eq!(read(&mut content, 4, &data), Ok(()), "{kind:?}");
            assert_eq!(content.verified_sectors, verified, "{kind:?} {good}");
        }
    }

    #[test]
    fn blocks_in_flight_are_left_alone() {
        let (mut content, data) = content();
        assert_eq!((content.next_free(11), content.next_known(4)), (11, None));
        content.begin(0, (Kind::Write, 11), &data);
        assert_eq!(content.next_free(11), 4, "all around");
        content.finish(0, (Kind::Write, 11), true, &data).unwrap();
        assert_eq!(
            (content.next_free(11), content.next_known(4)),
            (11, Some(11))
        );
    }
}
