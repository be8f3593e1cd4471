//! Records: everything about a disk except its bytes, in a block.
//!
//! A record is written before the disk table names it, and later only its root changes. So
//! creating, forking, resetting, resizing, renaming and destroying a disk each take effect at one
//! instant: the store of its word in the table.

use std::sync::atomic::AtomicU64;

use super::entry::Entry;
use super::spec::{DiskSpec, OnFull};
use super::words::{Words, put, sum, to_bytes, to_words, words};
use crate::store::base::error::Error;
use crate::store::base::limits::{MAX_KEY_BYTES, MAX_SETTINGS_BYTES};
use crate::store::base::range::{Capacity, SectorSize};
use crate::store::memory::arena::{Arena, BLOCK_WORDS, Block};

const RECORD_MAGIC: u64 = u64::from_le_bytes(*b"ramblk\x00D");

/// Words of a record.
mod of {
    pub(super) const MAGIC: usize = 0;
    pub(super) const ID: usize = 1;
    pub(super) const FLAGS: usize = 2;
    pub(super) const SIZE_BYTES: usize = 3;
    pub(super) const ROOT: usize = 4;
    pub(super) const PARENT: usize = 5;
    pub(super) const QUOTA_BYTES: usize = 6;
    pub(super) const LENGTHS: usize = 7;
    pub(super) const SETTINGS: usize = 8;
    pub(super) const SUM: usize = 9;
    /// 0 in records of versions that didn't know it.
    pub(super) const MADE_AT_MS: usize = 10;
    pub(super) const KEY: usize = 16;
    pub(super) const KEY_WORDS: usize = 8;
}

const READ_ONLY: u64 = 1;
const SNAPSHOT: u64 = 2;
const STALL: u64 = 4;
const DETECT_ZEROES: u64 = 8;
const FLAGS: u64 = READ_ONLY | SNAPSHOT | STALL | DETECT_ZEROES;
const SECTOR_SHIFT: u32 = 16;

/// Everything about a disk except its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    /// No other disk of the arena ever has this number.
    pub(crate) id: u64,
    pub(crate) key: String,
    /// The settings of the disk, with its present size.
    pub(crate) spec: DiskSpec,
    pub(crate) snapshot: bool,
    /// The disk that this one was forked from; 0 for none.
    pub(crate) parent: u64,
    /// When the content was kept, in milliseconds since 1970; 0 if that isn't known.
    pub(crate) made_at_ms: u64,
    pub(crate) settings: Vec<u8>,
}

/// The word of a record that holds the root of its disk's tree: the only one that changes.
#[inline]
pub(crate) fn root(arena: &Arena, record: Block) -> &AtomicU64 {
    arena.word(record, of::ROOT)
}

/// The root in the words of a record.
pub(crate) fn root_of(words: &Words) -> Entry {
    Entry(words[of::ROOT])
}

/// Check that a record has room for `settings`.
///
/// # Errors
/// [`Error::SettingsTooLong`].
pub(crate) fn check_settings(settings: &[u8]) -> Result<(), Error> {
    if settings.len() > MAX_SETTINGS_BYTES {
        return Err(Error::SettingsTooLong {
            len_bytes: settings.len(),
        });
    }
    Ok(())
}

fn record_sum(words: &Words, settings: &[u8]) -> u64 {
    let summed = (0..of::KEY + of::KEY_WORDS).filter(|&at| at != of::ROOT && at != of::SUM);
    sum(summed.map(|at| words[at]).chain(to_words(settings)))
}

impl Record {
    /// Write the record into a block, and its settings into another one.
    pub(crate) fn write(&self, arena: &Arena, block: Block, settings: Option<Block>, root: Entry) {
        for index in 0..BLOCK_WORDS {
            put(arena, block, index, 0);
        }
        let flag = |on: bool, bit: u64| if on { bit } else { 0 };
        let flags = flag(self.spec.read_only, READ_ONLY)
            | flag(self.snapshot, SNAPSHOT)
            | flag(self.spec.on_full == OnFull::Stall, STALL)
            | flag(self.spec.detect_zeroes, DETECT_ZEROES)
            | self.spec.sector_size.bytes() << SECTOR_SHIFT;
        put(arena, block, of::MAGIC, RECORD_MAGIC);
        put(arena, block, of::ID, self.id);
        put(arena, block, of::FLAGS, flags);
        put(arena, block, of::SIZE_BYTES, self.spec.size_bytes);
        put(arena, block, of::ROOT, root.0);
        put(arena, block, of::PARENT, self.parent);
        put(arena, block, of::MADE_AT_MS, self.made_at_ms);
        put(
            arena,
            block,
            of::QUOTA_BYTES,
            self.spec.quota_bytes.unwrap_or(0),
        );
        let lengths = self.key.len() as u64 | (self.settings.len() as u64) << 32;
        put(arena, block, of::LENGTHS, lengths);
        put(
            arena,
            block,
            of::SETTINGS,
            settings.map_or(0, |block| u64::from(block.0)),
        );
        for (at, word) in to_words(self.key.as_bytes()).enumerate() {
            put(arena, block, of::KEY + at, word);
        }
        if let Some(settings) = settings {
            for (at, word) in to_words(&self.settings).enumerate() {
                put(arena, settings, at, word);
            }
        }
        let sum = record_sum(&words(arena, block), &self.settings);
        put(arena, block, of::SUM, sum);
    }

