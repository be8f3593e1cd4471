//! Operations on the pages of one leaf, under the lock of the leaf's shard. A leaf must be the
//! disk's own before it is changed ([`Tree::own_leaf`]).
//!
//! An entry is published after the page's bytes are in place. Sectors of a new page that no write
//! covers are zeroed first, so that the bytes of the page's last user can't be read. On a disk with
//! sectors of 4096 bytes a page is mapped if any bit of its mask is set. It may have a mask other
//! than 0 and [`FULL`] if it came from a disk with sectors of 512 bytes.

use std::iter::Peekable;
use std::sync::atomic::{AtomicU64, Ordering};

use super::span::{SECTOR, Span};
use super::subtrees::subtree;
use super::tree::Tree;
use crate::store::base::buf::{Cursor, Piece, Sink, Source};
use crate::store::base::error::Error;
use crate::store::base::points;
use crate::store::layout::entry::{Entry, FULL};
use crate::store::layout::levels::{LEAF, LEAF_PAGES, PAGE, PAGE_SECTORS};
use crate::store::memory::arena::{Arena, BLOCK_BYTES, Block};

/// Neighbouring bytes of neighbouring blocks, which are copied at once.
#[derive(Clone, Copy, Debug)]
struct Run {
    block: Block,
    offset: usize,
    len: usize,
}

impl Run {
    fn new(block: Block, span: Span) -> Self {
        let Span { offset, len, .. } = span;
        Self { block, offset, len }
    }

    /// Extend `run` by `next` if that follows it. Otherwise replace it, and return the complete
    /// run.
    fn join(run: &mut Option<Self>, next: Self) -> Option<Self> {
        let start = |run: &Self| run.block.0 as usize * BLOCK_BYTES + run.offset;
        match run {
            Some(run) if start(run) + run.len == start(&next) => {
                run.len += next.len;
                None
            }
            _ => run.replace(next),
        }
    }
}

/// Where neighbouring spans lie.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Stretch {
    /// Contiguous in the arena, from this many bytes after the start of this block on.
    At(Block, usize),
    /// Nowhere: they read as zeros.
    Zeros,
}

/// A leaf of a tree. It stays where it is while its shard's lock is held.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Leaf<'t> {
    tree: &'t Tree,
    block: Block,
}

impl<'t> Leaf<'t> {
    /// The leaf in `block`, which [`Tree::leaf_now`] or a similar function returned.
    #[inline]
    pub(crate) fn new(tree: &'t Tree, block: Block) -> Self {
        Self { tree, block }
    }

