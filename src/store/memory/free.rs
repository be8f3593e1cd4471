//! The free list: which blocks are free, and which of them have memory.
//!
//! Blocks are taken densely, from the lowest group that has a free one, so that a sparsely written
//! disk fills whole groups, and whole groups become free again. One lock protects all of this; it
//! is held for a handful of instructions, or for one call that backs a run or a group.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::time::{Duration, Instant};

use super::arena::{Block, GROUP_BLOCKS};
use super::huge::Opening;
use super::spare::Waits;

/// How many blocks are backed by one call.
const STRETCH: u32 = 64;
const WORDS: usize = 8;

/// A set of blocks of one group.
type Bits = [u64; WORDS];

/// A group with at least one free block.
#[derive(Debug)]
struct Group {
    free: Bits,
    /// Blocks with memory, which may be touched.
    backed: Bits,
    /// Free blocks for which the host may still hold memory.
    held: Bits,
    last_freed: Instant,
    /// Its memory is a huge page, or will be one from the start.
    huge: bool,
}

/// The answer to [`Free::take`].
pub(crate) enum Candidate {
    /// This block, ready for use.
    Ready(Block),
    /// These blocks, which must be backed first.
    Unbacked(Block, u32),
    /// This group, which must be backed first, as a whole by a huge page.
    Huge(u32),
    /// No block is left.
    None,
}

/// All free blocks.
#[derive(Debug)]
pub(crate) struct Free {
    groups: BTreeMap<u32, Group>,
    /// Groups that are entirely free and have no memory.
    empty: BTreeSet<u32>,
    /// Groups from this one on were never used.
    next: u32,
    end: u32,
    /// `None` where no huge pages are made.
    huge: Option<Huge>,
}

/// Groups that have or want huge pages.
#[derive(Debug)]
struct Huge {
    opening: Opening,
    /// Since the last opening.
    waits: Waits,
    full: Full,
}

impl Huge {
    /// Whether a group that is opened `now` gets a huge page at once. On a machine without spare
    /// time it doesn't: the system has each processor do something first, which then comes late,
    /// and all threads that take memory meanwhile wait for it.
    fn wants(&mut self, now: Instant) -> bool {
        let is_busy = self.waits.are_long() == Some(true);
        self.opening.wants(now) && !is_busy
    }
}

/// Groups that were used up, each once, and when: huge pages are made of these.
#[derive(Debug, Default)]
struct Full {
    queue: VecDeque<(u32, Instant)>,
    /// Those in the queue: a group may be freed and used up again while it waits.
    numbers: HashSet<u32>,
}

impl Full {
    fn push(&mut self, number: u32) {
        if self.numbers.insert(number) {
            self.queue.push_back((number, Instant::now()));
        }
    }

    /// The next one that was used up so long ago.
    fn pop(&mut self, after: Duration) -> Option<u32> {
        let is_due = |&(_, since): &(u32, Instant)| since.elapsed() >= after;
        let (number, _) = self.queue.pop_front_if(|next| is_due(next))?;
        self.numbers.remove(&number);
        Some(number)
    }
}

fn test(bits: &Bits, index: u32) -> bool {
    bits[index as usize / 64] >> (index % 64) & 1 == 1
}

fn set(bits: &mut Bits, index: u32) {
    bits[index as usize / 64] |= 1 << (index % 64);
}

fn clear(bits: &mut Bits, index: u32) {
    bits[index as usize / 64] &= !(1 << (index % 64));
}

fn first(one: &Bits, two: &Bits) -> Option<u32> {
    (0u32..)
        .zip(one.iter().zip(two))
        .find_map(|(at, (one, two))| match one & two {
            0 => None,
            both => Some(at * 64 + both.trailing_zeros()),
        })
}

/// Runs of set bits as (first, length).
fn runs(bits: &Bits) -> Vec<(u32, u32)> {
    let mut found: Vec<(u32, u32)> = Vec::new();
    for index in (0..GROUP_BLOCKS).filter(|&index| test(bits, index)) {
        match found.last_mut() {
            Some((start, len)) if *start + *len == index => *len += 1,
            _ => found.push((index, 1)),
        }
    }
    found
}

impl Group {
    fn new(free: Bits) -> Self {
        Self {
            free,
            backed: [0; WORDS],
            held: [0; WORDS],
            last_freed: Instant::now(),
            huge: false,
        }
    }