    /// Read a record, whose block lies in the arena and has memory. Also returns the block of its
    /// settings, which is read only if `has_memory` accepts it.
    pub(crate) fn read(
        arena: &Arena,
        block: Block,
        has_memory: impl FnOnce(Block) -> Result<(), Error>,
    ) -> Result<(Self, Option<Block>), Error> {
        Self::parse(block, &words(arena, block), arena.blocks(), |settings| {
            has_memory(settings)?;
            Ok(words(arena, settings))
        })
    }

    /// Parse the words of a record. `load` returns those of its settings' block, whose number is
    /// below `blocks`.
    pub(crate) fn parse(
        block: Block,
        words: &Words,
        blocks: u32,
        load: impl FnOnce(Block) -> Result<Words, Error>,
    ) -> Result<(Self, Option<Block>), Error> {
        let damaged = |what: &str| Error::damaged(&format!("disk record {}: {what}", block.0));
        if words[of::MAGIC] != RECORD_MAGIC {
            return Err(damaged("there is no record"));
        }
        let lengths = words[of::LENGTHS];
        let fits = |len: u64, most: usize| usize::try_from(len).ok().filter(|&len| len <= most);
        let key_len = fits(lengths & 0xffff_ffff, MAX_KEY_BYTES).filter(|&len| len > 0);
        let key_len = key_len.ok_or_else(|| damaged("a key of impossible length"))?;
        let settings_len = fits(lengths >> 32, MAX_SETTINGS_BYTES)
            .ok_or_else(|| damaged("settings of impossible length"))?;
        let settings_block = match words[of::SETTINGS] {
            0 => None,
            number => Some(
                u32::try_from(number)
                    .ok()
                    .filter(|&number| number < blocks)
                    .map(Block)
                    .ok_or_else(|| damaged("settings outside of the arena"))?,
            ),
        };
        let settings = match settings_block {
            Some(block) => to_bytes(&load(block)?, settings_len),
            None if settings_len == 0 => Vec::new(),
            None => return Err(damaged("settings are missing")),
        };
        if record_sum(words, &settings) != words[of::SUM] {
            return Err(damaged("its sum is wrong"));
        }
        let key = String::from_utf8(to_bytes(&words[of::KEY..], key_len))
            .map_err(|_| damaged("a key that is not text"))?;
        let record = Self {
            id: words[of::ID],
            key,
            spec: spec(words).map_err(damaged)?,
            snapshot: words[of::FLAGS] & SNAPSHOT != 0,
            parent: words[of::PARENT],
            made_at_ms: words[of::MADE_AT_MS],
            settings,
        };
        Ok((record, settings_block))
    }
}

/// The settings in a record, or what is wrong with them.
fn spec(words: &Words) -> Result<DiskSpec, &'static str> {
    let flags = words[of::FLAGS];
    if flags & ((1 << SECTOR_SHIFT) - 1) & !FLAGS != 0 {
        return Err("unknown flags");
    }
    let sector_size = SectorSize::from_bytes(flags >> SECTOR_SHIFT);
    let sector_size = sector_size.map_err(|_| "an impossible sector size")?;
    let size_bytes = words[of::SIZE_BYTES];
    Capacity::new(size_bytes, sector_size).map_err(|_| "an impossible size")?;
    Ok(DiskSpec {
        sector_size,
        size_bytes,
        read_only: flags & READ_ONLY != 0,
        quota_bytes: Some(words[of::QUOTA_BYTES]).filter(|&quota| quota > 0),
        on_full: if flags & STALL != 0 {
            OnFull::Stall
        } else {
            OnFull::Error
        },
        detect_zeroes: flags & DETECT_ZEROES != 0,
    })
}
