//! A disk's content, as far as it can be read.

use std::collections::HashSet;

use super::blocks::Blocks;
use super::trees::Trees;
use crate::store::base::error::Error;
use crate::store::base::range::SECTOR_BYTES;
use crate::store::layout::entry::{Entry, FULL};
use crate::store::layout::levels::{PAGE, TOP, sectors_below};
use crate::store::layout::words::Words;
use crate::store::memory::arena::{BLOCK_BYTES, Block};

/// The most pages of one part.
const MOST_PAGES: u32 = 64;

/// The bytes that a bit of a mask stands for.
const PAGE_PART_BYTES: usize = BLOCK_BYTES / 8;

/// A part of a disk that has data, or whose data is lost. Between parts are zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its first byte.
    pub start_bytes: u64,
    /// Its length in bytes; at least 1.
    pub length_bytes: u64,
    place: Option<Place>,
}

/// Where the bytes are: in consecutive pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    first: Block,
    pages: u32,
    /// Mapped sectors of each page.
    mask: u8,
}

impl Part {
    /// Whether its bytes can't be read.
    pub fn is_lost(&self) -> bool {
        self.place.is_none()
    }

    /// Fill `bytes` with the bytes of this part, as many as its length, or none if it is lost.
    ///
    /// # Errors
    /// [`Error::Arena`] if the file can't be read.
    pub(super) fn read(&self, blocks: &Blocks, bytes: &mut Vec<u8>) -> Result<(), Error> {
        bytes.clear();
        let Some(place) = &self.place else {
            return Ok(());
        };
        bytes.resize(place.pages as usize * BLOCK_BYTES, 0);
        let read = blocks.read(place.first, bytes);
        read.map_err(Error::arena("read"))?;
        // Only a part of a single page can have a mask that is not full.
        for (at, sector) in bytes.chunks_exact_mut(PAGE_PART_BYTES).enumerate() {
            if place.mask != FULL && place.mask >> at & 1 == 0 {
                sector.fill(0);
            }
        }
        bytes.truncate(usize::try_from(self.length_bytes).unwrap_or(usize::MAX));
        Ok(())
    }

    /// Join this part with the next one, if they can be read as one. Returns whether they were
    /// joined.
    fn join(&mut self, next: &Self) -> bool {
        let joined = match (&mut self.place, &next.place) {
            _ if self.start_bytes + self.length_bytes != next.start_bytes => false,
            (None, None) => true,
            (Some(had), Some(next)) => {
                let behind = had.first.0.checked_add(had.pages);
                let fits = behind == Some(next.first.0) && had.pages < MOST_PAGES;
                let full = had.mask == FULL && next.mask == FULL;
                had.pages += u32::from(fits && full);
                fits && full
            }
            _ => false,
        };
        if joined {
            self.length_bytes += next.length_bytes;
        }
        joined
    }
}

/// The parts of a disk in order.
#[derive(Debug)]
pub struct Parts<'a> {
    trees: &'a Trees,
    size_bytes: u64,
    /// The nodes on the path to the next entry.
    path: Vec<Step>,
    root: Option<Entry>,
    /// Nodes that were followed. A tree has each node once; following it again might never end.
    seen: HashSet<Block>,
    held: Option<Part>,
}

#[derive(Debug)]
struct Step {
    words: Box<Words>,
    /// The index of the next entry.
    at: usize,
    start_sector: u64,
    /// The level of what the entries name.
    level: u32,
}

impl<'a> Parts<'a> {
    /// The parts below `root`, for a disk of `size_bytes`.
    pub(super) fn new(trees: &'a Trees, root: Entry, size_bytes: u64) -> Self {
        Self {
            trees,
            size_bytes,
            path: Vec::new(),
            root: Some(root),
            seen: HashSet::new(),
            held: None,
        }
    }

    /// The part that an entry is, or the first step below it.
    fn visit(
        &mut self,
        entry: Entry,
        level: u32,
        start_sector: u64,
    ) -> Result<Option<Part>, Error> {
        let start_bytes = start_sector * SECTOR_BYTES;
        let part = |place| {
            let length_bytes = sectors_below(level) * SECTOR_BYTES;
            Part {
                start_bytes,
                length_bytes: length_bytes.min(self.size_bytes - start_bytes),
                place,
            }
        };
        match self.trees.follow(entry, level) {
            Ok(None) => Ok(None),
            Ok(Some(first)) if level == PAGE => Ok(Some(part(Some(Place {
                first,
                pages: 1,
                mask: entry.mask(),
            })))),
            Ok(Some(node)) if self.seen.insert(node) => {
                let words = self.trees.blocks.words(node);
                self.path.push(Step {
                    words: Box::new(words.map_err(Error::arena("read"))?),
                    at: 0,
                    start_sector,
                    level: level - 1,
                });
                Ok(None)
            }
            Ok(Some(_)) | Err(_) => Ok(Some(part(None))),
        }
    }

    fn next_part(&mut self) -> Result<Option<Part>, Error> {
        if let Some(root) = self.root.take()
            && let Some(part) = self.visit(root, TOP, 0)?
        {
            return Ok(Some(part));
        }
        while let Some(step) = self.path.last_mut() {
            let start_sector = step.start_sector + step.at as u64 * sectors_below(step.level);
            let entry = step.words.get(step.at).map(|&word| Entry(word));
            let (Some(entry), true) = (entry, start_sector * SECTOR_BYTES < self.size_bytes) else {
                self.path.pop();
                continue;
            };
            step.at += 1;
            let level = step.level;
            if let Some(part) = self.visit(entry, level, start_sector)? {
                return Ok(Some(part));
            }
        }
        Ok(None)
    }
}

impl Iterator for Parts<'_> {
    type Item = Result<Part, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut whole = match self.held.take() {
            Some(part) => part,
            None => match self.next_part() {
                Ok(part) => part?,
                Err(error) => return Some(Err(error)),
            },
        };
        loop {
            match self.next_part() {
                Ok(Some(next)) if whole.join(&next) => {}
                Ok(next) => {
                    self.held = next;
                    return Some(Ok(whole));
                }
                Err(error) => {
                    // Trying again would fail in the same way.
                    self.path.clear();
                    return Some(Err(error));
                }
            }
        }
    }
}