    fn is_all_free(&self) -> bool {
        self.free == [u64::MAX; WORDS]
    }

    fn has_free(&self) -> bool {
        self.free != [0; WORDS]
    }
}

/// Free blocks that can't be taken while their memory is being returned to the host.
pub(crate) struct Taken {
    group: u32,
    bits: Bits,
    /// The group's blocks that were in use.
    used: Bits,
}

impl Taken {
    pub(crate) fn group(&self) -> u32 {
        self.group
    }

    /// Runs of neighbouring blocks.
    pub(crate) fn runs(&self) -> Vec<(Block, u32)> {
        self.blocks(&self.bits)
    }

    /// Runs of blocks in use beside them.
    pub(crate) fn used_runs(&self) -> Vec<(Block, u32)> {
        self.blocks(&self.used)
    }

    fn blocks(&self, bits: &Bits) -> Vec<(Block, u32)> {
        let base = self.group * GROUP_BLOCKS;
        runs(bits)
            .into_iter()
            .map(|(at, len)| (Block(base + at), len))
            .collect()
    }
}

impl Free {
    /// A list of the groups from `first` up to `end`, none of which was ever used. `huge`: those
    /// that become fully used are kept for [`Free::take_full`].
    pub(crate) fn new(first: u32, end: u32, huge: bool) -> Self {
        Self {
            groups: BTreeMap::new(),
            empty: BTreeSet::new(),
            next: first,
            end,
            huge: huge.then(|| Huge {
                opening: Opening::default(),
                waits: Waits::of_machine(),
                full: Full::default(),
            }),
        }
    }

    /// Find a block in the lowest group that has a free one.
    pub(crate) fn take(&mut self) -> Candidate {
        loop {
            if let Some(mut lowest) = self.groups.first_entry() {
                let base = *lowest.key() * GROUP_BLOCKS;
                let group = lowest.get_mut();
                if let Some(index) = first(&group.free, &group.backed) {
                    clear(&mut group.free, index);
                    clear(&mut group.held, index);
                    if !group.has_free() {
                        let (number, group) = lowest.remove_entry();
                        if let Some(huge) = &mut self.huge
                            && !group.huge
                        {
                            huge.full.push(number);
                        }
                    }
                    return Candidate::Ready(Block(base + index));
                }
                if group.huge && group.is_all_free() {
                    return Candidate::Huge(*lowest.key());
                }
                let Some(index) = first(&group.free, &group.free) else {
                    lowest.remove();
                    continue;
                };
                let end = (index / STRETCH + 1) * STRETCH;
                let stretch = (index..end).take_while(|&at| test(&group.free, at));
                return Candidate::Unbacked(
                    Block(base + index),
                    u32::try_from(stretch.count()).unwrap_or(1),
                );
            }
            let group = if let Some(group) = self.empty.pop_first() {
                group
            } else if self.next < self.end {
                self.next += 1;
                self.next - 1
            } else {
                return Candidate::None;
            };
            let mut opened = Group::new([u64::MAX; WORDS]);
            if let Some(huge) = &mut self.huge {
                opened.huge = huge.wants(opened.last_freed);
            }
            self.groups.insert(group, opened);
        }
    }

    /// Note that free blocks from `first` on have memory now.
    pub(crate) fn backed(&mut self, first: Block, count: u32) {
        if let Some(group) = self.groups.get_mut(&(first.0 / GROUP_BLOCKS)) {
            for index in (first.0 % GROUP_BLOCKS..).take(count as usize) {
                set(&mut group.backed, index);
                set(&mut group.held, index);
            }
        }
    }

    /// A huge page was made for a group in `spent`, or couldn't be: then small ones back the group.
    pub(crate) fn backed_huge(&mut self, number: u32, made: bool, spent: Duration) {
        if let Some(huge) = &mut self.huge {
            huge.opening.took(Instant::now(), made, spent);
        }
        if let Some(group) = self.groups.get_mut(&number) {
            group.huge = made;
            if made {
                (group.backed, group.held) = ([u64::MAX; WORDS], [u64::MAX; WORDS]);
            }
        }
    }

