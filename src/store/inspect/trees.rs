//! The nodes and pages of an arena: which entries can be followed, and to where.

use super::blocks::Blocks;
use super::claims::{Claims, Use};
use crate::store::base::error::Error;
use crate::store::layout::entry::Entry;
use crate::store::layout::levels::{LEAF, PAGE, TOP};
use crate::store::memory::arena::{BLOCK_BYTES, Block};

/// Why an entry can't be followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// No store would write it.
    Nonsense,
    /// The file has nothing there.
    Missing,
    /// Something else uses the block as well.
    Taken,
}

impl Fault {
    /// A message about an entry with this fault.
    pub(super) fn say(self, entry: Entry) -> String {
        let block = entry.0 >> 12;
        match self {
            Self::Nonsense => format!("is {:#x}, which is not an entry", entry.0),
            Self::Missing => format!("names block {block}, which is missing"),
            Self::Taken => format!("names block {block}, which something else uses too"),
        }
    }
}

/// The blocks with memory, and their uses.
#[derive(Debug)]
pub(super) struct Trees {
    pub(super) blocks: Blocks,
    pub(super) claims: Claims,
    /// How many blocks the arena has, according to its superblock or to the file's length.
    pub(super) arena_blocks: u32,
}

impl Trees {
    /// No block is claimed yet.
    pub(super) fn new(blocks: Blocks, arena_blocks: u32) -> Self {
        Self {
            claims: Claims::new(blocks.count()),
            blocks,
            arena_blocks,
        }
    }

    /// How long the file should be, in bytes.
    pub(super) fn size_bytes(&self) -> u64 {
        u64::from(self.arena_blocks) * BLOCK_BYTES as u64
    }

    /// Bytes that the file has memory for.
    pub(super) fn memory_bytes(&self) -> u64 {
        self.blocks.count() as u64 * BLOCK_BYTES as u64
    }

    /// Claim all nodes below these roots, and then all pages.
    ///
    /// # Errors
    /// [`Error::Arena`] if the file can't be read.
    pub(super) fn claim_all(&mut self, roots: impl Iterator<Item = Entry>) -> Result<(), Error> {
        for root in roots {
            self.claim_nodes(root, TOP)?;
        }
        self.claim_pages()
    }

    /// The block that an entry of this level names, if it names one.
    pub(super) fn follow(&self, entry: Entry, level: u32) -> Result<Option<Block>, Fault> {
        if !entry.is_sound(level == PAGE, self.arena_blocks) {
            return Err(Fault::Nonsense);
        }
        let Some(block) = entry.block() else {
            return Ok(None);
        };
        let rank = self.blocks.rank(block).ok_or(Fault::Missing)?;
        if self.claims.holds(rank, Use::at(level)) {
            Ok(Some(block))
        } else {
            Err(Fault::Taken)
        }
    }

    /// Claim the node that an entry names, and the nodes below it, each once.
    fn claim_nodes(&mut self, entry: Entry, level: u32) -> Result<(), Error> {
        if !entry.is_sound(false, self.arena_blocks) {
            return Ok(());
        }
        let named = entry.block().map(|block| (block, self.blocks.rank(block)));
        let Some((block, Some(rank))) = named else {
            return Ok(());
        };
        let first = self.claims.claim(rank, Use::at(level), entry.is_shared());
        if first && level > LEAF {
            for word in self.blocks.words(block).map_err(Error::arena("read"))? {
                if word != 0 {
                    self.claim_nodes(Entry(word), level - 1)?;
                }
            }
        }
        Ok(())
    }

    /// Claim the pages of all leaves.
    fn claim_pages(&mut self) -> Result<(), Error> {
        for (rank, leaf) in self.blocks.iter().enumerate() {
            if !self.claims.is_leaf(rank) {
                continue;
            }
            for word in self.blocks.words(leaf).map_err(Error::arena("read"))? {
                let entry = Entry(word);
                if !entry.is_sound(true, self.arena_blocks) {
                    continue;
                }
                if let Some(rank) = entry.block().and_then(|block| self.blocks.rank(block)) {
                    self.claims.claim(rank, Use::at(PAGE), entry.is_shared());
                }
            }
        }
        Ok(())
    }
}
