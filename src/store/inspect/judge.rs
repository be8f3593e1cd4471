//! Finding out what lies below each node, and how much of it is lost.

use std::collections::HashMap;

use super::findings::Findings;
use super::trees::Trees;
use crate::store::base::error::Error;
use crate::store::layout::entry::Entry;
use crate::store::layout::levels::{LEAF, PAGE, PAGE_SECTORS, TOP, sectors_below};
use crate::store::memory::arena::Block;

/// The most findings that a node passes on to the entries that share it.
const MOST_BELOW: usize = 16;

/// What lies below a node.
#[derive(Clone, Debug, Default)]
pub(super) struct Below {
    pub(super) mapped_sectors: u64,
    pub(super) lost_sectors: u64,
    /// Numbers of findings, at most [`MOST_BELOW`].
    findings: Vec<u32>,
}

impl Below {
    fn add(&mut self, other: &Self) {
        self.mapped_sectors += other.mapped_sectors;
        self.lost_sectors += other.lost_sectors;
        self.add_findings(other.findings.iter().copied());
    }

    fn add_findings(&mut self, findings: impl IntoIterator<Item = u32>) {
        let room = MOST_BELOW.saturating_sub(self.findings.len());
        self.findings.extend(findings.into_iter().take(room));
    }
}

/// Walks each node once, even if several disks share it.
#[derive(Debug)]
pub(super) struct Judge<'a> {
    trees: &'a Trees,
    findings: &'a mut Findings,
    known: HashMap<Block, Below>,
}

impl<'a> Judge<'a> {
    /// Claim all blocks before this.
    pub(super) fn new(trees: &'a Trees, findings: &'a mut Findings) -> Self {
        Self {
            trees,
            findings,
            known: HashMap::new(),
        }
    }

    /// What lies below the root of a disk. The findings about it name the disk from now on.
    ///
    /// # Errors
    /// [`Error::Arena`] if the file can't be read.
    pub(super) fn disk(&mut self, key: &str, root: Entry) -> Result<Below, Error> {
        let mut below = Below::default();
        let place = || format!("disk {key:?}: its root");
        self.judge(root, TOP, &mut below, place)?;
        for &number in &below.findings {
            self.findings.hurts(number, key);
        }
        Ok(below)
    }

    /// Add what is below an entry, which stands at `place`.
    fn judge(
        &mut self,
        entry: Entry,
        level: u32,
        below: &mut Below,
        place: impl FnOnce() -> String,
    ) -> Result<(), Error> {
        match self.trees.follow(entry, level) {
            Err(fault) => {
                let number = self
                    .findings
                    .add(format!("{} {}", place(), fault.say(entry)));
                below.lost_sectors += sectors_below(level);
                below.add_findings(number);
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
        let words = self
            .trees
            .blocks
            .words(node)
            .map_err(Error::arena("read"))?;
        let mut below = Below::default();
        if level > LEAF {
            for (at, &word) in words.iter().enumerate() {
                let place = || format!("node in block {}: entry {at}", node.0);
                self.judge(Entry(word), level - 1, &mut below, place)?;
            }
            return Ok(below);
        }
        // One finding for all wrong entries of a leaf, of which there may be 512.
        let mut faults = Vec::new();
        for (at, &word) in words.iter().enumerate() {
            match self.trees.follow(Entry(word), PAGE) {
                Ok(_) => below.mapped_sectors += u64::from(Entry(word).mask().count_ones()),
                Err(fault) => faults.push((at, fault.say(Entry(word)))),
            }
        }
        if let Some((at, first)) = faults.first() {
            let more = match faults.len() - 1 {
                0 => String::new(),
                more => format!(", and {more} more entries of it are wrong"),
            };
            let number = self.findings.add(format!(
                "leaf in block {}: entry {at} {first}{more}",
                node.0
            ));
            below.lost_sectors = faults.len() as u64 * PAGE_SECTORS;
            below.add_findings(number);
        }
        Ok(below)
    }
}
