//! What lies below each node, and what of it is lost.

use super::claims::Use;
use super::{Inspection, MOST_NAMED, refused};
use crate::store::base::error::Error;
use crate::store::base::range::SECTOR_BYTES;
use crate::store::layout::entry::Entry;
use crate::store::layout::levels::{LEAF, PAGE, PAGE_SECTORS, TOP, sectors_below};
use crate::store::memory::arena::Block;

/// Findings that a node passes on to whoever shares it.
const MOST_BELOW: usize = 16;

/// What lies below a node.
#[derive(Clone, Debug, Default)]
pub(super) struct Below {
    mapped_sectors: u64,
    lost_sectors: u64,
    /// Numbers of findings, at most [`MOST_BELOW`].
    findings: Vec<u32>,
}

impl Below {
    fn add(&mut self, other: &Self) {
        self.mapped_sectors += other.mapped_sectors;
        self.lost_sectors += other.lost_sectors;
        self.owner_word(other.findings.iter().copied());
    }

    fn owner_word(&mut self, findings: impl IntoIterator<Item = u32>) {
        let room = MOST_BELOW.saturating_sub(self.findings.len());
        self.findings.extend(findings.into_iter().take(room));
    }
}

/// Why an entry can't be followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// No store would write it.
    Nonsense,
    /// The file has nothing there.
    Missing,
    /// Something else uses the block too.
    Taken,
}

impl Fault {
    fn say(self, entry: Entry) -> String {
        let block = entry.0 >> 12;
        match self {
            Self::Nonsense => format!("is {:#x}, which is no entry", entry.0),
            Self::Missing => format!("names block {block}, which is missing"),
            Self::Taken => format!("names block {block}, which something else uses too"),
        }
    }
}

impl Inspection {
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

    /// Find what is below each disk.
    pub(super) fn judge_all(&mut self) -> Result<(), Error> {
        for at in 0..self.disks.len() {
            self.claim_nodes(self.disks[at].root, TOP)?;
        }
        self.claim_pages()?;
        for at in 0..self.disks.len() {
            let (key, root) = (self.disks[at].key.clone(), self.disks[at].root);
            let mut below = Below::default();
            let place = || format!("disk {key:?}: its root");
            self.judge(root, TOP, &mut below, place)?;
            for &number in &below.findings {
                let finding = self.findings.get_mut(number as usize);
                if let Some(finding) = finding.filter(|it| it.keys.len() < MOST_NAMED) {
                    finding.keys.push(key.clone());
                }
            }
            // A disk that was made smaller may have something behind its end until it is opened.
            let disk = &mut self.disks[at];
            let bytes = |sectors: u64| sectors.saturating_mul(SECTOR_BYTES).min(disk.size_bytes);
            (disk.mapped_bytes, disk.lost_bytes) =
                (bytes(below.mapped_sectors), bytes(below.lost_sectors));
        }
        Ok(())
    }

    /// Claim the node that an entry names, and once for each node those below.
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
            for word in self.blocks.words(block).map_err(refused("read"))? {
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
            for word in self.blocks.words(leaf).map_err(refused("read"))? {
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

    /// Add what is below an entry, which stands at `place`.
    fn judge(
        &mut self,
        entry: Entry,
        level: u32,
        below: &mut Below,
        place: impl FnOnce() -> String,
    ) -> Result<(), Error> {
        match self.follow(entry, level) {
            Err(fault) => {
                let number = self.find(format!("{} {}", place(), fault.say(entry)));
                below.lost_sectors += sectors_below(level);
                below.owner_word(number);
            }
            Ok(None) if entry.is_all_zero() => below.mapped_sectors += sectors_below(level),
            Ok(None) => {}
            Ok(Some(block)) => {
                if !self.known.contains_key(&block) {
                    let judged = self.judge_node(block, level)?;
                    self.known.insert(block, judged);
                }
                if let Some(known) = self.known.get(&block) {
                    below.add(known);
                }
            }
        }
        Ok(())
    }

    fn judge_node(&mut self, node: Block, level: u32) -> Result<Below, Error> {
        let words = self.blocks.words(node).map_err(refused("read"))?;
        let mut below = Below::default();
        if level > LEAF {
            for (at, &word) in words.iter().enumerate() {
                let place = || format!("node in block {}: entry {at}", node.0);
                self.judge(Entry(word), level - 1, &mut below, place)?;
            }
            return Ok(below);
        }
        // One finding for all that is wrong in a leaf: there may be 512 of them.
        let mut faults = Vec::new();
        for (at, &word) in words.iter().enumerate() {
            match self.follow(Entry(word), PAGE) {
                Ok(_) => below.mapped_sectors += u64::from(Entry(word).mask().count_ones()),
                Err(fault) => faults.push((at, fault.say(Entry(word)))),
            }
        }
        if let Some((at, first)) = faults.first() {
            let more = match faults.len() - 1 {
                0 => String::new(),
                more => format!(", and {more} more entries of it are wrong"),
            };
            let number = self.find(format!(
                "leaf in block {}: entry {at} {first}{more}",
                node.0
            ));
            below.lost_sectors = faults.len() as u64 * PAGE_SECTORS;
            below.owner_word(number);
        }
        Ok(below)
    }
}