    /// Free blocks that have memory.
    pub(crate) fn give_back(&mut self, blocks: &[Block]) {
        let now = Instant::now();
        for same in blocks.chunk_by(|a, b| a.0 / GROUP_BLOCKS == b.0 / GROUP_BLOCKS) {
            let Some(number) = same.first().map(|block| block.0 / GROUP_BLOCKS) else {
                continue;
            };
            let group = self.groups.entry(number).or_insert_with(|| {
                let mut group = Group::new([0; WORDS]);
                // A group that isn't listed has no free block, so all of it is in use and backed.
                group.backed = [u64::MAX; WORDS];
                group
            });
            for block in same {
                let index = block.0 % GROUP_BLOCKS;
                debug_assert!(!test(&group.free, index), "{block:?} was free");
                set(&mut group.free, index);
                set(&mut group.backed, index);
                set(&mut group.held, index);
            }
            group.last_freed = now;
        }
    }

    /// After recovery: the blocks of this group that are not in use are free, and may have memory.
    pub(crate) fn found(&mut self, number: u32, used: &Bits) {
        let mut group = Group::new(used.map(|word| !word));
        group.backed = *used;
        group.held = group.free;
        self.next = self.next.max(number + 1);
        if group.has_free() {
            self.groups.insert(number, group);
        } else if let Some(huge) = &mut self.huge {
            huge.full.push(number);
        }
    }

    /// How long threads wait for a processor, for the thread that calls this; `None` if no huge
    /// pages are made.
    pub(super) fn waits(&self) -> Option<Waits> {
        self.huge.as_ref().map(|huge| huge.waits.beside())
    }

    /// How many groups became fully used and were not checked since.
    pub(crate) fn full_groups(&self) -> usize {
        self.huge.as_ref().map_or(0, |huge| huge.full.queue.len())
    }

    /// The next group that became fully used at least `after` ago, and still is.
    pub(crate) fn take_full(&mut self, after: Duration) -> Option<u32> {
        while let Some(number) = self.huge.as_mut()?.full.pop(after) {
            if !self.groups.contains_key(&number) && !self.empty.contains(&number) {
                return Some(number);
            }
        }
        None
    }

    /// No huge pages are made any more.
    pub(crate) fn make_no_huge(&mut self) {
        self.huge = None;
    }

    /// Groups with free blocks whose memory may be returned to the host.
    pub(crate) fn held_groups(&self) -> Vec<u32> {
        let held =
            |(&number, group): (&u32, &Group)| first(&group.free, &group.held).map(|_| number);
        self.groups.iter().filter_map(held).collect()
    }

    /// Withdraw the free blocks of a group, if it was unused for long enough: for `whole_after` if
    /// all of it is free, otherwise for `part_after`.
    pub(crate) fn take_held(
        &mut self,
        number: u32,
        whole_after: Duration,
        part_after: Duration,
    ) -> Option<Taken> {
        let group = self.groups.get_mut(&number)?;
        let after = if group.is_all_free() {
            whole_after
        } else {
            part_after
        };
        if group.last_freed.elapsed() < after {
            return None;
        }
        let bits: Bits = std::array::from_fn(|at| group.free[at] & group.held[at]);
        let used = group.free.map(|word| !word);
        group.free = std::array::from_fn(|at| group.free[at] & !bits[at]);
        group.held = std::array::from_fn(|at| group.held[at] & !bits[at]);
        group.huge = false;
        Some(Taken {
            group: number,
            bits,
            used,
        })
    }

    /// Make withdrawn blocks available again. `punched` says that they have no memory any more.
    pub(crate) fn put_back(&mut self, taken: &Taken, punched: bool) {
        let Some(group) = self.groups.get_mut(&taken.group) else {
            // All other blocks of the group were taken meanwhile, so it was delisted.
            let mut group = Group::new(taken.bits);
            group.backed =
                std::array::from_fn(|at| if punched { !taken.bits[at] } else { u64::MAX });
            self.groups.insert(taken.group, group);
            return;
        };
        for at in 0..WORDS {
            group.free[at] |= taken.bits[at];
            if punched {
                group.backed[at] &= !taken.bits[at];
            }
        }
        let unbacked = group.is_all_free() && group.held == [0; WORDS];
        if punched && unbacked {
            self.groups.remove(&taken.group);
            self.empty.insert(taken.group);
        }
    }
}