    #[inline]
    fn word(self, index: usize) -> &'t AtomicU64 {
        debug_assert!(index < LEAF_PAGES);
        self.tree.nodes.word(self.block, index)
    }

    #[inline]
    fn arena(self) -> &'t Arena {
        self.tree.nodes.arena()
    }

    /// Whether it maps nothing.
    pub(crate) fn is_empty(self) -> bool {
        self.tree.nodes.is_empty(self.block)
    }

    /// How many sectors it maps.
    pub(crate) fn sectors(self) -> u64 {
        subtree::sectors(self.arena(), Entry::node(self.block), LEAF)
    }

    /// Where spans lie, if that is one contiguous stretch that can be read, or overwritten, without
    /// changing the leaf.
    #[inline]
    pub(crate) fn stretch(self, spans: impl Iterator<Item = Span>, write: bool) -> Option<Stretch> {
        let mut found = None;
        let mut end = 0;
        for span in spans {
            let entry = Entry::load(self.word(span.index));
            let (bits, block) = (span.mask(), entry.block());
            let usable = match block {
                Some(_) => entry.mask() & bits == bits && !(write && entry.is_shared()),
                None => !write,
            };
            let start = block.map_or(0, |block| block.0 as usize * BLOCK_BYTES + span.offset);
            match found {
                None => {
                    found = Some(block.map_or(Stretch::Zeros, |at| Stretch::At(at, span.offset)))
                }
                Some(Stretch::At(..)) if block.is_some() && start == end => {}
                Some(Stretch::Zeros) if block.is_none() => {}
                Some(_) => return None,
            }
            if !usable {
                return None;
            }
            end = start + span.len;
        }
        found
    }

    /// Copy out mapped sectors, and zeros for the rest.
    pub(crate) fn read(self, spans: impl Iterator<Item = Span>, to: &mut Cursor<'_, Sink<'_>>) {
        let mut run: Option<Run> = None;
        for span in spans {
            let entry = Entry::load(self.word(span.index));
            let wanted = span.mask();
            match entry.block() {
                Some(block) if entry.mask() & wanted == wanted => {
                    self.copy_run_out(Run::join(&mut run, Run::new(block, span)), to);
                }
                Some(block) => {
                    self.copy_run_out(run.take(), to);
                    self.read_sectors(block, entry.mask(), span, to);
                }
                None => {
                    self.copy_run_out(run.take(), to);
                    to.fill_zero(span.len);
                }
            }
        }
        self.copy_run_out(run, to);
    }

    fn read_sectors(self, block: Block, mask: u8, span: Span, to: &mut Cursor<'_, Sink<'_>>) {
        for offset in (span.offset..span.offset + span.len).step_by(SECTOR) {
            if mask >> (offset / SECTOR) & 1 == 0 {
                to.fill_zero(SECTOR);
            } else {
                let len = SECTOR;
                self.copy_run_out(Some(Run { block, offset, len }), to);
            }
        }
    }

    fn copy_run_out(self, run: Option<Run>, to: &mut Cursor<'_, Sink<'_>>) {
        let Some(run) = run else { return };
        points::reach("before-copy");
        let mut done = 0;
        while done < run.len {
            let Some(piece) = to.next(run.len - done) else {
                return;
            };
            self.arena().copy_out(run.block, run.offset + done, piece);
            done += piece.len();
        }
    }

    fn copy_run_in(self, run: Option<Run>, from: &mut Cursor<'_, Source<'_>>) {
        let Some(run) = run else { return };
        points::reach("before-copy");
        let mut done = 0;
        while done < run.len {
            let Some(piece) = from.next(run.len - done) else {
                return;
            };
            self.arena().copy_in(run.block, run.offset + done, piece);
            done += piece.len();
        }
    }

    /// Write spans whose pages exist and are the disk's own, for which the shared lock is enough.
    /// Stops before the first other span.
    pub(crate) fn overwrite(
        self,
        spans: &mut Peekable<impl Iterator<Item = Span>>,
        from: &mut Cursor<'_, Source<'_>>,
    ) {
        let mut run: Option<Run> = None;
        while let Some(&span) = spans.peek() {
            let word = self.word(span.index);
            let entry = Entry::load(word);
            let Some(block) = entry.block().filter(|_| !entry.is_shared()) else {
                break;
            };
            spans.next();
            self.copy_run_in(Run::join(&mut run, Run::new(block, span)), from);
            let bits = span.mask();
            if entry.mask() & bits != bits {
                self.copy_run_in(run.take(), from);
                let old = Entry(word.fetch_or(Entry::mask_bits(bits), Ordering::Release));
                self.tree
                    .mapped
                    .add(u64::from((bits & !old.mask()).count_ones()));
            }
        }
        self.copy_run_in(run, from);
    }

    /// Write `from` to a span, or zeros if that is `None`, into a new page if necessary. `whole`
    /// means that the page is one sector.
    ///
    /// # Errors
    /// [`Error::is_out_of_memory`]; then the leaf stays as it is.
    pub(crate) fn write_span(
        self,
        span: Span,
        whole: bool,
        from: Option<&mut Cursor<'_, Source<'_>>>,
    ) -> Result<(), Error> {
        let word = self.word(span.index);
        let entry = self.tree.nodes.settled(word);
        let covered = if whole { FULL } else { span.mask() };
        let mask = entry.mask() | covered;
        if let Some(block) = entry.block().filter(|_| !entry.is_shared()) {
            self.zero_sectors(block, covered & !span.mask() & !entry.mask());
            self.put(block, span, from);
            word.store(entry.with_mask(mask).0, Ordering::Release);
        } else {
            let block = self.tree.nodes.take()?;
            let published = Entry::page(block, mask).0;
            if points::is_broken() {
                word.store(published, Ordering::Release);
            }
            self.prepare(entry, block, span);
            self.put(block, span, from);
            points::reach("page-copied");
            word.store(published, Ordering::Release);
            points::reach("entry-published");
            self.tree.nodes.release(entry, PAGE);
        }
        self.tree
            .mapped
            .add(u64::from((mask & !entry.mask()).count_ones()));
        Ok(())
    }

    /// Fill a new page outside of `span`: from the old page where that is mapped, otherwise with
    /// zeros.
    fn prepare(self, old: Entry, block: Block, span: Span) {
        if span.is_whole() {
            return;
        }
        let arena = self.arena();
        for offset in (0..BLOCK_BYTES).step_by(SECTOR) {
            let bit = 1 << (offset / SECTOR);
            if span.mask() & bit != 0 {
                continue;
            }
            match old.block() {
                Some(from) if old.mask() & bit != 0 => {
                    arena.copy_between(from, block, offset, SECTOR);
                }
                _ => arena.zero(block, offset, SECTOR),
            }
        }
    }

    /// Zero the sectors of a page that `mask` has.
    fn zero_sectors(self, block: Block, mask: u8) {
        for offset in (0..BLOCK_BYTES).step_by(SECTOR) {
            if mask >> (offset / SECTOR) & 1 == 1 {
                self.arena().zero(block, offset, SECTOR);
            }
        }
    }

    fn put(self, block: Block, span: Span, from: Option<&mut Cursor<'_, Source<'_>>>) {
        match from {
            Some(from) => self.copy_run_in(Some(Run::new(block, span)), from),
            None => self.arena().zero(block, span.offset, span.len),
        }
    }

    /// Map a span as zeros. A page that it covers is freed.
    ///
    /// # Errors
    /// The same as [`Leaf::write_span`].
    pub(crate) fn zero_span(self, span: Span, whole: bool) -> Result<(), Error> {
        let word = self.word(span.index);
        let entry = Entry::load(word);
        if entry.block().is_some() && !span.is_whole() {
            return self.write_span(span, whole, None);
        }
        let covered = if whole { FULL } else { span.mask() };
        let mask = entry.mask() | covered;
        word.store(Entry::zeros(mask).0, Ordering::Release);
        self.tree
            .mapped
            .add(u64::from((mask & !entry.mask()).count_ones()));
        self.tree.nodes.release(entry, PAGE);
        Ok(())
    }

    /// Unmap a span. If its page is free then, add that to `freed`. `whole` means that the page is
    /// one sector, and a part of it can't be unmapped; such a part is zeroed if `must_be_zero`,
    /// otherwise left alone.
    ///
    /// # Errors
    /// The same as [`Leaf::write_span`].
    pub(crate) fn unmap_span(
        self,
        span: Span,
        whole: bool,
        must_be_zero: bool,
        freed: &mut Vec<Block>,
    ) -> Result<(), Error> {
        let word = self.word(span.index);
        let entry = Entry::load(word);
        if whole && !span.is_whole() {
            return if must_be_zero && entry.block().is_some() {
                self.write_span(span, whole, None)
            } else {
                Ok(())
            };
        }
        let after = entry.mask() & !span.mask();
        if after == entry.mask() {
            return Ok(());
        }
        let left = if after == 0 {
            Entry::NONE
        } else {
            entry.with_mask(after)
        };
        word.store(left.0, Ordering::Release);
        self.tree
            .mapped
            .sub(u64::from((entry.mask() & !after).count_ones()));
        if after == 0
            && let Some(block) = entry.block()
            && self.tree.nodes.pool().release(block)
        {
            freed.push(block);
        }
        Ok(())
    }

    /// The first sector of the leaf at or after `sector` (below 4096) that is mapped (or isn't).
    /// `whole` means that a page is one sector, and that `sector` begins one.
    pub(crate) fn find(self, sector: u64, mapped: bool, whole: bool) -> Option<u64> {
        let skip = if mapped { 0 } else { FULL };
        let mut first = sector % PAGE_SECTORS;
        let pages = (0..).zip(self.tree.nodes.words(self.block));
        for (page, word) in pages.skip(usize::try_from(sector / PAGE_SECTORS).ok()?) {
            let mask = match Entry::load(word).mask() {
                part if whole && part != 0 => FULL,
                mask => mask,
            };
            if mask != skip {
                let wanted = if mapped { mask } else { !mask } & (FULL << first);
                if wanted != 0 {
                    return Some(page * PAGE_SECTORS + u64::from(wanted.trailing_zeros()));
                }
            }
            first = 0;
        }
        None
    }
}
